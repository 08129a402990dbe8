"""Save and load checkpoints, from which a run resumes exactly where it was. No pickle.

A checkpoint is a directory `checkpoint-000007`, numbered in the order of saving:

    tensors.safetensors   model/*, optimizer/*, average/*, random/*
    state.json            the train state, schedule, gradient scaler, counters and generators
    SHA256SUMS            checksums of both files, in the format of `sha256sum -c`

A checkpoint is written to a temporary directory, flushed to the disk and renamed. It is therefore complete or absent,
even if the process or the machine stops at any moment.
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
    """The newest intact checkpoint, and the damaged ones that are newer.

    Attributes:
        path: Directory of the checkpoint; None if there are no checkpoints.
        damaged: The error of each damaged checkpoint that is newer, newest first.
    """

    path: Path | None
    damaged: list[TrainingError]


def save_checkpoint(directory: str | Path, learner: Learner, keep: int = 2) -> Path:
    """Save a learner as the newest checkpoint in a directory, and remove old checkpoints.

    Args:
        directory: Directory of all checkpoints of the run; created if it does not exist.
        learner: The learner to save.
        keep: Number of newest checkpoints to keep; at least 1 is kept.

    Returns:
        Directory of the new checkpoint.

    Raises:
        TrainingError: The checkpoint cannot be written. No incomplete checkpoint is left behind.
        NonFiniteError: A weight is infinite or NaN. Nothing is written, so that a checkpoint that can be resumed is
            not replaced by one that cannot.
    """
    check_weights(learner)
    directory = Path(directory)
    tensors, values = _collect(learner)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        remove_leftovers(directory, pattern=NAME.pattern)  # others may belong to a previous run
        previous = _list_checkpoints(directory)
        path = directory / f"checkpoint-{_checkpoint_number(previous[-1]) + 1 if previous else 1:06d}"
        _write(path, tensors, values)
        for old in (*previous, path)[: -max(keep, 1)]:
            remove_directory(old)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or str(error).rpartition("I/O error: ")[2]
        raise TrainingError(
            f"{directory}: can't write a checkpoint: {reason}; free disk space, or choose another directory"
        ) from error
    return path


def latest_checkpoint(directory: str | Path) -> LatestCheckpoint:
    """Find the newest intact checkpoint in a directory.

    Args:
        directory: Directory of all checkpoints of a run; it may not exist.

    Returns:
        The checkpoint, and the damaged ones that are newer.

    Raises:
        TrainingError: There are checkpoints, but all of them are damaged.
    """
    damaged: list[TrainingError] = []
    for path in reversed(_list_checkpoints(Path(directory))):
        try:
            _read_verified(path)
        except TrainingError as error:
            damaged.append(error)
        else:
            return LatestCheckpoint(path, damaged)
    if damaged:
        raise TrainingError(f"{damaged[0]}; no checkpoint is intact: remove {directory} to start over")
    return LatestCheckpoint(None, [])


def load_checkpoint(path: str | Path, learner: Learner) -> None:
    """Restore a learner and the random number generators from a checkpoint.

    Args:
        path: Directory of the checkpoint.
        learner: A learner made with the same model and settings; it is changed in place.

    Raises:
        TrainingError: A file is missing, has changed or has another format, or the checkpoint belongs to another
            model or other settings.
    """
    path = Path(path)
    files = _read_verified(path)
    values = json.loads(files[STATE])
    if values["format"] != FORMAT:
        raise TrainingError(f"{path / STATE}: found format {values['format']}, expected {FORMAT}; use a newer version")
    for component, expected in _component_kinds(learner).items():
        if values["kinds"][component] != expected:
            raise _mismatch_error(path, f"{component}: found {values['kinds'][component]!r}, expected {expected!r}")
    tensors = safetensors.torch.load(files[TENSORS])
    model = _select_part(tensors, "model")
    _check_fit(path, model, learner.model.state_dict())
    learner.model.load_state_dict(model)
    learner.optimizers.load_state_dict(_select_part(tensors, "optimizer"), values["optimizer"])
    for group, rate in zip(learner.optimizers.groups(), values["rates"], strict=True):
        group["lr"] = rate  # the rate of the last step, which may be reported before the next step
    learner.schedule.load_state_dict(values["schedule"])
    if learner.average is not None:
        learner.average.load(_select_part(tensors, "average"), **values["average"])
    if learner.accelerator.scaler is not None:
        learner.accelerator.scaler.load_state_dict(values["scaler"])
    learner.state = TrainState(**values["state"])
    set_random_state(_select_part(tensors, "random"), values["random"])


def _collect(learner: Learner) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Collect everything that `load_checkpoint` restores: tensors by path, and values for JSON."""
    moments, counters = learner.optimizers.state_dict()
    generators, generator_values = random_state()
    average, scaler = learner.average, learner.accelerator.scaler
    parts = {
        "model": learner.model.state_dict(),
        "optimizer": moments,
        "average": {} if average is None else average.averages,
        "random": generators,
    }
    # Copies, because safetensors refuses tensors that share storage, such as tied weights.
    tensors = {
        f"{part}/{name}": tensor.detach().to("cpu", copy=True).contiguous()
        for part, named in parts.items()
        for name, tensor in named.items()
    }
    return tensors, {
        "format": FORMAT,
        "kinds": _component_kinds(learner),
        "state": asdict(learner.state),
        "schedule": learner.schedule.state_dict(),
        "optimizer": counters,
        "rates": [group["lr"] for group in learner.optimizers.groups()],
        "average": None if average is None else {"exchanged": average.exchanged},
        "scaler": None if scaler is None else scaler.state_dict(),
        "random": generator_values,
    }


def _component_kinds(learner: Learner) -> dict[str, str]:
    """Kinds of the learner's components, which must be the same in a checkpoint and the learner that loads it."""
    return {
        "optimizer": " and ".join(type(optimizer).__name__ for optimizer in learner.optimizers.optimizers),
        "schedule": learner.schedule.options.name,
        "weight average": "none" if learner.average is None else "some",
        "gradient scaler": "none" if learner.accelerator.scaler is None else "some",
    }


def _select_part(tensors: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    return {path.removeprefix(f"{part}/"): value for path, value in tensors.items() if path.startswith(f"{part}/")}


def _check_fit(path: Path, saved: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> None:
    for name in sorted(saved.keys() | present.keys()):
        found, expected = (list(tensors[name].shape) if name in tensors else "nothing" for tensors in (saved, present))
        if found != expected:
            raise _mismatch_error(path, f"model tensor {name!r}: found {found}, expected {expected}")


def _mismatch_error(path: Path, problem: str) -> TrainingError:
    return TrainingError(f"{path}: {problem}; resume with the settings and data of the checkpoint")


def _write(path: Path, tensors: dict[str, Tensor], values: Mapping[str, Any]) -> None:
    with atomic_directory(path) as folder:
        safetensors.torch.save_file(tensors, folder / TENSORS)
        (folder / STATE).write_text(json.dumps(values, allow_nan=False, separators=(",", ":")), encoding="utf-8")
        sums = "".join(f"{checksum(folder / name)}  {name}\n" for name in (TENSORS, STATE))
        (folder / SUMS).write_text(sums, encoding="ascii")


def _read_verified(path: Path) -> dict[str, bytes]:
    """Read a checkpoint's files; raise TrainingError for the first file that is missing or has changed."""
    try:
        sums = (path / SUMS).read_text(encoding="ascii", errors="replace")
        expected = {name: digest for digest, _, name in (line.partition("  ") for line in sums.splitlines())}
        files = {name: (path / name).read_bytes() for name in (TENSORS, STATE)}
    except OSError as error:
        raise TrainingError(
            f"{error.filename}: can't read the checkpoint: {error.strerror}; use an older checkpoint"
        ) from error
    for name, content in files.items():
        digest = hashlib.sha256(content).hexdigest()
        if digest != expected.get(name):
            wanted = expected.get(name, f"none, as {SUMS} is damaged")
            raise TrainingError(f"{path / name}: found checksum {digest}, expected {wanted}; use an older checkpoint")
    return files


def _list_checkpoints(directory: Path) -> list[Path]:
    """List the checkpoints in a directory, oldest first."""
    if not directory.is_dir():
        return []
    return sorted((path for path in directory.iterdir() if NAME.fullmatch(path.name)), key=_checkpoint_number)


def _checkpoint_number(path: Path) -> int:
    return int(path.name.rpartition("-")[2])
