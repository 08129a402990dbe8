"""Forward-backward algorithm: sums over all tag paths of a batch.

Shapes: B rows, L positions, T tags, S segments. `moves` is (T + 2, T + 2): `moves[i, j]` is the score of tag j after
tag i, -inf if forbidden. Index T is the start, T + 1 the end. The end may follow itself with score 0.

Let w be the exponentiated emissions and E the exponentiated transitions. The forward mass is alpha_1 = start * w_1,
alpha_t = (alpha_{t-1} E) * w_t. The backward mass, defined to include the weight of its own position, follows the same
recursion over the reversed row, with E transposed and start and end exchanged. So both run in one loop, as a batch of
two. Each step is divided by the sum of the previous step (Rabiner 1989, "A tutorial on hidden Markov models", section
V.A), which keeps the values in range. log Z is the sum of the logarithms of these sums and of the peaks that were
subtracted from the emissions.

All arithmetic is in float64. Scaled probabilities are used if the largest difference between two emissions of one
position plus twice the largest transition score (in absolute value) is within `SCALED_RANGE`, where forbidden tags and
transitions do not count. Then no mass underflows, provided that every permitted tag can be reached from every other in
three transitions, as in all tag schemes. Larger scores, and batches with a row without a path, use the same recursion
in log space, which is several times slower and has no bound. A single row on the CPU is computed by NumPy
(`nlp_app.numerics.lattice`), which has less overhead per call.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nlp_app.nn.crf.scores import Scores
from nlp_app.numerics.lattice import SCALED_RANGE, ScaledMass, log_mass
from nlp_app.numerics.segments import BatchMass, Segments, segment_log_probability

Indices = NDArray[np.int64]  # (S,)


class Lattice(ABC):
    """All paths of a batch with their weights, as returned by `LinearChainCRF.lattice`. Not differentiable.

    Attributes:
        scores: Scores of the batch.
        log_partition: log Z of each row: the log of the summed weight of all paths, (B,) float64; -inf for a row
            without a permitted path.
    """

    scores: Scores
    log_partition: Tensor

    @abstractmethod
    def expected_counts(self, row_weights: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the expected counts of tags and transitions.

        Args:
            row_weights: Factor of each row's counts, (B,).

        Returns:
            Expected counts of each tag at each position, (B, L, T), and of each transition, summed over the rows,
            (T + 2, T + 2). A row without a path counts as 0.
        """

    @abstractmethod
    def log_prefix(self, rows: Indices, positions: Indices) -> NDArray[np.float64]:
        """Compute the log mass of prefixes by their last tag.

        Args:
            rows: Row of each prefix, (S,).
            positions: Last position of each prefix, (S,).

        Returns:
            (S, T), on the CPU.
        """

    @abstractmethod
    def log_suffix(self, rows: Indices, positions: Indices) -> NDArray[np.float64]:
        """Compute the log mass of suffixes by their first tag.

        Args:
            rows: Row of each suffix, (S,).
            positions: First position of each suffix, (S,).

        Returns:
            (S, T), on the CPU.
        """

    def marginals(self) -> Tensor:
        """Compute the marginal probability of each tag at each position.

        Returns:
            (B, L, T) float64; sums to 1 at each real position, to 0 on padding.
        """
        return self.expected_counts(torch.ones_like(self.log_partition))[0]

    def segment_log_probability(self, segments: Segments) -> NDArray[np.float64]:
        """Compute the log posterior probability of segments.

        Args:
            segments: S segments.

        Returns:
            (S,); see `segments.segment_log_probability`.
        """
        scores = self.scores
        emissions, moves, lengths, log_partition = (
            part.cpu().numpy() for part in (scores.emissions, scores.moves, scores.lengths, self.log_partition)
        )
        mass = BatchMass(emissions, moves, lengths, log_partition, self.log_prefix, self.log_suffix)
        return segment_log_probability(mass, segments)

    def _all_moves(self, tags: Tensor, last: Tensor, between: Tensor) -> Tensor:
        """Combine counts of tags, (L, B, T), and of transitions between tags, (T, T), to counts of all transitions."""
        size = len(between)
        moves = between.new_zeros(size + 2, size + 2)
        moves[:size, :size] = between
        torch.sum(tags[0], 0, out=moves[size, :size])
        moves[:size, size + 1] = tags.flatten(0, 1).index_select(0, last).sum(0)
        return moves


def forward_backward(scores: Scores) -> Lattice:
    """Run the forward and the backward recursion.

    On an accelerator, the host waits once, to learn if the result of the scaled recursion is reliable.

    Args:
        scores: Scores of the batch.

    Returns:
        The lattice.
    """
    is_single_row = len(scores.mask) == 1 and scores.mask.device.type == "cpu"
    lattice: RowLattice | ScaledLattice = RowLattice(scores) if is_single_row else ScaledLattice(scores)
    return lattice if bool(lattice.is_reliable) else LogLattice(scores)


class ScaledLattice(Lattice):
    """Forward-backward with scaled probabilities.

    Attributes:
        is_reliable: Scalar bool tensor on the device; False if the scores are out of range or a row has no path, so
            that `LogLattice` is needed.
    """

    def __init__(self, scores: Scores) -> None:
        self.scores = scores
        emissions, moves, mask, *_ = scores
        self.reversal, self.last = scores.reversal()
        lows, peaks = torch.aminmax(emissions, dim=-1)
        if scores.constrained:
            lows = emissions.masked_fill(emissions == -math.inf, math.inf).amin(-1)
        gap = (peaks - lows).amax() + 2 * _or_zero(moves).abs().amax()
        self.peaks, self.padding = peaks.T, ~mask.T
        self.weights = scores._replace(moves=moves.exp())
        # Few allocations and in-place operations: allocating memory of this size costs more than the arithmetic.
        mass = emissions.new_empty((2, *self.peaks.shape, emissions.shape[2]))
        self.prefix, self.reversed_suffix = mass.unbind(0)
        prefix, reversed_suffix = mass.flatten(1, 2).unbind(0)
        torch.sub(emissions, peaks.unsqueeze(-1), out=self.prefix.transpose(0, 1))
        torch.index_select(prefix.exp_(), 0, self.reversal, out=reversed_suffix)
        _scaled_sweep(mass, self.weights)

        # Padding may contain NaN only if every tag is a dead end; `is_reliable` is False then.
        self.suffix = reversed_suffix.index_select(0, self.reversal).view_as(self.reversed_suffix)
        self.suffix.masked_fill_(self.padding.unsqueeze(-1), 0.0)
        self.gains = self._log_gains(self.prefix, self.peaks)
        last = prefix.index_select(0, self.last)
        self.log_partition = (last @ self.weights.end).div_(last.sum(-1)).log_().add_(self.gains.sum(0))

        self.tags = torch.empty_like(self.prefix)
        self.tags[0] = self.weights.start
        rows = len(mask)
        torch.mm(prefix[:-rows], self.weights.between, out=self.tags.flatten(0, 1)[rows:])
        # The mass of all paths as computed at each position, (L, B): equal except for the scales; 1 on padding.
        self.totals = self.tags.mul_(self.suffix).sum(-1).add_(self.padding)
        self.is_reliable = (gap <= SCALED_RANGE) & (self.totals.amin() > 0)

    def expected_counts(self, row_weights: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the expected counts of tags and transitions; see `Lattice.expected_counts`.

        Args:
            row_weights: Factor of each row's counts, (B,).

        Returns:
            Counts of tags, (B, L, T), and of transitions, (T + 2, T + 2).
        """
        factors = (row_weights / self.totals).unsqueeze(-1)
        tags, shares = self.tags * factors, self.suffix[1:] * factors[1:]
        between = self.prefix[:-1].flatten(0, 1).T @ shares.flatten(0, 1)
        return tags.transpose(0, 1), self._all_moves(tags, self.last, between.mul_(self.weights.between))

    def log_prefix(self, rows: Indices, positions: Indices) -> NDArray[np.float64]:
        """Compute the log mass of prefixes by their last tag.

        Args:
            rows: Row of each prefix, (S,).
            positions: Last position of each prefix, (S,).

        Returns:
            (S, T), on the CPU.
        """
        # On the CPU, because CUDA has no deterministic cumulative sum.
        return _log_mass(self.prefix, self.gains.cpu().cumsum(0), rows, positions)

    def log_suffix(self, rows: Indices, positions: Indices) -> NDArray[np.float64]:
        """Compute the log mass of suffixes by their first tag.

        Args:
            rows: Row of each suffix, (S,).
            positions: First position of each suffix, (S,).

        Returns:
            (S, T), on the CPU.
        """
        peaks = self.peaks.flatten()[self.reversal].view_as(self.peaks)
        scales = self._log_gains(self.reversed_suffix, peaks).cpu().cumsum(0)
        return _log_mass(self.suffix, scales.flatten()[self.reversal.cpu()].view_as(scales), rows, positions)

    def _log_gains(self, mass: Tensor, peaks: Tensor) -> Tensor:
        """Log of the factor by which each position scales the normalized mass, (L, B); 0 on padding."""
        return mass.sum(-1).log_().add_(peaks).masked_fill_(self.padding, 0.0)


def _log_mass(mass: Tensor, scales: Tensor, rows: Indices, positions: Indices) -> NDArray[np.float64]:
    shares = _at(mass, rows, positions)
    return log_mass(shares / shares.sum(1, keepdims=True), _at(scales, rows, positions))


def _at(values: Tensor, rows: Indices, positions: Indices) -> NDArray[np.float64]:
    selected: NDArray[np.float64] = values[torch.from_numpy(positions), torch.from_numpy(rows)].cpu().numpy()
    return selected


def _scaled_sweep(mass: Tensor, weights: Scores) -> None:
    """Run both recursions in place: replace exponentiated emissions (2, L, B, T), forward and backward, by mass.

    At each position, the mass of the previous position is multiplied by the transitions and the emissions, and divided
    by its sum.
    """
    _, _, rows, size = mass.shape
    between = mass.new_ones(2, size, size + 1)  # the last column sums up the mass of the previous position
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
    """Forward-backward with scaled probabilities for a single row on the CPU.

    Attributes:
        is_reliable: False if the scores are out of range or the row has no path, so that `LogLattice` is needed.
    """

    def __init__(self, scores: Scores) -> None:
        self.scores = scores
        self.mass = ScaledMass(scores.row(), scores.transitions, scores.constrained)
        self.log_partition = torch.tensor([self.mass.log_partition], dtype=torch.float64)
        self.is_reliable = self.mass.is_reliable

    def expected_counts(self, row_weights: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the expected counts of tags and transitions; see `Lattice.expected_counts`.

        Args:
            row_weights: Factor of each row's counts, (B,).

        Returns:
            Counts of tags, (B, L, T), and of transitions, (T + 2, T + 2).
        """
        return ScaledLattice(self.scores).expected_counts(row_weights)  # needed in training, rarely for a single row

    def log_prefix(self, rows: Indices, positions: Indices) -> NDArray[np.float64]:
        """Compute the log mass of prefixes by their last tag.

        Args:
            rows: Row of each prefix, (S,).
            positions: Last position of each prefix, (S,).

        Returns:
            (S, T), on the CPU.
        """
        return self.mass.log_prefix(positions)

    def log_suffix(self, rows: Indices, positions: Indices) -> NDArray[np.float64]:
        """Compute the log mass of suffixes by their first tag.

        Args:
            rows: Row of each suffix, (S,).
            positions: First position of each suffix, (S,).

        Returns:
            (S, T), on the CPU.
        """
        return self.mass.log_suffix(positions)


def _or_zero(scores: Tensor) -> Tensor:
    """Replace -inf by 0."""
    return scores.masked_fill(scores == -math.inf, 0.0)


class LogLattice(Lattice):
    """Forward-backward in log space, for scores of any size and rows without a path."""

    def __init__(self, scores: Scores) -> None:
        self.scores = scores
        reversal, self.last = scores.reversal()
        emissions = scores.emissions.transpose(0, 1)
        mass = torch.stack((emissions, emissions.flatten(0, 1)[reversal].view_as(emissions)))
        mass[:, 0] += torch.stack((scores.start, scores.end)).unsqueeze(1)
        between = torch.stack((scores.between, scores.between.T)).unsqueeze(1)
        for before, after in zip(mass[:, :-1].unbind(1), mass[:, 1:].unbind(1), strict=True):
            after += (before.unsqueeze(-1) + between).logsumexp(-2)
        self.prefix, self.suffix = mass[0], mass[1].flatten(0, 1)[reversal].view_as(emissions)
        self.log_partition = (self.prefix.flatten(0, 1)[self.last] + scores.end).logsumexp(-1)

    def expected_counts(self, row_weights: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the expected counts of tags and transitions; see `Lattice.expected_counts`.

        Args:
            row_weights: Factor of each row's counts, (B,).

        Returns:
            Counts of tags, (B, L, T), and of transitions, (T + 2, T + 2).
        """
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

    def log_prefix(self, rows: Indices, positions: Indices) -> NDArray[np.float64]:
        """Compute the log mass of prefixes by their last tag.

        Args:
            rows: Row of each prefix, (S,).
            positions: Last position of each prefix, (S,).

        Returns:
            (S, T), on the CPU.
        """
        return _at(self.prefix, rows, positions)

    def log_suffix(self, rows: Indices, positions: Indices) -> NDArray[np.float64]:
        """Compute the log mass of suffixes by their first tag.

        Args:
            rows: Row of each suffix, (S,).
            positions: First position of each suffix, (S,).

        Returns:
            (S, T), on the CPU.
        """
        return _at(self.suffix, rows, positions)
