"""The model directory: JSON, safetensors, text and plain arrays. Loading one runs no code from it.

    nlp_app.json        what the model is: task, labels, schemes, tokenizer, network; checksums, its own included
    model.safetensors   the network's weights
    vocab/              the encoder's vocabularies (text) and feature keys (.npy without pickles)

Files are written aside and renamed into place, `nlp_app.json` last: a directory that was left half-written is found
out by its checksums. Whatever else stands in the directory is not looked at.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import safetensors.torch
import torch
from safetensors import SafetensorError

from nlp_app.errors import ModelError, NlpAppError
from nlp_app.features.encoder import TaggingEncoder
from nlp_app.nn.tagger import TableSizes, TaggerDimensions, WideBiLstmCrf
from nlp_app.output import checksum
from nlp_app.tasks.tagging import TagSet
from nlp_app.text import Tokenizer, make_tokenizer, unidata_version

FORMAT = 1  # raised whenever an older nlp_app could not read what is written
DESCRIPTION, WEIGHTS, VOCABULARY = "nlp_app.json", "model.safetensors", "vocab"
KIND = "bilstm_crf"

T = TypeVar("T")


@dataclass(frozen=True)
class TaggerParts:
    """What a tagger is made of. `about` holds what people and readers may want to know: how the data was read, its
    scheme, how well the tokenizer reproduces its tokens."""

    network: WideBiLstmCrf
    encoder: TaggingEncoder
    tag_set: TagSet
    tokenizer: Tokenizer
    about: dict[str, Any]


def save_tagger(parts: TaggerParts, directory: Path) -> None:
    """Write or replace the model in `directory`; other files there stay. Raises ModelError if it can't be written."""
    fresh = not directory.exists()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=".saving-", dir=directory))
        try:
            files = _write_parts(parts, aside)
            checksums = {path.relative_to(aside).as_posix(): checksum(path) for path in files}
            description = _describe(parts) | {"files": checksums}
            description["checksum"] = _own_checksum(description)
            text = json.dumps(description, ensure_ascii=False, indent=1) + "\n"
            (aside / DESCRIPTION).write_text(text, encoding="utf-8")
            _move([*files, aside / DESCRIPTION], aside, directory)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        if fresh:
            shutil.rmtree(directory, ignore_errors=True)
        raise ModelError(f"{directory}: can't write the model: {error.strerror or error}; make room") from error


def _write_parts(parts: TaggerParts, directory: Path) -> list[Path]:
    (directory / VOCABULARY).mkdir()
    parts.encoder.save(directory / VOCABULARY)
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in parts.network.state_dict().items()}
    (directory / WEIGHTS).write_bytes(safetensors.torch.save(weights))
    return [directory / WEIGHTS, *sorted((directory / VOCABULARY).iterdir())]


def _describe(parts: TaggerParts) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "task": "ner",
        "unidata_version": unidata_version(),
        "labels": list(parts.tag_set.labels),
        "scheme": parts.tag_set.scheme,
        "tokenizer": {"name": parts.tokenizer.name, "settings": parts.tokenizer.settings()},
        "network": {"kind": KIND, "sizes": parts.encoder.sizes, "dimensions": asdict(parts.network.dimensions)},
        "about": parts.about,
    }


def _move(files: list[Path], aside: Path, directory: Path) -> None:
    """Put the files in place, the last one last, and remove what an earlier model has in `vocab` beyond them."""
    (directory / VOCABULARY).mkdir(exist_ok=True)
    for path in files:
        _sync(path)
        os.replace(path, directory / path.relative_to(aside))
    for path in {*(directory / VOCABULARY).iterdir()} - {directory / path.relative_to(aside) for path in files}:
        if path.is_file():
            path.unlink()


def load_tagger(directory: Path) -> TaggerParts:
    """Read what `save_tagger` wrote. Raises ModelError for anything else."""
    description = read_description(directory)
    place = directory / DESCRIPTION
    task, kind = description.get("task"), _at(description, "network", "kind")
    if task != "ner" or kind != KIND:
        raise ModelError(f"{place}: found task {task!r} and network {kind!r}, expected 'ner' and {KIND!r}")
    _check_files(directory, description)
    tag_set, tokenizer, sizes, dimensions, about = _damaged(place, lambda: _parts(description))
    vocabulary = directory / VOCABULARY
    encoder = _damaged(
        vocabulary, lambda: TaggingEncoder.load(vocabulary, tokenizer.normalise, vectors=sizes.vectors > 0)
    )
    if encoder.sizes != {key: rows for key, rows in asdict(sizes).items() if key in encoder.sizes}:
        raise ModelError(f"{directory}: the vocabularies don't fit the network's tables; copy the model again")
    network = _damaged(directory / WEIGHTS, lambda: _network(directory / WEIGHTS, tag_set, sizes, dimensions))
    return TaggerParts(network.eval(), encoder, tag_set, tokenizer, about)


def _damaged(place: Path, read: Callable[[], T]) -> T:
    """What `read` gives; whatever contents it stumbles over is a damage of `place`."""
    try:
        return read()
    except ModelError:
        raise
    except (
        ArithmeticError, AttributeError, LookupError, NlpAppError, OSError, RuntimeError, SafetensorError, TypeError,
        ValueError,
    ) as error:  # fmt: skip
        reason = " ".join(str(error).split())[:300]
        raise ModelError(
            f"{place}: damaged, or not what `train` wrote ({type(error).__name__}: {reason}); copy the model again"
        ) from error


def _parts(description: dict[str, Any]) -> tuple[TagSet, Tokenizer, TableSizes, TaggerDimensions, dict[str, Any]]:
    labels, network = description["labels"], description["network"]
    if not isinstance(labels, list) or not labels or not all(isinstance(label, str) for label in labels):
        raise ValueError("labels: expected a list of strings")
    sizes, dimensions = TableSizes(**network["sizes"]), TaggerDimensions(**network["dimensions"])
    _check_numbers(asdict(sizes), TableSizes)
    _check_numbers(asdict(dimensions), TaggerDimensions)
    about = dict(description["about"])
    if not all(isinstance(about[key], dict) for key in ("data", "settings")):
        raise ValueError("about: expected tables named data and settings")
    tokenizer = make_tokenizer(description["tokenizer"]["name"], **description["tokenizer"]["settings"])
    tag_set = TagSet(tuple(labels), description["scheme"])
    if len(set(tag_set.tags)) != len(tag_set.tags):
        raise ValueError("labels: expected each of them once")
    return tag_set, tokenizer, sizes, dimensions, about


def _check_numbers(values: dict[str, Any], kind: type) -> None:
    """That each value has its field's type, and a size that a network may have."""
    for name, value in values.items():
        wanted = kind.__annotations__[name]
        if type(value).__name__ != wanted or not 0 <= value < (100 if name == "layers" else 1 << 31):
            raise ValueError(f"{name}: found {value!r}, expected {wanted}")


def _network(path: Path, tag_set: TagSet, sizes: TableSizes, dimensions: TaggerDimensions) -> WideBiLstmCrf:
    # Built without memory, then given the file's own tensors: nothing is initialised only to be overwritten.
    with torch.device("meta"):
        network = WideBiLstmCrf(len(tag_set.tags), torch.from_numpy(tag_set.allowed).to("meta"), sizes, dimensions)
    network.load_state_dict(safetensors.torch.load_file(path), strict=True, assign=True)
    return network


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
    if description.get("checksum") != _damaged(path, lambda: _own_checksum(description)):
        raise ModelError(f"{path}: its contents differ from its own checksum: changed; copy the model again")
    return dict(description)


def _at(table: dict[str, Any], *path: str) -> object:
    """The value at a path of keys, None if there is none."""
    value: object = table
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _check_files(directory: Path, description: dict[str, Any]) -> None:
    files = description.get("files")
    if not isinstance(files, dict) or WEIGHTS not in files:
        raise ModelError(f"{directory / DESCRIPTION}: names no files; copy the model again")
    for name, expected in files.items():
        path = directory / name
        if name != WEIGHTS and name != f"{VOCABULARY}/{path.name}":
            raise ModelError(f"{directory / DESCRIPTION}: names {name!r}, which is no file of a model; don't use it")
        if not _damaged(directory / DESCRIPTION, path.is_file):
            raise ModelError(f"{path}: missing; copy the model again")
        if _damaged(path, lambda path=path: checksum(path)) != expected:  # type: ignore[misc]
            raise ModelError(f"{path}: differs from its checksum in {DESCRIPTION}: truncated or changed; copy it again")


def _own_checksum(description: dict[str, Any]) -> str:
    """Of the description without its checksum, however it is laid out."""
    rest = {key: value for key, value in description.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
