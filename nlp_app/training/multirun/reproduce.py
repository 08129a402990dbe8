"""Repeat a finished run from the record in its directory and compare the two runs."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nlp_app.config import (
    DistilledClassificationSettings,
    DistilledTaggingSettings,
    Settings,
    validate,
    with_bundled_corpus,
)
from nlp_app.config.kinds import KINDS
from nlp_app.core.errors import DataError, SettingsError
from nlp_app.core.files import checksum
from nlp_app.core.signals import Interrupted
from nlp_app.core.text_table import format_table
from nlp_app.engine import Processes, join_processes
from nlp_app.models.directory import DESCRIPTION, WEIGHTS
from nlp_app.training import train_cls, train_ner
from nlp_app.training.multirun.cross_validation import cross_validate
from nlp_app.training.multirun.plan import read_plan
from nlp_app.training.multirun.search import search
from nlp_app.training.runs.compare import ComparedPart, compare_runs, read_json
from nlp_app.training.runs.environment import changed_environment, describe_environment
from nlp_app.training.runs.record import MULTIRUN_DIRECTORIES, read_run, run_record_path

_DISTILLED: Mapping[str, type[Settings]] = {"ner": DistilledTaggingSettings, "cls": DistilledClassificationSettings}

_SPLITS = ("train", "dev", "test")

_SHOWN = 5  # tensors in the table


@dataclass(frozen=True)
class Reproduction:
    """Result of repeating a run.

    Attributes:
        directory: The directory of the original run.
        differing: Differences between the two environments, one line each.
        parts: The compared parts of the runs.
        tensors: The largest absolute difference for each tensor that differs; None if the shapes or number formats
            differ, or the tensor is missing in one run.
    """

    directory: str
    differing: list[str]
    parts: list[ComparedPart]
    tensors: dict[str, float | None]

    @property
    def identical(self) -> bool:
        """True if all parts are the same in both runs."""
        return all(part.same for part in self.parts)

    def table(self) -> str:
        """Format the comparison as a table.

        Returns:
            One line per part, the tensors that differ most, and the verdict.
        """
        rows = [[part.what, "same" if part.same else "differs", part.detail] for part in self.parts]
        lines = [
            f"{line}  {row[2]}".rstrip() for line, row in zip(format_table([r[:2] for r in rows]), rows, strict=True)
        ]
        lines += [f"  {name}: {_format_difference(value)}" for name, value in self._largest_differences()]
        return "\n".join([*lines, "", "identical" if self.identical else "not identical"])

    def _largest_differences(self) -> list[tuple[str, float | None]]:
        ordered = sorted(self.tensors.items(), key=lambda item: -float("inf") if item[1] is None else -item[1])
        return ordered[:_SHOWN]

    def to_json(self) -> dict[str, Any]:
        """Convert the comparison to a JSON object.

        Returns:
            The object that `reproduce --json` prints.
        """
        fields = {"directory": self.directory, "differing": self.differing, "tensors": self.tensors}
        return {"identical": self.identical, **fields, "parts": [asdict(part) for part in self.parts]}


@dataclass(frozen=True)
class _RecordedRun:
    """Record of a finished run, or of a finished cross-validation or search.

    Attributes:
        task: "ner" or "cls".
        settings: Settings by table; of a cross-validation or search, those it was started with.
        data: Checksums of the data files by path.
        environment: Versions, threads, processes and device when the run began.
        resumed: Differences to this environment when the run was resumed.
        multirun: "folds", "search", or "" for a single run.
        options: The number of folds; or the number of trials and the names of fixed settings.
    """

    task: str
    settings: dict[str, Any]
    data: dict[str, str]
    environment: dict[str, Any]
    resumed: list[str]
    multirun: str = ""
    options: Any = None


def reproduce(
    directory: Path,
    output: Path | None = None,
    moved: Mapping[str, str] | None = None,
    *,
    trust_remote_code: bool = False,
    quiet: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> Reproduction:
    """Repeat a finished run and compare the two runs.

    Several processes can repeat a run together; the main one compares, for the others the result is always identical.

    Args:
        directory: The directory of the finished run.
        output: A new directory for the repeated run; None uses a temporary directory.
        moved: New paths of data files, by "train", "dev" or "test".
        trust_remote_code: Run the code of the run's pretrained model.
        quiet: Show no progress on standard error.
        say: Called with notes, and warnings about differences between the environments.

    Returns:
        The comparison.

    Raises:
        SettingsError: The run cannot be repeated with these arguments, or its kind of model is unknown.
        DataError: The run has not finished, or its data files are missing or have changed.
        TrainingError: The record of the run is damaged, or training failed.
        Interrupted: SIGINT or SIGTERM stopped the repeated run.

    Example:
        >>> result = reproduce(Path("runs/ner"))
        >>> result.identical
        True
    """
    processes = join_processes()
    run = _read(directory)
    settings = _with_moved(_settings(directory, run), moved or {})
    if getattr(settings.model, "trust_remote_code", False) and not trust_remote_code:
        raise SettingsError(
            f"{directory}: the run used code of its pretrained model; give --trust-remote-code to run this code"
        )
    _check_files(run.data, _moves(run, settings))
    _check_output(directory, output)
    threads = torch.get_num_threads()
    torch.set_num_threads(settings.train.threads or run.environment.get("threads") or threads)
    try:
        differing = [*_environment_differences(run, processes)]
        for line in differing:
            say(f"warning: {line}; results may not be bit-identical")
        for name in _SPLITS:
            if getattr(settings.data, name).startswith("hf:"):
                say(f"note: {getattr(settings.data, name)}: it has no checksum, so it may have changed since the run")
        with _output_directory(output, processes) as target:
            _train(run, settings, target, quiet)
            parts, tensors = compare_runs(directory, target) if processes.is_main else ([], {})
        if output is None and not quiet:
            say("note: the new run was deleted after the comparison; use --output DIR to keep it")
    finally:
        torch.set_num_threads(threads)
    return Reproduction(str(directory), differing, parts, tensors)


def _read(directory: Path) -> _RecordedRun:
    if not run_record_path(directory).is_file():
        problem = "found no checkpoints/run.json" if directory.is_dir() else "directory not found"
        raise DataError(f"{problem}; expected the directory of a finished run; check the name", directory)
    run = read_run(directory)
    if not run.finished or not all((directory / name).is_file() for name in (DESCRIPTION, WEIGHTS)):
        raise DataError("has not finished; finish it with --resume", directory)
    for kind in MULTIRUN_DIRECTORIES:
        plan = read_plan(directory / kind)
        if plan is None:
            continue
        report = read_json(directory / f"{kind}.json")
        if report is None:
            raise DataError(f"has not finished its {kind}; finish it with --resume", directory)
        options = plan["asked"]["folds"] if kind == "folds" else (len(report["trials"]), plan["asked"]["fixed"])
        data = run.data | plan["data"]
        return _RecordedRun(plan["task"], plan["settings"], data, run.environment, run.resumed, kind, options)
    return _RecordedRun(run.task, run.settings, run.data, run.environment, run.resumed)


def _settings(directory: Path, run: _RecordedRun) -> Settings:
    name = run.settings.get("model", {}).get("kind")
    kind = KINDS.get(run.task, {}).get(name) if isinstance(name, str) else None
    if kind is None:
        raise SettingsError(
            f"{directory}: found an unknown kind of run ({run.task}); use the version of nlp_app that trained it"
        )
    kind = _DISTILLED[run.task] if "distill" in run.settings else kind
    return validate(kind, run.settings, f"{directory}: the run's settings")


def _with_moved(settings: Settings, moved: Mapping[str, str]) -> Settings:
    for name in moved:
        if not getattr(settings.data, name):
            raise SettingsError(f"--{name}: the run had no {name} file; remove the option")
    return settings.model_copy(update={"data": settings.data.model_copy(update=dict(moved))})


def _moves(run: _RecordedRun, settings: Settings) -> dict[str, str]:
    """Map the old paths of the run's data files and folders to their current paths."""
    before, now = run.settings["data"], with_bundled_corpus(settings.data)
    if before.get("train"):
        return {before[name]: getattr(now, name) for name in _SPLITS if before.get(name)}
    # The bundled corpus may be installed elsewhere now: match its files by the last two parts of their paths.
    places = {tuple(Path(getattr(now, name)).parts[-2:]): getattr(now, name) for name in _SPLITS}
    return {path: places[tuple(Path(path).parts[-2:])] for path in run.data if tuple(Path(path).parts[-2:]) in places}


def _check_files(data: Mapping[str, str], moves: Mapping[str, str]) -> None:
    """Check that the data files of a run exist and have not changed."""
    for path, expected in data.items():
        current = _moved(path, moves)
        if not current.is_file():
            raise DataError(
                "file of the run not found; restore it, or give its new path with --train, --dev, --test", current
            )
        found = checksum(current)
        if found != expected:
            raise DataError(
                f"has changed since the run: found checksum {found}, expected {expected}; restore the old file", current
            )


def _moved(path: str, moves: Mapping[str, str]) -> Path:
    """Return the current path of a file that has moved, by itself or with its folder."""
    for before, now in moves.items():
        if Path(path).is_relative_to(before):
            return Path(now) / Path(path).relative_to(before)
    return Path(path)


def _check_output(directory: Path, output: Path | None) -> None:
    if output is None:
        return
    if output.resolve().is_relative_to(directory.resolve()):
        raise SettingsError(f"--output {output}: is in the run to reproduce; choose a new directory")
    if output.exists() and not (output.is_dir() and not any(output.iterdir())):
        raise SettingsError(f"--output {output}: already exists; choose an empty or new directory")


def _environment_differences(run: _RecordedRun, processes: Processes) -> Iterator[str]:
    """List differences between the run's environment and the current one, and those recorded when it was resumed."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    yield from changed_environment(run.environment, describe_environment(processes, device))
    for line in run.resumed:
        yield f"when the run was resumed, {line}"


@contextmanager
def _output_directory(output: Path | None, processes: Processes) -> Iterator[Path]:
    """Provide the directory of the repeated run, the same one for all processes; None makes a temporary one."""
    try:
        if output is not None:
            yield output
            return
        with tempfile.TemporaryDirectory(prefix="nlp_app-reproduce-") as own:
            # All processes use the directory of the main one; their own stay empty.
            (name, *_) = processes.gather(np.frombuffer(os.fsencode(own), dtype=np.uint8))
            yield Path(os.fsdecode(name.tobytes())) / "run"
            processes.barrier()
    except Interrupted as error:
        kept = "" if output is None else f"; the unfinished run is in {output}"
        raise Interrupted(f"stopped before the comparison{kept}", error.number) from error


def _train(run: _RecordedRun, settings: Any, output: Path, quiet: bool) -> None:
    if run.multirun == "folds":
        cross_validate(settings, output, run.options, quiet=quiet)
    elif run.multirun == "search":
        trials, fixed = run.options
        search(settings, output, trials, fixed, quiet=quiet)
    elif run.task == "ner":
        train_ner(settings, output, quiet=quiet)
    else:
        train_cls(settings, output, quiet=quiet)


def _format_difference(value: float | None) -> str:
    return (
        "different shapes or number formats, or only in one of the two runs"
        if value is None
        else f"largest difference {value:.3g}"
    )
