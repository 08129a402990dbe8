"""The model directory: JSON, safetensors, text and plain arrays. Loading one runs no code from it.

    nlp_app.json        what the model is: task, labels, schemes, tokenizer, network; checksums of the files below
    model.safetensors   the network's weights
    vocab/              the encoder's vocabularies (text) and feature keys (.npy without pickles)

Files are written aside and renamed into place, `nlp_app.json` last: a directory that was left half-written is found
out by its checksums.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from nlp_app.errors import ModelError, NlpAppError
from nlp_app.features.encoder import TaggingEncoder
from nlp_app.nn.tagger import TableSizes, TaggerDimensions, WideBiLstmCrf
from nlp_app.tasks.tagging import TagSet
from nlp_app.text import Tokenizer, make_tokenizer, unidata_version

FORMAT = 1  # raised whenever an older nlp_app could not read what is written
DESCRIPTION, WEIGHTS, VOCABULARY = "nlp_app.json", "model.safetensors", "vocab"


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
    """Write or replace the model in `directory`; other files there stay."""
    directory.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=".saving-", dir=directory))
    try:
        (aside / VOCABULARY).mkdir()
        parts.encoder.save(aside / VOCABULARY)
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in parts.network.state_dict().items()}
        save_file(weights, aside / WEIGHTS)
        files = [aside / WEIGHTS, *sorted((aside / VOCABULARY).iterdir())]
        description = {
            "format": FORMAT,
            "task": "ner",
            "unidata_version": unidata_version(),
            "labels": list(parts.tag_set.labels),
            "scheme": parts.tag_set.scheme,
            "tokenizer": {"name": parts.tokenizer.name, "settings": parts.tokenizer.settings()},
            "network": {
                "kind": "bilstm_crf",
                "sizes": parts.encoder.sizes,
                "dimensions": asdict(parts.network.dimensions),
            },
            "about": parts.about,
            "files": {str(path.relative_to(aside).as_posix()): _checksum(path) for path in files},
        }
        (aside / DESCRIPTION).write_text(json.dumps(description, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        (directory / VOCABULARY).mkdir(exist_ok=True)
        for path in [*files, aside / DESCRIPTION]:
            _sync(path)
            os.replace(path, directory / path.relative_to(aside))
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def load_tagger(directory: Path) -> TaggerParts:
    """Read what `save_tagger` wrote. Raises ModelError for anything else."""
    description = read_description(directory)
    try:
        tag_set = TagSet(tuple(description["labels"]), description["scheme"])
        tokenizer = make_tokenizer(description["tokenizer"]["name"], **description["tokenizer"]["settings"])
        kind = description["network"]["kind"]
        sizes = TableSizes(**description["network"]["sizes"])
        dimensions = TaggerDimensions(**description["network"]["dimensions"])
        about = dict(description["about"])
    except (KeyError, TypeError, ValueError, NlpAppError) as error:
        raise ModelError(
            f"{directory / DESCRIPTION}: incomplete or damaged ({type(error).__name__}: {error}); copy the model again"
        ) from error
    if kind != "bilstm_crf":
        raise ModelError(f"{directory / DESCRIPTION}: found a network of kind {kind!r}, expected 'bilstm_crf'")
    _check_files(directory, description)
    encoder = TaggingEncoder.load(directory / VOCABULARY, tokenizer.normalise)
    if encoder.sizes != {key: rows for key, rows in asdict(sizes).items() if key in encoder.sizes}:
        raise ModelError(f"{directory}: the vocabularies don't fit the network's tables; copy the model again")
    # Built without memory, then given the file's own tensors: nothing is initialised only to be overwritten.
    with torch.device("meta"):
        network = WideBiLstmCrf(len(tag_set.tags), torch.from_numpy(tag_set.allowed).to("meta"), sizes, dimensions)
    try:
        network.load_state_dict(load_file(directory / WEIGHTS), strict=True, assign=True)
    except (RuntimeError, SafetensorError, OSError) as error:
        reason = " ".join(str(error).split())
        raise ModelError(f"{directory / WEIGHTS}: doesn't fit the network ({reason}); copy the model again") from error
    return TaggerParts(network.eval(), encoder, tag_set, tokenizer, about)


def read_description(directory: Path) -> dict[str, Any]:
    """The contents of `nlp_app.json`, of a format that this version reads."""
    path = directory / DESCRIPTION
    if not directory.exists():
        raise ModelError(f"{directory}: no such directory; expected a model that `train` wrote")
    if not path.is_file():
        raise ModelError(f"{directory}: found no {DESCRIPTION}; expected a model directory that `train` wrote")
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: not readable as JSON ({error}); copy the model again") from error
    version = description.get("format") if isinstance(description, dict) else None
    if not isinstance(version, int) or version < 1:
        raise ModelError(f"{path}: found no format number; expected a model directory that `train` wrote")
    if version > FORMAT:
        raise ModelError(f"{path}: found format {version}, this nlp_app reads up to {FORMAT}; upgrade nlp_app")
    return dict(description)


def _check_files(directory: Path, description: dict[str, Any]) -> None:
    files = description.get("files")
    if not isinstance(files, dict) or WEIGHTS not in files:
        raise ModelError(f"{directory / DESCRIPTION}: names no files; copy the model again")
    for name, checksum in files.items():
        path = directory / name
        if ".." in Path(name).parts or Path(name).is_absolute():
            raise ModelError(
                f"{directory / DESCRIPTION}: names {name!r}, a file outside the model; don't use this model"
            )
        if not path.is_file():
            raise ModelError(f"{path}: missing; copy the model again")
        if _checksum(path) != checksum:
            raise ModelError(
                f"{path}: its checksum differs from {DESCRIPTION}'s: truncated or changed; copy the model again"
            )


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
