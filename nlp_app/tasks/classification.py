"""Classification: a text's classes become targets for a network, its probabilities classes again, both scores."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlp_app import metrics
from nlp_app.calibration import calibration_scores

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
            return np.fromiter((self.ids.get(label, -1) for label in _single(labels)), np.int64, len(labels))
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

    def score(
        self,
        gold: Sequence[Sequence[str]],
        found: Sequence[Sequence[str]],
        probabilities: NDArray[Any] | None = None,
    ) -> dict[str, Any]:
        """Scores of `found` against `gold`, plain values: `metrics.single_label_scores` or `multi_label_scores`.

        A gold label that isn't known counts as missed, in macro F1 and `per_label` too. With the probabilities, (n, k),
        `calibration` has `ece`, `nll` and `bins`: of the most probable class, or in multi-label data of each decision
        on a text and label. A text whose class isn't known is wrong there, and has no part in `nll`.
        """
        if self.multi_label:
            scores = metrics.multi_label_scores(gold, found, self.labels)
        else:
            scores = metrics.single_label_scores(_single(gold), _single(found))
        if probabilities is not None:
            scores["calibration"] = self._calibration(gold, probabilities)
        return scores

    def _calibration(self, gold: Sequence[Sequence[str]], probabilities: NDArray[Any]) -> dict[str, Any]:
        targets = self.targets(gold)
        if self.multi_label:
            true = targets.astype(bool)
            return calibration_scores(
                probabilities.ravel(), true.ravel(), np.where(true, probabilities, 1 - probabilities).ravel()
            )
        if not len(targets):
            return calibration_scores([], [], [])
        known = np.flatnonzero(targets >= 0)
        correct = probabilities.argmax(1) == targets
        return calibration_scores(probabilities.max(1), correct, probabilities[known, targets[known]])


def class_headline(scores: Mapping[str, Any]) -> float:
    """The one number that chooses a model: weighted F1."""
    return float(scores["weighted_f1"])


def _single(labels: Sequence[Sequence[str]]) -> list[str]:
    wrong = next((row for row, each in enumerate(labels) if len(each) != 1), None)
    if wrong is not None:
        raise ValueError(f"text {wrong} has {len(labels[wrong])} classes, expected one")
    return list(chain.from_iterable(labels))
