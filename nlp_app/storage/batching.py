"""Batches of rows: limited by size, grouped by length, shuffled with a seed for each epoch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# For sorting, each length is increased by a random share of up to 15%, so that batches mix similar lengths. Batches of
# strictly equal lengths slow down early convergence; the noise avoids most of that and costs a few percent of padding.
_LENGTH_NOISE = 0.15


class ProcessShare(NamedTuple):
    """The share of a batch that one process of a distributed run computes.

    Each process gets every `ranks`-th row of each batch, possibly no row. Together the processes see each row once, so
    an optimizer step is the same as that of a single process.

    Attributes:
        rank: Number of this process, from 0.
        ranks: Number of processes.
    """

    rank: int = 0
    ranks: int = 1

    def select(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Select the rows of a batch that belong to this process.

        Args:
            rows: (rows,) all rows of the batch.

        Returns:
            Every `ranks`-th row, starting at `rank`; possibly none.
        """
        return rows[self.rank :: self.ranks]


WHOLE = ProcessShare()


def text_batches(
    texts: int, batch_size: int, *, seed: int, epoch: int, lengths: NDArray[np.int64] | None = None
) -> Iterator[NDArray[np.int64]]:
    """Yield the shuffled batches of one training epoch, with a fixed number of texts per batch.

    With `lengths`, texts are sorted by length within groups of 100 batches, which reduces padding. The batches of a
    group are then shuffled. The order depends on `seed` and `epoch` only.

    Args:
        texts: Number of texts.
        batch_size: Texts per batch; the last batch of a group may be smaller.
        seed: Random seed of the run.
        epoch: Number of the epoch.
        lengths: (texts,) length of each text, to group texts of similar length. None: don't group.

    Yields:
        Row numbers of each batch; every row occurs once.
    """
    random = np.random.default_rng((seed, epoch))
    order = random.permutation(texts)
    pool = batch_size if lengths is None else 100 * batch_size
    for start in range(0, texts, pool):
        rows = order[start : start + pool]
        if lengths is not None:
            rows = rows[np.argsort(lengths[rows], kind="stable")]
        batches = [rows[first : first + batch_size] for first in range(0, len(rows), batch_size)]
        for number in random.permutation(len(batches)).tolist():
            yield batches[number]


def training_batches(lengths: NDArray[np.int64], budget: int, *, seed: int, epoch: int) -> list[NDArray[np.int64]]:
    """Split the rows into shuffled batches for one training epoch, with similar lengths in each batch.

    The order depends on `seed` and `epoch` only.

    Args:
        lengths: (rows,) length of each row in tokens.
        budget: Maximum number of tokens per batch, including padding. A longer row becomes a batch of its own.
        seed: Random seed of the run.
        epoch: Number of the epoch.

    Returns:
        Row numbers of each batch, in training order; every row occurs once.
    """
    random = np.random.default_rng((seed, epoch))
    key = lengths * (1 + _LENGTH_NOISE * random.random(len(lengths)))
    # Shuffle before the stable sort: sentences of equal length then get different neighbors in each epoch.
    shuffled = random.permutation(len(lengths))
    batches = _split_by_budget(shuffled[np.argsort(key[shuffled], kind="stable")], lengths, budget)
    return [batches[number] for number in random.permutation(len(batches))]


def length_batches(lengths: NDArray[np.int64], budget: int) -> list[NDArray[np.int64]]:
    """Split the rows into batches for prediction, sorted by increasing length.

    Args:
        lengths: (rows,) length of each row in tokens.
        budget: Maximum number of tokens per batch, including padding. A longer row becomes a batch of its own.

    Returns:
        Row numbers of each batch; every row occurs once.
    """
    return _split_by_budget(np.argsort(lengths, kind="stable"), lengths, budget)


def _split_by_budget(order: NDArray[np.int64], lengths: NDArray[np.int64], budget: int) -> list[NDArray[np.int64]]:
    return list(_consecutive_batches(order, lengths[order].tolist(), budget))


def _consecutive_batches(order: NDArray[np.int64], lengths: list[int], budget: int) -> Iterator[NDArray[np.int64]]:
    first, longest = 0, 0
    for index, length in enumerate(lengths):
        longest = max(longest, length)
        if index > first and longest * (index + 1 - first) > budget:
            yield order[first:index]
            first, longest = index, length
    if first < len(order):
        yield order[first:]


def padding_share(lengths: NDArray[np.int64], batches: Sequence[NDArray[np.int64]]) -> float:
    """Compute the share of padding in a set of batches.

    Args:
        lengths: (rows,) length of each row in tokens.
        batches: Row numbers of each batch.

    Returns:
        Padding divided by all positions of the batches, 0 to 1; 0 if there are no positions.
    """
    padded = sum(len(rows) * int(lengths[rows].max(initial=0)) for rows in batches)
    return 1 - float(sum(int(lengths[rows].sum()) for rows in batches)) / padded if padded else 0.0
