"""What stands on several runs (folds, trials) and ends with one: its plan, and how it is taken up again.

output/
  folds/ or search/       a directory for each run
    plan.json             what was asked for, and checksums of the data; a continuation must have the same
    final.json            which run the one in `output` repeats, once it has begun
  folds.json, search.json the account, when all is done
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
from nlp_app.training.runs.record import PLAN, differing_settings

_ANEW = "leave out --resume to start over"

_FINAL = "final.json"


def require_one_process(what: str) -> None:
    """Raises SettingsError where several processes were started together."""
    count = join_processes().count
    if count > 1:
        raise SettingsError(
            f"{what}: found {count} processes, expected one: several runs after one another gain nothing from them; "
            "start it without torchrun or accelerate"
        )


def make_plan(task: str, settings: Settings, files: Iterable[Path], **asked: Any) -> dict[str, Any]:
    """What a continuation must have in common; `asked`: what was asked for beside the settings."""
    data = {str(path): checksum(path) for path in files}
    return {"task": task, "asked": asked, "settings": settings.model_dump(), "data": data}


def begin_runs(directory: Path, plan: Mapping[str, Any], resume: bool) -> None:
    """Make the directory of the runs ready: empty but for the plan, or as it was left.

    Raises SettingsError or DataError if what is to be resumed was another thing.
    """
    before = read_plan(directory) if resume else None
    if before is not None:
        _check_same(directory, before, plan)
    # The account of an earlier one, or of this one, which may get longer.
    directory.with_suffix(".json").unlink(missing_ok=True)
    if before is not None:
        return
    try:
        if directory.is_dir():
            shutil.rmtree(directory)
        directory.mkdir(parents=True)
    except OSError as error:
        raise SettingsError(
            f"--output {directory.parent}: can't be written ({error.strerror}); name another directory"
        ) from error
    write_text(directory / PLAN, json.dumps(plan, indent=1) + "\n")


def read_plan(directory: Path) -> dict[str, Any] | None:
    """The plan of what was begun in a directory; None where nothing was. Raises TrainingError if it is damaged."""
    path = directory / PLAN
    if not path.is_file():
        return None
    try:
        plan = json.loads(path.read_text(encoding="utf-8"))
        tables = [plan[key] for key in ("asked", "settings", "data")]
        found = {"task": plan["task"]}
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise TrainingError(f"{path}: not readable ({type(error).__name__}: {error}); {_ANEW}") from error
    are_tables = all(isinstance(table, dict) for table in tables) and all(
        isinstance(table, dict) for table in tables[1].values()
    )
    if not are_tables or not _is_asked(found["task"], tables[0]):
        raise TrainingError(f"{path}: found no plan of runs; {_ANEW}")
    return found | dict(zip(("asked", "settings", "data"), tables, strict=True))


def _is_asked(task: object, asked: Mapping[str, Any]) -> bool:
    """Whether a plan asks for what there is: a number of folds, or a search that leaves some settings as they are."""
    fixed = asked.get("fixed", [])
    has_fixed = isinstance(fixed, list) and all(isinstance(name, str) for name in fixed)
    return isinstance(task, str) and type(asked.get("folds", 2)) is int and has_fixed and len(asked) == 1


def _check_same(directory: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    if before["task"] != now["task"]:
        raise SettingsError(f"--resume: {directory} is of `train {before['task']}`; {_ANEW}, or name another --output")
    others = differing_settings(before["settings"], now["settings"])
    others += [
        f"{name} = {value!r} (was {before['asked'].get(name)!r})"
        for name, value in now["asked"].items()
        if before["asked"].get(name) != value
    ]
    if others:
        raise SettingsError(
            f"--resume: differs from what was begun in {directory}: {'; '.join(others)}; give the same, or {_ANEW}"
        )
    changed = sorted({path for path, _ in before["data"].items() ^ now["data"].items()})
    if changed:
        raise DataError(f"has changed since {directory} was begun; {_ANEW}", changed[0])


def begin_final(directory: Path, run: str) -> None:
    """See to it that in `output` there are checkpoints of the final run named `run`, or none."""
    marker = directory / _FINAL
    text = json.dumps({"run": run}) + "\n"
    if not marker.is_file() or marker.read_bytes() != text.encode():
        shutil.rmtree(directory.parent / "checkpoints", ignore_errors=True)
        write_text(marker, text)
