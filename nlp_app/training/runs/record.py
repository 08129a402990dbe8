"""Read, write and compare the record of a run: its task, settings, data files and environment."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from nlp_app.config import Settings, read_toml
from nlp_app.core.errors import DataError, ModelError, SettingsError, TrainingError
from nlp_app.core.files import checksum, is_temporary, write_text
from nlp_app.models import DESCRIPTION, read_description
from nlp_app.models.directory import check_files

RESTART_ADVICE = "train without --resume to start over"

# Cross-validation and search keep their runs, with a plan, in a directory of this name. When they have finished, their
# report is next to it: `folds.json` or `search.json`.
MULTIRUN_DIRECTORIES = ("folds", "search")

PLAN = "plan.json"

# Settings that do not affect the result.
_MAY_CHANGE = {("train", "threads"), ("train", "engine"), ("train", "checkpoint_seconds")}

_BEGUN = ("checkpoints", "begun.json")  # all that a run has written before its first step


@dataclass(frozen=True)
class RunRecord:
    """Content of run.json.

    Attributes:
        task: "ner" or "cls".
        settings: Settings by table; a resumed run must have the same ones.
        data: Checksums of the data files by path; a resumed run must have the same ones.
        environment: Versions, threads, processes and device when the run began.
        resumed: Differences to this environment when the run was resumed, one line each.
        finished: True after the final model is saved.
    """

    task: str
    settings: dict[str, dict[str, Any]]
    data: dict[str, str]
    environment: dict[str, Any]
    resumed: list[str] = field(default_factory=list)
    finished: bool = False

    def write(self, output: Path) -> None:
        """Write run.json.

        Args:
            output: The run directory.
        """
        write_text(run_record_path(output), json.dumps(asdict(self), indent=1) + "\n")


def changed_settings(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """List the settings that have changed and that affect the result.

    Args:
        before: Settings of the recorded run, by table.
        now: Current settings, by table.

    Returns:
        One phrase per changed setting, such as "train.seed = 2 (was 1)".
    """
    return [
        f"{table}.{key} = {value!r} (was {before.get(table, {}).get(key)!r})"
        for table, values in now.items()
        for key, value in values.items()
        if before.get(table, {}).get(key) != value and (table, key) not in _MAY_CHANGE
    ]


def stored_settings(output: Path, task: str) -> dict[str, Any] | None:
    """Read the settings of the finished or unfinished run in a directory.

    Args:
        output: The run directory.
        task: The expected task, "ner" or "cls".

    Returns:
        Settings by table; None if there is no run.

    Raises:
        SettingsError: The run has a different task.
        TrainingError: The record of the run is damaged.
    """
    _check_task(output, task)
    if begun_record_path(output).is_file():
        return _begun_settings(output, task)
    if run_record_path(output).is_file():
        return read_run(output).settings
    # The checkpoints of a finished run may have been deleted; its settings are also saved with the model.
    resolved = output / "config.toml"
    return read_toml(resolved) if resolved.is_file() else None


def _check_task(output: Path, task: str) -> None:
    if run_record_path(output).is_file():
        found_task: object = read_run(output).task
    elif (output / DESCRIPTION).is_file():
        found_task = read_description(output).get("task")
    else:
        return
    if found_task != task:
        raise SettingsError(
            f"--output {output}: holds a run of `train {found_task}`; choose another directory for `train {task}`"
        )


def check_output(output: Path, task: str) -> None:
    """Check that an output directory is new, empty, or holds a run of the same task.

    Args:
        output: The run directory; it need not exist.
        task: The task, "ner" or "cls".

    Raises:
        SettingsError: It is a file, or has other files, or a run of a different task.
        TrainingError: The record of the run is damaged.
    """
    _check_task(output, task)
    if output.is_dir():
        is_run = any(
            path.is_file() for path in (output / DESCRIPTION, run_record_path(output), begun_record_path(output))
        )
        # A run that was killed at its start has only these files.
        below = [*output.iterdir(), *(output / "checkpoints").glob("*")]
        has_only_begun = all(path.name in _BEGUN or is_temporary(path.name) or _is_multirun(path) for path in below)
        if not is_run and not has_only_begun:
            raise SettingsError(
                f"--output {output}: holds other files, and no run of nlp_app; choose an empty or new directory"
            )
    elif output.exists():
        raise SettingsError(f"--output {output}: is a file; choose a directory")


def _is_multirun(path: Path) -> bool:
    """Check if a directory is that of a cross-validation or search; its plan may be missing after a kill."""
    if path.name not in MULTIRUN_DIRECTORIES or not path.is_dir():
        return False
    return (path / PLAN).is_file() or all(is_temporary(inner.name) for inner in path.iterdir())


def run_record_path(output: Path) -> Path:
    """Return the path of the run's record, run.json.

    Args:
        output: The run directory.

    Returns:
        The path; the file need not exist.
    """
    return output / "checkpoints" / "run.json"


def begun_record_path(output: Path) -> Path:
    """Return the path of begun.json: the settings of a run that has begun, but has no record yet.

    While this file exists, all other files in the directory belong to a previous run.

    Args:
        output: The run directory.

    Returns:
        The path; the file need not exist.
    """
    return output.joinpath(*_BEGUN)


def write_begun(output: Path, task: str, settings: Mapping[str, Any]) -> None:
    """Write begun.json at the start of a run.

    Args:
        output: The run directory.
        task: The task of the run, "ner" or "cls".
        settings: Settings of the run, by table.
    """
    write_text(begun_record_path(output), json.dumps({"task": task, "settings": settings}, indent=1) + "\n")


def _begun_settings(output: Path, task: str) -> dict[str, Any] | None:
    """Read the settings of a run that has begun; None if it has a different task."""
    path = begun_record_path(output)
    begun = _read_tables(path, ("settings",))
    return begun["settings"] if begun.get("task") == task else None


def read_run(output: Path) -> RunRecord:
    """Read the record of a run.

    Args:
        output: The run directory.

    Returns:
        The record.

    Raises:
        TrainingError: The record is missing or damaged.
    """
    path = run_record_path(output)
    run = _read_tables(path, ("settings", "data"))
    task, environment, resumed = run.get("task"), run.get("environment", {}), run.get("resumed", [])
    threads = environment.get("threads", 1) if isinstance(environment, dict) else None
    if not isinstance(task, str) or type(threads) is not int or threads < 1 or not isinstance(resumed, list):
        raise TrainingError(f"{path}: no valid `task`, `threads` or `resumed`; {RESTART_ADVICE}")
    return RunRecord(task, run["settings"], run["data"], environment, resumed, run.get("finished") is True)


def _read_tables(path: Path, names: Sequence[str]) -> dict[str, Any]:
    """Read a JSON object; check that its tables `names` are objects and the settings are grouped in tables."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise TrainingError(f"{path}: not readable ({type(error).__name__}: {error}); {RESTART_ADVICE}") from error
    tables = [content.get(name) for name in names] if isinstance(content, dict) else [None]
    if not all(isinstance(table, dict) for table in tables):
        raise TrainingError(f"{path}: expected the tables {' and '.join(names)} of a run; {RESTART_ADVICE}")
    settings = content["settings"]
    if not all(isinstance(table, dict) for table in settings.values()) or not {"data", "model", "train"} <= {*settings}:
        raise TrainingError(
            f"{path}: expected the settings of a run in the tables data, model and train; {RESTART_ADVICE}"
        )
    return dict(content)


def check_same_run(output: Path, before: RunRecord, settings: Mapping[str, Any], data: Mapping[str, str]) -> None:
    """Check that settings and data files are the same as in a recorded run.

    Args:
        output: The run directory, for messages.
        before: The record of the run.
        settings: Current settings, by table.
        data: Current checksums of data files, by path.

    Raises:
        SettingsError: Settings that affect the result have changed.
        DataError: A data file has changed.
    """
    files = sorted({path for path, _ in before.data.items() ^ data.items()})
    changed = changed_settings(before.settings, settings)
    if changed:
        raise SettingsError(
            f"--resume: settings differ from the run in {output}: {'; '.join(changed)}; use the same settings, or "
            f"{RESTART_ADVICE}"
        )
    if files:
        raise DataError(f"has changed since the run began; {RESTART_ADVICE}", files[0])


def has_finished(output: Path, settings: Settings) -> bool:
    """Check if the run to be resumed has finished and its model is intact. No data are read for this.

    Args:
        output: The run directory.
        settings: The settings of the resumed run.

    Returns:
        True if nothing is left to train.

    Raises:
        SettingsError: The settings have changed since the run began.
        DataError: A data file has changed since the run began.
        TrainingError: The record, the model or the scores are missing or damaged.
    """
    if begun_record_path(output).is_file():
        return False
    if not run_record_path(output).is_file():
        if any(run_record_path(output).parent.glob("checkpoint-*")):
            raise TrainingError(
                f"{run_record_path(output)}: missing, but there are checkpoints next to it; {RESTART_ADVICE}"
            )
        return False
    before = read_run(output)
    now = settings.model_dump()
    if not now["train"]["epochs"]:  # chosen by the size of the data
        now["train"]["epochs"] = before.settings["train"].get("epochs")
    if now["model"].get("initial_model"):  # it determines the other tables
        now = {"train": now["train"]}
    data = {path: checksum(Path(path)) if Path(path).is_file() else "" for path in before.data}
    check_same_run(output, before, now, data)
    if not before.finished:
        return False
    try:
        check_files(output, read_description(output))
        stored_metrics(output)
    except (ModelError, TrainingError) as error:
        raise TrainingError(
            f"--resume: the run has finished, but its files have changed: {error}; {RESTART_ADVICE}"
        ) from error
    return True


def stored_metrics(output: Path) -> dict[str, Any]:
    """Read the scores of a finished run.

    Args:
        output: The run directory.

    Returns:
        Scores by split.

    Raises:
        TrainingError: metrics.json is missing or damaged.
    """
    path = output / "metrics.json"
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(metrics, dict):
            raise ValueError("expected a JSON object")
    except (OSError, ValueError, RecursionError) as error:
        raise TrainingError(f"{path}: not readable ({error}); {RESTART_ADVICE}") from error
    return metrics
