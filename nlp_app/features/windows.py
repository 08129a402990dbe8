"""Features of a token in its window, as a feature CRF has them: conjunctions of what is known of neighbouring forms.

A feature is a 64-bit key, mixed from a template's number and the ids it looks at; no string is built for it. Training
data decides which keys get a row; the others are row 0, which weighs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nlp_app.features.forms import COLUMNS, FORM, NORM, PREFIXES, SHAPE, SUFFIXES
from nlp_app.vocab import UNKNOWN

Keys = NDArray[np.uint64]
Rows = NDArray[np.int32]
Template = tuple[tuple[int, int], ...]  # (column of the forms table, offset from the token), ...

REACH = 2  # no template looks farther than this many tokens
NO_KEY = np.uint64(0)  # where a part is unknown, or no such affix: no feature
_OUTSIDE = -1  # the id of a position before the first or after the last token

WINDOW_TEMPLATES: tuple[Template, ...] = (
    ((FORM, 0),),
    *(((NORM, offset),) for offset in (-2, -1, 0, 1, 2)),
    ((NORM, -1), (NORM, 0)),
    ((NORM, 0), (NORM, 1)),
    ((NORM, -1), (NORM, 1)),
    ((NORM, -2), (NORM, -1)),
    ((NORM, 1), (NORM, 2)),
    ((NORM, -1), (NORM, 0), (NORM, 1)),
    *(((SHAPE, offset),) for offset in (-1, 0, 1)),
    ((SHAPE, -1), (SHAPE, 0)),
    ((SHAPE, 0), (SHAPE, 1)),
    ((SHAPE, -1), (SHAPE, 0), (SHAPE, 1)),
    *(((column, 0),) for column in (*PREFIXES, *SUFFIXES)),
)
# The templates whose features are also embedded for the network: affixes, and the pairs with either neighbour.
EMBEDDED_TEMPLATES: tuple[int, ...] = tuple(
    number
    for number, template in enumerate(WINDOW_TEMPLATES)
    if template in (((NORM, -1), (NORM, 0)), ((NORM, 0), (NORM, 1))) or template[0][0] in (*PREFIXES, *SUFFIXES)
)


class _Group(NamedTuple):
    """The templates of one number of parts, n of them: computed side by side, in a few operations."""

    numbers: NDArray[np.intp]  # (n,) where they stand in WINDOW_TEMPLATES
    columns: NDArray[np.intp]  # (n, parts)
    offsets: NDArray[np.intp]  # (n, parts)


def _groups() -> tuple[_Group, ...]:
    sizes = sorted({len(template) for template in WINDOW_TEMPLATES})
    groups = [[n for n, template in enumerate(WINDOW_TEMPLATES) if len(template) == size] for size in sizes]
    parts = [np.array([WINDOW_TEMPLATES[n] for n in numbers], dtype=np.intp) for numbers in groups]
    return tuple(_Group(np.array(n), p[..., 0], p[..., 1]) for n, p in zip(groups, parts, strict=True))


_GROUPS = _groups()


def window_keys(ids: Rows, lengths: Sequence[int]) -> Keys:
    """The keys of every template at every token.

    ids: (tokens, COLUMNS), the rows of the forms of all sentences one after the other; lengths: of each sentence.
    Returns (tokens, templates).
    """
    columns, positions = _with_margins(ids, lengths)
    keys = np.empty((len(positions), len(WINDOW_TEMPLATES)), dtype=np.uint64)
    for group in _GROUPS:
        for number, row in zip(group.numbers.tolist(), _mix(group, columns, positions), strict=True):
            keys[:, number] = row
    return keys


def _with_margins(ids: Rows, lengths: Sequence[int]) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
    """The ids, column by column, with REACH outside positions around each sentence, and where the tokens are."""
    sentence = np.repeat(np.arange(len(lengths)), lengths)
    positions = np.arange(len(ids)) + REACH * (sentence + 1)
    columns = np.full((COLUMNS, len(ids) + REACH * (len(lengths) + 1)), _OUTSIDE, dtype=np.int64)
    columns[:, positions] = ids.T
    return columns, positions


def _mix(group: _Group, columns: NDArray[np.int64], positions: NDArray[np.intp]) -> Keys:
    """A 64-bit key of each template's number and parts, (n, tokens), each step a finaliser of splitmix64 (Steele et al.
    2014). The number is mixed in by itself first: added to the first part, it would be lost in it."""
    key = _finalise((group.numbers[:, None] + 1).astype(np.uint64))
    seen = np.ones((len(group.numbers), len(positions)), dtype=bool)
    for part_columns, offsets in zip(group.columns.T, group.offsets.T, strict=True):
        part = columns.take(part_columns[:, None] * columns.shape[1] + offsets[:, None] + positions)
        seen &= (part != 0) & (part != UNKNOWN)
        key = _finalise(key + part.view(np.uint64))
    key[key == NO_KEY] = np.uint64(1)
    key[~seen] = NO_KEY
    return key


def _finalise(key: Keys) -> Keys:
    key = key * np.uint64(0x9E3779B97F4A7C15)
    key = (key ^ (key >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    return key ^ (key >> np.uint64(27))


class FeatureIndex:
    """Which row each known feature has: rows from 1, by sorted key. Row 0 is for all others."""

    def __init__(self, keys: Keys) -> None:
        self.keys = keys  # sorted, distinct, without NO_KEY
        # A key's top bits lead to the row of the first key that shares them: a few steps from there find any key.
        self._bits = max(1, len(keys).bit_length() + 2)
        bucket = (keys >> np.uint64(64 - self._bits)).astype(np.int64)
        counts = np.bincount(bucket, minlength=1 << self._bits)
        self._first = np.concatenate(([0], np.cumsum(counts)[:-1])).astype(np.int32)
        self._steps = int(counts.max(initial=0))
        self._padded = np.concatenate((keys, np.zeros(self._steps + 1, dtype=np.uint64)))

    @classmethod
    def build(cls, keys: Keys, min_count: int = 1) -> FeatureIndex:
        """An index of the keys that occur at least `min_count` times."""
        distinct, counts = np.unique(keys, return_counts=True)
        return cls(distinct[(counts >= min_count) & (distinct != NO_KEY)])

    def __len__(self) -> int:
        """Rows, row 0 included."""
        return len(self.keys) + 1

    def rows(self, keys: Keys) -> Rows:
        """The row of each key, in the same shape."""
        first = self._first[(keys >> np.uint64(64 - self._bits)).astype(np.int64)]
        rows = np.zeros(keys.shape, dtype=np.int32)
        for step in range(self._steps):
            hit = self._padded[first + step] == keys
            rows[hit] = first[hit] + (step + 1)
        rows[keys == NO_KEY] = 0  # the index's own padding is NO_KEY too
        return rows
