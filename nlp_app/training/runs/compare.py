"""Two finished runs side by side: what is the same in both, and how far the rest differs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from nlp_app.core.errors import DataError, ModelError
from nlp_app.models.directory import CONFIG, PIECES, VOCABULARY, WEIGHTS, read_description
from nlp_app.training.runs.environment import plain_values
from nlp_app.training.runs.predictions import COLUMNS, RECORDS

_SHOWN = 5  # names, values and lines that are told


@dataclass(frozen=True)
class ComparedPart:
    """A part of what two runs left: whether it is the same, and how much it is or how far it differs."""

    what: str
    same: bool
    detail: str


def compare_runs(one: Path, other: Path) -> tuple[list[ComparedPart], dict[str, float | None]]:
    """The parts of two finished runs side by side, and the largest difference in each tensor of weights that differs.

    Raises ModelError if there is no model in one of the two, or it can't be read.
    """
    tensors = _tensors(one / WEIGHTS, other / WEIGHTS)
    parts = [
        _weights(one / WEIGHTS, other / WEIGHTS, tensors),
        _description(one, other),
        _files("vocabularies", _vocabularies(one), _vocabularies(other)),
        _values("metrics", *(read_json(place / "metrics.json") for place in (one, other))),
        _values("history", *(_history(place) for place in (one, other))),
        _predictions(one, other),
    ]
    for name in ("folds", "search"):
        accounts = [read_json(place / f"{name}.json") for place in (one, other)]
        if any(account is not None for account in accounts):
            parts.append(_values(name, *accounts))
    return parts, tensors


def _tensors(one: Path, other: Path) -> dict[str, float | None]:
    if _bytes(one) == _bytes(other):
        return {}
    found, expected = _load(other), _load(one)
    distances = {name: _largest(found.get(name), expected.get(name)) for name in sorted(found.keys() | expected.keys())}
    return {name: value for name, value in distances.items() if value != 0}


def _load(path: Path) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path}: not readable ({' '.join(str(error).split())}); train again") from error


def _largest(one: Tensor | None, other: Tensor | None) -> float | None:
    """The largest difference of two tensors; None where they can't be compared."""
    if one is None or other is None or one.shape != other.shape or one.dtype != other.dtype:
        return None
    if not one.numel() or torch.equal(one, other):
        return 0.0
    distance = float((one.double() - other.double()).abs().max())
    return distance if distance == distance else None


def _weights(one: Path, other: Path, tensors: Mapping[str, float | None]) -> ComparedPart:
    if _bytes(one) == _bytes(other):
        loaded = _load(one)
        numbers = sum(tensor.numel() for tensor in loaded.values())
        return ComparedPart("weights", True, f"{len(loaded)} tensors, {numbers:,} numbers")
    return ComparedPart(
        "weights", False, f"{len(tensors)} tensors" if tensors else "the same numbers, stored differently"
    )


def _description(one: Path, other: Path) -> ComparedPart:
    """What the models say of themselves, checksums of files and the names of the data aside."""
    texts = []
    for place in (one, other):
        description = read_description(place)
        for name in ("files", "checksum", "unidata_version"):
            description.pop(name, None)
        for split in description.get("about", {}).get("splits", {}).values():
            split.pop("file", None)
        texts.append(description)
    return _values("description", *texts)


def _vocabularies(place: Path) -> dict[str, bytes]:
    folder = place / VOCABULARY
    paths = [*sorted(folder.iterdir() if folder.is_dir() else []), place / CONFIG, place / PIECES]
    return {path.relative_to(place).as_posix(): path.read_bytes() for path in paths if path.is_file()}


def _files(what: str, one: Mapping[str, bytes], other: Mapping[str, bytes]) -> ComparedPart:
    names = sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
    return ComparedPart(what, not names, _some(names) if names else f"{len(one)} files")


def _values(what: str, one: Any, other: Any) -> ComparedPart:
    """Two JSON values, side by side; what differs is named."""
    before, now = plain_values(one), plain_values(other)
    names = [name for name in dict.fromkeys([*before, *now]) if repr(before.get(name, "-")) != repr(now.get(name, "-"))]
    told = [f"{name} {before.get(name, '-')} -> {now.get(name, '-')}" for name in names]
    return ComparedPart(what, not told, _some(told) if told else f"{len(before):,} values")


def _history(place: Path) -> Any:
    try:
        lines = [json.loads(line) for line in (place / "history.jsonl").read_text(encoding="utf-8").splitlines()]
        return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]
    except (OSError, ValueError, AttributeError) as error:
        raise DataError(f"not readable ({type(error).__name__}); train again", place / "history.jsonl") from error


def _predictions(one: Path, other: Path) -> ComparedPart:
    found = {}
    for name in (COLUMNS, RECORDS):
        first, second = (_lines(place / name) for place in (one, other))
        if first is None and second is None:
            continue
        if first is None or second is None:
            return ComparedPart("predictions", False, f"{name} in one of the two alone")
        found[name] = [number for number, pair in enumerate(zip(first, second, strict=False), 1) if pair[0] != pair[1]]
        found[name] += range(min(len(first), len(second)) + 1, max(len(first), len(second)) + 1)
        if not found[name]:
            return ComparedPart("predictions", True, f"{len(first):,} lines")
        return ComparedPart("predictions", False, f"{name}: lines {_some([str(number) for number in found[name]])}")
    return ComparedPart("predictions", True, "none")


def _lines(path: Path) -> list[bytes] | None:
    return path.read_bytes().splitlines() if path.is_file() else None


def _some(names: list[str]) -> str:
    rest = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {rest:,} more" if rest > 0 else "")


def read_json(path: Path) -> Any:
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"not readable ({error}); train again", path) from error


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: not readable ({error.strerror}); train again") from error
