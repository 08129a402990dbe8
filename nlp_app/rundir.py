"""A run's directory while it trains: what is in it before, at each epoch, and at the end; how a run is taken up again.

checkpoints/
  run.json            settings and data, which must not change between a run and its continuation; whether it finished
  checkpoint-000007   what training goes on from: the newest two, and when the run has finished the last
  best-000005         the model of the best epoch, until the run has finished: the newest two
"""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from nlp_app import training
from nlp_app.errors import DataError, NlpAppError, SettingsError, TrainingError
from nlp_app.modeldir import DESCRIPTION, Parts, read_model, write_model
from nlp_app.progress import Progress
from nlp_app.run_record import ANEW, ASIDE, PLAN, SEVERAL, differing, read_run, run_file
from nlp_app.writing import COLUMNS, RECORDS, write_text

P = TypeVar("P", bound=Parts)

# What a run may leave or not: of an earlier one in the same place, nothing must stay.
_NOT_ALWAYS = ("history.png", "confusion.png", COLUMNS, RECORDS)
# Of the time of a run, checkpoints take this share at most: however large they are, and however slow the disk. How long
# the first one will take is guessed, from bytes a second.
_SHARE_OF_TIME = 0.015
_BYTES_A_SECOND = 1e8


@dataclass
class RunDirectory:
    """`settings`, by table, and `data`, a checksum of each file: what a continuation must have in common.

    `pause`: seconds between checkpoints; more where saving takes long, if it is a second or more; 0: one at the end of
    each epoch. Until the next one, the weights of the best epoch are held in memory. `environment`: what the numbers
    depend on beside settings and data, as `environment.environment` has it.
    """

    output: Path
    task: str
    settings: dict[str, Any]
    data: dict[str, str]
    pause: float = 0.0
    environment: dict[str, Any] = field(default_factory=dict)
    _best_weights: dict[str, Tensor] | None = None
    _saved_at: float = field(default_factory=time.monotonic)
    _saving: float = 0.0  # seconds that the last checkpoint took

    @property
    def checkpoints(self) -> Path:
        return self.output / "checkpoints"

    @property
    def _run(self) -> Path:
        return run_file(self.output)

    @property
    def _history(self) -> Path:
        return self.output / "history.jsonl"

    def _best(self, epoch: int) -> Path:
        return self.checkpoints / f"best-{epoch:06d}"

    def start(self, learner: training.Learner, resume: bool, progress: Progress) -> None:
        """Make the directory ready: anew, or where the newest intact checkpoint left it. Of several processes the main
        one does; the others only read."""
        weights = sum(value.numel() * value.element_size() for value in learner.model.state_dict().values())
        self._saving = 3 * weights / _BYTES_A_SECOND  # with the two moments of Adam
        with learner.processes.main_first():
            if learner.processes.is_main:
                self._start(learner, resume, progress)
            else:
                latest = training.latest_checkpoint(self.checkpoints)
                if latest.path is not None:
                    training.load_checkpoint(latest.path, learner)
        # After this, what is in the directory may change.
        step = learner.state.step
        if learner.processes.most([step, -step]) != [step, -step]:
            raise TrainingError(
                f"{self.checkpoints}: found another checkpoint than other processes see, expected one directory that "
                "all machines share"
            )

    def _start(self, learner: training.Learner, resume: bool, progress: Progress) -> None:
        self._sweep()
        latest = training.latest_checkpoint(self.checkpoints) if resume else training.Latest(None, [])
        if resume and self._run.is_file():
            self._check_same()
        if latest.path is None:
            self._start_anew()
            return
        progress.say(*(f"note: damaged and left out: {error}" for error in latest.damaged))
        training.load_checkpoint(latest.path, learner)
        epoch = learner.state.epoch
        lines = self.read_history()
        if len(lines) < epoch:
            found = f"found {len(lines)} epochs, expected {epoch} as in {latest.path.name}"
            raise TrainingError(f"{self._history}: {found}; {ANEW}")
        write_text(self._history, "".join(lines[:epoch]))
        for path in self.checkpoints.glob("best-*"):
            if path > self._best(epoch):  # of an epoch whose checkpoint is damaged, or was never finished
                _remove(path)
        for path in self.checkpoints.glob("checkpoint-*"):
            if path > latest.path:  # damaged: of the two that are kept, it must be none
                _remove(path)
        within = f" and {learner.state.window} updates" if learner.state.window else ""
        progress.say(f"resuming after epoch {epoch}{within}, from {latest.path}")

    def _start_anew(self) -> None:
        fresh = not self.output.exists()
        earlier: list[tuple[Path, Path]] = []
        try:
            _make_directory(self.checkpoints)
            # Out of the way, before this run can be taken for that one. What they were comes back if the disk is full.
            earlier = [(path, _set_aside(path)) for path in self.checkpoints.iterdir() if path.is_dir()]
            self._write_run(finished=False)
            write_text(self._history, "")
        except NlpAppError:
            for path, aside in earlier:
                aside.rename(path)
            if fresh:
                shutil.rmtree(self.output, ignore_errors=True)
            raise
        for _, aside in earlier:
            shutil.rmtree(aside)
        for name in _NOT_ALWAYS:
            (self.output / name).unlink(missing_ok=True)
        for name in SEVERAL:  # of what is under way there is no account yet
            account = self.output / f"{name}.json"
            if account.is_file() and (self.output / name / PLAN).is_file():
                shutil.rmtree(self.output / name)
            account.unlink(missing_ok=True)

    def keep(self, line: dict[str, Any], learner: training.Learner, parts: Parts) -> None:
        """Keep an epoch: its line of history, its weights if it is the best so far, and a checkpoint if one is due."""
        began = time.monotonic()
        if line["best"]:
            now = parts.network.state_dict()
            # Without dev each epoch is the best, so the last will be: what is there then needs no copy.
            self._best_weights = now if line["dev"] is None else {name: value.clone() for name, value in now.items()}
        is_due = self._is_due(learner, began)
        if is_due:  # what fails on a full disk comes first
            self._write_best(learner.state, parts)
        write_text(self._history, "".join(self.read_history()) + json.dumps(line, ensure_ascii=False) + "\n")
        if is_due:
            self._checkpoint(learner, began)

    def save(self, learner: training.Learner, parts: Parts, now: bool = False) -> None:
        """Make a checkpoint, if one is due or it has to be `now`."""
        began = time.monotonic()
        if now or self._is_due(learner, began):
            self._write_best(learner.state, parts)
            self._checkpoint(learner, began)

    def _is_due(self, learner: training.Learner, now: float) -> bool:
        if not self.pause:
            return not learner.state.window
        pause = max(self.pause, self._saving / _SHARE_OF_TIME) if self.pause >= 1 else self.pause
        return now - self._saved_at >= pause

    def _checkpoint(self, learner: training.Learner, began: float) -> None:
        training.save_checkpoint(self.checkpoints, learner)
        self._saved_at = time.monotonic()
        self._saving = self._saved_at - began
        # The last checkpoint but one may be needed too, and what was best then.
        for path in sorted(self.checkpoints.glob("best-*"))[:-2]:
            _remove(path)

    def _write_best(self, state: training.TrainState, parts: Parts) -> None:
        """Write the model of the best epoch, where its weights are still held in memory."""
        weights = self._best_weights
        if weights is None:
            return
        if not state.window and state.best_epoch == state.epoch:
            write_model(parts, self._best(state.epoch))
        elif state.best_score is None:  # without dev a later epoch will be best
            return
        else:  # they are not those of the network any more
            now = {name: value.clone() for name, value in parts.network.state_dict().items()}
            parts.network.load_state_dict(weights)
            write_model(parts, self._best(state.best_epoch))
            parts.network.load_state_dict(now)
        self._best_weights = None

    def load_best(self, epoch: int, parts: P) -> P:
        """`parts` with the weights of the best epoch; of a run that had finished before, from where `close` left it."""
        weights = self._best_weights
        parts.network.load_state_dict(self._read_best(epoch).network.state_dict() if weights is None else weights)
        self._best_weights = None  # they may be large
        parts.network.eval()
        return parts

    def finished_model(self, epoch: int) -> Parts | None:
        """The model that this run left when it finished before; None while something is left to do."""
        done = self._best_weights is None and not self._best(epoch).is_dir() and read_run(self.output)["finished"]
        return read_model(self.output) if done else None

    def _read_best(self, epoch: int) -> Parts:
        best = self._best(epoch)
        return read_model(self.output if not best.is_dir() and read_run(self.output)["finished"] else best)

    def close(self) -> None:
        """Note that the run has finished, and keep only what going on from here needs."""
        self._write_run(finished=True)
        for path in [*self.checkpoints.glob("best-*"), *sorted(self.checkpoints.glob("checkpoint-*"))[:-1]]:
            _remove(path)

    def _sweep(self) -> None:
        for path in [*self.output.glob(".*"), *self.checkpoints.glob(".*"), *self.checkpoints.glob("best-*/.*")]:
            if ASIDE.fullmatch(path.name):
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def discard_if_empty(self) -> None:
        """After a failure: leave nothing of a run that has saved nothing."""
        self._sweep()
        if not self._run.is_file():  # nothing is left already
            return
        saved = any(self.checkpoints.glob("checkpoint-*")) or (self.output / DESCRIPTION).exists()
        if saved or self.read_history():
            return
        shutil.rmtree(self.checkpoints)
        self._history.unlink()
        if not any(self.output.iterdir()):
            self.output.rmdir()

    def _write_run(self, finished: bool) -> None:
        run = {"task": self.task, "settings": self.settings, "data": self.data, "finished": finished}
        run |= {"environment": self.environment}
        write_text(self._run, json.dumps(run, indent=1) + "\n")

    def read_history(self) -> list[str]:
        try:
            return self._history.read_text(encoding="utf-8").splitlines(keepends=True)
        except (OSError, ValueError) as error:
            raise TrainingError(f"{self._history}: not readable ({error}); {ANEW}") from error

    def _check_same(self) -> None:
        before = read_run(self.output)
        files = sorted({path for path, _ in before["data"].items() ^ self.data.items()})
        settings = differing(before["settings"], self.settings)
        if settings:
            raise SettingsError(
                f"--resume: settings differ from the run in {self.output}: {'; '.join(settings)}; "
                f"give the same ones, or {ANEW}"
            )
        if files:
            raise DataError(f"has changed since the run began; {ANEW}", files[0])


def _set_aside(path: Path) -> Path:
    """Give a directory a name under which nobody takes it for what it was; the next run sweeps it away."""
    return path.rename(path.with_name(f".unfinished-{path.name}"))


def _remove(path: Path) -> None:
    """Remove a directory: it is there, or it isn't."""
    shutil.rmtree(_set_aside(path))


def _make_directory(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"--output {path.parent}: can't be written ({error.strerror}); name another directory"
        ) from error
