"""The likeliest segmentation of sentences into listed words: a Viterbi search over unigram costs, for many at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

NONE = 1 << 24  # cost of a word that is not listed

Costs = NDArray[np.int32]


def segment(costs: Costs, lengths: Sequence[int]) -> NDArray[np.int32]:
    """Find the segmentation with the lowest cost; of equal ones, the one whose first words are longer.

    Sentences are first cut wherever no listed word crosses, so that few steps are needed for all parts at once.

    Args:
        costs: (longest, tokens) cost of the word of 1, 2, ... tokens that begins at a token; NONE if it is not listed.
            Each token has a cost alone, and no word leaves its sentence.
        lengths: Number of tokens of each sentence.

    Returns:
        (tokens,) number of tokens of the word that begins at a token; 0 inside a word.
    """
    starts, sizes = _independent_parts(costs, lengths)
    words = np.ones(costs.shape[1], dtype=np.int32)
    long = sizes > 1
    starts, sizes = starts[long], sizes[long]
    choice = _choices(costs, starts, sizes)
    ends = starts + sizes
    words[np.repeat(starts - np.cumsum(sizes) + sizes, sizes) + np.arange(sizes.sum())] = 0
    while len(starts):
        words[starts] = choice[starts]
        starts = starts + words[starts]
        inside = starts < ends
        starts, ends = starts[inside], ends[inside]
    return words


def _independent_parts(costs: Costs, lengths: Sequence[int]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Cut sentences where no word of several tokens crosses: starts and sizes of the parts."""
    n = costs.shape[1]
    crossing = np.zeros(n + 1, dtype=np.int64)
    for size, row in enumerate(costs[1:], start=2):
        found = np.flatnonzero(row < NONE)
        crossing[found + 1] += 1
        crossing[found + size] -= 1
    is_start = np.cumsum(crossing[:n]) == 0
    sentences = np.asarray(lengths, dtype=np.intp)
    is_start[(np.cumsum(sentences) - sentences)[sentences > 0]] = True
    starts = np.flatnonzero(is_start)
    return starts, np.diff(starts, append=n)


def _choices(costs: Costs, starts: NDArray[np.intp], sizes: NDArray[np.intp]) -> NDArray[np.int32]:
    """Choose the size of the best word at each token, with a step for each place from the end of the parts."""
    longest, n = costs.shape
    choice, best = np.zeros(n, dtype=np.int32), np.zeros(n + 1, dtype=np.int64)
    order = np.argsort(-sizes, kind="stable")
    ends, sizes = (starts + sizes)[order], sizes[order]
    for step in range(1, int(sizes.max(initial=0)) + 1):
        here = ends[: np.searchsorted(-sizes, -step, side="right")] - step
        reach = np.arange(min(step, longest), 0, -1)[:, None]  # long words first, for equal costs
        after = np.where(reach < step, best[here + np.minimum(reach, step)], 0)
        total = costs[reach - 1, here] + after
        chosen = total.argmin(axis=0)
        choice[here] = reach[chosen, 0]
        best[here] = total[chosen, np.arange(len(here))]
    return choice
