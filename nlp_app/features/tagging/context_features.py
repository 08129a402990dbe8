"""Features of a token in its window, as a feature CRF has them: conjunctions of what is known of neighboring forms.

A feature is a 64-bit key, mixed from a template's number and the ids it looks at; no string is built for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nlp_app.features.feature_index import FeatureIndex, Keys, Rows, mix_bits
from nlp_app.features.tagging.word_shapes import CLUSTERS, COLUMNS, FORM, NORM, PREFIXES, SHAPE, SUFFIXES
from nlp_app.text.vocab import UNKNOWN

Template = tuple[tuple[int, int], ...]  # (column of the forms table, offset from the token), ...

REACH = 2  # no template looks farther than this many tokens

_OUTSIDE = -1  # the id of a position before the first or after the last token

_CHUNK = 1 << 12  # tokens whose keys are computed together: what stays in a processor's cache

FORM_TEMPLATES: tuple[Template, ...] = (
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

CLUSTER_TEMPLATES: tuple[Template, ...] = tuple(
    template
    for column in CLUSTERS
    for template in (
        *(((column, offset),) for offset in (-2, -1, 0, 1, 2)),
        ((column, -1), (column, 0)),
        ((column, 0), (column, 1)),
        ((column, -1), (column, 1)),
        ((column, -1), (column, 0), (column, 1)),
    )
)

# Those whose features are also embedded for the network: affixes, and the pairs with either neighbor.
_EMBEDDED = {
    ((NORM, -1), (NORM, 0)),
    ((NORM, 0), (NORM, 1)),
    *(((column, 0),) for column in (*PREFIXES, *SUFFIXES)),
}

OUTSIDE_IDS = np.full(COLUMNS, _OUTSIDE, dtype=np.int32)  # of a position before or after the sentence


class _Mixture(NamedTuple):
    """Templates whose keys are computed side by side: n of them, those of more parts first."""

    numbers: NDArray[np.intp]  # (n,) where they stand in the list of templates
    seeds: Keys  # (n, 1)
    columns: NDArray[np.intp]  # of the forms table: those that they look at
    # Part by part, of those that have it: which of the columns it looks at, how far from the token.
    parts: tuple[tuple[NDArray[np.intp], NDArray[np.intp]], ...]


class ContextFeatures:
    """The window features of a list of templates: `FORM_WINDOWS`, or with clusters of vectors `CLUSTER_WINDOWS`."""

    def __init__(self, templates: tuple[Template, ...]) -> None:
        self.templates = templates
        self.embedded = np.array([number for number, template in enumerate(templates) if template in _EMBEDDED])
        single = np.array([len(template) == 1 for template in templates])
        self._all = self._mixture(range(len(templates)))
        # A template of one part looks at one form, wherever that stands: its features are looked up once for each form.
        self._single = self._mixture(np.flatnonzero(single).tolist())
        self._joint = self._mixture(np.flatnonzero(~single).tolist())

    @property
    def single(self) -> NDArray[np.intp]:
        """The numbers of the templates of one part, in the order of `single_keys`."""
        return self._single.numbers

    @property
    def joint(self) -> NDArray[np.intp]:
        """The numbers of the templates of several parts."""
        return self._joint.numbers

    def _mixture(self, numbers: Sequence[int]) -> _Mixture:
        order = np.array(sorted(numbers, key=lambda number: -len(self.templates[number])), dtype=np.intp)
        templates = [self.templates[number] for number in order.tolist()]
        columns = np.unique([column for template in templates for column, _ in template]).astype(np.intp)
        parts = []
        for place in range(max(map(len, templates), default=0)):
            looked_at, offsets = np.array([template[place] for template in templates if len(template) > place]).T
            parts.append((np.searchsorted(columns, looked_at), offsets))
        # The number is mixed in by itself first: added to the first part, it would be lost in it.
        return _Mixture(order, mix_bits((order[:, None] + 1).astype(np.uint64)), columns, tuple(parts))

    def keys(self, ids: Rows, lengths: Sequence[int]) -> Keys:
        """The keys of every template at every token.

        ids: (tokens, COLUMNS), the rows of the forms of all sentences one after the other; lengths: of each sentence.
        Returns (tokens, templates).
        """
        positions, size = _with_margins(lengths)
        columns = np.full((len(self._all.columns), size), _OUTSIDE, dtype=np.int64)
        columns[:, positions] = ids[:, self._all.columns].T
        keys = np.empty((len(positions), len(self.templates)), dtype=np.uint64)
        keys[:, self._all.numbers] = _mix(self._all, columns, positions).T
        return keys

    def single_keys(self, ids: Rows) -> Keys:
        """The keys that forms give the templates of one part: (forms, COLUMNS) ids -> (forms, templates)."""
        ((columns, offsets),) = self._single.parts
        at_the_form = self._single._replace(parts=((columns, np.zeros_like(offsets)),))
        return _mix(at_the_form, ids[:, self._single.columns].T.astype(np.int64, order="C"), np.arange(len(ids))).T

    def rows(self, index: FeatureIndex, table: Rows, numbers: NDArray[np.intp], lengths: Sequence[int]) -> Rows:
        """The rows of every template at every token, (tokens, templates): those that the index has for `keys`.

        table: (forms, COLUMNS + templates of one part, or more), each form's ids and the rows of its `single_keys`,
        first those of OUTSIDE_IDS; numbers: (tokens,), each token's row of it.
        """
        positions, size = _with_margins(lengths)
        forms = np.zeros(size, dtype=np.intp)
        forms[positions] = numbers
        rows = np.empty((len(numbers), len(self.templates)), dtype=np.int32)
        ((_, offsets),), places = self._single.parts, np.arange(COLUMNS, COLUMNS + len(self.single))
        for start in range(0, len(numbers), _CHUNK):
            chunk = positions[start : start + _CHUNK]
            first, last = chunk[0] - REACH, chunk[-1] + REACH
            near, chunk = forms[first : last + 1], chunk - first
            found = rows[start : start + _CHUNK]
            found[:, self.single] = table.take(near.take(chunk[:, None] + offsets) * table.shape[1] + places)
            columns = table.take(near * table.shape[1] + self._joint.columns[:, None]).astype(np.int64)
            found[:, self.joint] = index.rows(_mix(self._joint, columns, chunk)).T
        return rows


def _with_margins(lengths: Sequence[int]) -> tuple[NDArray[np.intp], int]:
    """Where the tokens are if REACH outside positions are laid around each sentence, and how many that makes in all."""
    margins = np.arange(REACH, REACH * len(lengths) + 1, REACH).repeat(lengths)
    margins += np.arange(len(margins))
    return margins, len(margins) + REACH * (len(lengths) + 1)


def _mix(mixture: _Mixture, columns: NDArray[np.int64], positions: NDArray[np.intp]) -> Keys:
    """A 64-bit key of each template's number and parts, (n, positions), each step a finalizer of splitmix64.

    columns: (columns, width), the ids at all positions and around them.
    """
    width = columns.shape[1]
    known = (columns != 0) & (columns != UNKNOWN)
    keys = np.repeat(mixture.seeds, len(positions), axis=1)
    seen = np.ones(keys.shape, dtype=np.bool_)
    for looked_at, offsets in mixture.parts:
        places = (looked_at * width + offsets)[:, None] + positions
        some = slice(len(places))
        keys[some] = mix_bits(keys[some] + columns.take(places).view(np.uint64))
        seen[some] &= known.take(places)
    np.maximum(keys, np.uint64(1), out=keys)  # NO_KEY is for those that aren't seen
    keys *= seen
    return keys


FORM_WINDOWS = ContextFeatures(FORM_TEMPLATES)

CLUSTER_WINDOWS = ContextFeatures((*FORM_TEMPLATES, *CLUSTER_TEMPLATES))
