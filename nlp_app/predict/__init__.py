"""Prediction: a model directory in memory. Loads no training code."""

from __future__ import annotations

from pathlib import Path

from nlp_app.modeldir import TaggerParts, read_model
from nlp_app.predict.classifier import Classifier
from nlp_app.predict.tagger import Tagger

__all__ = ["Classifier", "Tagger", "load"]


def load(path: str | Path) -> Tagger | Classifier:
    """The model in a directory that `train` wrote. Raises ModelError if there is none, or it is damaged."""
    parts = read_model(Path(path))
    return Tagger(parts) if isinstance(parts, TaggerParts) else Classifier(parts)
