"""Exact posterior probability of tag segments: of an entity, say, over all readings of the rest."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from nlp_app.nn.lattice import Lattice


class Segments(NamedTuple):
    """S runs of tags at given places, with what may stand beside them.

    Segment s is the event that the path of row `rows[s]` has `tags[s, k]` at position `starts[s] + k` for every
    k < `lengths[s]` and, where `before` and `after` are given, that the tag just before the segment is one of
    `before[s]` and the tag just after it one of `after[s]`; their last column stands for the row's start and
    end. In BIO the entity X at [s, e) is the tags B-X I-X ... with `after` false for I-X alone.
    """

    rows: Tensor  # (S,) int64
    starts: Tensor  # (S,) int64
    tags: Tensor  # (S, W) int64, padded on the right with anything
    lengths: Tensor  # (S,) int64, 1 to W
    before: Tensor | None = None  # (S, T + 1) bool; column T: the segment may open the row
    after: Tensor | None = None  # (S, T + 1) bool; column T: the segment may close the row


def segment_log_probability(lattice: Lattice, segments: Segments) -> Tensor:
    """(S,) float64, on the lattice's device; -inf for what can't be.

    Raises ValueError where shapes don't agree, a segment leaves its row, a tag isn't one, or a row has no
    path.
    """
    scores = lattice.scores
    emissions, size = scores.emissions, scores.emissions.shape[2]
    if not len(segments.rows):
        return emissions.new_zeros(0)
    _check_shapes(segments, size)
    rows, starts, tags, lengths = (part.to(emissions.device) for part in segments[:4])
    _check_values(lattice, rows, starts, tags, lengths)

    offsets = torch.arange(tags.shape[1], device=tags.device)
    inside = offsets < lengths.unsqueeze(1)
    tags = torch.where(inside, tags, 0)
    positions = torch.where(inside, starts.unsqueeze(1) + offsets, 0)
    inner = emissions[rows.unsqueeze(1), positions, tags].masked_fill_(~inside, 0.0).sum(1)
    inner += scores.between[tags[:, :-1], tags[:, 1:]].masked_fill_(~inside[:, 1:], 0.0).sum(1)

    first, last = tags[:, 0], tags.gather(1, lengths.unsqueeze(1) - 1).squeeze(1)
    ends = starts + lengths
    opens, closes = starts == 0, ends == scores.lengths[rows]
    prefix = lattice.log_prefix(rows, starts - (~opens).long()) + scores.between.T[first]
    suffix = lattice.log_suffix(rows, ends - closes.long()) + scores.between[last]
    entering = _beside(prefix, scores.start[first], opens, segments.before)
    leaving = _beside(suffix, scores.end[last], closes, segments.after)
    return (entering + inner + leaving - lattice.log_partition[rows]).clamp_max_(0.0)


def _beside(neighbours: Tensor, edge: Tensor, at_edge: Tensor, allowed: Tensor | None) -> Tensor:
    """Log mass of what stands on one side: (S, T) for the tags there, (S,) for the row's edge."""
    scores = torch.where(at_edge.unsqueeze(1), -math.inf, neighbours)
    scores = torch.cat((scores, torch.where(at_edge, edge, -math.inf).unsqueeze(1)), 1)
    if allowed is not None:
        scores = scores.masked_fill(~allowed.to(scores.device), -math.inf)
    return scores.logsumexp(1)


def _check_shapes(segments: Segments, size: int) -> None:
    rows, _, tags, *_ = segments
    count = len(rows)
    if tags.ndim != 2 or len(tags) != count or any(part.shape != rows.shape for part in (segments[1], segments[3])):
        found = ", ".join(
            f"{name} {tuple(part.shape)}" for name, part in zip(segments._fields[:4], segments[:4], strict=True)
        )
        raise ValueError(f"Segments: found {found}; expected (S,), (S,), (S, W), (S,)")
    for name, part in (("before", segments.before), ("after", segments.after)):
        if part is not None and (part.shape != (count, size + 1) or part.dtype != torch.bool):
            raise ValueError(
                f"Segments: found {name} {part.dtype} {tuple(part.shape)}; expected bool {(count, size + 1)}"
            )


def _check_values(lattice: Lattice, rows: Tensor, starts: Tensor, tags: Tensor, lengths: Tensor) -> None:
    row_lengths, size = lattice.scores.lengths, lattice.scores.emissions.shape[2]
    wrong = (rows < 0) | (rows >= len(row_lengths)) | (starts < 0) | (lengths < 1) | (lengths > tags.shape[1])
    wrong |= starts + lengths > row_lengths[rows.clamp(0, len(row_lengths) - 1)]
    inside = torch.arange(tags.shape[1], device=tags.device) < lengths.unsqueeze(1)
    wrong |= (inside & ((tags < 0) | (tags >= size))).any(1)
    if wrong.any():
        s = int(wrong.nonzero()[0])
        raise ValueError(
            f"segment {s}: found row {int(rows[s])}, start {int(starts[s])}, length {int(lengths[s])}, "
            f"tags {tags[s].tolist()}; expected a row below {len(row_lengths)}, a place within the row, "
            f"tags from 0 to {size - 1}"
        )
    if not lattice.log_partition[rows].isfinite().all():
        raise ValueError(
            "segments: found a row without a permitted path of finite score; "
            "expected scores that are numbers and constraints that leave a path"
        )
