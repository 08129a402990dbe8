"""Write model directories."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

from nlp_app.core.errors import ModelError
from nlp_app.core.files import checksum, flush_directory, flush_file, temporary_directory
from nlp_app.models.directory import (
    DESCRIPTION,
    FORMAT,
    VOCABULARY,
    WEIGHTS,
    is_model_file,
    own_checksum,
    read_description,
)
from nlp_app.text import unidata_version

if TYPE_CHECKING:
    from torch import Tensor, nn


class SavedParts(Protocol):
    """The parts of a model, and how they are saved."""

    def describe(self) -> dict[str, Any]:
        """Describe the model for `nlp_app.json`.

        Returns:
            JSON values, with `task` among them.
        """

    def weights(self) -> Mapping[str, Tensor] | Mapping[str, NDArray[Any]]:
        """Get the tensors for `model.safetensors`.

        Returns:
            Tensors or arrays by name. They may share memory; each is written in full.
        """

    def save_files(self, directory: Path) -> None:
        """Write all other files.

        Args:
            directory: An empty directory.
        """


class ModelParts(SavedParts, Protocol):
    """The parts of a model whose network can be trained."""

    @property
    def network(self) -> nn.Module:
        """The network whose weights are saved."""


def write_model(parts: SavedParts, directory: Path) -> None:
    """Write a model to a directory, or replace the model there. Other files in the directory are kept.

    Args:
        parts: The parts of the model.
        directory: Created if it does not exist.

    Raises:
        ModelError: If the files can't be written.
    """
    is_new = not directory.exists()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with temporary_directory(directory / "model") as folder:
            files = _write_parts(parts, folder)
            checksums = {path.relative_to(folder).as_posix(): checksum(path) for path in files}
            description = {"format": FORMAT, "unidata_version": unidata_version()} | parts.describe()
            description["files"] = checksums
            description["checksum"] = own_checksum(description)
            text = json.dumps(description, ensure_ascii=False, indent=1) + "\n"
            (folder / DESCRIPTION).write_text(text, encoding="utf-8")
            shutil.copymode(
                folder / DESCRIPTION, folder / WEIGHTS
            )  # safetensors makes files that only their owner can read
            _move([*files, folder / DESCRIPTION], folder, directory)
    except OSError as error:
        if is_new:
            shutil.rmtree(directory, ignore_errors=True)
        raise ModelError(f"{directory}: can't write the model: {error.strerror or error}; make room") from error


def _write_parts(parts: SavedParts, directory: Path) -> list[Path]:
    parts.save_files(directory)
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    weights = directory / WEIGHTS
    try:
        _save_weights(parts.weights(), weights)
    except SafetensorError as error:  # safetensors raises it if a file can't be written
        raise OSError(str(error).rpartition("I/O error: ")[2]) from error
    return [weights, *files]


def _save_weights(weights: Mapping[str, Tensor] | Mapping[str, NDArray[Any]], path: Path) -> None:
    arrays = {name: np.ascontiguousarray(value) for name, value in weights.items() if isinstance(value, np.ndarray)}
    if len(arrays) == len(weights):
        safetensors.numpy.save_file(arrays, path, {"format": "pt"})
        return
    from safetensors.torch import save_file  # noqa: PLC0415 - it imports torch

    save_file(_separate(weights), path, {"format": "pt"})


def _separate(weights: Mapping[str, Any]) -> dict[str, Tensor]:
    """Copy tensors so that none shares memory with another, as safetensors requires, and move them to the CPU."""
    addresses: set[int] = set()
    separate: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        tensor = tensor.detach().cpu().contiguous()
        address = tensor.untyped_storage().data_ptr()
        separate[name] = tensor.clone() if address in addresses else tensor
        addresses.add(address)
    return separate


def _move(files: list[Path], folder: Path, directory: Path) -> None:
    """Move files to the directory in this order, then delete files of the previous model that were not replaced."""
    new = {path.relative_to(folder).as_posix() for path in files}
    old = _files_of_model(directory)
    vocabulary = directory / VOCABULARY
    if any(name.startswith(f"{VOCABULARY}/") for name in new | old):
        vocabulary.mkdir(exist_ok=True)
        # All files in it belong to the model, even those that a killed process has left.
        old |= {f"{VOCABULARY}/{path.name}" for path in vocabulary.iterdir() if path.is_file()}
    for path in files:
        flush_file(path)
    for path in files:  # without pause: if killed in between, the directory holds neither model
        os.replace(path, directory / path.relative_to(folder))
    flush_directory(directory)
    for name in old - new:
        (directory / name).unlink(missing_ok=True)
    if vocabulary.is_dir() and not any(vocabulary.iterdir()):
        vocabulary.rmdir()


def _files_of_model(directory: Path) -> set[str]:
    """List the files of the model in the directory; none if there is no model, or it can't be read."""
    try:
        files = read_description(directory).get("files")
    except ModelError:
        return set()
    return {name for name in files if is_model_file(name)} if isinstance(files, dict) else set()
