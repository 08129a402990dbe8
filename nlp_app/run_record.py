"""What stands in a run's directory for whoever takes the run up again, repeats it, or would write in its place."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nlp_app.config import read_toml
from nlp_app.errors import SettingsError, TrainingError
from nlp_app.modeldir import DESCRIPTION, read_description

ANEW = "train without --resume to start over"
# What consists of several runs has a directory, with its plan, and at the end an account beside it: `folds.json`.
SEVERAL = ("folds", "search")
PLAN = "plan.json"
# What files and directories are called while they are written; killed then, a run leaves them behind.
ASIDE = re.compile(r"\.(saving-|unfinished-).*|\..*\.[0-9a-f]{32}")
# Settings that change nothing of what comes out.
_MAY_CHANGE = {("train", "threads"), ("train", "engine"), ("train", "checkpoint_seconds")}


def differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
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
    if run_file(output).is_file():
        return dict(read_run(output)["settings"])
    # A finished run whose checkpoints were removed; its settings still stand beside the model.
    resolved = output / "config.toml"
    return read_toml(resolved) if resolved.is_file() else None


def _check_task(output: Path, task: str) -> None:
    if run_file(output).is_file():
        found = read_run(output)["task"]
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
        ours = (output / DESCRIPTION).is_file() or run_file(output).is_file()
        # A run that was killed as it began has got no farther than this.
        below = [*output.iterdir(), *(output / "checkpoints").glob("*")]
        begun = all(path.name == "checkpoints" or ASIDE.fullmatch(path.name) or _is_several(path) for path in below)
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
    return (path / PLAN).is_file() or all(ASIDE.fullmatch(inner.name) for inner in path.iterdir())


def run_file(output: Path) -> Path:
    """Where the record of a run is."""
    return output / "checkpoints" / "run.json"


def read_run(output: Path) -> dict[str, Any]:
    """What is known of the run in a directory: its "task", "settings" by table, "data" (checksums by path), whether it
    has "finished", and the "environment" that it began in. Raises TrainingError where there is none."""
    path = run_file(output)
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
        run = {key: run[key] for key in ("task", "settings", "data", "finished")} | {
            "environment": run.get("environment", {})
        }
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise TrainingError(f"{path}: not readable ({type(error).__name__}: {error}); {ANEW}") from error
    tables = [run["data"], run["settings"]]
    if not all(isinstance(table, dict) for table in tables) or not all(
        isinstance(table, dict) for table in run["settings"].values()
    ):
        raise TrainingError(f"{path}: found no run's settings and data; {ANEW}")
    return run
