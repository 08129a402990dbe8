"""Read and write model directories, for models of every task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from nlp_app.core.errors import ModelError
from nlp_app.models.classifier import (
    ClassifierParts,
    Decision,
    NumpyClassifierParts,
    read_classifier,
    read_numpy_classifier,
)
from nlp_app.models.directory import (
    CONFIG,
    DESCRIPTION,
    check_files,
    read_description,
    read_or_raise_model_error,
)
from nlp_app.models.hub import CARD
from nlp_app.models.saving import ModelParts, SavedParts, write_model
from nlp_app.models.tagger import NumpyTaggerParts, TaggerParts, read_numpy_tagger, read_tagger

if TYPE_CHECKING:
    from nlp_app.models.transformers.models import TransformerClassifierParts, TransformerTaggerParts


__all__ = [
    "DESCRIPTION",
    "AnyClassifierParts",
    "AnyParts",
    "AnyTaggerParts",
    "ClassifierParts",
    "Decision",
    "LoadedClassifierParts",
    "LoadedParts",
    "LoadedTaggerParts",
    "ModelParts",
    "NumpyClassifierParts",
    "NumpyTaggerParts",
    "SavedParts",
    "TaggerParts",
    "is_transformer",
    "read_card",
    "read_description",
    "read_model",
    "read_numpy_model",
    "write_model",
]

# Check `parts.task`, "ner" or "cls", and not the class: with isinstance, every model would have to import transformers.
# The network of `AnyTaggerParts` is a torch module; a loaded model's network may also be NumPy's.
AnyTaggerParts: TypeAlias = "TaggerParts | TransformerTaggerParts"

AnyClassifierParts: TypeAlias = "ClassifierParts | TransformerClassifierParts"

AnyParts: TypeAlias = "TaggerParts | TransformerTaggerParts | ClassifierParts | TransformerClassifierParts"

LoadedTaggerParts: TypeAlias = "AnyTaggerParts | NumpyTaggerParts"

LoadedClassifierParts: TypeAlias = "AnyClassifierParts | NumpyClassifierParts"

LoadedParts: TypeAlias = "LoadedTaggerParts | LoadedClassifierParts"


def _transformer_tagger(directory: Path, description: Mapping[str, Any], trust_remote_code: bool) -> AnyParts:
    from nlp_app.models.transformers.loading import read_transformer_tagger  # noqa: PLC0415 - it imports transformers

    return read_transformer_tagger(directory, description, trust_remote_code)


def _transformer_classifier(directory: Path, description: Mapping[str, Any], trust_remote_code: bool) -> AnyParts:
    from nlp_app.models.transformers.loading import read_transformer_classifier  # noqa: PLC0415

    return read_transformer_classifier(directory, description, trust_remote_code)


# Functions that read a model, by task and kind of network.
_READERS: Mapping[str, Mapping[str, Callable[[Path, Mapping[str, Any], bool], AnyParts]]] = {
    "ner": {
        "bilstm_crf": lambda directory, description, _: read_tagger(directory, description),
        "transformer": _transformer_tagger,
    },
    "cls": {
        "text_classifier": lambda directory, description, _: read_classifier(directory, description),
        "transformer": _transformer_classifier,
    },
}


# The same for networks that NumPy can compute.
_NUMPY_READERS: Mapping[str, Callable[[Path, Mapping[str, Any]], NumpyTaggerParts | NumpyClassifierParts]] = {
    "bilstm_crf": read_numpy_tagger,
    "text_classifier": read_numpy_classifier,
}


def is_transformer(directory: Path) -> bool:
    """Check if a model is built on a pretrained transformer, which needs torch and transformers.

    Args:
        directory: The directory of a model.

    Returns:
        True for a transformer.

    Raises:
        ModelError: If there is no model in the directory, or its description is damaged.
    """
    if _is_foreign(directory):
        return True
    _, kind = _task_and_kind(directory, read_description(directory))
    return kind not in _NUMPY_READERS


def read_model(directory: Path, *, trust_remote_code: bool = False) -> AnyParts:
    """Read a model from a directory, with its network as a torch module.

    Args:
        directory: A directory that `write_model` wrote, or a transformers model for token or sequence classification.
        trust_remote_code: Whether Python code in the directory may run.

    Returns:
        The parts of the model, with its network in evaluation mode.

    Raises:
        ModelError: If there is no model in the directory, or it is damaged.
    """
    if _is_foreign(directory):
        from nlp_app.models.transformers.import_finetuned import import_finetuned  # noqa: PLC0415

        imported = read_or_raise_model_error(directory, lambda: import_finetuned(directory, trust_remote_code))
        return replace(imported, card=read_card(directory))
    description = read_description(directory)
    task, kind = _task_and_kind(directory, description)
    check_files(directory, description)
    read = _READERS[task][kind]
    parts = read_or_raise_model_error(directory, lambda: read(directory, description, trust_remote_code))
    return replace(parts, card=read_card(directory))


def read_numpy_model(directory: Path) -> NumpyTaggerParts | NumpyClassifierParts:
    """Read a model from a directory, with its network computed by NumPy. It imports no torch.

    Args:
        directory: A directory that `write_model` wrote, of a model that is no transformer.

    Returns:
        The parts of the model.

    Raises:
        ModelError: If there is no model in the directory, it is damaged, or it is a transformer.
    """
    description = read_description(directory)
    _, kind = _task_and_kind(directory, description)
    if kind not in _NUMPY_READERS:
        raise ModelError(f"{directory}: found a transformer, which NumPy can't compute; use the backend torch")
    check_files(directory, description)
    parts = read_or_raise_model_error(directory, lambda: _NUMPY_READERS[kind](directory, description))
    return replace(parts, card=read_card(directory))


def _is_foreign(directory: Path) -> bool:
    """Check if a directory holds a model of transformers that nlp_app did not write."""
    return (directory / CONFIG).is_file() and not (directory / DESCRIPTION).exists()


def _task_and_kind(directory: Path, description: Mapping[str, Any]) -> tuple[str, str]:
    """Get a model's task and kind of network; raise ModelError if one of them is unknown."""
    task, network = description.get("task"), description.get("network")
    if not isinstance(task, str) or task not in _READERS:
        raise ModelError(f"{directory / DESCRIPTION}: found the task {task!r}, expected one of {', '.join(_READERS)}")
    kind = network.get("kind") if isinstance(network, dict) else None
    if not isinstance(kind, str) or kind not in _READERS[task]:
        kinds = ", ".join(_READERS[task])
        raise ModelError(f"{directory / DESCRIPTION}: found the network {kind!r}, expected one of {kinds}")
    return task, kind


def read_card(directory: Path) -> str:
    """Read the README.md of a model.

    Args:
        directory: The model's directory.

    Returns:
        The text, or "" without one. Bytes that aren't UTF-8 become lone surrogates.
    """
    path = directory / CARD
    try:
        return path.read_bytes().decode("utf-8", "surrogateescape") if path.is_file() else ""
    except OSError:
        return ""  # the model works without its card
