"""Sparse features as 64-bit hashes (keys), and an index with a table row for each known key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlp_app.core.errors import ModelError

Keys = NDArray[np.uint64]

Rows = NDArray[np.int32]

_MERGE_SIZE = 1 << 18  # minimum number of pending keys before they are merged

NO_KEY = np.uint64(0)  # key of an absent feature, for example if a part of it is unknown


def mix_bits(key: Keys) -> Keys:
    """Hash 64-bit keys with a finalizer of splitmix64 (Steele et al. 2014).

    Every bit of a key affects every bit of the result.

    Args:
        key: Keys of any shape.

    Returns:
        The hashed keys, in the same shape.
    """
    key = key * np.uint64(0x9E3779B97F4A7C15)
    key ^= key >> np.uint64(30)
    key *= np.uint64(0xBF58476D1CE4E5B9)
    key ^= key >> np.uint64(27)
    return key


class FeatureIndex:
    """A mapping of known keys to table rows: rows from 1, in the order of the keys. Row 0 is for all other keys.

    Attributes:
        keys: Known keys, sorted and distinct, without NO_KEY.
    """

    def __init__(self, keys: Keys) -> None:
        self.keys = keys  # sorted, distinct, without NO_KEY
        # `_first` maps a key's top bits to the first known key with the same or higher ones: usually the key itself.
        self._bits = max(1, len(keys).bit_length() + 2)
        bucket = (keys >> np.uint64(64 - self._bits)).astype(np.int64)
        counts = np.bincount(bucket, minlength=1 << self._bits)
        self._first = np.concatenate(([0], np.cumsum(counts)[:-1])).astype(np.int32)
        self._bucket_range = np.arange(counts.max(initial=0), dtype=np.int32)
        self._padded = np.append(keys, ~NO_KEY)  # ends with the highest possible key

    @classmethod
    def build(cls, keys: Keys, min_count: int = 1) -> FeatureIndex:
        """Build an index of frequent keys.

        Args:
            keys: All occurrences of the keys, in any order and shape.
            min_count: Minimum number of occurrences.

        Returns:
            An index of the keys that occur often enough.
        """
        return cls(np.zeros(0, dtype=np.uint64)).extended(keys, min_count)

    def extended(self, keys: Keys, min_count: int = 1) -> FeatureIndex:
        """Return an index that also has the frequent ones among more keys; rows of known keys change.

        Args:
            keys: All occurrences of the keys, in any order and shape.
            min_count: Minimum number of occurrences of a new key.

        Returns:
            The extended index.
        """
        counter = KeyCounter()
        counter.add(keys)
        return self.with_keys(counter.frequent(min_count))

    def with_keys(self, keys: Keys) -> FeatureIndex:
        """Return an index that also has more keys; rows of known keys change.

        Args:
            keys: The keys, in any order, without NO_KEY.

        Returns:
            The extended index.
        """
        return FeatureIndex(np.union1d(self.keys, keys))

    def __len__(self) -> int:
        """Return the number of rows, including row 0."""
        return len(self.keys) + 1

    def rows(self, keys: Keys) -> Rows:
        """Look up the rows of keys.

        Args:
            keys: Keys of any shape.

        Returns:
            The row of each key, in the same shape; 0 for unknown keys.
        """
        places = self._first.take((keys >> np.uint64(64 - self._bits)).view(np.int64))
        candidates = self._padded.take(places)
        below = np.flatnonzero(candidates < keys)
        if len(below):
            wanted, first = keys.ravel()[below], places.ravel()[below]
            near = self._padded.take(first[:, None] + self._bucket_range, mode="clip")
            first += (near < wanted[:, None]).sum(1, dtype=np.int32)
            places.put(below, first)
            candidates.put(below, self._padded.take(first))
        known = candidates == keys
        known &= places < len(self.keys)
        places += 1
        places *= known
        return places


class KeyCounter:
    """A counter of keys, fed in chunks; its memory depends on the number of distinct keys only."""

    def __init__(self) -> None:
        self._keys = np.zeros(0, dtype=np.uint64)  # sorted, distinct
        self._counts = np.zeros(0, dtype=np.int64)
        self._pending: list[tuple[Keys, NDArray[np.int64]]] = []

    def add(self, keys: Keys) -> None:
        """Count more keys.

        Args:
            keys: Keys of any shape; NO_KEY is not counted.
        """
        distinct, counts = np.unique(keys, return_counts=True)
        first = int(len(distinct) > 0 and distinct[0] == NO_KEY)
        self._pending.append((distinct[first:], counts[first:]))
        if sum(len(keys) for keys, _ in self._pending) > max(_MERGE_SIZE, len(self._keys) // 2):
            self._merge()

    def _merge(self) -> None:
        parts = [(self._keys, self._counts), *self._pending]
        self._pending.clear()
        keys = np.concatenate([keys for keys, _ in parts])
        order = np.argsort(keys, kind="stable")  # fast because the parts are already sorted
        keys = keys[order]
        starts = np.flatnonzero(np.append(True, keys[1:] != keys[:-1])[: len(keys)])
        counts = np.concatenate([counts for _, counts in parts])[order]
        self._keys, self._counts = keys[starts], np.add.reduceat(counts, starts) if len(starts) else counts

    def frequent(self, min_count: int) -> Keys:
        """Return the frequent keys.

        Args:
            min_count: Minimum number of occurrences.

        Returns:
            The keys that occurred often enough, sorted.
        """
        self._merge()
        keys: Keys = self._keys[self._counts >= min_count]
        return keys


def load_array(path: Path) -> NDArray[np.integer[Any]]:
    """Load a one-dimensional array of integers from a `.npy` file.

    Args:
        path: File written by `np.save`.

    Returns:
        The array.

    Raises:
        ModelError: The file cannot be read, or contains another kind of array.
    """
    try:
        # Map the file first: the header of a damaged file may claim a size that exceeds the memory.
        array: NDArray[Any] = np.array(np.load(path, mmap_mode="r", allow_pickle=False))
    except (OSError, ValueError, EOFError, OverflowError) as error:
        raise ModelError(f"{path}: found no readable array ({error}); copy the model again") from error
    if array.dtype.kind not in "iu" or array.ndim != 1:
        found = f"an array of {array.dtype} with {array.ndim} dimensions"
        raise ModelError(f"{path}: found {found}, expected integers with one dimension; copy the model again")
    return array
