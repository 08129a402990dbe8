"""Transition scores of a CRF, and the arrays derived from them."""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Transitions:
    """Transition scores between T tags, with the derived arrays that the recursions need; each is computed once.

    Args:
        moves: Scores (T + 2, T + 2), -inf for forbidden transitions; index T is the start, T + 1 the end. Not copied.

    Attributes:
        moves: As given.
        start: Scores of transitions from the start, (T,).
        between: Scores of transitions between tags, (T, T).
        end: Scores of transitions to the end, (T,).
    """

    def __init__(self, moves: Floats) -> None:
        self.moves = moves
        self.start, self.between, self.end = moves[-2, :-2], moves[:-2, :-2], moves[:-2, -1]

    @cached_property
    def arriving(self) -> Floats:
        """Transposed `between`, (to, from), contiguous."""
        return np.ascontiguousarray(self.between.T)

    @cached_property
    def largest(self) -> float:
        """Largest absolute score of a permitted transition."""
        return float(np.abs(self.moves[self.moves > -math.inf]).max())

    @cached_property
    def weights(self) -> tuple[Floats, Floats, Floats, Floats]:
        """Exponentiated `start`, `between`, transposed `between` and `end`, contiguous."""
        with np.errstate(all="ignore"):  # large scores overflow; they are then computed in log space
            weights = np.exp(self.moves)
        between = weights[:-2, :-2]
        return weights[-2, :-2].copy(), np.ascontiguousarray(between), np.ascontiguousarray(between.T), weights[:-2, -1]
