"""A finished run once more, from what its directory says of it, and the two side by side."""

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
from nlp_app.training.runs.environment import differing_environment, environment
from nlp_app.training.runs.record import SEVERAL, read_run, run_record_path

_DISTILLED: Mapping[str, type[Settings]] = {"ner": DistilledTaggingSettings, "cls": DistilledClassificationSettings}

_SPLITS = ("train", "dev", "test")

_SHOWN = 5  # tensors that are named


@dataclass(frozen=True)
class Reproduction:
    """`differing`: what of the two environments is not the same, a line each. `tensors`: the largest difference in each
    tensor that differs; None where the shapes do, or one is missing."""

    directory: str
    differing: list[str]
    parts: list[ComparedPart]
    tensors: dict[str, float | None]

    @property
    def identical(self) -> bool:
        """Whether all parts are the same."""
        return all(part.same for part in self.parts)

    def table(self) -> str:
        """What a person wants to know, a part a line."""
        rows = [[part.what, "same" if part.same else "differs", part.detail] for part in self.parts]
        lines = [
            f"{line}  {row[2]}".rstrip() for line, row in zip(format_table([r[:2] for r in rows]), rows, strict=True)
        ]
        lines += [f"  {name}: {_far(value)}" for name, value in self._furthest()]
        return "\n".join([*lines, "", "identical" if self.identical else "not identical"])

    def _furthest(self) -> list[tuple[str, float | None]]:
        by_distance = sorted(self.tensors.items(), key=lambda item: -float("inf") if item[1] is None else -item[1])
        return by_distance[:_SHOWN]

    def to_json(self) -> dict[str, Any]:
        """The same for machines."""
        fields = {"directory": self.directory, "differing": self.differing, "tensors": self.tensors}
        return {"identical": self.identical, **fields, "parts": [asdict(part) for part in self.parts]}


@dataclass(frozen=True)
class _Recorded:
    """What is known of a finished run. `several`: "folds" or "search" if it was the last of such runs; all else is then
    what was asked for. `asked`: the number of folds; the number of trials, and the settings that were not searched."""

    task: str
    settings: dict[str, Any]
    data: dict[str, str]
    environment: dict[str, Any]
    resumed: list[str]
    several: str = ""
    asked: Any = None


def reproduce(
    directory: Path,
    output: Path | None = None,
    moved: Mapping[str, str] | None = None,
    *,
    trust_remote_code: bool = False,
    quiet: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> Reproduction:
    """Train as the run in `directory` was trained, in `output` (None: a temporary directory), and compare.

    moved: where "train", "dev" or "test" is now. say: told of what may make a difference. Raises SettingsError,
    DataError or TrainingError if the run has not finished, if its files have changed, or if it can't be repeated.

    Several processes repeat a run together; the first one compares, and to the others all is identical.
    """
    processes = join_processes()
    run = _read(directory)
    settings = _with_moved(_settings(directory, run), moved or {})
    if getattr(settings.model, "trust_remote_code", False) and not trust_remote_code:
        raise SettingsError(f"{directory}: the run used code that its model brings; give --trust-remote-code to run it")
    _check_files(run.data, _moves(run, settings))
    _check_output(directory, output)
    threads = torch.get_num_threads()
    torch.set_num_threads(settings.train.threads or run.environment.get("threads") or threads)
    try:
        differing = [*_differing(run, processes)]
        for line in differing:
            say(f"warning: {line}; the result may differ in bits")
        for name in _SPLITS:
            if getattr(settings.data, name).startswith("hf:"):
                say(f"note: {getattr(settings.data, name)}: no checksum is known; it may have changed")
        with _room(output, processes) as place:
            _train(run, settings, place, quiet)
            parts, tensors = compare_runs(directory, place) if processes.is_main else ([], {})
        if output is None and not quiet:
            say("note: the new run is compared and removed; --output DIR keeps it")
    finally:
        torch.set_num_threads(threads)
    return Reproduction(str(directory), differing, parts, tensors)


def _read(directory: Path) -> _Recorded:
    if not run_record_path(directory).is_file():
        found = "found no checkpoints/run.json" if directory.is_dir() else "found no such directory"
        raise DataError(f"{found}, expected the directory of a finished run; check the name", directory)
    run = read_run(directory)
    if not run.finished or not all((directory / name).is_file() for name in (DESCRIPTION, WEIGHTS)):
        raise DataError("has not finished; finish it with --resume", directory)
    for kind in SEVERAL:
        plan = read_plan(directory / kind)
        if plan is None:
            continue
        account = read_json(directory / f"{kind}.json")
        if account is None:
            raise DataError(f"has not finished its {kind}; finish it with --resume", directory)
        asked = plan["asked"]["folds"] if kind == "folds" else (len(account["trials"]), plan["asked"]["fixed"])
        data = run.data | plan["data"]
        return _Recorded(plan["task"], plan["settings"], data, run.environment, run.resumed, kind, asked)
    return _Recorded(run.task, run.settings, run.data, run.environment, run.resumed)


def _settings(directory: Path, run: _Recorded) -> Settings:
    name = run.settings.get("model", {}).get("kind")
    kind = KINDS.get(run.task, {}).get(name) if isinstance(name, str) else None
    if kind is None:
        raise SettingsError(f"{directory}: found a run of another kind ({run.task}); use the version that trained it")
    kind = _DISTILLED[run.task] if "distill" in run.settings else kind
    return validate(kind, run.settings, f"{directory}: the run's settings")


def _with_moved(settings: Settings, moved: Mapping[str, str]) -> Settings:
    for name in moved:
        if not getattr(settings.data, name):
            raise SettingsError(f"--{name}: the run was given no such file; leave it out")
    return settings.model_copy(update={"data": settings.data.model_copy(update=dict(moved))})


def _moves(run: _Recorded, settings: Settings) -> dict[str, str]:
    """Where the files and folders of the run's data are now, by where they were."""
    before, now = run.settings["data"], with_bundled_corpus(settings.data)
    if before.get("train"):
        return {before[name]: getattr(now, name) for name in _SPLITS if before.get(name)}
    # The bundled corpus, wherever it was installed: it is known by the last of its files' names.
    places = {tuple(Path(getattr(now, name)).parts[-2:]): getattr(now, name) for name in _SPLITS}
    return {path: places[tuple(Path(path).parts[-2:])] for path in run.data if tuple(Path(path).parts[-2:]) in places}


def _check_files(data: Mapping[str, str], moves: Mapping[str, str]) -> None:
    """That the files of a run are there and what they were. Raises DataError naming the first that isn't."""
    for path, expected in data.items():
        place = _moved(path, moves)
        if not place.is_file():
            raise DataError("is not there any more; put it back, or say where it is with --train, --dev, --test", place)
        found = checksum(place)
        if found != expected:
            raise DataError(
                f"has changed since the run: found checksum {found}, expected {expected}; put the old one back", place
            )


def _moved(path: str, moves: Mapping[str, str]) -> Path:
    """Where a file is now that was at `path`, by itself or in a folder that moved."""
    for before, now in moves.items():
        if Path(path).is_relative_to(before):
            return Path(now) / Path(path).relative_to(before)
    return Path(path)


def _check_output(directory: Path, output: Path | None) -> None:
    if output is None:
        return
    if output.resolve().is_relative_to(directory.resolve()):
        raise SettingsError(f"--output {output}: is in the run to reproduce; name a new directory")
    if output.exists() and not (output.is_dir() and not any(output.iterdir())):
        raise SettingsError(f"--output {output}: is there already; name an empty or new directory")


def _differing(run: _Recorded, processes: Processes) -> Iterator[str]:
    """What is not as it was around a run, or wasn't always."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    yield from differing_environment(run.environment, environment(processes, device))
    for line in run.resumed:
        yield f"when the run was taken up again, {line}"


@contextmanager
def _room(output: Path | None, processes: Processes) -> Iterator[Path]:
    """Where the run is repeated; the same place for all processes. Raises Interrupted with what is left of it."""
    try:
        if output is not None:
            yield output
            return
        with tempfile.TemporaryDirectory(prefix="nlp_app-reproduce-") as own:
            # The first one's; that of the others stays empty.
            (name, *_) = processes.gather(np.frombuffer(os.fsencode(own), dtype=np.uint8))
            yield Path(os.fsdecode(name.tobytes())) / "run"
            processes.barrier()
    except Interrupted as error:
        kept = "" if output is None else f"; what was trained so far is in {output}"
        raise Interrupted(f"stopped; nothing was compared{kept}", error.number) from error


def _train(run: _Recorded, settings: Any, output: Path, quiet: bool) -> None:
    if run.several == "folds":
        cross_validate(settings, output, run.asked, quiet=quiet)
    elif run.several == "search":
        trials, fixed = run.asked
        search(settings, output, trials, fixed, quiet=quiet)
    elif run.task == "ner":
        train_ner(settings, output, quiet=quiet)
    else:
        train_cls(settings, output, quiet=quiet)


def _far(value: float | None) -> str:
    return "of another shape, or in one of the two alone" if value is None else f"largest difference {value:.3g}"
