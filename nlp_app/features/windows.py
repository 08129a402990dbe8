"""Features of a token in its window, as a feature CRF has them: conjunctions of what is known of neighbouring forms.

A feature is a 64-bit key, mixed from a template's number and the ids it looks at; no string is built for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nlp_app.features.forms import COLUMNS, FORM, NORM, PREFIXES, SHAPE, SUFFIXES
from nlp_app.features.keys import FeatureIndex, Keys, Rows, finalise
from nlp_app.vocab import UNKNOWN

Template = tuple[tuple[int, int], ...]  # (column of the forms table, offset from the token), ...

REACH = 2  # no template looks farther than this many tokens
_OUTSIDE = -1  # the id of a position before the first or after the last token
_CHUNK = 1 << 12  # tokens whose keys are computed together: what stays in a processor's cache

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
EMBEDDED_TEMPLATES = np.array(
    [
        number
        for number, template in enumerate(WINDOW_TEMPLATES)
        if template in (((NORM, -1), (NORM, 0)), ((NORM, 0), (NORM, 1))) or template[0][0] in (*PREFIXES, *SUFFIXES)
    ]
)


class _Mixture(NamedTuple):
    """Templates whose keys are computed side by side: n of them, those of more parts first."""

    numbers: NDArray[np.intp]  # (n,) where they stand in WINDOW_TEMPLATES
    seeds: Keys  # (n, 1)
    columns: NDArray[np.intp]  # of the forms table: those that they look at
    # Part by part, of those that have it: which of the columns it looks at, how far from the token.
    parts: tuple[tuple[NDArray[np.intp], NDArray[np.intp]], ...]


def _mixture(numbers: Sequence[int]) -> _Mixture:
    order = np.array(sorted(numbers, key=lambda number: -len(WINDOW_TEMPLATES[number])), dtype=np.intp)
    templates = [WINDOW_TEMPLATES[number] for number in order.tolist()]
    columns = np.unique([column for template in templates for column, _ in template]).astype(np.intp)
    parts = []
    for place in range(max(map(len, templates), default=0)):
        looked_at, offsets = np.array([template[place] for template in templates if len(template) > place]).T
        parts.append((np.searchsorted(columns, looked_at), offsets))
    # The number is mixed in by itself first: added to the first part, it would be lost in it.
    return _Mixture(order, finalise((order[:, None] + 1).astype(np.uint64)), columns, tuple(parts))


_ALL = _mixture(range(len(WINDOW_TEMPLATES)))
# A template of one part looks at one form, wherever that stands: its features are looked up once for each form.
_SINGLE = _mixture([number for number, template in enumerate(WINDOW_TEMPLATES) if len(template) == 1])
_JOINT = _mixture([number for number, template in enumerate(WINDOW_TEMPLATES) if len(template) > 1])
SINGLES = len(_SINGLE.numbers)
OUTSIDE_IDS = np.full(COLUMNS, _OUTSIDE, dtype=np.int32)  # of a position before or after the sentence


def window_keys(ids: Rows, lengths: Sequence[int]) -> Keys:
    """The keys of every template at every token.

    ids: (tokens, COLUMNS), the rows of the forms of all sentences one after the other; lengths: of each sentence.
    Returns (tokens, templates).
    """
    positions, size = _with_margins(lengths)
    columns = np.full((len(_ALL.columns), size), _OUTSIDE, dtype=np.int64)
    columns[:, positions] = ids[:, _ALL.columns].T
    keys = np.empty((len(positions), len(WINDOW_TEMPLATES)), dtype=np.uint64)
    keys[:, _ALL.numbers] = _mix(_ALL, columns, positions).T
    return keys


def single_keys(ids: Rows) -> Keys:
    """The keys that forms give the templates of one part: (forms, COLUMNS) ids -> (forms, SINGLES)."""
    ((columns, offsets),) = _SINGLE.parts
    at_the_form = _SINGLE._replace(parts=((columns, np.zeros_like(offsets)),))
    return _mix(at_the_form, ids[:, _SINGLE.columns].T.astype(np.int64, order="C"), np.arange(len(ids))).T


def window_rows(index: FeatureIndex, table: Rows, numbers: NDArray[np.intp], lengths: Sequence[int]) -> Rows:
    """The rows of every template at every token, (tokens, templates): those that the index has for `window_keys`.

    table: (forms, COLUMNS + SINGLES or more), each form's ids and the rows of its `single_keys`, first those of
    OUTSIDE_IDS; numbers: (tokens,), each token's row of it.
    """
    positions, size = _with_margins(lengths)
    forms = np.zeros(size, dtype=np.intp)
    forms[positions] = numbers
    rows = np.empty((len(numbers), len(WINDOW_TEMPLATES)), dtype=np.int32)
    ((_, offsets),), places = _SINGLE.parts, np.arange(COLUMNS, COLUMNS + SINGLES)
    for start in range(0, len(numbers), _CHUNK):
        chunk = positions[start : start + _CHUNK]
        first, last = chunk[0] - REACH, chunk[-1] + REACH
        near, chunk = forms[first : last + 1], chunk - first
        found = rows[start : start + _CHUNK]
        found[:, _SINGLE.numbers] = table.take(near.take(chunk[:, None] + offsets) * table.shape[1] + places)
        columns = table.take(near * table.shape[1] + _JOINT.columns[:, None]).astype(np.int64)
        found[:, _JOINT.numbers] = index.rows(_mix(_JOINT, columns, chunk)).T
    return rows


def _with_margins(lengths: Sequence[int]) -> tuple[NDArray[np.intp], int]:
    """Where the tokens are if REACH outside positions are laid around each sentence, and how many that makes in all."""
    margins = np.arange(REACH, REACH * len(lengths) + 1, REACH).repeat(lengths)
    margins += np.arange(len(margins))
    return margins, len(margins) + REACH * (len(lengths) + 1)


def _mix(mixture: _Mixture, columns: NDArray[np.int64], positions: NDArray[np.intp]) -> Keys:
    """A 64-bit key of each template's number and parts, (n, positions), each step a finaliser of splitmix64.

    columns: (columns, width), the ids at all positions and around them.
    """
    width = columns.shape[1]
    known = (columns != 0) & (columns != UNKNOWN)
    keys = np.repeat(mixture.seeds, len(positions), axis=1)
    seen = np.ones(keys.shape, dtype=np.bool_)
    for looked_at, offsets in mixture.parts:
        places = (looked_at * width + offsets)[:, None] + positions
        some = slice(len(places))
        keys[some] = finalise(keys[some] + columns.take(places).view(np.uint64))
        seen[some] &= known.take(places)
    np.maximum(keys, np.uint64(1), out=keys)  # NO_KEY is for those that aren't seen
    keys *= seen
    return keys
