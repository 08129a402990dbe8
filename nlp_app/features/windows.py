"""Features of a token in its window, as a feature CRF has them: conjunctions of what is known of neighbouring forms.

A feature is a 64-bit key, mixed from a template's number and the ids it looks at; no string is built for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nlp_app.features.forms import COLUMNS, FORM, NORM, PREFIXES, SHAPE, SUFFIXES
from nlp_app.features.keys import NO_KEY, Keys, Rows, finalise
from nlp_app.vocab import UNKNOWN

Template = tuple[tuple[int, int], ...]  # (column of the forms table, offset from the token), ...

REACH = 2  # no template looks farther than this many tokens
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
    key = finalise((group.numbers[:, None] + 1).astype(np.uint64))
    seen = np.ones((len(group.numbers), len(positions)), dtype=bool)
    for part_columns, offsets in zip(group.columns.T, group.offsets.T, strict=True):
        part = columns.take(part_columns[:, None] * columns.shape[1] + offsets[:, None] + positions)
        seen &= (part != 0) & (part != UNKNOWN)
        key = finalise(key + part.view(np.uint64))
    key[key == NO_KEY] = np.uint64(1)
    key[~seen] = NO_KEY
    return key
