"""Scores of a text's classes against gold, counted by scikit-learn, which loads when a score is asked for.

Averages are scikit-learn's defaults: macro and weighted F1 are over the labels that gold or predictions hold, and what
would be divided by zero is 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlp_app.labels.class_set import ClassSet, single_labels
from nlp_app.metrics.calibration import calibration_scores
from nlp_app.metrics.tags import average_scores

MATRIX_LABELS = 200  # beyond it a confusion matrix is no longer worth its room

CONFUSED_PAIRS = 20


def single_label_scores(gold: Sequence[str], found: Sequence[str]) -> dict[str, Any]:
    """Scores of one class a text.

    `accuracy`, `weighted_f1`, `macro_f1`; `per_label`: precision, recall, F1 and support (gold) of each label of gold
    or predictions; `confused`: the most frequent `[gold, predicted, count]`, 20 at most; `confusion`: `labels` and
    `matrix`, rows gold and columns predicted, with up to 200 labels.
    """
    from sklearn.metrics import accuracy_score, precision_recall_fscore_support  # noqa: PLC0415

    _check(gold, found)
    names = sorted({*gold, *found})
    ids = {name: number for number, name in enumerate(names)}
    # Numbers, as scikit-learn sorts all labels again for each score.
    rows, columns = (np.fromiter((ids[name] for name in side), np.int64, len(side)) for side in (gold, found))
    if not names:
        overall, each = {"accuracy": 0.0}, [()] * 4
    else:
        overall = {"accuracy": float(accuracy_score(rows, columns))}
        each = precision_recall_fscore_support(rows, columns, labels=range(len(names)), average=None, zero_division=0)
    scores = overall | _over_labels(names, each) | {"confused": _confused(rows, columns, names)}
    size = len(names)
    if size <= MATRIX_LABELS:
        # scikit-learn's own warns of a single label.
        matrix = np.bincount(rows * size + columns, minlength=size * size).reshape(size, size)
        scores["confusion"] = {"labels": names, "matrix": matrix.tolist()}
    return scores


def multi_label_scores(
    gold: Sequence[Iterable[str]], found: Sequence[Iterable[str]], labels: Iterable[str] = ()
) -> dict[str, Any]:
    """Scores of any number of classes a text; `labels`: those that could have been found.

    `micro_f1` with `precision` and `recall`, `macro_f1`, `weighted_f1`, `per_label`, each over the labels of gold or
    predictions; `samples_f1`, the mean of each text's F1, which is 0 where a text has no label and none was found;
    `accuracy` and `subset_accuracy`: the share of texts whose labels are all right; `hamming_loss`: the share of wrong
    decisions among those on each text and label, `labels` included.
    """
    from sklearn.metrics import accuracy_score, hamming_loss, precision_recall_fscore_support  # noqa: PLC0415
    from sklearn.preprocessing import MultiLabelBinarizer  # noqa: PLC0415

    _check(gold, found)
    gold, found = ([frozenset(each) for each in side] for side in (gold, found))
    present = sorted(set(chain(*gold, *found)))
    known = sorted({*labels, *present})
    zeros = dict.fromkeys(("precision", "recall", "micro_f1", "samples_f1"), 0.0)
    if not present:
        right = float(bool(gold))
        return zeros | _over_labels([], [()] * 4) | {"accuracy": right, "subset_accuracy": right, "hamming_loss": 0.0}
    # The last column is nobody's: scikit-learn takes a matrix of one column for something else.
    columns = [*known, "".join(known) + " "]
    sides = [MultiLabelBinarizer(classes=columns, sparse_output=True).fit_transform(side) for side in (gold, found)]
    places = np.searchsorted(known, present)
    micro, samples, each = (
        precision_recall_fscore_support(*sides, labels=places, average=average, zero_division=0)
        for average in ("micro", "samples", None)
    )
    right = float(accuracy_score(*sides))
    return {
        "micro_f1": float(micro[2]),
        "precision": float(micro[0]),
        "recall": float(micro[1]),
        **_over_labels(present, each),
        "samples_f1": float(samples[2]),
        "accuracy": right,
        "subset_accuracy": right,
        "hamming_loss": float(hamming_loss(*sides)) * len(columns) / len(known),
    }


def _over_labels(names: Sequence[str], each: Sequence[Any]) -> dict[str, Any]:
    """Weighted and macro F1 and the scores per label, from precision, recall, F1 and support of each."""
    f1, support = np.asarray(each[2], np.float64), np.asarray(each[3], np.float64)
    return {
        "weighted_f1": float(np.average(f1, weights=support)) if support.any() else 0.0,
        "macro_f1": float(f1.mean()) if len(f1) else 0.0,
        "per_label": {name: average_scores(*values) for name, *values in zip(names, *each, strict=True)},
    }


def _confused(gold: NDArray[np.int64], found: NDArray[np.int64], names: Sequence[str]) -> list[list[Any]]:
    wrong = gold != found
    pairs, counts = np.unique(gold[wrong] * len(names) + found[wrong], return_counts=True)
    first = np.argsort(-counts, kind="stable")[:CONFUSED_PAIRS]
    return [
        [names[pair // len(names)], names[pair % len(names)], count]
        for pair, count in zip(pairs[first].tolist(), counts[first].tolist(), strict=True)
    ]


def _check(gold: Sequence[Any], found: Sequence[Any]) -> None:
    if len(gold) != len(found):
        raise ValueError(f"gold and predictions need the same texts: found {len(gold)} and {len(found)}")


def score_classes(
    class_set: ClassSet,
    gold: Sequence[Sequence[str]],
    found: Sequence[Sequence[str]],
    probabilities: NDArray[Any] | None = None,
) -> dict[str, Any]:
    """Score predicted classes against gold.

    A gold label that is not in `class_set` counts as missed, also in macro F1 and `per_label`. Its text counts as wrong
    in the calibration, without a part in `nll`.

    Args:
        class_set: labels of the classifier.
        gold: the gold labels of each text.
        found: the predicted labels of each text.
        probabilities: (texts, labels); adds `calibration` with `ece`, `nll` and `bins`: of the most probable class, or
            of each decision on a text and label in multi-label data.

    Returns:
        Plain values, as `metrics.single_label_scores` or `metrics.multi_label_scores`.
    """
    if class_set.multi_label:
        scores = multi_label_scores(gold, found, class_set.labels)
    else:
        scores = single_label_scores(single_labels(gold), single_labels(found))
    if probabilities is not None:
        scores["calibration"] = _calibration(class_set, gold, probabilities)
    return scores


def _calibration(class_set: ClassSet, gold: Sequence[Sequence[str]], probabilities: NDArray[Any]) -> dict[str, Any]:
    targets = class_set.targets(gold)
    if class_set.multi_label:
        true = targets.astype(bool)
        return calibration_scores(
            probabilities.ravel(), true.ravel(), np.where(true, probabilities, 1 - probabilities).ravel()
        )
    if not len(targets):
        return calibration_scores([], [], [])
    known = np.flatnonzero(targets >= 0)
    correct = probabilities.argmax(1) == targets
    return calibration_scores(probabilities.max(1), correct, probabilities[known, targets[known]])


def class_selection_score(scores: Mapping[str, Any]) -> float:
    """The score that selects a model: weighted F1."""
    return float(scores["weighted_f1"])
