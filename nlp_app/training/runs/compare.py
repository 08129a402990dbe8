"""Compare two finished runs: which parts are identical, and by how much the others differ."""

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
from nlp_app.training.runs.environment import flatten_values
from nlp_app.training.runs.predictions import CONLL_FILE, JSONL_FILE

_SHOWN = 5  # names, values and line numbers in a message


@dataclass(frozen=True)
class ComparedPart:
    """One part of the comparison of two runs.

    Attributes:
        what: Name of the part, such as "weights".
        same: True if it is identical in both runs.
        detail: Its size if it is identical, otherwise the first differences.
    """

    what: str
    same: bool
    detail: str


def compare_runs(one: Path, other: Path) -> tuple[list[ComparedPart], dict[str, float | None]]:
    """Compare weights, descriptions, vocabularies, scores, history and predictions of two finished runs.

    Args:
        one: Directory of the first run.
        other: Directory of the second run.

    Returns:
        The compared parts; and the largest absolute difference for each tensor that differs, None if the shapes or
        number formats differ, or the tensor is missing in one run.

    Raises:
        ModelError: A run has no model, or its model cannot be read.
        DataError: Scores or history cannot be read.
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
        reports = [read_json(place / f"{name}.json") for place in (one, other)]
        if any(report is not None for report in reports):
            parts.append(_values(name, *reports))
    return parts, tensors


def _tensors(one: Path, other: Path) -> dict[str, float | None]:
    if _bytes(one) == _bytes(other):
        return {}
    second, first = _load(other), _load(one)
    names = sorted(second.keys() | first.keys())
    distances = {name: _max_difference(second.get(name), first.get(name)) for name in names}
    return {name: value for name, value in distances.items() if value != 0}


def _load(path: Path) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path}: not readable ({' '.join(str(error).split())}); train again") from error


def _max_difference(one: Tensor | None, other: Tensor | None) -> float | None:
    """Return the largest absolute difference of two tensors; None if they cannot be compared."""
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
    """Compare the models' descriptions, without checksums and names of data files."""
    descriptions = []
    for place in (one, other):
        description = read_description(place)
        for name in ("files", "checksum", "unidata_version"):
            description.pop(name, None)
        for split in description.get("about", {}).get("splits", {}).values():
            split.pop("file", None)
        descriptions.append(description)
    return _values("description", *descriptions)


def _vocabularies(place: Path) -> dict[str, bytes]:
    folder = place / VOCABULARY
    paths = [*sorted(folder.iterdir() if folder.is_dir() else []), place / CONFIG, place / PIECES]
    return {path.relative_to(place).as_posix(): path.read_bytes() for path in paths if path.is_file()}


def _files(name: str, one: Mapping[str, bytes], other: Mapping[str, bytes]) -> ComparedPart:
    changed = sorted(path for path in one.keys() | other.keys() if one.get(path) != other.get(path))
    return ComparedPart(name, not changed, _shorten(changed) if changed else f"{len(one)} files")


def _values(name: str, one: Any, other: Any) -> ComparedPart:
    """Compare two JSON values; the details name the paths of the values that differ."""
    before, now = flatten_values(one), flatten_values(other)
    paths = [path for path in dict.fromkeys([*before, *now]) if repr(before.get(path, "-")) != repr(now.get(path, "-"))]
    changes = [f"{path} {before.get(path, '-')} -> {now.get(path, '-')}" for path in paths]
    return ComparedPart(name, not changes, _shorten(changes) if changes else f"{len(before):,} values")


def _history(place: Path) -> Any:
    try:
        lines = [json.loads(line) for line in (place / "history.jsonl").read_text(encoding="utf-8").splitlines()]
        return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]
    except (OSError, ValueError, AttributeError) as error:
        raise DataError(f"not readable ({type(error).__name__}); train again", place / "history.jsonl") from error


def _predictions(one: Path, other: Path) -> ComparedPart:
    differing = {}
    for name in (CONLL_FILE, JSONL_FILE):
        first, second = (_lines(place / name) for place in (one, other))
        if first is None and second is None:
            continue
        if first is None or second is None:
            return ComparedPart("predictions", False, f"{name} only in one of the two runs")
        pairs = zip(first, second, strict=False)
        differing[name] = [number for number, pair in enumerate(pairs, 1) if pair[0] != pair[1]]
        differing[name] += range(min(len(first), len(second)) + 1, max(len(first), len(second)) + 1)
        if not differing[name]:
            return ComparedPart("predictions", True, f"{len(first):,} lines")
        return ComparedPart(
            "predictions", False, f"{name}: lines {_shorten([str(number) for number in differing[name]])}"
        )
    return ComparedPart("predictions", True, "none")


def _lines(path: Path) -> list[bytes] | None:
    return path.read_bytes().splitlines() if path.is_file() else None


def _shorten(names: list[str]) -> str:
    rest = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {rest:,} more" if rest > 0 else "")


def read_json(path: Path) -> Any:
    """Read a JSON file of a run.

    Args:
        path: The file.

    Returns:
        Its content; None if there is no file.

    Raises:
        DataError: The file cannot be read or is not JSON.
    """
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
