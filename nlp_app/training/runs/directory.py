"""Directory of a run: start or resume the run, record its epochs, save checkpoints, clean up at the end.

checkpoints/
  begun.json          settings of a run that has begun, until it has a run.json
  run.json            record of the run: settings and data, which must not change before it is resumed
  checkpoint-000007   checkpoint to resume from: the newest two, after the end of the run only the last
  best-000005         model of the best epoch, until the end of the run: the newest two
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
from nlp_app.training.runs.environment import changed_environment
from nlp_app.training.runs.previous_run import PreviousRun
from nlp_app.training.runs.progress import Progress
from nlp_app.training.runs.record import (
    RESTART_ADVICE,
    RunRecord,
    begun_record_path,
    check_same_run,
    read_run,
    run_record_path,
    write_begun,
)

P = TypeVar("P", bound=ModelParts)

# Checkpoints take at most this share of the run's time, even if they are large or the disk is slow. The time for the
# first one is estimated from bytes per second.
_MAX_TIME_SHARE = 0.015

_BYTES_PER_SECOND = 1e8


@dataclass
class RunDirectory:
    """Directory of a run. The weights of the best epoch are held in memory until the next checkpoint.

    Attributes:
        output: The path of the directory.
        interval: Seconds between checkpoints; 0 saves one at the end of each epoch. An interval of a second or more is
            extended if saving takes long.
    """

    output: Path
    interval: float = 0.0
    _record: RunRecord | None = None
    _best_weights: dict[str, Tensor] | None = None
    _saved_at: float = field(default_factory=time.monotonic)
    _saving: float = 0.0  # seconds for the last checkpoint

    def __post_init__(self) -> None:
        self._previous_run = PreviousRun(self.output)

    @property
    def checkpoints(self) -> Path:
        """Directory of checkpoints and the run's record."""
        return self.output / "checkpoints"

    @property
    def _history(self) -> Path:
        return self.output / "history.jsonl"

    def _best_model(self, epoch: int) -> Path:
        return self.checkpoints / f"best-{epoch:06d}"

    @contextmanager
    def claim(self, task: str, settings: Settings, resume: bool) -> Iterator[None]:
        """Lock the directory and record the settings of the run in it while the block runs.

        If the block raises a project error before the run has saved anything, its files are removed.

        Args:
            task: The task, "ner" or "cls".
            settings: The settings of the run.
            resume: Resume the run in the directory if there is one.

        Yields:
            Nothing.

        Raises:
            SettingsError: Another process trains in the directory, or it cannot be written.
        """
        created = [path for path in (self.output, *self.output.parents) if not path.exists()]
        resumes = resume and (run_record_path(self.output).is_file() or begun_record_path(self.output).is_file())
        _make_directory(self.checkpoints)
        with self._locked():
            try:
                if not resumes:
                    write_begun(self.output, task, settings.model_dump())
                yield
            except NlpAppError:
                self._discard(resumes, created)
                raise

    @contextmanager
    def _locked(self) -> Iterator[None]:
        descriptor = None
        try:
            descriptor = lock(self.output)
        except BlockingIOError:
            raise SettingsError(
                f"--output {self.output}: in use by another process; wait for it to finish, or choose another directory"
            ) from None
        except OSError:
            pass  # the file system has no locks
        try:
            yield
        finally:
            if descriptor is not None:
                os.close(descriptor)

    def start(self, record: RunRecord, learner: engine.Learner, resume: bool, progress: Progress) -> None:
        """Prepare the directory for training: start a new run, or load the newest intact checkpoint.

        Only the main process writes; other processes read the checkpoint.

        Args:
            record: The record of the run.
            learner: The learner; a checkpoint is loaded into it.
            resume: Resume the run in the directory if it has a checkpoint.
            progress: Shows which checkpoint is used, and warnings.

        Raises:
            SettingsError: The settings of the resumed run have changed.
            DataError: A data file of the resumed run has changed.
            TrainingError: The run cannot be resumed.
        """
        weights = sum(value.numel() * value.element_size() for value in learner.model.state_dict().values())
        self._saving = 3 * weights / _BYTES_PER_SECOND  # weights and the two moments of Adam
        with learner.processes.main_process_first():
            if learner.processes.is_main:
                self._start(record, learner, resume, progress)
            else:
                latest = engine.latest_checkpoint(self.checkpoints)
                if latest.path is not None:
                    engine.load_checkpoint(latest.path, learner)
        # The main process changes the directory from here on.
        step = learner.state.step
        if learner.processes.all_reduce_max([step, -step]) != [step, -step]:
            raise TrainingError(
                f"{self.checkpoints}: the processes found different checkpoints; use one directory that all machines "
                "share"
            )

    def _start(self, record: RunRecord, learner: engine.Learner, resume: bool, progress: Progress) -> None:
        self._remove_leftovers()
        if not resume or begun_record_path(self.output).is_file():
            self._start_new(record)
            return
        latest = engine.latest_checkpoint(self.checkpoints)
        before = read_run(self.output)
        check_same_run(self.output, before, record.settings, record.data)
        if latest.path is None:
            self._start_new(record)
            return
        progress.say(*(f"note: skipped a damaged checkpoint: {error}" for error in latest.damaged))
        engine.load_checkpoint(latest.path, learner)
        epoch = learner.state.epoch
        lines = self.read_history()
        if len(lines) < epoch:
            problem = f"found {len(lines)} epochs, expected {epoch} as in {latest.path.name}"
            raise TrainingError(f"{self._history}: {problem}; {RESTART_ADVICE}")
        write_text(self._history, "".join(lines[:epoch]))
        for path in self.checkpoints.glob("best-*"):
            if path > self._best_model(epoch):  # its checkpoint is damaged or was not completed
                remove_directory(path)
        for path in self.checkpoints.glob("checkpoint-*"):
            if path > latest.path:  # damaged: it must not count as one of the two kept
                remove_directory(path)
        within = f", step {learner.state.window} of the next epoch" if learner.state.window else ""
        progress.say(f"resuming after epoch {epoch}{within}, from {latest.path}")
        changes = changed_environment(before.environment, record.environment)
        progress.say(*(f"warning: {line}; results may not be bit-identical" for line in changes))
        resumed = [*before.resumed, *(line for line in changes if line not in before.resumed)]
        self._record = replace(before, resumed=resumed)
        if changes:
            self._record.write(self.output)

    def _start_new(self, record: RunRecord) -> None:
        write_begun(self.output, record.task, record.settings)
        self._previous_run.stash()
        self._record = record
        record.write(self.output)
        write_text(self._history, "")
        begun_record_path(self.output).unlink(missing_ok=True)

    def record_epoch(self, line: dict[str, Any], learner: engine.Learner, parts: ModelParts) -> None:
        """Record an epoch: its line in history.jsonl, its weights if it is the best, and a checkpoint if one is due.

        Args:
            line: The line of the epoch in history.jsonl.
            learner: The learner.
            parts: The model.

        Raises:
            DataError: history.jsonl cannot be written.
            ModelError: The best model cannot be written.
            TrainingError: The checkpoint cannot be written.
        """
        started = time.monotonic()
        if line["best"]:
            weights = parts.network.state_dict()
            # Without dev each epoch is the best, so the last one will be: its final weights need no copy.
            self._best_weights = weights if line["dev"] is None else _copy_to_cpu(weights)
        is_due = self._checkpoint_is_due(learner, started)
        if is_due:  # first, as it fails if the disk is full
            self._write_best(learner.state, parts)
        write_text(self._history, "".join(self.read_history()) + json.dumps(line, ensure_ascii=False) + "\n")
        if is_due:
            self._checkpoint(learner, started)

    def save(self, learner: engine.Learner, parts: ModelParts, now: bool = False) -> None:
        """Save a checkpoint if one is due.

        Args:
            learner: The learner.
            parts: The model.
            now: Save one even if none is due.

        Raises:
            ModelError: The best model cannot be written.
            TrainingError: The checkpoint cannot be written.
        """
        started = time.monotonic()
        if now or self._checkpoint_is_due(learner, started):
            self._write_best(learner.state, parts)
            self._checkpoint(learner, started)

    def _checkpoint_is_due(self, learner: engine.Learner, now: float) -> bool:
        if not self.interval:
            return not learner.state.window
        interval = max(self.interval, self._saving / _MAX_TIME_SHARE) if self.interval >= 1 else self.interval
        return now - self._saved_at >= interval

    def _checkpoint(self, learner: engine.Learner, started: float) -> None:
        engine.save_checkpoint(self.checkpoints, learner)
        self._previous_run.delete()
        self._saved_at = time.monotonic()
        self._saving = self._saved_at - started
        # The checkpoint before this one is kept as well, and needs the model that was best then.
        for path in sorted(self.checkpoints.glob("best-*"))[:-2]:
            remove_directory(path)

    def _write_best(self, state: engine.TrainState, parts: ModelParts) -> None:
        """Write the model of the best epoch if its weights are still in memory."""
        weights = self._best_weights
        if weights is None:
            return
        if not state.window and state.best_epoch == state.epoch:
            write_model(parts, self._best_model(state.epoch))
        elif state.best_score is None:  # without dev a later epoch will be best
            return
        else:  # the network has been trained further since
            current = _copy_to_cpu(parts.network.state_dict())
            parts.network.load_state_dict(weights)
            write_model(parts, self._best_model(state.best_epoch))
            parts.network.load_state_dict(current)
        self._best_weights = None

    def load_best(self, epoch: int, parts: P) -> P:
        """Load the weights of the best epoch into a model, and delete the files of the previous run.

        Args:
            epoch: The best epoch, from 1.
            parts: The model; its network is changed.

        Returns:
            The model, in evaluation mode.
        """
        self._previous_run.delete()
        weights = self._best_weights
        if weights is None:
            weights = read_model(self._best_model(epoch)).network.state_dict()
        parts.network.load_state_dict(weights)
        self._best_weights = None  # free the memory
        parts.network.eval()
        return parts

    def close(self) -> None:
        """Record that the run has finished, and delete files that are no longer needed."""
        if self._record is not None:
            replace(self._record, finished=True).write(self.output)
        self.cleanup()

    def cleanup(self) -> None:
        """Delete files that a finished run no longer needs; keep its record and its last checkpoint."""
        self._previous_run.delete()
        self._remove_leftovers()
        for path in [*self.checkpoints.glob("best-*"), *sorted(self.checkpoints.glob("checkpoint-*"))[:-1]]:
            remove_directory(path)

    def _remove_leftovers(self) -> None:
        for directory in (self.output, self.checkpoints, *self.checkpoints.glob("best-*")):
            remove_leftovers(directory)

    def _discard(self, resumes: bool, created: Sequence[Path]) -> None:
        """Clean up after a failure: remove a run that has saved nothing, and restore the previous run.

        Args:
            resumes: True if the failed run was resumed from files in the directory.
            created: Directories that were created for the run, inner ones first.
        """
        if not resumes:
            begun_record_path(self.output).unlink(missing_ok=True)
        if self._record is not None and not any(self.checkpoints.glob("checkpoint-*")):
            is_restored = self._previous_run.restore()
            if not is_restored and not (self._history.is_file() and self.read_history()):
                self._history.unlink(missing_ok=True)
                run_record_path(self.output).unlink(missing_ok=True)
        self._remove_leftovers()
        for directory in (self.checkpoints, *created):
            if not any(directory.iterdir()):
                directory.rmdir()

    def read_history(self) -> list[str]:
        """Read history.jsonl.

        Returns:
            Its lines, one per epoch, with line ends.

        Raises:
            TrainingError: The file is missing or damaged.
        """
        try:
            lines = self._history.read_text(encoding="utf-8").splitlines(keepends=True)
            if not all(isinstance(json.loads(line), dict) for line in lines):
                raise ValueError("a line is not a JSON object")
        except (OSError, ValueError, RecursionError) as error:
            raise TrainingError(f"{self._history}: not readable ({error}); {RESTART_ADVICE}") from error
        return lines


def _copy_to_cpu(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copy weights to the CPU, as the accelerator may not have enough memory for a copy."""
    return {name: value.to("cpu", copy=True) for name, value in weights.items()}


def _make_directory(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"--output {path.parent}: can't be written ({error.strerror}); choose another directory"
        ) from error
