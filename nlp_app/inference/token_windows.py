"""Windows over sentences that are too long to be read at once."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

BATCH_TOKENS = 2048  # tokens of a batch, including padding; they fill a CPU's caches

# A longer sentence is split into windows of so many tokens; neighboring windows share `_SHARED_TOKENS`. A token's
# scores come from the window where it has most context: at least half of the shared tokens on either side.
LONGEST_SENTENCE = 1 << 13

_SHARED_TOKENS = 1 << 10


class TokenWindow(NamedTuple):
    """Part of a long sentence that is read at once.

    Attributes:
        start: First position of the window.
        end: End of the window, exclusive.
        answers_from: First position whose scores are used.
        answers_to: End of the positions whose scores are used, exclusive.
    """

    start: int
    end: int
    answers_from: int
    answers_to: int


def is_long(length: int) -> bool:
    """Check if a sentence is too long to be read at once.

    Args:
        length: The number of its tokens.

    Returns:
        True if it is read in windows.
    """
    return length > LONGEST_SENTENCE


def sentence_windows(length: int) -> Iterator[TokenWindow]:
    """Split a long sentence into windows.

    Args:
        length: The number of its tokens.

    Returns:
        The windows in order.
    """
    return windows(length, LONGEST_SENTENCE, _SHARED_TOKENS)


def windows(length: int, size: int, shared: int) -> Iterator[TokenWindow]:
    """Split a long sentence into overlapping windows. Each position is used in exactly one of them.

    Args:
        length: The number of positions, more than `size`.
        size: The number of positions in a window.
        shared: The number of positions that neighboring windows share, below `size`. The last two may share more.

    Yields:
        The windows in order.
    """
    step = size - shared
    starts = [*range(0, length - size, step), length - size]
    boundaries = [0, *((start + previous + size) // 2 for previous, start in pairwise(starts)), length]
    for start, (answers_from, answers_to) in zip(starts, pairwise(boundaries), strict=True):
        yield TokenWindow(start, start + size, answers_from, answers_to)
