"""Loss of a classifier with class weights, from the settings."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from nlp_app.config import ClassificationLossSettings
from nlp_app.core.errors import SettingsError, did_you_mean
from nlp_app.labels.class_set import ClassSet
from nlp_app.nn.losses import Loss, make_loss


def training_loss(train: ClassificationLossSettings, classes: ClassSet, counts: Mapping[str, int], texts: int) -> Loss:
    """Make the loss that the settings select, with its class weights.

    Args:
        train: Settings of the loss.
        classes: The classes.
        counts: Number of training texts of each class.
        texts: Number of training texts.

    Returns:
        The loss.

    Raises:
        SettingsError: The settings contradict each other, or the class weights cannot be read.
    """
    name: str = train.loss
    if name == "auto":
        plain, focal = ("binary_cross_entropy", "binary_focal") if classes.multi_label else ("cross_entropy", "focal")
        name = focal if train.imbalance == "focal" else plain
    elif train.imbalance == "focal" and "focal" not in name:
        raise SettingsError(f"train.imbalance: found focal, but train.loss is {name!r}; set train.loss to auto")
    return make_loss(
        name,
        multi_label=classes.multi_label,
        weights=_class_weights(train, classes, counts, texts),
        gamma=train.focal_gamma if "focal" in name else None,
        smoothing=train.label_smoothing if name == "cross_entropy" else None,
    )


def _class_weights(
    train: ClassificationLossSettings, classes: ClassSet, counts: Mapping[str, int], texts: int
) -> list[float] | None:
    text = train.class_weights.strip() if isinstance(train.class_weights, str) else ""
    if train.imbalance == "weights":
        if train.class_weights:
            raise SettingsError(
                "train.imbalance: found weights, but train.class_weights is set as well; set only one of the two"
            )
        text = "balanced"
    if isinstance(train.class_weights, dict):
        return _named_weights(train.class_weights, classes)
    if not text:
        return None
    if text.startswith("{"):
        return _named_weights(_parse_object(text), classes)
    if text == "balanced":
        if classes.multi_label:  # positives and negatives count equally
            return [(texts - counts[label]) / counts[label] for label in classes.labels]
        return [texts / (len(classes.labels) * counts[label]) for label in classes.labels]
    weights = dict.fromkeys(classes.labels, 1.0)
    for pair in text.split(","):
        label, _, weight = (part.strip() for part in pair.rpartition("="))
        if label not in weights:
            hint = did_you_mean(label, weights)
            raise SettingsError(
                f"train.class_weights: found {pair!r}, expected `balanced`, or `LABEL=WEIGHT, ...`{hint}"
            )
        try:
            weights[label] = float(weight)
        except ValueError as error:
            raise SettingsError(
                f"train.class_weights: found {weight!r} for {label!r}, expected a number such as 2.5"
            ) from error
    return list(weights.values())


def _named_weights(named: Mapping[str, Any], classes: ClassSet) -> list[float]:
    """Return the weight of each class; 1 for a class that is not named."""
    weights = dict.fromkeys(classes.labels, 1.0)
    for label, weight in named.items():
        if label not in weights:
            hint = did_you_mean(label, weights)
            raise SettingsError(f"train.class_weights: found {label!r}, expected labels of the training data{hint}")
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < math.inf:
            raise SettingsError(f"train.class_weights: found {weight!r} for {label!r}, expected a number such as 2.5")
        weights[label] = float(weight)
    return list(weights.values())


def _parse_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        expected = 'expected labels and weights, such as {"Food, drink": 2}'
        raise SettingsError(f"train.class_weights: {text!r} is not JSON; {expected}") from error
    if not isinstance(value, dict):
        raise SettingsError(f"train.class_weights: found {text!r}, expected an object of labels and weights")
    return value
