"""Token columns of a corpus as flat arrays with sentence offsets, and padded batches of sentences.

A corpus of n tokens in r sentences has one array of n rows for each column, and r + 1 offsets: sentence i consists of
the rows offsets[i] to offsets[i + 1], end exclusive. In a batch, each sentence is a row, padded on the right:

    mask     1 1 1 1     column   7 2 9 4
             1 1 0 0              5 3 0 0
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class RaggedColumns:
    """Columns over the tokens of a corpus; the module docstring describes the layout.

    Attributes:
        arrays: Column name to array, (tokens,) or (tokens, k).
        offsets: (sentences + 1,) start of each sentence, and the number of tokens.
    """

    arrays: dict[str, Array]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(sentences,) number of tokens of each sentence."""
        return np.diff(self.offsets)

    def select(self, rows: NDArray[np.int64]) -> tuple[dict[str, Array], NDArray[np.int64]]:
        """Concatenate the tokens of selected sentences.

        Args:
            rows: Numbers of the sentences, in any order.

        Returns:
            The arrays of their tokens, and their offsets (rows + 1,).
        """
        lengths = self.offsets[rows + 1] - self.offsets[rows]
        offsets = np.concatenate(([0], np.cumsum(lengths)))
        source = np.repeat(self.offsets[rows] - offsets[:-1], lengths) + np.arange(offsets[-1])
        return {name: array[source] for name, array in self.arrays.items()}, offsets

    def pad(self, rows: NDArray[np.int64]) -> dict[str, Array]:
        """Build a padded batch of selected sentences.

        Args:
            rows: Numbers of the sentences, in any order.

        Returns:
            Each column as (rows, longest sentence, ...), padded with 0, and "mask" (rows, longest sentence), True for
            tokens.
        """
        lengths = (self.offsets[rows + 1] - self.offsets[rows])[:, None]
        position = np.arange(lengths.max(initial=0))[None, :]
        mask = position < lengths
        batch: dict[str, Array] = {"mask": mask}
        # Copy a full-width run of tokens for each sentence, then clear the padding: faster than selecting its tokens.
        source = self.offsets[rows][:, None] + position
        padding = ~mask
        for name, array in self.arrays.items():
            batch[name] = array.take(source, axis=0, mode="clip")
            batch[name][padding] = 0
        return batch


def collate(columns: RaggedColumns, rows: Sequence[int] | NDArray[np.int64]) -> dict[str, Array]:
    """Build a padded batch of selected sentences.

    Args:
        columns: Columns of the corpus.
        rows: Numbers of the sentences, in any order.

    Returns:
        Each column as (rows, longest sentence, ...), padded with 0, and "mask" (rows, longest sentence), True for
        tokens.
    """
    return columns.pad(np.asarray(rows, dtype=np.int64))


def gather(
    columns: RaggedColumns, rows: Sequence[int] | NDArray[np.int64]
) -> tuple[dict[str, Array], NDArray[np.int64]]:
    """Concatenate the tokens of selected sentences, without padding.

    Args:
        columns: Columns of the corpus.
        rows: Numbers of the sentences, in any order.

    Returns:
        The arrays of their tokens, and their offsets (rows + 1,).
    """
    return columns.select(np.asarray(rows, dtype=np.int64))
