"""Viterbi decoding: the best path of one row, and of a batch of rows (Rabiner 1989, section III.B).

Among paths of equal score, the one with the lowest tag at the last position is selected, then the one with the lowest
tag at the position before it, and so on.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlp_app.numerics.transitions import Floats, Transitions

# Positions of a single row whose predecessors are int64, as `argmax` returns them. They are then stored in the smallest
# type, one byte per tag for up to 256 tags.
_BLOCK = 1 << 12


def best_path(emissions: Floats, transitions: Transitions) -> list[int]:
    """Find the best path of one row.

    Args:
        emissions: (L, T).
        transitions: The transition scores.

    Returns:
        The tag ids, L of them.

    Raises:
        ValueError: If the row has no permitted path of finite score.
    """
    arriving = transitions.arriving
    candidates = np.empty_like(arriving)
    predecessors = np.empty((len(emissions), len(arriving)), np.min_scalar_type(len(arriving) - 1))
    block = np.empty((min(_BLOCK, len(emissions)), len(arriving)), np.int64)
    firsts = np.arange(0, candidates.size, len(arriving))
    best = emissions[0] + transitions.start
    for start in range(1, len(emissions), _BLOCK):
        steps = emissions[start : start + _BLOCK]
        for here, predecessor in zip(steps, block, strict=False):
            np.add(best, arriving, out=candidates)
            candidates.argmax(1, out=predecessor)
            best = candidates.take(firsts + predecessor)
            best += here
        predecessors[start : start + _BLOCK] = block[: len(steps)]
    ends = best + transitions.end
    tag = int(ends.argmax())
    check_path_found(ends[tag : tag + 1])
    path = [tag]
    for end in range(len(emissions), 1, -_BLOCK):
        for row in predecessors[max(1, end - _BLOCK) : end][::-1].tolist():
            tag = row[tag]
            path.append(tag)
    return path[::-1]


def best_paths(emissions: NDArray[np.floating[Any]], lengths: NDArray[np.int64], moves: Transitions) -> list[list[int]]:
    """Find the best path of each row of a batch.

    Args:
        emissions: (B, L, T); values on padding have no effect.
        lengths: Number of real positions of each row, (B,), at least 1.
        moves: The transition scores.

    Returns:
        The tag ids of each row's real positions.

    Raises:
        ValueError: If a row has no permitted path of finite score.
    """
    # (L, T, B): with the batch as the innermost dimension, each step works on one contiguous block.
    best = emissions.transpose(1, 2, 0).astype(np.float64, order="C")
    best[0] += moves.start[:, None]
    candidates = np.empty((len(moves.start), *best.shape[1:]))  # (from, to, row)
    for source, target in pairwise(best):
        np.add(source[:, None], moves.between[:, :, None], out=candidates)
        target += candidates.max(0)
    return backtrack(best, lengths, moves)


def backtrack(best: Floats, lengths: NDArray[np.int64], transitions: Transitions) -> list[list[int]]:
    """Follow the best paths of a batch from their ends, one step at a time for all rows.

    The best predecessors are computed again, which takes less time and memory than to store them.

    Args:
        best: Scores of the best prefix that ends in each tag, (L, T, B).
        lengths: Number of real positions of each row, (B,).
        transitions: The transition scores.

    Returns:
        The tag ids of each row's real positions.

    Raises:
        ValueError: If a row has no permitted path of finite score.
    """
    steps, _, rows = best.shape
    between = np.ascontiguousarray(transitions.between)
    ends = best[lengths - 1, :, np.arange(rows)] + transitions.end  # (B, T)
    check_path_found(ends.max(1))
    final = ends.argmax(1)
    tags = np.empty((steps, rows), np.int64)
    tags[-1] = following = final
    past = np.arange(steps)[:, None] >= lengths - 1
    prefix_scores = np.empty(best.shape[1:])
    for step in range(steps - 2, -1, -1):
        between.take(following, axis=1, out=prefix_scores, mode="clip")
        prefix_scores += best[step]
        following = prefix_scores.argmax(0, out=tags[step])
        np.copyto(following, final, where=past[step])
    return [path[:length] for path, length in zip(tags.T.tolist(), lengths.tolist(), strict=True)]


def check_path_found(best: Floats) -> None:
    """Check that the best path of each row has a finite score.

    Args:
        best: The score of each row's best path, (B,).

    Raises:
        ValueError: If one of them is infinite or NaN.
    """
    wrong = np.flatnonzero(~np.isfinite(best))
    if len(wrong):
        raise ValueError(
            f"row {wrong[0]}: found no permitted path of finite score; "
            "expected finite scores and constraints that allow a path"
        )
