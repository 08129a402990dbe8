"""Exact posterior probability of tag segments, for example of an entity, summed over all tags of the other positions.

Computed by NumPy on the CPU even if the scores are on an accelerator, because segments are few.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]

LogValues = NDArray[np.float64]


class Segments(NamedTuple):
    """S sequences of tags at given positions, with the tags allowed before and after them.

    Segment s is the event that the path of row `rows[s]` has `tags[s, k]` at position `starts[s] + k` for every
    k < `lengths[s]`. With `before` and `after`, also the tag directly before the segment must be one of `before[s]`,
    and the tag directly after it one of `after[s]`. In BIO, the entity X at [s, e) is the segment B-X I-X ... with
    `after` False only for I-X.

    Attributes:
        rows: Row of each segment, (S,).
        starts: Position of each segment's first tag, (S,).
        tags: Tag ids, (S, W), with any values right of a segment's length.
        lengths: Number of tags, 1 to W, (S,).
        before: Tags allowed before the segment, (S, T + 1); column T: the segment may start the row. None: all.
        after: Tags allowed after the segment, (S, T + 1); column T: the segment may end the row. None: all.
    """

    rows: Integers
    starts: Integers
    tags: Integers
    lengths: Integers
    before: NDArray[np.bool_] | None = None
    after: NDArray[np.bool_] | None = None


class BatchMass(NamedTuple):
    """Scores and path weights of B rows of L positions over T tags.

    Attributes:
        emissions: (B, L, T).
        moves: Scores of transitions, (T + 2, T + 2); index T is the start, T + 1 the end.
        lengths: Number of real positions of each row, (B,).
        log_partition: log Z of each row, (B,).
        log_prefix: Log mass of prefixes by their last tag, (S, T), from the row and the last position of each, (S,).
        log_suffix: Log mass of suffixes by their first tag, (S, T), from the row and the first position of each, (S,).
    """

    emissions: LogValues
    moves: LogValues
    lengths: Integers
    log_partition: LogValues
    log_prefix: Callable[[Integers, Integers], LogValues]
    log_suffix: Callable[[Integers, Integers], LogValues]


def segment_log_probability(mass: BatchMass, segments: Segments) -> LogValues:
    """Compute the log posterior probability of segments.

    Args:
        mass: The paths of a batch.
        segments: S segments in the batch.

    Returns:
        (S,); -inf for an impossible segment.

    Raises:
        ValueError: If shapes do not match, a segment exceeds its row, a tag id is invalid, or a row has no permitted
            path.
    """
    rows, starts, tags, lengths, before, after = segments
    if not len(rows):
        return np.zeros(0)
    emissions, moves, row_lengths, log_partition, log_prefix, log_suffix = mass
    _check_shapes(segments, emissions.shape[2])
    _check_values(segments, row_lengths, emissions.shape[2])
    if not np.isfinite(log_partition[rows]).all():
        raise ValueError(
            "segments: found a row without a permitted path of finite score; "
            "expected finite scores and constraints that allow a path"
        )

    offsets = np.arange(tags.shape[1])
    inside = offsets < lengths[:, None]
    tags = np.where(inside, tags, 0)
    positions = np.where(inside, starts[:, None] + offsets, 0)
    inner = np.where(inside, emissions[rows[:, None], positions, tags], 0.0).sum(1)
    inner += np.where(inside[:, 1:], moves[tags[:, :-1], tags[:, 1:]], 0.0).sum(1)

    start, between, end = moves[-2, :-2], moves[:-2, :-2], moves[:-2, -1]
    first, last = tags[:, 0], tags[np.arange(len(rows)), lengths - 1]
    ends = starts + lengths
    opens, closes = starts == 0, ends == row_lengths[rows]
    prefix = log_prefix(rows, starts - ~opens) + between.T[first]
    suffix = log_suffix(rows, ends - closes) + between[last]
    entering = _outer_log_mass(prefix, start[first], opens, before)
    leaving = _outer_log_mass(suffix, end[last], closes, after)
    total: LogValues = entering + inner + leaving - log_partition[rows]
    return total.clip(max=0.0)


def _outer_log_mass(
    neighbors: LogValues, edge: LogValues, at_edge: NDArray[np.bool_], allowed: NDArray[np.bool_] | None
) -> LogValues:
    """Sum the mass of all paths on one side of the segments.

    Args:
        neighbors: Log mass by the neighboring tag, (S, T).
        edge: Log mass if the segment is at the edge of its row, (S,).
        at_edge: True for segments at the edge, (S,).
        allowed: Allowed neighbors, (S, T + 1), or None.
    """
    scores = np.empty((len(edge), neighbors.shape[1] + 1))
    scores[:, :-1], scores[:, -1] = neighbors, edge
    impossible = np.empty(scores.shape, np.bool_)
    impossible[:, :-1], impossible[:, -1] = at_edge[:, None], ~at_edge
    if allowed is not None:
        impossible |= ~allowed
    np.copyto(scores, -math.inf, where=impossible)
    top = scores.max(1, initial=np.finfo(np.float64).min)  # finite, because -inf - -inf is NaN
    with np.errstate(divide="ignore"):
        total: LogValues = np.log(np.exp(scores - top[:, None]).sum(1)) + top
    return total


def _check_shapes(segments: Segments, size: int) -> None:
    rows, _, tags, *_ = segments
    count = len(rows)
    if tags.ndim != 2 or len(tags) != count or any(part.shape != rows.shape for part in (segments[1], segments[3])):
        found = ", ".join(
            f"{name} {tuple(part.shape)}" for name, part in zip(segments._fields[:4], segments[:4], strict=True)
        )
        raise ValueError(f"Segments: found {found}; expected (S,), (S,), (S, W), (S,)")
    for name, part in (("before", segments.before), ("after", segments.after)):
        if part is not None and (part.shape != (count, size + 1) or part.dtype != np.bool_):
            raise ValueError(f"Segments: found {name} {part.dtype} {part.shape}; expected bool {(count, size + 1)}")


def _check_values(segments: Segments, row_lengths: Integers, size: int) -> None:
    rows, starts, tags, lengths, *_ = segments
    wrong = (rows < 0) | (rows >= len(row_lengths)) | (starts < 0) | (lengths < 1) | (lengths > tags.shape[1])
    wrong |= starts + lengths > row_lengths.take(rows, mode="clip")
    inside = np.arange(tags.shape[1]) < lengths[:, None]
    wrong |= (inside & ((tags < 0) | (tags >= size))).any(1)
    if wrong.any():
        s = int(wrong.argmax())
        raise ValueError(
            f"segment {s}: found row {int(rows[s])}, start {int(starts[s])}, length {int(lengths[s])}, "
            f"tags {tags[s].tolist()}; expected a row below {len(row_lengths)}, a position within the row, "
            f"tags from 0 to {size - 1}"
        )
