"""Calibrate a classifier on dev: fit its temperature and thresholds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from nlp_app.core.types import ClassRecord
from nlp_app.data.classification.splits import ClassSplit
from nlp_app.inference.class_scores import (
    MOST_KEPT,
    EncodedForClassifier,
    encode_texts,
    predict_scores,
    to_probabilities,
)
from nlp_app.metrics.calibration import TEMPERATURES, confidence_temperature, fit_temperature, tune_thresholds
from nlp_app.models import Decision
from nlp_app.training.classification.examples import record_chunks

if TYPE_CHECKING:
    from nlp_app.models import AnyClassifierParts


def encode_records(parts: AnyClassifierParts, records: Sequence[ClassRecord]) -> Iterator[EncodedForClassifier]:
    """Encode texts for a classifier in chunks.

    Args:
        parts: The classifier.
        records: Records with the texts.

    Yields:
        Encoded texts of a chunk.
    """
    for chunk in record_chunks(records):
        yield encode_texts(parts, [record.text for record in chunk])


def fit_decision_rule(parts: AnyClassifierParts, dev: ClassSplit) -> Decision:
    """Fit the temperature by maximum likelihood on dev, and the threshold of each label of a multi-label classifier.

    A dev set too large for memory is sampled evenly. Texts with a label that the classifier does not know are left out,
    as no temperature makes it probable.

    Args:
        parts: The classifier.
        dev: The dev set.

    Returns:
        The decision rule.
    """
    classes = parts.class_set
    limit = max(1, MOST_KEPT // len(classes.labels))
    records = dev.records[:: -(-len(dev.records) // limit)]
    scores = np.concatenate([predict_scores(parts, encoded) for encoded in encode_records(parts, records)])
    targets = classes.targets([record.labels or () for record in records])
    if not classes.multi_label:
        scores, targets = scores[targets >= 0], targets[targets >= 0]
        if not len(targets):
            return Decision(1.0)
    temperature = fit_temperature(scores, targets, classes.multi_label)
    if temperature <= TEMPERATURES[0]:  # no error on dev: assume one error in one more text
        temperature = confidence_temperature(scores, len(targets) / (len(targets) + 1), classes.multi_label)
    if not classes.multi_label:
        return Decision(temperature)
    probabilities = to_probabilities(scores, replace(parts, decision=Decision(temperature)))
    return Decision(temperature, tune_thresholds(probabilities, targets))
