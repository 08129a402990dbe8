"""Classification scores, computed by scikit-learn.

Averages follow scikit-learn's defaults: macro and weighted F1 are computed over the labels that occur in gold or
predictions, and a division by zero gives 0. scikit-learn is imported when a score is computed.
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

MATRIX_LABELS = 200  # with more labels, a confusion matrix takes too much space in files and reports

CONFUSED_PAIRS = 20


def single_label_scores(gold: Sequence[str], predicted: Sequence[str]) -> dict[str, Any]:
    """Compute scores of single-label classification.

    Args:
        gold: The gold label of each text.
        predicted: The predicted label of each text.

    Returns:
        - `accuracy`, `weighted_f1`, `macro_f1`;
        - `per_label`: precision, recall, F1 and support (number of gold labels) of each label in gold or predictions;
        - `confused`: the most frequent confusions as `[gold, predicted, count]`, at most 20;
        - `confusion`: `labels` and `matrix` (rows gold, columns predicted), for at most 200 labels.

    Raises:
        ValueError: If the numbers of gold and predicted labels differ.

    Example:
        >>> single_label_scores(["a", "b", "b"], ["a", "b", "a"])["confused"]
        [['b', 'a', 1]]
    """
    from sklearn.metrics import accuracy_score, precision_recall_fscore_support  # noqa: PLC0415

    _check(gold, predicted)
    names = sorted({*gold, *predicted})
    ids = {name: number for number, name in enumerate(names)}
    # Ids instead of strings, because scikit-learn sorts all labels again for each score.
    rows, columns = (np.fromiter((ids[name] for name in side), np.int64, len(side)) for side in (gold, predicted))
    if not names:
        overall, each = {"accuracy": 0.0}, [()] * 4
    else:
        overall = {"accuracy": float(accuracy_score(rows, columns))}
        each = precision_recall_fscore_support(rows, columns, labels=range(len(names)), average=None, zero_division=0)
    scores = overall | _over_labels(names, each) | {"confused": _confused(rows, columns, names)}
    size = len(names)
    if size <= MATRIX_LABELS:
        # Not scikit-learn's confusion_matrix, which warns if there is only one label.
        matrix = np.bincount(rows * size + columns, minlength=size * size).reshape(size, size)
        scores["confusion"] = {"labels": names, "matrix": matrix.tolist()}
    return scores


def multi_label_scores(
    gold: Sequence[Iterable[str]], predicted: Sequence[Iterable[str]], labels: Iterable[str] = ()
) -> dict[str, Any]:
    """Compute scores of multi-label classification.

    Args:
        gold: The gold labels of each text.
        predicted: The predicted labels of each text.
        labels: All labels of the classifier. They affect only `hamming_loss`.

    Returns:
        - `micro_f1` with `precision` and `recall`, `macro_f1`, `weighted_f1`, `per_label`: over the labels in gold or
          predictions;
        - `samples_f1`: the mean of the texts' F1; a text without gold and predicted labels counts as 0;
        - `accuracy` and `subset_accuracy`: the share of texts whose labels are all correct;
        - `hamming_loss`: the share of wrong decisions on pairs of a text and a label, including all of `labels`.

    Raises:
        ValueError: If the numbers of gold and predicted texts differ.
    """
    from sklearn.metrics import accuracy_score, hamming_loss, precision_recall_fscore_support  # noqa: PLC0415
    from sklearn.preprocessing import MultiLabelBinarizer  # noqa: PLC0415

    _check(gold, predicted)
    gold, predicted = ([frozenset(each) for each in side] for side in (gold, predicted))
    present = sorted(set(chain(*gold, *predicted)))
    known = sorted({*labels, *present})
    zeros = dict.fromkeys(("precision", "recall", "micro_f1", "samples_f1"), 0.0)
    if not present:
        accuracy = float(bool(gold))
        return (
            zeros
            | _over_labels([], [()] * 4)
            | {"accuracy": accuracy, "subset_accuracy": accuracy, "hamming_loss": 0.0}
        )
    # An extra column for an unused label: scikit-learn does not treat a matrix of one column as multi-label data.
    columns = [*known, "".join(known) + " "]
    sides = [MultiLabelBinarizer(classes=columns, sparse_output=True).fit_transform(side) for side in (gold, predicted)]
    places = np.searchsorted(known, present)
    micro, samples, each = (
        precision_recall_fscore_support(*sides, labels=places, average=average, zero_division=0)
        for average in ("micro", "samples", None)
    )
    accuracy = float(accuracy_score(*sides))
    return {
        "micro_f1": float(micro[2]),
        "precision": float(micro[0]),
        "recall": float(micro[1]),
        **_over_labels(present, each),
        "samples_f1": float(samples[2]),
        "accuracy": accuracy,
        "subset_accuracy": accuracy,
        "hamming_loss": float(hamming_loss(*sides)) * len(columns) / len(known),
    }


def _over_labels(names: Sequence[str], each: Sequence[Any]) -> dict[str, Any]:
    """Average F1 over labels and format the scores per label.

    `each` has four arrays, (labels,): precision, recall, F1 and support.
    """
    f1, support = np.asarray(each[2], np.float64), np.asarray(each[3], np.float64)
    return {
        "weighted_f1": float(np.average(f1, weights=support)) if support.any() else 0.0,
        "macro_f1": float(f1.mean()) if len(f1) else 0.0,
        "per_label": {name: average_scores(*values) for name, *values in zip(names, *each, strict=True)},
    }


def _confused(gold: NDArray[np.int64], predicted: NDArray[np.int64], names: Sequence[str]) -> list[list[Any]]:
    wrong = gold != predicted
    pairs, counts = np.unique(gold[wrong] * len(names) + predicted[wrong], return_counts=True)
    first = np.argsort(-counts, kind="stable")[:CONFUSED_PAIRS]
    return [
        [names[pair // len(names)], names[pair % len(names)], count]
        for pair, count in zip(pairs[first].tolist(), counts[first].tolist(), strict=True)
    ]


def _check(gold: Sequence[Any], predicted: Sequence[Any]) -> None:
    if len(gold) != len(predicted):
        raise ValueError(f"gold and predictions need the same texts: found {len(gold)} and {len(predicted)}")


def score_classes(
    class_set: ClassSet,
    gold: Sequence[Sequence[str]],
    predicted: Sequence[Sequence[str]],
    probabilities: NDArray[Any] | None = None,
) -> dict[str, Any]:
    """Score predicted classes against gold.

    A gold label that is not in `class_set` counts as missed, also in macro F1 and `per_label`. In the calibration, its
    text counts as wrong and is ignored in `nll`.

    Args:
        class_set: Labels of the classifier.
        gold: The gold labels of each text.
        predicted: The predicted labels of each text.
        probabilities: Probabilities of the classes, (texts, labels). Adds `calibration` with `ece`, `nll` and `bins`:
            of the most probable class, or in multi-label data of each decision on a pair of text and label.

    Returns:
        Scores as `metrics.single_label_scores` or `metrics.multi_label_scores`, in plain Python types.
    """
    if class_set.multi_label:
        scores = multi_label_scores(gold, predicted, class_set.labels)
    else:
        scores = single_label_scores(single_labels(gold), single_labels(predicted))
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
    """Extract the score by which models are compared and selected: weighted F1.

    Args:
        scores: Scores of a classifier, as `score_classes` returns them.

    Returns:
        Weighted F1, 0 to 1.
    """
    return float(scores["weighted_f1"])
