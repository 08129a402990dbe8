"""The linear-chain conditional random field.

Lafferty, McCallum and Pereira 2001, "Conditional random fields: probabilistic models for segmenting and
labeling sequence data". For a sentence x with emissions e_t(y), the score of tag y at position t, a path
y = y_1 .. y_n has the score

    s(y) = start(y_1) + sum_t e_t(y_t) + sum_{t>1} transitions(y_{t-1}, y_t) + end(y_n)

and the probability p(y | x) = exp(s(y) - log Z), where log Z = log sum_y exp(s(y)) is over all paths that the
constraints permit. Training maximizes log p of the gold path. Its gradient needs no differentiation through
the recursion: d log Z / d e_t(j) is the marginal probability of tag j at t, and d log Z / d transitions(i, j)
the expected number of times that j follows i; one forward-backward pass gives both. So the gradient is

    observed counts - expected counts

for every score. `nlp_app.nn.crf.lattice` has the recursion and its range, `nlp_app.nn.crf.viterbi` the best paths,
`nlp_app.nn.crf.segments` the posterior of a run of tags.

Precision: everything inside is float64, whatever the inputs and the autocast. Log-likelihoods come out in
float32, or in the emissions' type where that is wider; gradients in the type of what they belong to. Scores of
any finite size come out right; beyond `lattice.SCALED_RANGE` they take log space, several times slower.

Waiting for an accelerator: shapes and types are checked on every call, the *values* of mask and tags only where
they lie on the CPU; elsewhere wrong values are the caller's fault. A training step waits once, to learn whether
the fast arithmetic served. Best paths always come to the CPU.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from nlp_app.nn.crf.lattice import Lattice, forward_backward
from nlp_app.nn.crf.scores import Scores
from nlp_app.nn.crf.segments import Segments
from nlp_app.nn.crf.viterbi import best_paths, n_best_paths


class _CachedMoves(NamedTuple):
    """Moves and the tensors they were built from, with the state in which those were. Nobody writes to `moves`."""

    parts: tuple[Tensor, ...]
    state: tuple[tuple[Any, ...], ...]
    moves: Tensor


class LinearChainCRF(nn.Module):
    """A linear-chain CRF over `num_tags` tags, for B rows of L positions, each row's real positions first.

    Every method takes emissions (B, L, T) of a floating type and a mask (B, L) bool, True for the first one
    or more positions of each row; what stands on padding, -100 or NaN included, has no effect. All raise
    ValueError where sizes, types or (on the CPU) values are wrong.

    `allowed` (T + 2, T + 2) bool says which tag may follow which: `allowed[i, j]`, may j follow i, with the
    start as number T and the end as number T + 1; None permits everything. It is part of the state dict.
    """

    allowed: Tensor

    def __init__(self, num_tags: int, allowed: Tensor | npt.NDArray[np.bool_] | None = None) -> None:
        super().__init__()
        if num_tags < 1:
            raise ValueError(f"num_tags: found {num_tags}; expected at least 1")
        full = (num_tags + 2, num_tags + 2)
        allowed = torch.ones(full, dtype=torch.bool) if allowed is None else torch.as_tensor(allowed).clone()
        if allowed.shape != full or allowed.dtype != torch.bool:
            raise ValueError(f"allowed: found {allowed.dtype} {tuple(allowed.shape)}; expected bool {full}")
        allowed[-1, -1] = True  # the end goes on through the padding
        self.num_tags = num_tags
        self.transitions = nn.Parameter(torch.zeros(num_tags, num_tags))
        self.start = nn.Parameter(torch.zeros(num_tags))
        self.end = nn.Parameter(torch.zeros(num_tags))
        self.register_buffer("allowed", allowed)
        self._cached: _CachedMoves | None = None

    def forward(self, emissions: Tensor, tags: Tensor, mask: Tensor) -> Tensor:
        """Log-likelihood (B,) of `tags` (B, L), any integer type; -inf for a path that `allowed` forbids."""
        with torch.no_grad():
            scores = self.scores(emissions, mask)
            self._check_tags(tags, mask)
            outcome = _LogLikelihood(forward_backward(scores), tags)
        return self._differentiable(emissions, outcome)

    def log_partition(self, emissions: Tensor, mask: Tensor, allowed_tags: Tensor | None = None) -> Tensor:
        """log Z (B,), differentiable, over the paths within `allowed_tags` (B, L, T) bool, or over all.

        -inf where no path is left. Constrained minus free, it is the log-likelihood of partial labels.
        """
        with torch.no_grad():
            outcome = _LogLikelihood(forward_backward(self.scores(emissions, mask, allowed_tags)))
        return -self._differentiable(emissions, outcome)

    @torch.no_grad()
    def decode(self, emissions: Tensor, mask: Tensor, allowed_tags: Tensor | None = None) -> list[list[int]]:
        """Best path of each row, padding left out; equal scores go to the lowest tag, the last position first.

        Raises ValueError for a row that the constraints leave no path.
        """
        return best_paths(self.scores(emissions, mask, allowed_tags))

    @torch.no_grad()
    def n_best(self, emissions: Tensor, mask: Tensor, n: int) -> list[list[tuple[list[int], float]]]:
        """The `n` best paths of each row with log probabilities, best first; fewer where fewer are permitted."""
        if n < 1:
            raise ValueError(f"n: found {n}; expected at least 1")
        scores = self.scores(emissions, mask)
        return n_best_paths(scores, forward_backward(scores).log_partition, n)

    @torch.no_grad()
    def lattice(self, emissions: Tensor, mask: Tensor, allowed_tags: Tensor | None = None) -> Lattice:
        """All paths and their weights: log partition, marginals and segment posteriors from one pass."""
        return forward_backward(self.scores(emissions, mask, allowed_tags))

    def marginals(self, emissions: Tensor, mask: Tensor) -> Tensor:
        """Probability (B, L, T), float64, of each tag at each position; sums to one, to zero on padding."""
        return self.lattice(emissions, mask).marginals()

    def segment_log_probability(self, emissions: Tensor, mask: Tensor, segments: Segments) -> npt.NDArray[np.float64]:
        """Log probability (S,) that the path passes through each segment; see `Segments`."""
        return self.lattice(emissions, mask).segment_log_probability(segments)

    def extra_repr(self) -> str:
        return f"num_tags={self.num_tags}"

    @torch.no_grad()
    def scores(self, emissions: Tensor, mask: Tensor, allowed_tags: Tensor | None = None) -> Scores:
        """What `best_paths` and `forward_backward` work on, for those who want both."""
        self._check(emissions, mask, allowed_tags)
        return Scores.of(emissions, self._moves(), mask, allowed_tags)

    def train(self, mode: bool = True) -> Self:
        self._cached = None
        return super().train(mode)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_cached": None}  # for copies and pickles

    def _moves(self) -> Tensor:
        """Moves as `Scores` takes them, cached within inference mode (40 µs a call)."""
        parts = (self.transitions, self.start, self.end, self.allowed)
        if not torch.is_inference_mode_enabled() or self.training or any(part.is_inference() for part in parts):
            # Training may follow, and not every change counts up a tensor's version: a fused optimizer's doesn't.
            self._cached = None
            return self._build_moves()
        state = tuple((part._version, part.data_ptr(), part.dtype, part.device) for part in parts)
        cached = self._cached  # read once: another thread may replace it
        if cached is None or cached.state != state or any(a is not b for a, b in zip(cached.parts, parts, strict=True)):
            with torch.inference_mode(False), torch.no_grad():
                # The state was read first: parameters that change meanwhile are noticed by the next call.
                cached = _CachedMoves(parts, state, self._build_moves())
            self._cached = cached
        return cached.moves

    def _build_moves(self) -> Tensor:
        moves = self.transitions.new_zeros(self.allowed.shape, dtype=torch.float64)
        moves[:-2, :-2] = self.transitions
        moves[-2, :-2] = self.start
        moves[:-2, -1] = self.end
        return torch.where(self.allowed, moves, -math.inf)

    def _differentiable(self, emissions: Tensor, outcome: _LogLikelihood) -> Tensor:
        result: Tensor = _WithGradient.apply(  # type: ignore[no-untyped-call]
            emissions, self.transitions, self.start, self.end, outcome
        )
        return result

    def _check(self, emissions: Tensor, mask: Tensor, allowed_tags: Tensor | None) -> None:
        if emissions.ndim != 3 or 0 in emissions.shape or emissions.shape[2] != self.num_tags:
            found = tuple(emissions.shape)
            raise ValueError(f"emissions: found {found}; expected (rows, positions, {self.num_tags})")
        if not emissions.is_floating_point():
            raise ValueError(f"emissions: found {emissions.dtype}; expected a floating type")
        _check_bool("mask", mask, emissions.shape[:2])
        if allowed_tags is not None:
            _check_bool("allowed_tags", allowed_tags, emissions.shape)
        if mask.device.type == "cpu":
            real = mask.numpy()  # the same memory; NumPy costs less for a few small steps
            wrong = (real[:, 1:] > real[:, :-1]).any(1) | ~real[:, 0]
            if wrong.any():
                row = wrong.argmax()
                raise ValueError(
                    f"mask: found row {row} without a real token, or with a gap; expected True from the left"
                )

    def _check_tags(self, tags: Tensor, mask: Tensor) -> None:
        if tags.shape != mask.shape or tags.is_floating_point() or tags.dtype == torch.bool:
            found = f"{tags.dtype} {tuple(tags.shape)}"
            raise ValueError(f"tags: found {found}; expected integers {tuple(mask.shape)}")
        if tags.device.type == "cpu":
            numbers = tags.numpy()
            wrong = mask.numpy() & ((numbers < 0) | (numbers >= self.num_tags))
            if wrong.any():
                row, position = np.argwhere(wrong)[0]
                raise ValueError(
                    f"tags: found {int(tags[row, position])} at row {row}, position {position}; "
                    f"expected 0 to {self.num_tags - 1} wherever the mask is True"
                )


def _check_bool(name: str, values: Tensor, shape: torch.Size) -> None:
    if values.shape != shape or values.dtype != torch.bool:
        raise ValueError(f"{name}: found {values.dtype} {tuple(values.shape)}; expected bool {tuple(shape)}")


class _LogLikelihood:
    """score of `tags` - log Z by row, and its gradient; without tags, -log Z."""

    def __init__(self, lattice: Lattice, tags: Tensor | None = None) -> None:
        self.lattice, self.path = lattice, None
        self.value = -lattice.log_partition
        if tags is not None:
            scores = lattice.scores
            self.path, self.steps = _path(tags, scores.mask, len(scores.moves))
            gold = scores.emissions.gather(2, self.path).sum((1, 2)) + scores.moves.take(self.steps).sum(1)
            # A row without any path has no gold path either: -inf, not -inf + inf.
            self.value = gold + self.value.masked_fill_(self.value == math.inf, 0.0)

    def gradient(self, grad: Tensor) -> tuple[Tensor, Tensor]:
        """Observed minus expected counts of tags (B, L, T), of moves (T + 2, T + 2); rows weighted."""
        tags, moves = self.lattice.expected_counts(-grad)
        if self.path is not None:
            observed = self.lattice.scores.mask * grad.unsqueeze(1)
            tags.scatter_add_(2, self.path, observed.unsqueeze(2))
            # `put_` would do, but has no deterministic way on CUDA.
            moves.view(-1).index_add_(0, self.steps.flatten(), grad.unsqueeze(1).expand_as(self.steps).flatten())
        return tags, moves


def _path(tags: Tensor, mask: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Tags (B, L, 1), any on padding; moves (B, L + 1) as flat numbers, end after end on padding."""
    end = size - 1
    edges = tags.new_full((len(tags), tags.shape[1] + 2), end, dtype=torch.long)
    edges[:, 0] = size - 2
    inner = edges[:, 1:-1]
    inner.copy_(tags).masked_fill_(~mask, end)
    return inner.clamp_max(size - 3).unsqueeze(2), edges[:, :-1] * size + edges[:, 1:]


class _WithGradient(torch.autograd.Function):
    """Hand out a value that is already known, and its analytic gradient when it is asked for."""

    @staticmethod
    def forward(
        ctx: Any, emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, outcome: _LogLikelihood
    ) -> Tensor:
        ctx.outcome, ctx.dtypes = outcome, (emissions.dtype, transitions.dtype)
        return outcome.value.to(torch.promote_types(emissions.dtype, torch.float32), copy=True)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        emissions_type, moves_type = ctx.dtypes
        emissions, moves = ctx.outcome.gradient(grad.double())
        moves = moves.to(moves_type)
        return (
            emissions.to(emissions_type).contiguous(),
            moves[:-2, :-2],
            moves[-2, :-2],
            moves[:-2, -1],
            None,
        )
