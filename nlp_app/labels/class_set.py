"""Class set of a classifier: encode labels as network targets and decode probabilities to labels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

THRESHOLD = 0.5  # for multi-label data without tuned thresholds


@dataclass(frozen=True)
class ClassSet:
    """The classes of a classification task.

    In the methods' shapes, n is the number of texts and k the number of classes.

    Attributes:
        labels: The class names, sorted. A class's id is its index.
        multi_label: True if a text has any number of classes, False if it has exactly one.

    Example:
        >>> classes = ClassSet.of(["sports", "politics", "sports"])
        >>> classes.labels
        ('politics', 'sports')
        >>> classes.decide(np.array([[0.2, 0.8]]))
        [('sports',)]
    """

    labels: tuple[str, ...]
    multi_label: bool = False

    @classmethod
    def of(cls, labels: Iterable[str], multi_label: bool = False) -> ClassSet:
        """Build a class set from labels.

        Args:
            labels: Class names in any order, with or without duplicates.
            multi_label: True if a text may have any number of classes.

        Returns:
            The class set, its labels sorted and without duplicates.
        """
        return cls(tuple(sorted(set(labels))), multi_label)

    @cached_property
    def ids(self) -> dict[str, int]:
        """Class ids by label."""
        return {label: number for number, label in enumerate(self.labels)}

    def targets(self, labels: Sequence[Sequence[str]]) -> NDArray[Any]:
        """Encode the labels of texts as targets of a network.

        Args:
            labels: The labels of each text.

        Returns:
            Single-label: class ids, (n,) int64, with -1 for an unknown label. Multi-label: indicators 0 and 1,
            (n, k) float32; unknown labels are ignored.

        Raises:
            ValueError: If a single-label text does not have exactly one label.
        """
        if not self.multi_label:
            return np.fromiter((self.ids.get(label, -1) for label in single_labels(labels)), np.int64, len(labels))
        targets = np.zeros((len(labels), len(self.labels)), np.float32)
        for row, each in enumerate(labels):
            targets[row, [self.ids[label] for label in each if label in self.ids]] = 1
        return targets

    def decide(self, scores: NDArray[Any], thresholds: NDArray[Any] | None = None) -> list[tuple[str, ...]]:
        """Select the labels of each text from its class probabilities.

        Args:
            scores: Probabilities, (n, k).
            thresholds: Multi-label only: the smallest probability at which each class is selected, (k,). None: 0.5
                for all.

        Returns:
            The labels of each text. Single-label: the most probable class, the first one in a tie. Multi-label: all
            classes at or above their threshold, in the order of `labels`.

        Raises:
            ValueError: If a probability is NaN, or thresholds are given for single-label data.
        """
        if np.isnan(scores).any():
            raise ValueError("scores: found NaN; expected probabilities")
        if not self.multi_label:
            if thresholds is not None:
                raise ValueError("found thresholds for single-label data; they apply only to multi-label data")
            return [(self.labels[best],) for best in scores.argmax(1).tolist()] if len(scores) else []
        rows, columns = np.nonzero(scores >= (THRESHOLD if thresholds is None else thresholds))
        ends = np.cumsum(np.bincount(rows, minlength=len(scores))).tolist()
        selected = [self.labels[column] for column in columns.tolist()]
        return [tuple(selected[start:end]) for start, end in zip([0, *ends], ends, strict=False)]


def single_labels(labels: Sequence[Sequence[str]]) -> list[str]:
    """Unpack the labels of texts that have exactly one label each.

    Args:
        labels: The labels of each text.

    Returns:
        The label of each text.

    Raises:
        ValueError: If a text has no label or more than one.
    """
    wrong = next((row for row, each in enumerate(labels) if len(each) != 1), None)
    if wrong is not None:
        raise ValueError(f"text {wrong} has {len(labels[wrong])} classes, expected one")
    return list(chain.from_iterable(labels))
