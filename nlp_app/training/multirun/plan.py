"""Plan and resume a series of runs (folds or trials) that ends with a final run.

output/
  folds/ or search/       a directory for each run
    plan.json             settings, options and checksums of the data; they must not change before it is resumed
    final.json            name of the run that the final run in `output` repeats, once that has begun
  folds.json, search.json report, written at the end
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from nlp_app.config import Settings
from nlp_app.core.errors import DataError, SettingsError, TrainingError
from nlp_app.core.files import checksum, write_text
from nlp_app.engine import join_processes
from nlp_app.training.runs.record import PLAN, changed_settings

_RESTART_ADVICE = "leave out --resume to start over"

_FINAL = "final.json"


def require_one_process(option: str) -> None:
    """Check that the command was started as a single process.

    Args:
        option: The option that needs this, for the message.

    Raises:
        SettingsError: Several processes were started together.
    """
    count = join_processes().count
    if count > 1:
        raise SettingsError(
            f"{option}: found {count} processes, expected one, as this trains several runs one after another; start "
            "it without torchrun or accelerate"
        )


def make_plan(task: str, settings: Settings, files: Iterable[Path], **options: Any) -> dict[str, Any]:
    """Make the plan of a series of runs. A resumed series must have the same plan.

    Args:
        task: The task, "ner" or "cls".
        settings: The settings of the runs.
        files: The data files.
        options: The number of folds, or the settings that a search leaves fixed.

    Returns:
        The content of plan.json.
    """
    data = {str(path): checksum(path) for path in files}
    return {"task": task, "asked": options, "settings": settings.model_dump(), "data": data}


def begin_runs(directory: Path, plan: Mapping[str, Any], resume: bool) -> None:
    """Prepare the directory of a series of runs: keep its content if it is resumed, otherwise empty it.

    Args:
        directory: The directory of the runs, `output`/folds or `output`/search.
        plan: The plan; it is written to plan.json.
        resume: Resume the series in the directory if there is one.

    Raises:
        SettingsError: The settings or options of the resumed series have changed, or the directory cannot be written.
        DataError: A data file of the resumed series has changed.
        TrainingError: plan.json is damaged.
    """
    before = read_plan(directory) if resume else None
    if before is not None:
        _check_same(directory, before, plan)
    # The report of a previous series, or of this one, which may get more runs.
    directory.with_suffix(".json").unlink(missing_ok=True)
    if before is not None:
        return
    try:
        if directory.is_dir():
            shutil.rmtree(directory)
        directory.mkdir(parents=True)
    except OSError as error:
        raise SettingsError(
            f"--output {directory.parent}: can't be written ({error.strerror}); choose another directory"
        ) from error
    write_text(directory / PLAN, json.dumps(plan, indent=1) + "\n")


def read_plan(directory: Path) -> dict[str, Any] | None:
    """Read the plan of a series of runs.

    Args:
        directory: The directory of the runs, `output`/folds or `output`/search.

    Returns:
        The content of plan.json; None if the file does not exist.

    Raises:
        TrainingError: plan.json is damaged.
    """
    path = directory / PLAN
    if not path.is_file():
        return None
    try:
        plan = json.loads(path.read_text(encoding="utf-8"))
        tables = [plan[key] for key in ("asked", "settings", "data")]
        task = {"task": plan["task"]}
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise TrainingError(f"{path}: not readable ({type(error).__name__}: {error}); {_RESTART_ADVICE}") from error
    are_tables = all(isinstance(table, dict) for table in tables) and all(
        isinstance(table, dict) for table in tables[1].values()
    )
    if not are_tables or not _has_valid_options(task["task"], tables[0]):
        raise TrainingError(f"{path}: not a valid plan of runs; {_RESTART_ADVICE}")
    return task | dict(zip(("asked", "settings", "data"), tables, strict=True))


def _has_valid_options(task: object, options: Mapping[str, Any]) -> bool:
    """Check that a plan has either the number of folds or the fixed settings of a search."""
    fixed = options.get("fixed", [])
    has_fixed = isinstance(fixed, list) and all(isinstance(name, str) for name in fixed)
    return isinstance(task, str) and type(options.get("folds", 2)) is int and has_fixed and len(options) == 1


def _check_same(directory: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    if before["task"] != now["task"]:
        raise SettingsError(
            f"--resume: {directory} holds runs of `train {before['task']}`; {_RESTART_ADVICE}, "
            "or choose another --output"
        )
    changes = changed_settings(before["settings"], now["settings"])
    changes += [
        f"{name} = {value!r} (was {before['asked'].get(name)!r})"
        for name, value in now["asked"].items()
        if before["asked"].get(name) != value
    ]
    if changes:
        raise SettingsError(
            f"--resume: differs from the plan in {directory}: {'; '.join(changes)}; use the same settings, "
            f"or {_RESTART_ADVICE}"
        )
    changed_files = sorted({path for path, _ in before["data"].items() ^ now["data"].items()})
    if changed_files:
        raise DataError(f"has changed since the runs in {directory} began; {_RESTART_ADVICE}", changed_files[0])


def begin_final(directory: Path, run: str) -> None:
    """Prepare `output` for the final run: delete checkpoints of any other run, and write final.json.

    Args:
        directory: The directory of the runs, `output`/folds or `output`/search.
        run: The name of the run that the final run repeats.
    """
    marker = directory / _FINAL
    text = json.dumps({"run": run}) + "\n"
    if not marker.is_file() or marker.read_bytes() != text.encode():
        shutil.rmtree(directory.parent / "checkpoints", ignore_errors=True)
        write_text(marker, text)
