"""A run's directory while it trains: what is in it before, at each epoch, and at the end; how a run is taken up again.

checkpoints/
  begun.json          settings of a run that has begun, until there is a run.json of it
  run.json            settings and data, which must not change between a run and its continuation; whether it finished
  checkpoint-000007   what training goes on from: the newest two, and when the run has finished the last
  best-000005         the model of the best epoch, until the run has finished: the newest two
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from nlp_app import engine
from nlp_app.config import Settings
from nlp_app.core.errors import NlpAppError, SettingsError, TrainingError
from nlp_app.core.files import remove_directory, remove_leftovers, write_text
from nlp_app.core.locks import lock
from nlp_app.models import ModelParts, read_model, write_model
from nlp_app.training.runs.environment import differing_environment
from nlp_app.training.runs.previous_run import PreviousRun
from nlp_app.training.runs.progress import Progress
from nlp_app.training.runs.record import (
    ANEW,
    RunRecord,
    begun_record_path,
    check_same_run,
    read_run,
    run_record_path,
    write_begun,
)

P = TypeVar("P", bound=ModelParts)

# Of the time of a run, checkpoints take this share at most: however large they are, and however slow the disk. How long
# the first one will take is guessed, from bytes a second.
_SHARE_OF_TIME = 0.015

_BYTES_A_SECOND = 1e8


@dataclass
class RunDirectory:
    """`pause`: seconds between checkpoints; more where saving takes long, if it is a second or more; 0: one at the end
    of each epoch. Until the next one, the weights of the best epoch are held in memory."""

    output: Path
    pause: float = 0.0
    _record: RunRecord | None = None
    _best_weights: dict[str, Tensor] | None = None
    _saved_at: float = field(default_factory=time.monotonic)
    _saving: float = 0.0  # seconds that the last checkpoint took

    def __post_init__(self) -> None:
        self._earlier = PreviousRun(self.output)

    @property
    def checkpoints(self) -> Path:
        return self.output / "checkpoints"

    @property
    def _history(self) -> Path:
        return self.output / "history.jsonl"

    def _best(self, epoch: int) -> Path:
        return self.checkpoints / f"best-{epoch:06d}"

    @contextmanager
    def claim(self, task: str, settings: Settings, resume: bool) -> Iterator[None]:
        """Within the block the directory is this run's, and says so: to other processes, and to whoever takes it up.

        Raises SettingsError if another process trains in it, or it can't be written.
        """
        fresh = [path for path in (self.output, *self.output.parents) if not path.exists()]
        known = resume and (run_record_path(self.output).is_file() or begun_record_path(self.output).is_file())
        _make_directory(self.checkpoints)
        with self._locked():
            try:
                if not known:
                    write_begun(self.output, task, settings.model_dump())
                yield
            except NlpAppError:
                self._discard(known, fresh)
                raise

    @contextmanager
    def _locked(self) -> Iterator[None]:
        descriptor = None
        try:
            descriptor = lock(self.output)
        except BlockingIOError:
            raise SettingsError(
                f"--output {self.output}: another process trains in it; wait until it has ended, or name another one"
            ) from None
        except OSError:
            pass  # a file system without locks
        try:
            yield
        finally:
            if descriptor is not None:
                os.close(descriptor)

    def start(self, record: RunRecord, learner: engine.Learner, resume: bool, progress: Progress) -> None:
        """Make the directory ready: anew, or where the newest intact checkpoint left it. Of several processes the main
        one does; the others only read."""
        weights = sum(value.numel() * value.element_size() for value in learner.model.state_dict().values())
        self._saving = 3 * weights / _BYTES_A_SECOND  # with the two moments of Adam
        with learner.processes.main_process_first():
            if learner.processes.is_main:
                self._start(record, learner, resume, progress)
            else:
                latest = engine.latest_checkpoint(self.checkpoints)
                if latest.path is not None:
                    engine.load_checkpoint(latest.path, learner)
        # After this, what is in the directory may change.
        step = learner.state.step
        if learner.processes.all_reduce_max([step, -step]) != [step, -step]:
            raise TrainingError(
                f"{self.checkpoints}: found another checkpoint than other processes see, expected one directory that "
                "all machines share"
            )

    def _start(self, record: RunRecord, learner: engine.Learner, resume: bool, progress: Progress) -> None:
        self._sweep()
        if not resume or begun_record_path(self.output).is_file():
            self._start_anew(record)
            return
        latest = engine.latest_checkpoint(self.checkpoints)
        before = read_run(self.output)
        check_same_run(self.output, before, record.settings, record.data)
        if latest.path is None:
            self._start_anew(record)
            return
        progress.say(*(f"note: damaged and left out: {error}" for error in latest.damaged))
        engine.load_checkpoint(latest.path, learner)
        epoch = learner.state.epoch
        lines = self.read_history()
        if len(lines) < epoch:
            found = f"found {len(lines)} epochs, expected {epoch} as in {latest.path.name}"
            raise TrainingError(f"{self._history}: {found}; {ANEW}")
        write_text(self._history, "".join(lines[:epoch]))
        for path in self.checkpoints.glob("best-*"):
            if path > self._best(epoch):  # of an epoch whose checkpoint is damaged, or was never finished
                remove_directory(path)
        for path in self.checkpoints.glob("checkpoint-*"):
            if path > latest.path:  # damaged: of the two that are kept, it must be none
                remove_directory(path)
        within = f" and {learner.state.window} updates" if learner.state.window else ""
        progress.say(f"resuming after epoch {epoch}{within}, from {latest.path}")
        others = differing_environment(before.environment, record.environment)
        progress.say(*(f"warning: {line}; the result may differ in bits" for line in others))
        resumed = [*before.resumed, *(line for line in others if line not in before.resumed)]
        self._record = replace(before, resumed=resumed)
        if others:
            self._record.write(self.output)

    def _start_anew(self, record: RunRecord) -> None:
        write_begun(self.output, record.task, record.settings)
        self._earlier.stash()
        self._record = record
        record.write(self.output)
        write_text(self._history, "")
        begun_record_path(self.output).unlink(missing_ok=True)

    def record_epoch(self, line: dict[str, Any], learner: engine.Learner, parts: ModelParts) -> None:
        """Keep an epoch: its line of history, its weights if it is the best so far, and a checkpoint if one is due."""
        began = time.monotonic()
        if line["best"]:
            now = parts.network.state_dict()
            # Without dev each epoch is the best, so the last will be: what is there then needs no copy.
            self._best_weights = now if line["dev"] is None else _copied(now)
        is_due = self._checkpoint_is_due(learner, began)
        if is_due:  # what fails on a full disk comes first
            self._write_best(learner.state, parts)
        write_text(self._history, "".join(self.read_history()) + json.dumps(line, ensure_ascii=False) + "\n")
        if is_due:
            self._checkpoint(learner, began)

    def save(self, learner: engine.Learner, parts: ModelParts, now: bool = False) -> None:
        """Make a checkpoint, if one is due or it has to be `now`."""
        began = time.monotonic()
        if now or self._checkpoint_is_due(learner, began):
            self._write_best(learner.state, parts)
            self._checkpoint(learner, began)

    def _checkpoint_is_due(self, learner: engine.Learner, now: float) -> bool:
        if not self.pause:
            return not learner.state.window
        pause = max(self.pause, self._saving / _SHARE_OF_TIME) if self.pause >= 1 else self.pause
        return now - self._saved_at >= pause

    def _checkpoint(self, learner: engine.Learner, began: float) -> None:
        engine.save_checkpoint(self.checkpoints, learner)
        self._earlier.delete()
        self._saved_at = time.monotonic()
        self._saving = self._saved_at - began
        # The last checkpoint but one may be needed too, and what was best then.
        for path in sorted(self.checkpoints.glob("best-*"))[:-2]:
            remove_directory(path)

    def _write_best(self, state: engine.TrainState, parts: ModelParts) -> None:
        """Write the model of the best epoch, where its weights are still held in memory."""
        weights = self._best_weights
        if weights is None:
            return
        if not state.window and state.best_epoch == state.epoch:
            write_model(parts, self._best(state.epoch))
        elif state.best_score is None:  # without dev a later epoch will be best
            return
        else:  # they are not those of the network any more
            now = _copied(parts.network.state_dict())
            parts.network.load_state_dict(weights)
            write_model(parts, self._best(state.best_epoch))
            parts.network.load_state_dict(now)
        self._best_weights = None

    def load_best(self, epoch: int, parts: P) -> P:
        """`parts` with the weights of the best epoch, which are to replace whatever was there before."""
        self._earlier.delete()
        weights = self._best_weights
        if weights is None:
            weights = read_model(self._best(epoch)).network.state_dict()
        parts.network.load_state_dict(weights)
        self._best_weights = None  # they may be large
        parts.network.eval()
        return parts

    def close(self) -> None:
        """Note that the run has finished, and keep only what going on from here needs."""
        if self._record is not None:
            replace(self._record, finished=True).write(self.output)
        self.cleanup()

    def cleanup(self) -> None:
        """Of a finished run, keep only what going on from here needs."""
        self._earlier.delete()
        self._sweep()
        for path in [*self.checkpoints.glob("best-*"), *sorted(self.checkpoints.glob("checkpoint-*"))[:-1]]:
            remove_directory(path)

    def _sweep(self) -> None:
        for directory in (self.output, self.checkpoints, *self.checkpoints.glob("best-*")):
            remove_leftovers(directory)

    def _discard(self, known: bool, fresh: Sequence[Path]) -> None:
        """After a failure: leave nothing of a run that has saved nothing, and all of one that was there before.

        known: whether there was something to take up; fresh: the directories that were made for it, inner ones first.
        """
        if not known:
            begun_record_path(self.output).unlink(missing_ok=True)
        if self._record is not None and not any(self.checkpoints.glob("checkpoint-*")):
            has_earlier = self._earlier.restore()
            if not has_earlier and not (self._history.is_file() and self.read_history()):
                self._history.unlink(missing_ok=True)
                run_record_path(self.output).unlink(missing_ok=True)
        self._sweep()
        for directory in (self.checkpoints, *fresh):
            if not any(directory.iterdir()):
                directory.rmdir()

    def read_history(self) -> list[str]:
        """The lines of the history. Raises TrainingError if it is damaged."""
        try:
            lines = self._history.read_text(encoding="utf-8").splitlines(keepends=True)
            if not all(isinstance(json.loads(line), dict) for line in lines):
                raise ValueError("a line is no object")
        except (OSError, ValueError, RecursionError) as error:
            raise TrainingError(f"{self._history}: not readable ({error}); {ANEW}") from error
        return lines


def _copied(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies, on the CPU: an accelerator may have no room for them."""
    return {name: value.to("cpu", copy=True) for name, value in weights.items()}


def _make_directory(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"--output {path.parent}: can't be written ({error.strerror}); name another directory"
        ) from error
