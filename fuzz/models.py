"""Model directories: one that was changed is a ModelError, or a model that works."""

from __future__ import annotations

import shutil
from collections.abc import Mapping

from fuzz import tiny
from fuzz.edits import edited
from fuzz.folder import folder
from nlp_app.core.errors import ModelError
from nlp_app.inference import Classifier, Tagger, load

_TEXTS = ["Anna met Bob in Rome", "", "王磊在北京大学 " * 9, "\u0301\0 x"]


def _check(files: Mapping[str, bytes], data: bytes) -> None:
    directory = folder() / "model"
    shutil.rmtree(directory, ignore_errors=True)
    tiny.write(edited(files, data), directory)
    # Of our own networks, each backend has its own reader.
    for backend in ("auto", "torch"):
        try:
            model = load(directory, backend=backend)
            _check_predictions(model)
        except ModelError as error:
            assert str(error), "a message is missing"


def _check_predictions(model: Tagger | Classifier) -> None:
    if isinstance(model, Tagger):
        for text, spans in zip(_TEXTS, model.tag(_TEXTS), strict=True):
            for span in spans:
                assert text[span.start : span.end] == span.text, span
                assert 0 <= span.score <= 1 + 1e-6, span
        return
    for labels in model.classify(_TEXTS):
        found = labels if isinstance(labels, list) else [labels]
        assert all(0 <= label.score <= 1 + 1e-6 for label in found), labels


def taggers(data: bytes) -> None:
    """A BiLSTM-CRF tagger."""
    _check(tiny.tagger(), data)


def classifiers(data: bytes) -> None:
    """A classifier with bags and convolutions."""
    _check(tiny.classifier(), data)


def transformers(data: bytes) -> None:
    """A transformer in a directory of ours."""
    _check(tiny.transformer(), data)


def foreign(data: bytes) -> None:
    """A transformer as transformers leaves it."""
    _check(tiny.foreign(), data)
