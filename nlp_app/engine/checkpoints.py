"""Checkpoints: all that a run needs to go on exactly where it stood. No pickle.

A checkpoint is a directory `checkpoint-000007`, numbered in the order of saving:

    tensors.safetensors   model/*, optimizer/*, average/*, random/*
    state.json            the train state, schedule, gradient scaler, counters and generators
    SHA256SUMS            of the two, as `sha256sum -c` reads it

It is written beside its place, flushed to the disk and renamed, so it is complete or absent whenever the
process or the machine stops.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from nlp_app.core.errors import TrainingError
from nlp_app.core.files import atomic_directory, checksum, remove_directory, remove_leftovers
from nlp_app.engine.learner import Learner, TrainState
from nlp_app.engine.non_finite import check_weights
from nlp_app.engine.random_state import random_state, set_random_state

FORMAT = 2

TENSORS, STATE, SUMS = "tensors.safetensors", "state.json", "SHA256SUMS"

NAME = re.compile(r"checkpoint-(\d{6,})")


class LatestCheckpoint(NamedTuple):
    """The newest intact checkpoint (None: there is none at all), and what is wrong with each newer one."""

    path: Path | None
    damaged: list[TrainingError]


def save_checkpoint(directory: str | Path, learner: Learner, keep: int = 2) -> Path:
    """Save `learner` as the newest checkpoint in `directory` and remove all but the newest `keep`.

    Raises `TrainingError` if it can't be written; nothing of it is then left behind. Raises `NonFiniteError` for
    weights that aren't finite: what can't go on isn't kept in place of what can.
    """
    check_weights(learner)
    directory = Path(directory)
    tensors, plain = _pack(learner)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        remove_leftovers(directory, pattern=NAME.pattern)  # others may be of a run that is not replaced yet
        earlier = _checkpoints(directory)
        path = directory / f"checkpoint-{_number(earlier[-1]) + 1 if earlier else 1:06d}"
        _write(path, tensors, plain)
        for old in (*earlier, path)[: -max(keep, 1)]:
            remove_directory(old)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or str(error).rpartition("I/O error: ")[2]
        raise TrainingError(
            f"{directory}: can't write a checkpoint: {reason}; make room, or train elsewhere"
        ) from error
    return path


def latest_checkpoint(directory: str | Path) -> LatestCheckpoint:
    """The newest checkpoint that is intact. Raises `TrainingError` if there are some but none is."""
    damaged: list[TrainingError] = []
    for path in reversed(_checkpoints(Path(directory))):
        try:
            _verified(path)
        except TrainingError as error:
            damaged.append(error)
        else:
            return LatestCheckpoint(path, damaged)
    if damaged:
        raise TrainingError(f"{damaged[0]}; none is intact: remove {directory} to start over")
    return LatestCheckpoint(None, [])


def load_checkpoint(path: str | Path, learner: Learner) -> None:
    """Put `learner` where it stood when the checkpoint at `path` was saved.

    Raises `TrainingError` if a file is missing, changed or of a newer format, or belongs to another model or
    settings.
    """
    path = Path(path)
    files = _verified(path)
    plain = json.loads(files[STATE])
    if plain["format"] != FORMAT:
        raise TrainingError(f"{path / STATE}: found format {plain['format']}, expected {FORMAT}; use a newer version")
    for what, expected in _kinds(learner).items():
        if plain["kinds"][what] != expected:
            raise _misfit(path, f"{what}: found {plain['kinds'][what]!r}, expected {expected!r}")
    tensors = safetensors.torch.load(files[TENSORS])
    model = _part(tensors, "model")
    _check_fit(path, model, learner.model.state_dict())
    learner.model.load_state_dict(model)
    learner.optimizers.load_state_dict(_part(tensors, "optimizer"), plain["optimizer"])
    for group, rate in zip(learner.optimizers.groups(), plain["rates"], strict=True):
        group["lr"] = rate  # that of the last update, which may be told before there is another
    learner.schedule.load_state_dict(plain["schedule"])
    if learner.average is not None:
        learner.average.load(_part(tensors, "average"), **plain["average"])
    if learner.accelerator.scaler is not None:
        learner.accelerator.scaler.load_state_dict(plain["scaler"])
    learner.state = TrainState(**plain["state"])
    set_random_state(_part(tensors, "random"), plain["random"])


def _pack(learner: Learner) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """All that `load_checkpoint` puts back: tensors by path, and plain values."""
    moments, counters = learner.optimizers.state_dict()
    generators, generator_values = random_state()
    average, scaler = learner.average, learner.accelerator.scaler
    parts = {
        "model": learner.model.state_dict(),
        "optimizer": moments,
        "average": {} if average is None else average.averages,
        "random": generators,
    }
    # Copies, because safetensors refuses tensors that share storage, as tied weights do.
    tensors = {
        f"{part}/{name}": tensor.detach().to("cpu", copy=True).contiguous()
        for part, named in parts.items()
        for name, tensor in named.items()
    }
    return tensors, {
        "format": FORMAT,
        "kinds": _kinds(learner),
        "state": asdict(learner.state),
        "schedule": learner.schedule.state_dict(),
        "optimizer": counters,
        "rates": [group["lr"] for group in learner.optimizers.groups()],
        "average": None if average is None else {"exchanged": average.exchanged},
        "scaler": None if scaler is None else scaler.state_dict(),
        "random": generator_values,
    }


def _kinds(learner: Learner) -> dict[str, str]:
    """What must be the same for a checkpoint to fit, besides the model's tensors."""
    return {
        "optimizer": " and ".join(type(optimizer).__name__ for optimizer in learner.optimizers.parts),
        "schedule": learner.schedule.options.name,
        "weight average": "none" if learner.average is None else "some",
        "gradient scaler": "none" if learner.accelerator.scaler is None else "some",
    }


def _part(tensors: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    return {path.removeprefix(f"{part}/"): value for path, value in tensors.items() if path.startswith(f"{part}/")}


def _check_fit(path: Path, saved: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> None:
    for name in sorted(saved.keys() | present.keys()):
        found, expected = (list(tensors[name].shape) if name in tensors else "nothing" for tensors in (saved, present))
        if found != expected:
            raise _misfit(path, f"model tensor {name!r}: found {found}, expected {expected}")


def _misfit(path: Path, problem: str) -> TrainingError:
    return TrainingError(f"{path}: {problem}; resume with the settings and data that the checkpoint was made with")


def _write(path: Path, tensors: dict[str, Tensor], plain: Mapping[str, Any]) -> None:
    with atomic_directory(path) as folder:
        safetensors.torch.save_file(tensors, folder / TENSORS)
        (folder / STATE).write_text(json.dumps(plain, allow_nan=False, separators=(",", ":")), encoding="utf-8")
        sums = "".join(f"{checksum(folder / name)}  {name}\n" for name in (TENSORS, STATE))
        (folder / SUMS).write_text(sums, encoding="ascii")


def _verified(path: Path) -> dict[str, bytes]:
    """The checkpoint's files. Raises `TrainingError` naming the first that is missing or has changed."""
    try:
        sums = (path / SUMS).read_text(encoding="ascii", errors="replace")
        expected = {name: digest for digest, _, name in (line.partition("  ") for line in sums.splitlines())}
        files = {name: (path / name).read_bytes() for name in (TENSORS, STATE)}
    except OSError as error:
        raise TrainingError(
            f"{error.filename}: can't read the checkpoint: {error.strerror}; use an earlier one"
        ) from error
    for name, content in files.items():
        found = hashlib.sha256(content).hexdigest()
        if found != expected.get(name):
            wanted = expected.get(name, f"none, as {SUMS} is damaged")
            raise TrainingError(f"{path / name}: found checksum {found}, expected {wanted}; use an earlier checkpoint")
    return files


def _checkpoints(directory: Path) -> list[Path]:
    """The checkpoints in a directory, oldest first."""
    if not directory.is_dir():
        return []
    return sorted((path for path in directory.iterdir() if NAME.fullmatch(path.name)), key=_number)


def _number(path: Path) -> int:
    return int(path.name.rpartition("-")[2])
