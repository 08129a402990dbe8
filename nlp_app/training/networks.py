"""Register the networks that can be trained. A new network needs a row here and a module that prepares it."""

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

# By class of the settings: module and function that make the untrained model and encode the training examples. They are
# names and not functions because importing transformers takes a second, and other networks don't need it.
PREPARE: Mapping[type[Settings], tuple[str, str]] = {
    TaggingSettings: ("nlp_app.training.tagging.setup", "prepare_tagger"),
    TransformerTaggingSettings: ("nlp_app.training.transformers.setup", "prepare_transformer_tagger"),
    DistilledTaggingSettings: ("nlp_app.training.distillation.setup", "prepare_distilled_tagger"),
    ClassificationSettings: ("nlp_app.training.classification.setup", "prepare_classifier"),
    TransformerClassificationSettings: ("nlp_app.training.transformers.setup", "prepare_transformer_classifier"),
    DistilledClassificationSettings: ("nlp_app.training.distillation.setup", "prepare_distilled_classifier"),
}


def load_prepare(settings: type[Settings]) -> Prepare:
    """Import the function that prepares a network for training.

    Args:
        settings: The class of the run's settings.

    Returns:
        A function with the arguments settings, data and progress; for taggers also the initial model or None.
    """
    module, name = PREPARE[settings]
    prepare: Prepare = getattr(import_module(module), name)
    return prepare
