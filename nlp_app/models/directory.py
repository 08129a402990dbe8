"""A model's directory, whatever its task: JSON, safetensors, text and plain arrays. Loading one runs no code from it.

    nlp_app.json        what the model is: task, labels, tokenizer, network; checksums, its own included
    model.safetensors   the network's weights; a compact tagger's packed (see `packed_tensors`), from format 2 on
    vocab/              the encoder's vocabularies (text) and feature keys (.npy without pickles)

or, of a pretrained transformer, in place of vocab/ the files that transformers reads too:

    config.json         its dimensions and the names of its tags or classes
    tokenizer.json      its pieces; tokenizer_config.json, special_tokens_map.json: how transformers uses them

Files are written aside and renamed into place, `nlp_app.json` last: a directory that was left half-written is found
out by its checksums. Whatever else stands in the directory is not looked at.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Protocol, TypeVar

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor, nn

from nlp_app.core.errors import ModelError, is_out_of_memory
from nlp_app.core.files import checksum, flush_directory, flush_file, temporary_directory
from nlp_app.features.subwords.tokenizer import is_panic
from nlp_app.nn.skeletons import build_skeleton, check_materialized
from nlp_app.text import unidata_version

FORMAT = 2  # raised whenever an older nlp_app could not read what is written

MOST_TAGS = 10_000

_LARGEST = 1e15  # of a weight, either way: no training leads there, and two of them can still be multiplied

DESCRIPTION, WEIGHTS, VOCABULARY = "nlp_app.json", "model.safetensors", "vocab"

CONFIG, PIECES = "config.json", "tokenizer.json"

TOKENIZER_FILES = ("tokenizer_config.json", "special_tokens_map.json")

# Beside what is in `vocab`. A `.py` belongs to a model that brings code; only who trusts it has it run.
_FILE = re.compile("|".join([*map(re.escape, (WEIGHTS, CONFIG, PIECES, *TOKENIZER_FILES)), r"[A-Za-z_]\w*\.py"]), re.A)

T = TypeVar("T")

N = TypeVar("N", bound=nn.Module)


class ModelParts(Protocol):
    """What a model is made of, and how it is told to the next process."""

    @property
    def network(self) -> nn.Module:
        """Whose weights are kept."""

    def describe(self) -> dict[str, Any]:
        """What `nlp_app.json` says of it: JSON values, `task` among them."""

    def weights(self) -> Mapping[str, Tensor]:
        """What `model.safetensors` holds, by name. Tensors may share memory: each is written."""

    def save_files(self, directory: Path) -> None:
        """Write all other files into an empty directory."""


def write_model(parts: ModelParts, directory: Path) -> None:
    """Write or replace the model in `directory`; other files there stay. Raises ModelError if it can't be written."""
    fresh = not directory.exists()
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
            shutil.copymode(folder / DESCRIPTION, folder / WEIGHTS)  # safetensors' files are their owner's alone
            _move([*files, folder / DESCRIPTION], folder, directory)
    except OSError as error:
        if fresh:
            shutil.rmtree(directory, ignore_errors=True)
        raise ModelError(f"{directory}: can't write the model: {error.strerror or error}; make room") from error


def _write_parts(parts: ModelParts, directory: Path) -> list[Path]:
    parts.save_files(directory)
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    weights = directory / WEIGHTS
    try:
        safetensors.torch.save_file(_separate(parts.weights()), weights, {"format": "pt"})
    except SafetensorError as error:  # its way to say that a file can't be written
        raise OSError(str(error).rpartition("I/O error: ")[2]) from error
    return [weights, *files]


def _separate(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors on the CPU, none of them sharing memory with another, as safetensors wants them."""
    places: set[int] = set()
    separate: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        tensor = tensor.detach().cpu().contiguous()
        place = tensor.untyped_storage().data_ptr()
        separate[name] = tensor.clone() if place in places else tensor
        places.add(place)
    return separate


def _move(files: list[Path], folder: Path, directory: Path) -> None:
    """Put the files in place, the last one last, and remove what an earlier model has beyond them."""
    new = {path.relative_to(folder).as_posix() for path in files}
    old = _files_of_model(directory)
    vocabulary = directory / VOCABULARY
    if any(name.startswith(f"{VOCABULARY}/") for name in new | old):
        vocabulary.mkdir(exist_ok=True)
        # All of it is the model's, also what a writer that was killed has left.
        old |= {f"{VOCABULARY}/{path.name}" for path in vocabulary.iterdir() if path.is_file()}
    for path in files:
        flush_file(path)
    for path in files:  # at one go: what is killed in between leaves a directory that is of neither model
        os.replace(path, directory / path.relative_to(folder))
    flush_directory(directory)
    for name in old - new:
        (directory / name).unlink(missing_ok=True)
    if vocabulary.is_dir() and not any(vocabulary.iterdir()):
        vocabulary.rmdir()


def _files_of_model(directory: Path) -> set[str]:
    """The files that a model in the directory names as its own; none if there is no model, or it can't be read."""
    try:
        files = read_description(directory).get("files")
    except ModelError:
        return set()
    return {name for name in files if _is_of_model(name)} if isinstance(files, dict) else set()


def _is_of_model(name: str) -> bool:
    """Whether a model may have a file of that name, a path below its directory."""
    folder, slash, file = name.partition("/")
    if slash:
        return folder == VOCABULARY and file == Path(file).name and file not in ("", "..")
    return _FILE.fullmatch(name) is not None


def read_or_raise_model_error(place: Path, read: Callable[[], T]) -> T:
    """What `read` gives; whatever contents it stumbles over is a damage of `place`."""
    try:
        return read()
    except ModelError:
        raise
    except BaseException as error:
        # Anything may be wrong with contents, and a library in Rust that panics raises what is no Exception.
        if not isinstance(error, Exception) and not is_panic(error):
            raise
        reason = " ".join(str(error).split())[:300]
        if is_out_of_memory(error):
            raise ModelError(f"{place}: found no memory for it ({reason}); load it where there is more") from error
        raise ModelError(
            f"{place}: damaged, or not what `train` wrote ({type(error).__name__}: {reason}); copy the model again"
        ) from error


def check_finite(weights: Mapping[str, Tensor]) -> None:
    """Raises ValueError for weights that are not numbers, or infinite: nothing could be found by them."""
    for name, tensor in weights.items():
        # The sum is the quick way; only a tensor of huge numbers has to be looked at one by one.
        if tensor.is_floating_point() and not tensor.sum().isfinite() and not tensor.isfinite().all():
            raise ValueError(f"{name}: found values that are not finite")


def _check_range(weights: Mapping[str, Tensor]) -> None:
    """Raises ValueError for weights whose products overflow: finite themselves, they give scores that are not."""
    for name, tensor in weights.items():
        if tensor.is_floating_point() and tensor.numel():
            low, high = (float(value) for value in tensor.aminmax())
            if not -_LARGEST <= low <= high <= _LARGEST:
                raise ValueError(f"{name}: found values that are not finite, or beyond {_LARGEST:g}")


def read_labels(description: Mapping[str, Any]) -> tuple[str, ...]:
    """The labels, each of them once."""
    labels = description["labels"]
    if not isinstance(labels, list) or not labels or not all(isinstance(label, str) for label in labels):
        raise ValueError("labels: expected a list of strings")
    if len(set(labels)) != len(labels):
        raise ValueError("labels: expected each of them once")
    return tuple(labels)


def check_tags(tags: Sequence[str]) -> None:
    """Raises ValueError for tags that name something twice, or are too many: tables have a cell for each pair."""
    if len(set(tags)) != len(tags):
        raise ValueError("labels: expected each of them once")
    if len(tags) > MOST_TAGS:
        raise ValueError(f"labels: found {len(tags):,} tags, expected at most {MOST_TAGS:,}")


def read_about(description: Mapping[str, Any]) -> dict[str, Any]:
    """What is told of the data and how it was read."""
    about = dict(description["about"])
    if not all(isinstance(about[key], dict) for key in ("data", "settings")):
        raise ValueError("about: expected tables named data and settings")
    return about


def parse_dimensions(kind: type[T], values: Mapping[str, Any], most: Mapping[str, int]) -> T:
    """A dataclass of sizes, shares and names from JSON values, each of its field's type, and none beyond 2^31 or `most`
    of its name: a network is built of them."""
    for field in fields(kind):  # type: ignore[arg-type]
        value = values[field.name]
        fits = type(value).__name__ == field.type
        if not fits or (isinstance(value, int | float) and not 0 <= value < most.get(field.name, 1 << 31)):
            raise ValueError(f"{field.name}: found {value!r}, expected {field.type}")
    return kind(**values)


def read_network(
    directory: Path,
    build: Callable[[], N],
    restore: Callable[[dict[str, Tensor]], Mapping[str, Tensor]] = lambda weights: weights,
) -> N:
    """The network that `build` makes, with the weights of the directory, in evaluation mode.

    restore: turns what `weights` of its parts gave into the network's own.
    """

    def read() -> N:
        # Built without memory, then given the file's own tensors: nothing is initialized only to be overwritten.
        network = build_skeleton(build)
        weights = restore(safetensors.torch.load_file(directory / WEIGHTS))
        # Given as they are, they have to be of the network's own types.
        for name, tensor in network.state_dict().items():
            if name in weights and weights[name].dtype != tensor.dtype:
                raise ValueError(f"{name}: found numbers of {weights[name].dtype}, expected {tensor.dtype}")
        _check_range(weights)
        network.load_state_dict(weights, strict=True, assign=True)
        check_materialized(network)
        return network.eval()

    return read_or_raise_model_error(directory / WEIGHTS, read)


def read_description(directory: Path) -> dict[str, Any]:
    """The contents of `nlp_app.json`, of a format that this version reads."""
    path = directory / DESCRIPTION
    if not directory.exists():
        raise ModelError(f"{directory}: no such directory; expected a model that `train` wrote")
    if not path.is_file():
        raise ModelError(f"{directory}: found no {DESCRIPTION}; expected a model directory that `train` wrote")
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path}: not readable as JSON ({error}); copy the model again") from error
    version = description.get("format") if isinstance(description, dict) else None
    if type(version) is not int or version < 1:
        raise ModelError(f"{path}: found no format number; expected a model directory that `train` wrote")
    if version > FORMAT:
        raise ModelError(f"{path}: found format {version}, this nlp_app reads up to {FORMAT}; upgrade nlp_app")
    if description.get("checksum") != read_or_raise_model_error(path, lambda: own_checksum(description)):
        raise ModelError(f"{path}: its contents differ from its own checksum: changed; copy the model again")
    return dict(description)


def check_files(directory: Path, description: Mapping[str, Any]) -> None:
    """That the files which the description names are there and unchanged. Raises ModelError."""
    files = description.get("files")
    if not isinstance(files, dict) or WEIGHTS not in files:
        raise ModelError(f"{directory / DESCRIPTION}: names no files; copy the model again")
    for name, expected in files.items():
        path = directory / name
        if not _is_of_model(name):
            raise ModelError(f"{directory / DESCRIPTION}: names {name!r}, which is no file of a model; don't use it")
        if not read_or_raise_model_error(directory / DESCRIPTION, path.is_file):
            raise ModelError(f"{path}: missing; copy the model again")
        if read_or_raise_model_error(path, lambda path=path: checksum(path)) != expected:  # type: ignore[misc]
            raise ModelError(f"{path}: differs from its checksum in {DESCRIPTION}: truncated or changed; copy it again")


def own_checksum(description: dict[str, Any]) -> str:
    """Of the description without its checksum, however it is laid out."""
    rest = {key: value for key, value in description.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
