"""Scores of predicted spans and classes against gold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlp_app import schemes
from nlp_app.calibration import calibration_scores
from nlp_app.metrics import TagCounts, multi_label_scores, single_label_scores
from nlp_app.tasks.classification import ClassSet, single_labels
from nlp_app.tasks.tagging import TagSet
from nlp_app.types import Sentence, TokenSpan


def score_spans(
    tag_set: TagSet, sentences: Sequence[Sentence], predicted: Sequence[Sequence[TokenSpan]]
) -> dict[str, Any]:
    """Score predicted spans against all gold spans, including gold spans that fit no tokens.

    Args:
        tag_set: labels and scheme of the tagger.
        sentences: sentences with gold spans.
        predicted: the predicted spans of each sentence.

    Returns:
        Scores as `metrics.entity_scores`, or `metrics.label_scores` for tags without a scheme.
    """
    counts = TagCounts()
    count_spans(tag_set, counts, sentences, predicted)
    return span_scores(tag_set, counts)


def count_spans(
    tag_set: TagSet, counts: TagCounts, sentences: Sequence[Sentence], predicted: Sequence[Sequence[TokenSpan]]
) -> None:
    """Add the predicted spans of some sentences, and all their gold spans, to `counts`."""
    plain = tag_set.written_scheme
    for sentence, found in zip(sentences, predicted, strict=True):
        gold = sentence.spans or ()
        counts.add(*(schemes.encode(spans, len(sentence), plain) for spans in (gold, found)))
        counts.add_spans(gold, found)
        # A gold span that no tokens can spell can't be found either: count it as a missed span on a token of its own.
        for span in sentence.unaligned:
            counts.add([f"B-{span.label}"], ["O"])
            counts.add_spans([TokenSpan(0, 1, span.label)], [])


def span_scores(tag_set: TagSet, counts: TagCounts) -> dict[str, Any]:
    """Compute scores from counted spans."""
    return counts.label_scores() if tag_set.written_scheme == schemes.NONE else counts.entity_scores()


def headline(scores: Mapping[str, Any]) -> float:
    """The score that selects a model: entity F1, or token accuracy for tags without a scheme."""
    return float(scores["f1"] if "f1" in scores else scores["accuracy"])


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


def class_headline(scores: Mapping[str, Any]) -> float:
    """The score that selects a model: weighted F1."""
    return float(scores["weighted_f1"])
