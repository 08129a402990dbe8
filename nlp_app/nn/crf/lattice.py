"""Sum-product over all tag paths of a batch: the forward-backward recursion, and what is read from it.

Shapes: B rows, L positions, T tags. `moves` is (T + 2, T + 2): `moves[i, j]` scores tag j after tag i, with
the start as number T and the end as number T + 1; -inf where forbidden. The end may follow itself, at no cost.

With weights w and E for the exponentiated emissions and moves, the forward mass is alpha_1 = start * w_1,
alpha_t = (alpha_{t-1} E) * w_t. The backward mass, counted with the weight of its own position, is the same
recursion over the row read from its end, with E transposed and start and end exchanged; so both run in one
loop, as a batch of two. Dividing every step by the sum of the one before (Rabiner 1989, "A tutorial on hidden
Markov models", section V.A) keeps the numbers in range; the logarithms of the sums, and of what was taken off
the emissions before, add up to log Z.

All arithmetic is in float64. Scaled probabilities serve while the widest gap between two emissions of a
position plus twice the largest move (in absolute value) stays within `SCALED_RANGE`, forbidden ones aside: no
mass is lost then where every permitted tag can be reached from every other in three moves, as in all tag
schemes. Wider scores, and batches with a row that has no path, take the same recursion in log space, several
times slower and without such a bound. One row on the CPU goes through NumPy, whose calls cost less.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nlp_app.nn.crf.scores import Scores
from nlp_app.nn.crf.segments import Segments, segment_log_probability

SCALED_RANGE = 170.0  # exp(-4 * 170) / T**4 is still above the smallest normal float64, exp(-708)

Places = NDArray[np.int64]  # (S,)


class Lattice(ABC):
    """All paths of a batch with their weights, as `LinearChainCRF.lattice` returns it. Not differentiable."""

    scores: Scores
    log_partition: Tensor
    """(B,) float64: log of the summed weight of all paths; -inf where no path is permitted."""

    @abstractmethod
    def expected_counts(self, row_weights: Tensor) -> tuple[Tensor, Tensor]:
        """Expected uses of each tag (B, L, T) and, summed over the rows, of each move (T + 2, T + 2).

        Row b counts `row_weights[b]` times; a row without a path counts nothing.
        """

    @abstractmethod
    def log_prefix(self, rows: Places, positions: Places) -> NDArray[np.float64]:
        """(S, T), on the CPU: log mass of the beginnings of row `rows[s]` that end in each tag at `positions[s]`."""

    @abstractmethod
    def log_suffix(self, rows: Places, positions: Places) -> NDArray[np.float64]:
        """(S, T), on the CPU: log mass of the endings of row `rows[s]` that begin with each tag at `positions[s]`."""

    def marginals(self) -> Tensor:
        """(B, L, T) float64: probability of each tag at each position; sums to one, to zero on padding."""
        return self.expected_counts(torch.ones_like(self.log_partition))[0]

    def segment_log_probability(self, segments: Segments) -> NDArray[np.float64]:
        """(S,): log probability that the path passes through each segment; see `Segments`."""
        return segment_log_probability(self, segments)

    def _all_moves(self, tags: Tensor, last: Tensor, between: Tensor) -> Tensor:
        """Counts of all moves, of those of tags (L, B, T) and of moves between tags (T, T)."""
        size = len(between)
        moves = between.new_zeros(size + 2, size + 2)
        moves[:size, :size] = between
        torch.sum(tags[0], 0, out=moves[size, :size])
        moves[:size, size + 1] = tags.flatten(0, 1).index_select(0, last).sum(0)
        return moves


def forward_backward(scores: Scores) -> Lattice:
    """Both recursions. On an accelerator the host waits once, for whether scaled probabilities served."""
    alone = len(scores.mask) == 1 and scores.mask.device.type == "cpu"
    lattice: RowLattice | ScaledLattice = RowLattice(scores) if alone else ScaledLattice(scores)
    return lattice if bool(lattice.serves) else LogLattice(scores)


class ScaledLattice(Lattice):
    """By scaled probabilities. `serves`, a truth value on the device: whether to rely on the result."""

    def __init__(self, scores: Scores) -> None:
        self.scores = scores
        emissions, moves, mask, *_ = scores
        self.turned, self.last = scores.order()
        lows, peaks = torch.aminmax(emissions, dim=-1)
        if scores.constrained:
            lows = emissions.masked_fill(emissions == -math.inf, math.inf).amin(-1)
        gap = (peaks - lows).amax() + 2 * _or_zero(moves).abs().amax()
        self.peaks, self.padding = peaks.T, ~mask.T
        self.weights = scores._replace(moves=moves.exp())
        # Few allocations, and work in place: fresh memory of this size costs more than the arithmetic.
        mass = emissions.new_empty((2, *self.peaks.shape, emissions.shape[2]))
        self.prefix, self.mirror = mass.unbind(0)
        prefix, mirror = mass.flatten(1, 2).unbind(0)
        torch.sub(emissions, peaks.unsqueeze(-1), out=self.prefix.transpose(0, 1))
        torch.index_select(prefix.exp_(), 0, self.turned, out=mirror)
        _scaled_sweep(mass, self.weights)

        # Only where every tag is a dead end does padding hold what is not a number; `serves` is False then.
        self.suffix = mirror.index_select(0, self.turned).view_as(self.mirror)
        self.suffix.masked_fill_(self.padding.unsqueeze(-1), 0.0)
        self.gains = self._log_gains(self.prefix, self.peaks)
        last = prefix.index_select(0, self.last)
        self.log_partition = (last @ self.weights.end).div_(last.sum(-1)).log_().add_(self.gains.sum(0))

        self.tags = torch.empty_like(self.prefix)
        self.tags[0] = self.weights.start
        rows = len(mask)
        torch.mm(prefix[:-rows], self.weights.between, out=self.tags.flatten(0, 1)[rows:])
        # The mass of all paths seen from each position, one number but for the scales; 1 on padding.
        self.totals = self.tags.mul_(self.suffix).sum(-1).add_(self.padding)
        self.serves = (gap <= SCALED_RANGE) & (self.totals.amin() > 0)

    def expected_counts(self, row_weights: Tensor) -> tuple[Tensor, Tensor]:
        factors = (row_weights / self.totals).unsqueeze(-1)
        tags, shares = self.tags * factors, self.suffix[1:] * factors[1:]
        between = self.prefix[:-1].flatten(0, 1).T @ shares.flatten(0, 1)
        return tags.transpose(0, 1), self._all_moves(tags, self.last, between.mul_(self.weights.between))

    def log_prefix(self, rows: Places, positions: Places) -> NDArray[np.float64]:
        # Sums on the CPU: those of CUDA have no deterministic way.
        return _log_mass(self.prefix, self.gains.cpu().cumsum(0), rows, positions)

    def log_suffix(self, rows: Places, positions: Places) -> NDArray[np.float64]:
        peaks = self.peaks.flatten()[self.turned].view_as(self.peaks)
        scales = self._log_gains(self.mirror, peaks).cpu().cumsum(0)
        return _log_mass(self.suffix, scales.flatten()[self.turned.cpu()].view_as(scales), rows, positions)

    def _log_gains(self, mass: Tensor, peaks: Tensor) -> Tensor:
        """(L, B): what each position adds to the log of the mass that sums to one; 0 on padding."""
        return mass.sum(-1).log_().add_(peaks).masked_fill_(self.padding, 0.0)


def _log_mass(mass: Tensor, scales: Tensor, rows: Places, positions: Places) -> NDArray[np.float64]:
    shares = _at(mass, rows, positions)
    return _log(shares / shares.sum(1, keepdims=True), _at(scales, rows, positions))


def _at(values: Tensor, rows: Places, positions: Places) -> NDArray[np.float64]:
    found: NDArray[np.float64] = values[torch.from_numpy(positions), torch.from_numpy(rows)].cpu().numpy()
    return found


def _scaled_sweep(mass: Tensor, weights: Scores) -> None:
    """Turn weights (2, L, B, T), forward and backward, into mass in place.

    Each position's mass is that of the position before, moved, weighted, and divided by the sum it had there.
    """
    _, _, rows, size = mass.shape
    between = mass.new_ones(2, size, size + 1)  # the last column adds up what is moved
    between[0, :, :-1] = weights.between
    between[1, :, :-1] = weights.between.T
    moved = mass.new_ones(2, rows, size + 1)
    arriving, total = moved[..., :-1], moved[..., -1:]
    arriving.copy_(torch.stack((weights.start, weights.end)).unsqueeze(1))
    previous: Tensor | None = None
    for here in mass.unbind(1):
        if previous is not None:
            torch.bmm(previous, between, out=moved)
        previous = here.mul_(arriving).div_(total)


class RowLattice(Lattice):
    """By scaled probabilities, for one row on the CPU. `serves`: whether to rely on the result."""

    def __init__(self, scores: Scores) -> None:
        self.scores = scores
        emissions, moves = scores.emissions[0, : int(scores.lengths[0])].numpy(), scores.moves.numpy()
        with np.errstate(all="ignore"):  # a row without a path gives no number, and `serves` is False then
            peaks = emissions.max(1)
            lows = np.where(emissions > -math.inf, emissions, math.inf) if scores.constrained else emissions
            gap = (peaks - lows.min(1)).max() + 2 * np.abs(moves[moves > -math.inf]).max()
            # Of the range of float64, three steps are for reaching every tag; the others need no division.
            stride = max(1, int(700 / (gap + math.log(len(moves)))) - 3) if gap <= SCALED_RANGE else 1
            # Long rows: two arrays of their size beside the emissions, and no more.
            weights, moves = emissions - peaks[:, None], np.exp(moves)
            np.exp(weights, out=weights)
            start, between, end = moves[-2, :-2], moves[:-2, :-2], moves[:-2, -1]
            self.prefix, scales = _row_sweep(weights.copy(), start, between, stride)
            self.prefix_scales = scales + peaks.cumsum()
            mirror, scales = _row_sweep(weights[::-1], end, between.T, stride)
            self.suffix, self.suffix_scales = mirror[::-1], (scales + peaks[::-1].cumsum())[::-1]
            log_z = np.log(self.prefix[-1:] @ end) + self.prefix_scales[-1]
        self.log_partition = torch.from_numpy(log_z)
        self.serves = bool(gap <= SCALED_RANGE and math.isfinite(log_z[0]) and start @ self.suffix[0] > 0)

    def expected_counts(self, row_weights: Tensor) -> tuple[Tensor, Tensor]:
        return ScaledLattice(self.scores).expected_counts(row_weights)  # asked for in training, where rows are many

    def log_prefix(self, rows: Places, positions: Places) -> NDArray[np.float64]:
        return _log(self.prefix[positions], self.prefix_scales[positions])

    def log_suffix(self, rows: Places, positions: Places) -> NDArray[np.float64]:
        return _log(self.suffix[positions], self.suffix_scales[positions])


def _row_sweep(
    mass: NDArray[np.float64], edge: NDArray[np.float64], between: NDArray[np.float64], stride: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Turn weights (L, T) into mass in place, divided by its sum at every `stride`-th position; it, and the log (L,) of
    what it was divided by."""
    sums = np.ones(len(mass))
    between, arriving = np.ascontiguousarray(between), edge.copy()
    for position, here in enumerate(mass):
        here *= arriving
        if position % stride == 0:
            sums[position] = here.sum()
            here /= sums[position]
        np.dot(here, between, out=arriving)
    return mass, np.log(sums).cumsum()


def _log(mass: NDArray[np.float64], scales: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(divide="ignore"):
        found: NDArray[np.float64] = np.log(mass)
    return found + scales[:, None]


def _or_zero(scores: Tensor) -> Tensor:
    """0 for -inf."""
    return scores.masked_fill(scores == -math.inf, 0.0)


class LogLattice(Lattice):
    """In log space: for scores of any size, and for rows without a path."""

    def __init__(self, scores: Scores) -> None:
        self.scores = scores
        turned, self.last = scores.order()
        emissions = scores.emissions.transpose(0, 1)
        mass = torch.stack((emissions, emissions.flatten(0, 1)[turned].view_as(emissions)))
        mass[:, 0] += torch.stack((scores.start, scores.end)).unsqueeze(1)
        between = torch.stack((scores.between, scores.between.T)).unsqueeze(1)
        for before, after in zip(mass[:, :-1].unbind(1), mass[:, 1:].unbind(1), strict=True):
            after += (before.unsqueeze(-1) + between).logsumexp(-2)
        self.prefix, self.suffix = mass[0], mass[1].flatten(0, 1)[turned].view_as(emissions)
        self.log_partition = (self.prefix.flatten(0, 1)[self.last] + scores.end).logsumexp(-1)

    def expected_counts(self, row_weights: Tensor) -> tuple[Tensor, Tensor]:
        scores, weights = self.scores, row_weights.unsqueeze(-1)
        suffix = self.suffix.masked_fill(~scores.mask.T.unsqueeze(-1), -math.inf)
        suffix -= _or_zero(self.log_partition).unsqueeze(-1)
        tags, between = torch.empty_like(suffix), torch.zeros_like(scores.between)
        tags[0] = (scores.start + suffix[0]).exp() * weights
        for before, after, expected in zip(self.prefix[:-1], suffix[1:], tags[1:], strict=True):
            pairs = (before.unsqueeze(2) + scores.between + after.unsqueeze(1)).exp_() * weights.unsqueeze(-1)
            torch.sum(pairs, 1, out=expected)
            between += pairs.sum(0)
        return tags.transpose(0, 1), self._all_moves(tags, self.last, between)

    def log_prefix(self, rows: Places, positions: Places) -> NDArray[np.float64]:
        return _at(self.prefix, rows, positions)

    def log_suffix(self, rows: Places, positions: Places) -> NDArray[np.float64]:
        return _at(self.suffix, rows, positions)
