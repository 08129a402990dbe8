"""Context features of a token, as in a feature-based CRF: conjunctions of properties of the tokens around it.

A feature is a 64-bit key, hashed from the number of its template and the ids of its parts. No strings are built.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nlp_app.features.feature_index import FeatureIndex, Keys, Rows, mix_bits
from nlp_app.features.tagging.word_shapes import CLUSTERS, COLUMNS, FORM, NORM, PREFIXES, SHAPE, SUFFIXES
from nlp_app.text.vocab import UNKNOWN

Template = tuple[tuple[int, int], ...]  # (column of the forms table, offset from the token), ...

REACH = 2  # maximum distance of a template's parts from the token

_OUTSIDE = -1  # id of a position before the first or after the last token

_CHUNK = 1 << 12  # tokens whose keys are computed together: they fit in the processor's cache

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

# Templates whose features also get an embedding: affixes, and pairs of normal forms with either neighbor.
_EMBEDDED = {
    ((NORM, -1), (NORM, 0)),
    ((NORM, 0), (NORM, 1)),
    *(((column, 0),) for column in (*PREFIXES, *SUFFIXES)),
}

OUTSIDE_IDS = np.full(COLUMNS, _OUTSIDE, dtype=np.int32)  # the row of a position before or after the sentence


class _TemplateGroup(NamedTuple):
    """n templates whose keys are computed together, sorted by decreasing number of parts.

    Attributes:
        numbers: (n,) indices in the list of templates.
        seeds: (n, 1) start values of the keys.
        columns: Columns of the forms table that the templates use.
        parts: For the first part of the templates, the second one and so on, of all templates that have it: index into
            `columns`, and offset from the token.
    """

    numbers: NDArray[np.intp]
    seeds: Keys
    columns: NDArray[np.intp]
    parts: tuple[tuple[NDArray[np.intp], NDArray[np.intp]], ...]


class ContextFeatures:
    """The context features of a list of templates: `FORM_WINDOWS`, or `CLUSTER_WINDOWS` with vector clusters.

    Args:
        templates: The templates.
        embedded: The templates whose features also get an embedding.
        first_number: Number of the first template, so that features of several lists have different keys.

    Attributes:
        templates: The templates.
        embedded: Indices of the templates whose features also get an embedding.
    """

    def __init__(
        self, templates: tuple[Template, ...], embedded: Collection[Template] = _EMBEDDED, first_number: int = 1
    ) -> None:
        self.templates, self._first_number = templates, first_number
        self.embedded = np.array([number for number, template in enumerate(templates) if template in embedded])
        single = np.array([len(template) == 1 for template in templates])
        self._all = self._group_templates(range(len(templates)))
        # The feature of a template with one part depends on one form only, so it is looked up once for each form.
        self._single = self._group_templates(np.flatnonzero(single).tolist())
        self._joint = self._group_templates(np.flatnonzero(~single).tolist())

    @property
    def single(self) -> NDArray[np.intp]:
        """Indices of the templates with one part, in the order of `single_keys`."""
        return self._single.numbers

    @property
    def joint(self) -> NDArray[np.intp]:
        """Indices of the templates with several parts."""
        return self._joint.numbers

    def _group_templates(self, numbers: Sequence[int]) -> _TemplateGroup:
        order = np.array(sorted(numbers, key=lambda number: -len(self.templates[number])), dtype=np.intp)
        templates = [self.templates[number] for number in order.tolist()]
        columns = np.unique([column for template in templates for column, _ in template]).astype(np.intp)
        parts = []
        for place in range(max(map(len, templates), default=0)):
            part_columns, offsets = np.array([template[place] for template in templates if len(template) > place]).T
            parts.append((np.searchsorted(columns, part_columns), offsets))
        # Hash the number by itself first: numbers and ids are small, so their sums would collide.
        seeds = mix_bits((order[:, None] + self._first_number).astype(np.uint64))
        return _TemplateGroup(order, seeds, columns, tuple(parts))

    def keys(self, ids: Rows, lengths: Sequence[int]) -> Keys:
        """Compute the keys of all templates at all tokens.

        Args:
            ids: (tokens, COLUMNS) ids of the forms of all sentences, concatenated.
            lengths: Number of tokens of each sentence.

        Returns:
            (tokens, templates) keys; NO_KEY where a part is unknown.
        """
        positions, size = _with_margins(lengths)
        columns = np.full((len(self._all.columns), size), _OUTSIDE, dtype=np.int64)
        columns[:, positions] = ids[:, self._all.columns].T
        keys = np.empty((len(positions), len(self.templates)), dtype=np.uint64)
        keys[:, self._all.numbers] = _hash_templates(self._all, columns, positions).T
        return keys

    def single_keys(self, ids: Rows) -> Keys:
        """Compute the keys of the templates with one part for each form.

        Args:
            ids: (forms, COLUMNS) ids of the forms.

        Returns:
            (forms, templates with one part) keys.
        """
        ((columns, offsets),) = self._single.parts
        at_the_form = self._single._replace(parts=((columns, np.zeros_like(offsets)),))
        return _hash_templates(
            at_the_form, ids[:, self._single.columns].T.astype(np.int64, order="C"), np.arange(len(ids))
        ).T

    def rows(self, index: FeatureIndex, table: Rows, numbers: NDArray[np.intp], lengths: Sequence[int]) -> Rows:
        """Look up the rows of all templates at all tokens: those that the index has for `keys`, computed faster.

        Args:
            index: Rows of the known features.
            table: (forms, COLUMNS + templates with one part, or more) ids of each form, and the rows of its
                `single_keys`; the first row is that of OUTSIDE_IDS.
            numbers: (tokens,) row of each token in the table.
            lengths: Number of tokens of each sentence.

        Returns:
            (tokens, templates) rows; 0 for unknown features.
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
            chunk_rows = rows[start : start + _CHUNK]
            chunk_rows[:, self.single] = table.take(near.take(chunk[:, None] + offsets) * table.shape[1] + places)
            columns = table.take(near * table.shape[1] + self._joint.columns[:, None]).astype(np.int64)
            chunk_rows[:, self.joint] = index.rows(_hash_templates(self._joint, columns, chunk)).T
        return rows

    def single_rows(self, index: FeatureIndex, limit: int) -> Rows:
        """Look up the rows of the templates with one part for each id, for `rows_of_ids`.

        Args:
            index: Rows of the known features.
            limit: Limit of the ids in the columns of these templates.

        Returns:
            (templates with one part, 1 + limit) rows: of a position outside the sentence, then of the ids from 0.
        """
        ids = np.arange(_OUTSIDE, limit, dtype=np.int32)[:, None]
        width = 1 + max(column for template in self.templates for column, _ in template)
        return index.rows(np.ascontiguousarray(self.single_keys(np.broadcast_to(ids, (len(ids), width))).T))

    def rows_of_ids(self, index: FeatureIndex, single: Rows, ids: Rows, lengths: Sequence[int]) -> Rows:
        """Look up the rows of all templates at all tokens: those that the index has for `keys`, computed faster.

        Args:
            index: Rows of the known features.
            single: The result of `single_rows`.
            ids: (tokens, columns) ids of all sentences, concatenated.
            lengths: Number of tokens of each sentence.

        Returns:
            (tokens, templates) rows; 0 for unknown features.
        """
        positions, size = _with_margins(lengths)
        columns = np.full((ids.shape[1], size), _OUTSIDE, dtype=np.int64)
        columns[:, positions] = ids.T
        rows = np.empty((len(positions), len(self.templates)), dtype=np.int32)
        ((part_columns, offsets),) = self._single.parts
        starts = (self._single.columns[part_columns] * size + offsets)[:, None]
        tables = (np.arange(len(single)) * single.shape[1] - _OUTSIDE)[:, None]
        joint = columns[self._joint.columns]
        for start in range(0, len(positions), _CHUNK):
            chunk, chunk_rows = positions[start : start + _CHUNK], rows[start : start + _CHUNK]
            chunk_rows[:, self.single] = single.take(columns.take(starts + chunk) + tables).T
            first, last = chunk[0] - REACH, chunk[-1] + REACH
            near = np.ascontiguousarray(joint[:, first : last + 1])
            chunk_rows[:, self.joint] = index.rows(_hash_templates(self._joint, near, chunk - first)).T
        return rows


def _with_margins(lengths: Sequence[int]) -> tuple[NDArray[np.intp], int]:
    """Return the positions of the tokens with REACH outside positions around each sentence, and the total length."""
    margins = np.arange(REACH, REACH * len(lengths) + 1, REACH).repeat(lengths)
    margins += np.arange(len(margins))
    return margins, len(margins) + REACH * (len(lengths) + 1)


def _hash_templates(group: _TemplateGroup, columns: NDArray[np.int64], positions: NDArray[np.intp]) -> Keys:
    """Compute (n, positions) keys of templates: hash the number of the template and the ids of its parts in turn.

    `columns` (columns, width) has the ids at all positions and around them.
    """
    width = columns.shape[1]
    known = (columns != 0) & (columns != UNKNOWN)
    keys = np.repeat(group.seeds, len(positions), axis=1)
    seen = np.ones(keys.shape, dtype=np.bool_)
    for part_columns, offsets in group.parts:
        places = (part_columns * width + offsets)[:, None] + positions
        with_part = slice(len(places))  # the templates with the most parts are first
        keys[with_part] = mix_bits(keys[with_part] + columns.take(places).view(np.uint64))
        seen[with_part] &= known.take(places)
    np.maximum(keys, np.uint64(1), out=keys)  # NO_KEY (0) is reserved for unknown parts
    keys *= seen
    return keys


FORM_WINDOWS = ContextFeatures(FORM_TEMPLATES)

CLUSTER_WINDOWS = ContextFeatures((*FORM_TEMPLATES, *CLUSTER_TEMPLATES))
