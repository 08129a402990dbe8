"""The model directory of every task: JSON, safetensors, text and plain arrays. Loading one runs no code from it.

    nlp_app.json        description: task, labels, tokenizer, network; checksums of the files and of itself
    model.safetensors   the network's weights; a compact tagger's are packed (see `packed_tensors`), since format 2
    vocab/              the encoder's vocabularies (text) and feature keys (.npy without pickles)

A model on a pretrained transformer has these files instead of vocab/; transformers can read them too:

    config.json         dimensions of the network and names of its tags or classes
    tokenizer.json      the subwords; tokenizer_config.json, special_tokens_map.json: transformers' settings for them

Files are written to a temporary directory and then moved, `nlp_app.json` last: the checksums show if a directory was
only half written. Other files in the directory are ignored.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from nlp_app.core.errors import ModelError, is_out_of_memory, is_panic
from nlp_app.core.files import checksum

FORMAT = 2  # raised whenever an older nlp_app can't read the new files

MAX_TAGS = 10_000

MAX_WEIGHT = 1e15  # absolute value: training never gets there, and the product of two is still finite

DESCRIPTION, WEIGHTS, VOCABULARY = "nlp_app.json", "model.safetensors", "vocab"

CONFIG, PIECES = "config.json", "tokenizer.json"

TOKENIZER_FILES = ("tokenizer_config.json", "special_tokens_map.json")

# All files except those in `vocab`. A `.py` file is the model's own code, which runs only with trust_remote_code.
_FILE = re.compile("|".join([*map(re.escape, (WEIGHTS, CONFIG, PIECES, *TOKENIZER_FILES)), r"[A-Za-z_]\w*\.py"]), re.A)

T = TypeVar("T")


def is_model_file(name: str) -> bool:
    """Check if a model may have a file of that name.

    Args:
        name: A path relative to the model's directory, with slashes.

    Returns:
        True if it may.
    """
    folder, slash, file = name.partition("/")
    if slash:
        return folder == VOCABULARY and file == Path(file).name and file not in ("", "..")
    return _FILE.fullmatch(name) is not None


def read_or_raise_model_error(place: Path, read: Callable[[], T]) -> T:
    """Call a function that reads a file, and raise ModelError if it fails in any way.

    Args:
        place: The file or directory, named in the message.
        read: Reads it.

    Returns:
        The result of `read`.

    Raises:
        ModelError: If `read` raises an exception.
    """
    try:
        return read()
    except ModelError:
        raise
    except BaseException as error:
        # Damaged contents may raise anything; a panic in a Rust library is not even an Exception.
        if not isinstance(error, Exception) and not is_panic(error):
            raise
        reason = " ".join(str(error).split())[:300]
        if is_out_of_memory(error):
            raise ModelError(
                f"{place}: not enough memory to load it ({reason}); use a machine with more memory"
            ) from error
        raise ModelError(
            f"{place}: damaged, or not what `train` wrote ({type(error).__name__}: {reason}); copy the model again"
        ) from error


def read_labels(description: Mapping[str, Any]) -> tuple[str, ...]:
    """Read the labels from a description.

    Args:
        description: The contents of `nlp_app.json`.

    Returns:
        The labels, without duplicates.

    Raises:
        ValueError: If they are not a list of different strings.
    """
    labels = description["labels"]
    if not isinstance(labels, list) or not labels or not all(isinstance(label, str) for label in labels):
        raise ValueError("labels: expected a list of strings")
    if len(set(labels)) != len(labels):
        raise ValueError("labels: found duplicates, expected each label once")
    return tuple(labels)


def check_tags(tags: Sequence[str]) -> None:
    """Check that tags are different, and not too many: the transition table has a cell for each pair.

    Args:
        tags: The tags of a tagger.

    Raises:
        ValueError: If there are duplicates or more than MAX_TAGS tags.
    """
    if len(set(tags)) != len(tags):
        raise ValueError("labels: found duplicates, expected each label once")
    if len(tags) > MAX_TAGS:
        raise ValueError(f"labels: found {len(tags):,} tags, expected at most {MAX_TAGS:,}")


def read_about(description: Mapping[str, Any]) -> dict[str, Any]:
    """Read the facts about the training data from a description.

    Args:
        description: The contents of `nlp_app.json`.

    Returns:
        JSON values, among them the objects `data` and `settings`.

    Raises:
        ValueError: If one of these objects is invalid.
    """
    about = dict(description["about"])
    if not all(isinstance(about[key], dict) for key in ("data", "settings")):
        raise ValueError("about: expected objects named data and settings")
    return about


def parse_dimensions(kind: type[T], values: Mapping[str, Any], limits: Mapping[str, int]) -> T:
    """Make a dataclass of a network's sizes, rates and names from JSON values.

    Limits prevent that a damaged description asks for a network that doesn't fit in memory.

    Args:
        kind: The dataclass.
        values: A value for each of its fields, of the field's type.
        limits: Upper limits, exclusive, of numbers by field (default: 2^31).

    Returns:
        The dataclass.

    Raises:
        ValueError: If a value has another type or is out of range.
    """
    for field in fields(kind):  # type: ignore[arg-type]
        value = values[field.name]
        fits = type(value).__name__ == field.type
        if not fits or (isinstance(value, int | float) and not 0 <= value < limits.get(field.name, 1 << 31)):
            raise ValueError(f"{field.name}: found {value!r}, expected {field.type}")
    return kind(**values)


def read_description(directory: Path) -> dict[str, Any]:
    """Read `nlp_app.json` and check its format and its own checksum.

    Args:
        directory: The model's directory.

    Returns:
        The contents of the file.

    Raises:
        ModelError: If the file is missing, damaged or of a newer format.
    """
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
        raise ModelError(
            f"{path}: the file was changed, its contents don't match its own checksum; copy the model again"
        )
    return dict(description)


def check_files(directory: Path, description: Mapping[str, Any]) -> None:
    """Check that all files of a model are there and unchanged.

    Args:
        directory: The model's directory.
        description: The contents of `nlp_app.json`, with a checksum for each file.

    Raises:
        ModelError: If a file is missing or changed.
    """
    files = description.get("files")
    if not isinstance(files, dict) or WEIGHTS not in files:
        raise ModelError(f"{directory / DESCRIPTION}: lists no files; copy the model again")
    for name, expected in files.items():
        path = directory / name
        if not is_model_file(name):
            raise ModelError(f"{directory / DESCRIPTION}: lists {name!r}, which is not a model file; don't use it")
        if not read_or_raise_model_error(directory / DESCRIPTION, path.is_file):
            raise ModelError(f"{path}: missing; copy the model again")
        if read_or_raise_model_error(path, lambda path=path: checksum(path)) != expected:  # type: ignore[misc]
            raise ModelError(f"{path}: differs from its checksum in {DESCRIPTION}: truncated or changed; copy it again")


def own_checksum(description: dict[str, Any]) -> str:
    """Compute the checksum of a description, without its field `checksum`.

    Args:
        description: The contents of `nlp_app.json`.

    Returns:
        SHA-256 in hexadecimal; it doesn't depend on the order of keys or on white space.
    """
    rest = {key: value for key, value in description.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
