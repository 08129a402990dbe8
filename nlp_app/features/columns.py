"""An encoded corpus as flat integer columns, and batches cut from it by length.

A corpus of n tokens in r sentences is one array of n rows for each column, and r + 1 offsets: sentence i is rows
offsets[i] to offsets[i + 1]. A batch is a few sentences laid side by side, padded on the right:

    mask     1 1 1 1     column   7 2 9 4
             1 1 0 0              5 3 0 0
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

# How far lengths may be mixed: a sentence is sorted as if it were up to this share longer. Strict buckets slow early
# convergence; this keeps most of the mixing for a few per cent of padding.
_MIXING = 0.15


@dataclass(frozen=True)
class Columns:
    """Integer columns over the tokens of a corpus; see the module for the layout.

    arrays: name -> (tokens,) or (tokens, k); offsets: (sentences + 1,).
    """

    arrays: dict[str, Array]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each sentence."""
        return np.diff(self.offsets)

    def taken(self, rows: NDArray[np.int64]) -> tuple[dict[str, Array], NDArray[np.int64]]:
        """The sentences `rows` one after the other: arrays of their tokens, and offsets (rows + 1,)."""
        lengths = self.offsets[rows + 1] - self.offsets[rows]
        offsets = np.concatenate(([0], np.cumsum(lengths)))
        source = np.repeat(self.offsets[rows] - offsets[:-1], lengths) + np.arange(offsets[-1])
        return {name: array[source] for name, array in self.arrays.items()}, offsets

    def laid_out(self, rows: NDArray[np.int64]) -> dict[str, Array]:
        """The sentences `rows` as `collate` has them."""
        lengths = (self.offsets[rows + 1] - self.offsets[rows])[:, None]
        place = np.arange(lengths.max(initial=0))[None, :]
        mask = place < lengths
        batch: dict[str, Array] = {"mask": mask}
        # Whole rows are taken, whatever follows a sentence, and what is padding cleared: faster than to pick tokens.
        source = self.offsets[rows][:, None] + place
        padding = ~mask
        for name, array in self.arrays.items():
            batch[name] = array.take(source, axis=0, mode="clip")
            batch[name][padding] = 0
        return batch


class Share(NamedTuple):
    """Which of the processes of a run this is, and how many there are. Each takes its share of the rows of every batch,
    maybe none, so that together they see each row once and an update is that of one process."""

    rank: int = 0
    ranks: int = 1

    def of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The rows that this process takes."""
        return rows[self.rank :: self.ranks]


WHOLE = Share()


def collate(columns: Columns, rows: Sequence[int] | NDArray[np.int64]) -> dict[str, Array]:
    """The sentences `rows` as padded arrays (sentences, longest, ...), with "mask" (True = real); padding is 0."""
    return columns.laid_out(np.asarray(rows, dtype=np.int64))


def gather(columns: Columns, rows: Sequence[int] | NDArray[np.int64]) -> tuple[dict[str, Array], NDArray[np.int64]]:
    """The sentences `rows` one after the other, without padding: arrays of their tokens, and offsets (rows + 1,)."""
    return columns.taken(np.asarray(rows, dtype=np.int64))


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
    # Before the sort by length a shuffle, so that sentences of one length meet different neighbours each epoch.
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
