"""The labels of a classifier: classes to targets for a network, and its probabilities back to classes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

THRESHOLD = 0.5  # of several labels a text, where none were tuned


@dataclass(frozen=True)
class ClassSet:
    """The classes of a task, sorted: a class's id is its place. `multi_label`: a text has any number of them, not one.

    Below, n is the number of texts and k that of classes.
    """

    labels: tuple[str, ...]
    multi_label: bool = False

    @classmethod
    def of(cls, labels: Iterable[str], multi_label: bool = False) -> ClassSet:
        """The classes among these labels, which may repeat."""
        return cls(tuple(sorted(set(labels))), multi_label)

    @cached_property
    def ids(self) -> dict[str, int]:
        """Each class's id."""
        return {label: number for number, label in enumerate(self.labels)}

    def targets(self, labels: Sequence[Sequence[str]]) -> NDArray[Any]:
        """(n,) int64 class ids, -1 for a label that isn't known; of several labels a text (n, k) float32 of 0 and 1,
        where labels that aren't known are left out."""
        if not self.multi_label:
            return np.fromiter((self.ids.get(label, -1) for label in single_labels(labels)), np.int64, len(labels))
        targets = np.zeros((len(labels), len(self.labels)), np.float32)
        for row, each in enumerate(labels):
            targets[row, [self.ids[label] for label in each if label in self.ids]] = 1
        return targets

    def decide(self, scores: NDArray[Any], thresholds: NDArray[Any] | None = None) -> list[tuple[str, ...]]:
        """The labels of each text: the most probable class (of equals the first), or in multi-label data all classes at
        or above their threshold, in the order of `labels`.

        scores: (n, k) probabilities; thresholds: (k,), 0.5 where None. Raises ValueError for scores that aren't
        numbers, and for thresholds where each text has one class.
        """
        if np.isnan(scores).any():
            raise ValueError("found probabilities that are not numbers")
        if not self.multi_label:
            if thresholds is not None:
                raise ValueError("found thresholds for texts of one class each")
            return [(self.labels[best],) for best in scores.argmax(1).tolist()] if len(scores) else []
        rows, columns = np.nonzero(scores >= (THRESHOLD if thresholds is None else thresholds))
        ends = np.cumsum(np.bincount(rows, minlength=len(scores))).tolist()
        found = [self.labels[column] for column in columns.tolist()]
        return [tuple(found[start:end]) for start, end in zip([0, *ends], ends, strict=False)]


def single_labels(labels: Sequence[Sequence[str]]) -> list[str]:
    """The only label of each text. Raises ValueError for a text without one, or with several."""
    wrong = next((row for row, each in enumerate(labels) if len(each) != 1), None)
    if wrong is not None:
        raise ValueError(f"text {wrong} has {len(labels[wrong])} classes, expected one")
    return list(chain.from_iterable(labels))
