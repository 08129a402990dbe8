"""What stands in a run's directory for whoever takes the run up again, repeats it, or would write in its place."""

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

ANEW = "train without --resume to start over"

# What consists of several runs has a directory, with its plan, and at the end an account beside it: `folds.json`.
SEVERAL = ("folds", "search")

PLAN = "plan.json"

# Settings that change nothing of what comes out.
_MAY_CHANGE = {("train", "threads"), ("train", "engine"), ("train", "checkpoint_seconds")}

_BEGUN = ("checkpoints", "begun.json")  # what a run leaves that was ended before its first update


@dataclass(frozen=True)
class RunRecord:
    """What run.json says of a run: `settings`, by table, and `data`, the checksums of its files by path, which a
    continuation must have in common; the `environment` it began in; `resumed`: in what others it went on."""

    task: str
    settings: dict[str, dict[str, Any]]
    data: dict[str, str]
    environment: dict[str, Any]
    resumed: list[str] = field(default_factory=list)
    finished: bool = False

    def write(self, output: Path) -> None:
        """Put it in place."""
        write_text(run_record_path(output), json.dumps(asdict(self), indent=1) + "\n")


def differing_settings(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The settings, by table, that are others now, of those that change what comes out."""
    return [
        f"{table}.{key} = {value!r} (was {before.get(table, {}).get(key)!r})"
        for table, values in now.items()
        for key, value in values.items()
        if before.get(table, {}).get(key) != value and (table, key) not in _MAY_CHANGE
    ]


def stored_settings(output: Path, task: str) -> dict[str, Any] | None:
    """The settings, by table, of the unfinished or finished run in `output`, if there is one. Raises SettingsError for
    a run of another task."""
    _check_task(output, task)
    if begun_record_path(output).is_file():
        return _begun_settings(output, task)
    if run_record_path(output).is_file():
        return read_run(output).settings
    # A finished run whose checkpoints were removed; its settings still stand beside the model.
    resolved = output / "config.toml"
    return read_toml(resolved) if resolved.is_file() else None


def _check_task(output: Path, task: str) -> None:
    if run_record_path(output).is_file():
        found: object = read_run(output).task
    elif (output / DESCRIPTION).is_file():
        found = read_description(output).get("task")
    else:
        return
    if found != task:
        raise SettingsError(f"--output {output}: holds a run of `train {found}`; name another directory for `{task}`")


def check_output(output: Path, task: str) -> None:
    """Refuse a place that can't be written, or that holds something other than a run of the task. Raises
    SettingsError."""
    _check_task(output, task)
    if output.is_dir():
        ours = any(
            path.is_file() for path in (output / DESCRIPTION, run_record_path(output), begun_record_path(output))
        )
        # A run that was killed as it began has got no farther than this.
        below = [*output.iterdir(), *(output / "checkpoints").glob("*")]
        begun = all(path.name in _BEGUN or is_temporary(path.name) or _is_several(path) for path in below)
        if not ours and not begun:
            raise SettingsError(
                f"--output {output}: holds other files, and no run of nlp_app; name an empty or new directory"
            )
    elif output.exists():
        raise SettingsError(f"--output {output}: is a file; name a directory")


def _is_several(path: Path) -> bool:
    """Whether this is where several runs are, or their plan was about to be written."""
    if path.name not in SEVERAL or not path.is_dir():
        return False
    return (path / PLAN).is_file() or all(is_temporary(inner.name) for inner in path.iterdir())


def run_record_path(output: Path) -> Path:
    """Where the record of a run is."""
    return output / "checkpoints" / "run.json"


def begun_record_path(output: Path) -> Path:
    """Where the settings of a run are that has begun and has no record yet; all else is then of an earlier one."""
    return output.joinpath(*_BEGUN)


def write_begun(output: Path, task: str, settings: Mapping[str, Any]) -> None:
    """Note which run begins in a directory; `settings`, by table."""
    write_text(begun_record_path(output), json.dumps({"task": task, "settings": settings}, indent=1) + "\n")


def _begun_settings(output: Path, task: str) -> dict[str, Any] | None:
    """The settings of the run that has begun; None if it is of another task."""
    path = begun_record_path(output)
    begun = _read_tables(path, ("settings",))
    return begun["settings"] if begun.get("task") == task else None


def read_run(output: Path) -> RunRecord:
    """What is known of the run in a directory. Raises TrainingError where there is none, or it is damaged."""
    path = run_record_path(output)
    run = _read_tables(path, ("settings", "data"))
    task, environment, resumed = run.get("task"), run.get("environment", {}), run.get("resumed", [])
    threads = environment.get("threads", 1) if isinstance(environment, dict) else None
    if not isinstance(task, str) or type(threads) is not int or threads < 1 or not isinstance(resumed, list):
        raise TrainingError(f"{path}: found no task, threads or list of resumptions, expected a run's; {ANEW}")
    return RunRecord(task, run["settings"], run["data"], environment, resumed, run.get("finished") is True)


def _read_tables(path: Path, names: Sequence[str]) -> dict[str, Any]:
    """A JSON object with tables of these names, the settings a table of tables. Raises TrainingError."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise TrainingError(f"{path}: not readable ({type(error).__name__}: {error}); {ANEW}") from error
    tables = [found.get(name) for name in names] if isinstance(found, dict) else [None]
    if not all(isinstance(table, dict) for table in tables):
        raise TrainingError(f"{path}: found no tables {' and '.join(names)}, expected those of a run; {ANEW}")
    settings = found["settings"]
    if not all(isinstance(table, dict) for table in settings.values()) or not {"data", "model", "train"} <= {*settings}:
        raise TrainingError(f"{path}: found no settings in tables, expected those of a run; {ANEW}")
    return dict(found)


def check_same_run(output: Path, before: RunRecord, settings: Mapping[str, Any], data: Mapping[str, str]) -> None:
    """Raises SettingsError or DataError if a run with these settings on these files is another than was recorded."""
    files = sorted({path for path, _ in before.data.items() ^ data.items()})
    others = differing_settings(before.settings, settings)
    if others:
        raise SettingsError(
            f"--resume: settings differ from the run in {output}: {'; '.join(others)}; give the same ones, or {ANEW}"
        )
    if files:
        raise DataError(f"has changed since the run began; {ANEW}", files[0])


def has_finished(output: Path, settings: Settings) -> bool:
    """Whether the run that is to be taken up has finished, and its model is as it left it.

    Raises SettingsError, DataError or TrainingError where it can't be taken up: before anything is read or encoded.
    """
    if begun_record_path(output).is_file():
        return False
    if not run_record_path(output).is_file():
        if any(run_record_path(output).parent.glob("checkpoint-*")):
            raise TrainingError(
                f"{run_record_path(output)}: missing, expected the settings of the checkpoints there; {ANEW}"
            )
        return False
    before = read_run(output)
    now = settings.model_dump()
    if not now["train"]["epochs"]:  # which the data decide
        now["train"]["epochs"] = before.settings["train"].get("epochs")
    if now["model"].get("initial_model"):  # a model that decides what is in the other tables
        now = {"train": now["train"]}
    data = {path: checksum(Path(path)) if Path(path).is_file() else "" for path in before.data}
    check_same_run(output, before, now, data)
    if not before.finished:
        return False
    try:
        check_files(output, read_description(output))
        stored_metrics(output)
    except (ModelError, TrainingError) as error:
        raise TrainingError(f"--resume: the run has finished, but not all is as it left it: {error}; {ANEW}") from error
    return True


def stored_metrics(output: Path) -> dict[str, Any]:
    """The scores of a finished run. Raises TrainingError if they are damaged."""
    path = output / "metrics.json"
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(metrics, dict):
            raise ValueError("no scores by split")
    except (OSError, ValueError, RecursionError) as error:
        raise TrainingError(f"{path}: not readable ({error}); {ANEW}") from error
    return metrics
