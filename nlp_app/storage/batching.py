"""Batches of row numbers under a budget, by length, shuffled by seed and epoch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# How far lengths may be mixed: a sentence is sorted as if it were up to this share longer. Strict buckets slow early
# convergence; this keeps most of the mixing for a few per cent of padding.
_MIXING = 0.15


class ProcessShare(NamedTuple):
    """Which of the processes of a run this is, and how many there are. Each takes its share of the rows of every batch,
    maybe none, so that together they see each row once and an update is that of one process."""

    rank: int = 0
    ranks: int = 1

    def of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The rows that this process takes."""
        return rows[self.rank :: self.ranks]


WHOLE = ProcessShare()


def text_batches(
    texts: int, size: int, *, seed: int, epoch: int, lengths: NDArray[np.int64] | None = None
) -> Iterator[NDArray[np.int64]]:
    """Rows of each batch of `size` texts of one epoch, in the order of training; it follows from (seed, epoch) alone.

    With the texts' lengths, those of a hundred batches at a time are sorted by length, so that batches need little
    padding.
    """
    random = np.random.default_rng((seed, epoch))
    order = random.permutation(texts)
    pool = size if lengths is None else 100 * size
    for start in range(0, texts, pool):
        rows = order[start : start + pool]
        if lengths is not None:
            rows = rows[np.argsort(lengths[rows], kind="stable")]
        batches = [rows[first : first + size] for first in range(0, len(rows), size)]
        for number in random.permutation(len(batches)).tolist():
            yield batches[number]


def training_batches(lengths: NDArray[np.int64], budget: int, *, seed: int, epoch: int) -> list[NDArray[np.int64]]:
    """Rows of each batch of one epoch, in the order of training. Every row comes once.

    budget: tokens a batch, padding included; a longer sentence is a batch of its own. The order follows from
    (seed, epoch) alone.
    """
    random = np.random.default_rng((seed, epoch))
    key = lengths * (1 + _MIXING * random.random(len(lengths)))
    # Before the sort by length a shuffle, so that sentences of one length meet different neighbors each epoch.
    shuffled = random.permutation(len(lengths))
    batches = _cut(shuffled[np.argsort(key[shuffled], kind="stable")], lengths, budget)
    return [batches[number] for number in random.permutation(len(batches))]


def length_batches(lengths: NDArray[np.int64], budget: int) -> list[NDArray[np.int64]]:
    """Rows of each batch for prediction, by rising length."""
    return _cut(np.argsort(lengths, kind="stable"), lengths, budget)


def _cut(order: NDArray[np.int64], lengths: NDArray[np.int64], budget: int) -> list[NDArray[np.int64]]:
    return list(_runs(order, lengths[order].tolist(), budget))


def _runs(order: NDArray[np.int64], lengths: list[int], budget: int) -> Iterator[NDArray[np.int64]]:
    first, longest = 0, 0
    for place, length in enumerate(lengths):
        longest = max(longest, length)
        if place > first and longest * (place + 1 - first) > budget:
            yield order[first:place]
            first, longest = place, length
    if first < len(order):
        yield order[first:]


def padding_share(lengths: NDArray[np.int64], batches: Sequence[NDArray[np.int64]]) -> float:
    """The share of a set of batches that is padding, 0 to 1."""
    laid_out = sum(len(rows) * int(lengths[rows].max(initial=0)) for rows in batches)
    return 1 - float(sum(int(lengths[rows].sum()) for rows in batches)) / laid_out if laid_out else 0.0
