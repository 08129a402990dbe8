"""The model directory: models of every task, written and read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nlp_app.errors import ModelError
from nlp_app.modeldir.classifier import ClassifierParts, Decision, read_classifier
from nlp_app.modeldir.directory import DESCRIPTION, Parts, check_files, read_description, write_model
from nlp_app.modeldir.tagger import TaggerParts, read_tagger

__all__ = [
    "DESCRIPTION",
    "ClassifierParts",
    "Decision",
    "Parts",
    "TaggerParts",
    "read_description",
    "read_model",
    "write_model",
]

_READERS: Mapping[str, Callable[[Path, Mapping[str, Any]], TaggerParts | ClassifierParts]] = {
    "ner": read_tagger,
    "cls": read_classifier,
}


def read_model(directory: Path) -> TaggerParts | ClassifierParts:
    """The model in a directory that `write_model` wrote. Raises ModelError for anything else."""
    description = read_description(directory)
    task = description.get("task")
    if not isinstance(task, str) or task not in _READERS:
        raise ModelError(f"{directory / DESCRIPTION}: found the task {task!r}, expected one of {', '.join(_READERS)}")
    check_files(directory, description)
    return _READERS[task](directory, description)
