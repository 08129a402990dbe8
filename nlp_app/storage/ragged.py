"""An encoded corpus as flat integer columns, and batches cut from it by length.

A corpus of n tokens in r sentences is one array of n rows for each column, and r + 1 offsets: sentence i is rows
offsets[i] to offsets[i + 1]. A batch is a few sentences laid side by side, padded on the right:

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

    def select(self, rows: NDArray[np.int64]) -> tuple[dict[str, Array], NDArray[np.int64]]:
        """The sentences `rows` one after the other: arrays of their tokens, and offsets (rows + 1,)."""
        lengths = self.offsets[rows + 1] - self.offsets[rows]
        offsets = np.concatenate(([0], np.cumsum(lengths)))
        source = np.repeat(self.offsets[rows] - offsets[:-1], lengths) + np.arange(offsets[-1])
        return {name: array[source] for name, array in self.arrays.items()}, offsets

    def pad(self, rows: NDArray[np.int64]) -> dict[str, Array]:
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


def collate(columns: RaggedColumns, rows: Sequence[int] | NDArray[np.int64]) -> dict[str, Array]:
    """The sentences `rows` as padded arrays (sentences, longest, ...), with "mask" (True = real); padding is 0."""
    return columns.pad(np.asarray(rows, dtype=np.int64))


def gather(
    columns: RaggedColumns, rows: Sequence[int] | NDArray[np.int64]
) -> tuple[dict[str, Array], NDArray[np.int64]]:
    """The sentences `rows` one after the other, without padding: arrays of their tokens, and offsets (rows + 1,)."""
    return columns.select(np.asarray(rows, dtype=np.int64))
