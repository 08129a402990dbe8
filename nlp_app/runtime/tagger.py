"""Network of the tagger, as `nlp_app.nn.tagger`: window features and a BiLSTM in parallel, with a CRF on top."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from nlp_app.numerics.dimensions import TableSizes, TaggerDimensions
from nlp_app.numerics.transitions import Transitions
from nlp_app.runtime import lstm
from nlp_app.runtime.weights import Array, Floats, Integers, WeightType, linear

_FEW_TOKENS = 64  # up to so many, one call that sums k rows of each is faster than k calls


class TaggerNetwork:
    """Emission scores and transition scores of a tagger.

    Args:
        weights: The arrays of `weight_types`, by name.
        dimensions: Sizes of the layers.

    Attributes:
        weights: As given.
        dimensions: As given.
        transitions: Transition scores of the CRF.
    """

    def __init__(self, weights: Mapping[str, Array], dimensions: TaggerDimensions) -> None:
        self.weights, self.dimensions = weights, dimensions
        self._norms, self._shapes = weights["norms.weight"], weights["shapes.weight"]
        self._vectors = weights.get("vectors.weight")
        self._parts, self._wide = _without_padding(weights["parts.weight"]), _without_padding(weights["wide.weight"])
        self._layers = [lstm.BiLstm(weights, f"layers.{number}") for number in range(dimensions.layers)]
        self._tags, self._bias = np.ascontiguousarray(weights["tags.weight"].T), weights["tags.bias"]
        self.transitions = _transitions(weights)

    def emissions(self, columns: Mapping[str, Integers], lengths: Integers | None = None) -> Floats:
        """Compute the emission scores of the CRF.

        Args:
            columns: Table rows of each token: `norms` and `shapes`, (B, L); `parts` and `features`, (B, L, k); with
                pretrained vectors also `vectors`, (B, L).
            lengths: Number of real tokens of each row, (B,); None: no row has padding.

        Returns:
            Scores, (B, L, tags).
        """
        norms = columns["norms"]
        tokens = norms.size
        embedded = [
            self._norms.take(norms.reshape(tokens), 0),
            self._shapes.take(columns["shapes"].reshape(tokens), 0),
            _sum_rows(self._parts, columns["parts"].reshape(tokens, -1)),
        ]
        if self._vectors is not None:
            embedded.append(self._vectors.take(columns["vectors"].reshape(tokens), 0))
        x = np.concatenate(embedded, 1).reshape(*norms.shape, -1)
        for layer in self._layers:
            x = layer(x, lengths)
        scores: Floats = x.reshape(tokens, -1) @ self._tags
        scores += self._bias
        scores += _sum_rows(self._wide, columns["features"].reshape(tokens, -1))
        return scores.reshape(*norms.shape, -1)


def weight_types(tags: int, sizes: TableSizes, dimensions: TaggerDimensions) -> dict[str, WeightType]:
    """List the weights of a tagger.

    Args:
        tags: Number of tags.
        sizes: Rows of the tables.
        dimensions: Sizes of the layers.

    Returns:
        The type of each array by name.
    """
    d = dimensions
    tables = {"norms": (sizes.norms, d.norm), "shapes": (sizes.shapes, d.shape), "parts": (sizes.parts, d.part)}
    if sizes.vectors:
        tables["vectors"] = (sizes.vectors, d.vector)
    width = sum(width for _, width in tables.values())
    tables["wide"] = (sizes.features, tags)
    types = {f"{name}.weight": WeightType(shape) for name, shape in tables.items()}
    for number in range(d.layers):
        types |= lstm.weight_types(f"layers.{number}", 2 * d.hidden if number else width, d.hidden)
    types |= linear("tags", tags, 2 * d.hidden if d.layers else width)
    types["crf.transitions"] = WeightType((tags, tags))
    types["crf.start"] = types["crf.end"] = WeightType((tags,))
    types["crf.allowed"] = WeightType((tags + 2, tags + 2), np.bool_)
    return types


def _transitions(weights: Mapping[str, Array]) -> Transitions:
    allowed = weights["crf.allowed"]
    moves = np.zeros(allowed.shape)
    moves[:-2, :-2] = weights["crf.transitions"]
    moves[-2, :-2] = weights["crf.start"]
    moves[:-2, -1] = weights["crf.end"]
    transitions = Transitions(np.where(allowed, moves, -math.inf))
    _ = transitions.arriving, transitions.largest, transitions.weights  # computed before threads share them
    return transitions


def _without_padding(table: Floats) -> Floats:
    """Return a table whose row 0, which stands for no feature, is zero."""
    if not len(table) or not table[0].any():
        return table
    table = table.copy()
    table[0] = 0
    return table


def _sum_rows(table: Floats, rows: Integers) -> Floats:
    """Sum the table rows of each token: (tokens, k) to (tokens, width)."""
    if len(rows) <= _FEW_TOKENS:
        few: Floats = table.take(rows, 0).sum(1)
        return few
    summed = np.zeros((len(rows), table.shape[1]), np.float32)
    for column in np.ascontiguousarray(rows.T):
        summed += table.take(column, 0)
    return summed
