"""Table of the networks that can be trained: a new one is a row here and a module that prepares it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from nlp_app.config import (
    ClassificationSettings,
    DistilledClassificationSettings,
    DistilledTaggingSettings,
    Settings,
    TaggingSettings,
    TransformerClassificationSettings,
    TransformerTaggingSettings,
)
from nlp_app.training.examples import PreparedRun

Prepare = Callable[..., PreparedRun[Any, Any]]

# Class of the settings: module and function that make the untrained model and encode the training examples.
# Names, as the import of transformers takes a second that the other networks don't need.
PREPARE: Mapping[type[Settings], tuple[str, str]] = {
    TaggingSettings: ("nlp_app.training.tagging.setup", "prepare_tagger"),
    TransformerTaggingSettings: ("nlp_app.training.transformers.setup", "prepare_transformer_tagger"),
    DistilledTaggingSettings: ("nlp_app.training.distillation.setup", "prepare_distilled_tagger"),
    ClassificationSettings: ("nlp_app.training.classification.setup", "prepare_classifier"),
    TransformerClassificationSettings: ("nlp_app.training.transformers.setup", "prepare_transformer_classifier"),
    DistilledClassificationSettings: ("nlp_app.training.distillation.setup", "prepare_distilled_classifier"),
}


def load_prepare(settings: type[Settings]) -> Prepare:
    """Import the function that prepares a network.

    Args:
        settings: The class of the run's settings.

    Returns:
        A function of settings, data and progress; for taggers also of the initial model or None.
    """
    module, name = PREPARE[settings]
    prepare: Prepare = getattr(import_module(module), name)
    return prepare
