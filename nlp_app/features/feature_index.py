"""Features as 64-bit keys: mixed, never spelt out, and given a row of a table where training data had them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlp_app.core.errors import ModelError

Keys = NDArray[np.uint64]

Rows = NDArray[np.int32]

_MERGED = 1 << 18  # keys that are merged at a time

NO_KEY = np.uint64(0)  # no feature: a part of it is unknown, say


def mix_bits(key: Keys) -> Keys:
    """A finalizer of splitmix64 (Steele et al. 2014): every bit of a key has a say in every bit of the result."""
    key = key * np.uint64(0x9E3779B97F4A7C15)
    key ^= key >> np.uint64(30)
    key *= np.uint64(0xBF58476D1CE4E5B9)
    key ^= key >> np.uint64(27)
    return key


class FeatureIndex:
    """Which row each known feature has: rows from 1, by sorted key. Row 0 is for all others."""

    def __init__(self, keys: Keys) -> None:
        self.keys = keys  # sorted, distinct, without NO_KEY
        # A key's top bits lead to the place of the first key that shares them, or comes after: few need more steps.
        self._bits = max(1, len(keys).bit_length() + 2)
        bucket = (keys >> np.uint64(64 - self._bits)).astype(np.int64)
        counts = np.bincount(bucket, minlength=1 << self._bits)
        self._first = np.concatenate(([0], np.cumsum(counts)[:-1])).astype(np.int32)
        self._crowd = np.arange(counts.max(initial=0), dtype=np.int32)
        self._padded = np.append(keys, ~NO_KEY)  # at the end a key that none is above

    @classmethod
    def build(cls, keys: Keys, min_count: int = 1) -> FeatureIndex:
        """An index of the keys that occur at least `min_count` times."""
        return cls(np.zeros(0, dtype=np.uint64)).extended(keys, min_count)

    def extended(self, keys: Keys, min_count: int = 1) -> FeatureIndex:
        """An index of these keys too, if they occur at least `min_count` times. Rows change."""
        counter = KeyCounter()
        counter.add(keys)
        return self.with_keys(counter.frequent(min_count))

    def with_keys(self, keys: Keys) -> FeatureIndex:
        """An index of these keys too. Rows change."""
        return FeatureIndex(np.union1d(self.keys, keys))

    def __len__(self) -> int:
        """Rows, row 0 included."""
        return len(self.keys) + 1

    def rows(self, keys: Keys) -> Rows:
        """The row of each key, in the same shape."""
        places = self._first.take((keys >> np.uint64(64 - self._bits)).view(np.int64))
        found = self._padded.take(places)
        below = np.flatnonzero(found < keys)
        if len(below):
            wanted, first = keys.ravel()[below], places.ravel()[below]
            near = self._padded.take(first[:, None] + self._crowd, mode="clip")
            first += (near < wanted[:, None]).sum(1, dtype=np.int32)
            places.put(below, first)
            found.put(below, self._padded.take(first))
        known = found == keys
        known &= places < len(self.keys)
        places += 1
        places *= known
        return places


class KeyCounter:
    """How often each key occurs, counted a piece at a time: memory grows with the distinct keys alone."""

    def __init__(self) -> None:
        self._keys = np.zeros(0, dtype=np.uint64)  # sorted, distinct
        self._counts = np.zeros(0, dtype=np.int64)
        self._pending: list[tuple[Keys, NDArray[np.int64]]] = []

    def add(self, keys: Keys) -> None:
        """Count some more keys, NO_KEY aside; of any shape."""
        distinct, counts = np.unique(keys, return_counts=True)
        first = int(len(distinct) > 0 and distinct[0] == NO_KEY)
        self._pending.append((distinct[first:], counts[first:]))
        if sum(len(keys) for keys, _ in self._pending) > max(_MERGED, len(self._keys) // 2):
            self._merge()

    def _merge(self) -> None:
        parts = [(self._keys, self._counts), *self._pending]
        self._pending.clear()
        keys = np.concatenate([keys for keys, _ in parts])
        order = np.argsort(keys, kind="stable")  # quick on runs that are sorted already
        keys = keys[order]
        starts = np.flatnonzero(np.append(True, keys[1:] != keys[:-1])[: len(keys)])
        counts = np.concatenate([counts for _, counts in parts])[order]
        self._keys, self._counts = keys[starts], np.add.reduceat(counts, starts) if len(starts) else counts

    def frequent(self, min_count: int) -> Keys:
        """The keys that occurred so often at least, sorted."""
        self._merge()
        found: Keys = self._keys[self._counts >= min_count]
        return found


def load_array(path: Path) -> NDArray[np.integer[Any]]:
    """An array of whole numbers, of one dimension, as `np.save` wrote it. Raises ModelError."""
    try:
        # Mapped first: a header may speak of far more than the file has.
        array: NDArray[Any] = np.array(np.load(path, mmap_mode="r", allow_pickle=False))
    except (OSError, ValueError, EOFError, OverflowError) as error:
        raise ModelError(f"{path}: found no readable array ({error}); copy the model again") from error
    if array.dtype.kind not in "iu" or array.ndim != 1:
        found = f"{array.dtype} of {array.ndim} dimensions"
        raise ModelError(f"{path}: found {found}, expected whole numbers of one; copy the model again")
    return array
