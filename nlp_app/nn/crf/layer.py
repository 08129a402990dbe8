"""The linear-chain conditional random field.

Lafferty, McCallum and Pereira 2001, "Conditional random fields: probabilistic models for segmenting and labeling
sequence data". Let the emission e_t(y) be the score of tag y at position t of a sentence x. A path y = y_1 .. y_n has
the score

    s(y) = start(y_1) + sum_t e_t(y_t) + sum_{t>1} transitions(y_{t-1}, y_t) + end(y_n)

and the probability p(y | x) = exp(s(y) - log Z), where log Z = log sum_y exp(s(y)) sums over all paths that the
constraints permit. Training maximizes log p of the gold path. The gradient does not require differentiation through the
recursion: d log Z / d e_t(j) is the marginal probability of tag j at t, and d log Z / d transitions(i, j) the expected
number of times that j follows i. One forward-backward pass gives both. So the gradient of every score is

    observed counts - expected counts

`nlp_app.nn.crf.lattice` has the recursion and its numerical range, `nlp_app.nn.crf.viterbi` the best paths, and
`nlp_app.numerics.segments` the posterior probability of a sequence of tags.

Precision: all computations are in float64, independent of the input types and autocast. Log-likelihoods are returned
in float32, or in the emissions' type if that is wider; gradients have the type of their tensor. Results are correct for
finite scores of any size; beyond `lattice.SCALED_RANGE`, computation is in log space and several times slower.

Synchronization with an accelerator: shapes and types are checked on every call. The *values* of mask and tags are
checked only if they are on the CPU; otherwise the caller must ensure that they are valid. A training step waits for the
accelerator once, to learn if the fast arithmetic was reliable. Best paths are always copied to the CPU.
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
from nlp_app.nn.crf.viterbi import best_paths, n_best_paths
from nlp_app.numerics.segments import Segments


class _CachedMoves(NamedTuple):
    """Cached `moves` with the tensors they were built from and the state of these tensors. `moves` is read-only."""

    parts: tuple[Tensor, ...]
    state: tuple[tuple[Any, ...], ...]
    moves: Tensor


class LinearChainCRF(nn.Module):
    """A linear-chain CRF over T tags, for B rows of L positions.

    All methods take emissions, (B, L, T) of a floating type, and a mask, (B, L) bool, True for real positions. A row
    has at least one real position, and real positions come first. Values on padding have no effect, even -100 or NaN.
    All methods raise ValueError if sizes, types or (on the CPU) values are wrong.

    Attributes:
        num_tags: Number of tags, T.
        transitions: Score of tag j after tag i, (T, T).
        start: Score of each tag at the start, (T,).
        end: Score of each tag at the end, (T,).
        allowed: Allowed transitions, (T + 2, T + 2) bool, part of the state dict: `allowed[i, j]` is True if tag j may
            follow tag i. Index T is the start, T + 1 the end.

    Example:
        >>> crf = LinearChainCRF(num_tags=3)
        >>> emissions, mask = torch.randn(2, 4, 3), torch.ones(2, 4, dtype=torch.bool)
        >>> loss = -crf(emissions, torch.zeros(2, 4, dtype=torch.long), mask).sum()
        >>> paths = crf.decode(emissions, mask)
    """

    allowed: Tensor

    def __init__(self, num_tags: int, allowed: Tensor | npt.NDArray[np.bool_] | None = None) -> None:
        """Initialize all scores to zero.

        Args:
            num_tags: Number of tags, at least 1.
            allowed: Allowed transitions, (T + 2, T + 2) bool; None: all.

        Raises:
            ValueError: If `num_tags` is below 1, or `allowed` has another shape or type.
        """
        super().__init__()
        if num_tags < 1:
            raise ValueError(f"num_tags: found {num_tags}; expected at least 1")
        full = (num_tags + 2, num_tags + 2)
        allowed = torch.ones(full, dtype=torch.bool) if allowed is None else torch.as_tensor(allowed).clone()
        if allowed.shape != full or allowed.dtype != torch.bool:
            raise ValueError(f"allowed: found {allowed.dtype} {tuple(allowed.shape)}; expected bool {full}")
        allowed[-1, -1] = True  # paths stay in the end state on padding
        self.num_tags = num_tags
        self.transitions = nn.Parameter(torch.zeros(num_tags, num_tags))
        self.start = nn.Parameter(torch.zeros(num_tags))
        self.end = nn.Parameter(torch.zeros(num_tags))
        self.register_buffer("allowed", allowed)
        self._cached: _CachedMoves | None = None

    def forward(self, emissions: Tensor, tags: Tensor, mask: Tensor) -> Tensor:
        """Compute the log-likelihood of tag paths; differentiable.

        Args:
            emissions: (B, L, T).
            tags: Tag ids, (B, L), of any integer type.
            mask: (B, L) bool.

        Returns:
            (B,); -inf for a path that `allowed` forbids.
        """
        with torch.no_grad():
            scores = self.scores(emissions, mask)
            self._check_tags(tags, mask)
            outcome = _LogLikelihood(forward_backward(scores), tags)
        return self._differentiable(emissions, outcome)

    def log_partition(self, emissions: Tensor, mask: Tensor, allowed_tags: Tensor | None = None) -> Tensor:
        """Compute log Z; differentiable.

        The difference between log Z with and without `allowed_tags` is the log-likelihood of partial labels.

        Args:
            emissions: (B, L, T).
            mask: (B, L) bool.
            allowed_tags: (B, L, T) bool, the tags allowed at each position; None: all.

        Returns:
            (B,); -inf for a row without a permitted path.
        """
        with torch.no_grad():
            outcome = _LogLikelihood(forward_backward(self.scores(emissions, mask, allowed_tags)))
        return -self._differentiable(emissions, outcome)

    @torch.no_grad()
    def decode(self, emissions: Tensor, mask: Tensor, allowed_tags: Tensor | None = None) -> list[list[int]]:
        """Find the best path of each row.

        Among paths of equal score, the one with the lowest tag at the last position is selected, then the one with the
        lowest tag at the position before it, and so on.

        Args:
            emissions: (B, L, T).
            mask: (B, L) bool.
            allowed_tags: (B, L, T) bool, the tags allowed at each position; None: all.

        Returns:
            The tag ids of each row's real positions.

        Raises:
            ValueError: If the constraints permit no path of a row.
        """
        return best_paths(self.scores(emissions, mask, allowed_tags))

    @torch.no_grad()
    def n_best(self, emissions: Tensor, mask: Tensor, n: int) -> list[list[tuple[list[int], float]]]:
        """Find the `n` best paths of each row.

        Args:
            emissions: (B, L, T).
            mask: (B, L) bool.
            n: Number of paths, at least 1.

        Returns:
            For each row, pairs of a path and its log probability, best first; fewer than `n` if fewer paths are
            permitted.
        """
        if n < 1:
            raise ValueError(f"n: found {n}; expected at least 1")
        scores = self.scores(emissions, mask)
        return n_best_paths(scores, forward_backward(scores).log_partition, n)

    @torch.no_grad()
    def lattice(self, emissions: Tensor, mask: Tensor, allowed_tags: Tensor | None = None) -> Lattice:
        """Run forward-backward once, for log Z, marginals and segment probabilities.

        Args:
            emissions: (B, L, T).
            mask: (B, L) bool.
            allowed_tags: (B, L, T) bool, the tags allowed at each position; None: all.

        Returns:
            All paths with their weights.
        """
        return forward_backward(self.scores(emissions, mask, allowed_tags))

    def marginals(self, emissions: Tensor, mask: Tensor) -> Tensor:
        """Compute the marginal probability of each tag at each position.

        Args:
            emissions: (B, L, T).
            mask: (B, L) bool.

        Returns:
            (B, L, T) float64; sums to 1 at each real position, to 0 on padding.
        """
        return self.lattice(emissions, mask).marginals()

    def segment_log_probability(self, emissions: Tensor, mask: Tensor, segments: Segments) -> npt.NDArray[np.float64]:
        """Compute the log posterior probability of segments.

        Args:
            emissions: (B, L, T).
            mask: (B, L) bool.
            segments: S segments.

        Returns:
            (S,); -inf for an impossible segment.
        """
        return self.lattice(emissions, mask).segment_log_probability(segments)

    def extra_repr(self) -> str:
        """Describe the CRF in the module's repr.

        Returns:
            The number of tags.
        """
        return f"num_tags={self.num_tags}"

    @torch.no_grad()
    def scores(self, emissions: Tensor, mask: Tensor, allowed_tags: Tensor | None = None) -> Scores:
        """Prepare the scores for `viterbi.best_paths` and `lattice.forward_backward`, for callers that need both.

        Args:
            emissions: (B, L, T).
            mask: (B, L) bool.
            allowed_tags: (B, L, T) bool, the tags allowed at each position; None: all.

        Returns:
            Scores in float64.
        """
        self._check(emissions, mask, allowed_tags)
        return Scores.of(emissions, self._moves(), mask, allowed_tags)

    def train(self, mode: bool = True) -> Self:
        """Set training or evaluation mode, and clear the cached transitions.

        Args:
            mode: True for training, False for evaluation.

        Returns:
            This module.
        """
        self._cached = None
        return super().train(mode)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_cached": None}  # for copies and pickles

    def _moves(self) -> Tensor:
        """Build `Scores.moves`, or return them from the cache in inference mode (saves 40 µs per call)."""
        parts = (self.transitions, self.start, self.end, self.allowed)
        if not torch.is_inference_mode_enabled() or self.training or any(part.is_inference() for part in parts):
            # Parameters may change in training, and not every change increases a tensor's version: a fused optimizer
            # does not.
            self._cached = None
            return self._build_moves()
        state = tuple((part._version, part.data_ptr(), part.dtype, part.device) for part in parts)
        cached = self._cached  # read once: another thread may replace it
        if cached is None or cached.state != state or any(a is not b for a, b in zip(cached.parts, parts, strict=True)):
            with torch.inference_mode(False), torch.no_grad():
                # The state was read before, so the next call notices if parameters change in the meantime.
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
            real = mask.numpy()  # shares memory; NumPy has less overhead for a few small operations
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
    """Log-likelihood of `tags` per row (their score - log Z) and its gradient; without tags, -log Z."""

    def __init__(self, lattice: Lattice, tags: Tensor | None = None) -> None:
        self.lattice, self.path = lattice, None
        self.value = -lattice.log_partition
        if tags is not None:
            scores = lattice.scores
            self.path, self.steps = _path(tags, scores.mask, len(scores.moves))
            gold = scores.emissions.gather(2, self.path).sum((1, 2)) + scores.moves.take(self.steps).sum(1)
            # In a row without any path, the gold path is forbidden too: -inf, not -inf + inf = NaN.
            self.value = gold + self.value.masked_fill_(self.value == math.inf, 0.0)

    def gradient(self, grad: Tensor) -> tuple[Tensor, Tensor]:
        """Compute observed minus expected counts of tags, (B, L, T), and transitions, (T + 2, T + 2).

        `grad`, (B,), is the factor of each row.
        """
        tags, moves = self.lattice.expected_counts(-grad)
        if self.path is not None:
            observed = self.lattice.scores.mask * grad.unsqueeze(1)
            tags.scatter_add_(2, self.path, observed.unsqueeze(2))
            # Not `put_`, which has no deterministic implementation on CUDA.
            moves.view(-1).index_add_(0, self.steps.flatten(), grad.unsqueeze(1).expand_as(self.steps).flatten())
        return tags, moves


def _path(tags: Tensor, mask: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Convert tags to gather indices (B, L, 1), any on padding, and transitions (B, L + 1) as flat indices.

    On padding, the transition is from end to end.
    """
    end = size - 1
    edges = tags.new_full((len(tags), tags.shape[1] + 2), end, dtype=torch.long)
    edges[:, 0] = size - 2
    inner = edges[:, 1:-1]
    inner.copy_(tags).masked_fill_(~mask, end)
    return inner.clamp_max(size - 3).unsqueeze(2), edges[:, :-1] * size + edges[:, 1:]


class _WithGradient(torch.autograd.Function):
    """Attach the analytic gradient to a value that is already computed."""

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
