"""An epoch as both engines count it: windows, the reports they add up to, and where the run stands after them.

A window is the `gradient_accumulation_steps` micro-batches of one update. Its gradient is that of the sum of all its losses
divided by the number of all its targets, across processes too, so it equals that of one big batch; the last
window of an epoch may be short and counts what it has.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from nlp_app.core.errors import SettingsError, TrainingError
from nlp_app.engine.batch import Batch
from nlp_app.engine.learner import Learner, TrainState
from nlp_app.engine.non_finite import NonFinite, NonFiniteError, check_weights, non_finite_error


class Evaluation(NamedTuple):
    """A dev score (higher is better), and whatever else was measured."""

    score: float
    metrics: Mapping[str, Any]


@dataclass(frozen=True)
class LoopOptions:
    """`patience`: stop after so many dev scores in a row without a better one; `eval_every_epochs`: epochs from one dev score
    to the next, counted back from the last epoch, which always has one; `log_every`: in windows; `stop`: asked after
    each update, whether to stop there; of several processes one is enough."""

    epochs: int
    gradient_accumulation_steps: int = 1
    max_grad_norm: float | None = 5.0
    patience: int | None = None
    log_every: int = 10
    eval_every_epochs: int = 1
    stop: Callable[[], bool] = lambda: False


@dataclass(frozen=True)
class StepReport:
    """`loss` (mean per target) and speed since the report before; the last window's norm before clipping."""

    epoch: int  # from 1
    window: int  # of the epoch, from 1
    step: int  # updates so far
    loss: float
    grad_norm: float | None  # None: overflowed, and the update was left out
    rates: Mapping[str, float]
    targets_per_second: float
    skipped: int  # updates left out so far
    parts: int  # into so many a micro-batch is cut, where the whole didn't fit into memory
    stop: bool  # as was asked for


@dataclass(frozen=True)
class EpochReport:
    """An epoch's end. `score` and `metrics` are None where dev wasn't scored; without an `evaluate` each epoch is the
    best yet."""

    epoch: int  # from 1
    step: int
    train_loss: float  # mean per target
    score: float | None
    metrics: Mapping[str, Any] | None
    is_best: bool
    best_epoch: int
    stop: bool  # this was the last epoch
    seconds: float  # of this process, training and evaluation
    skipped: int
    parts: int = 1  # as in StepReport


Report = StepReport | EpochReport


class UpdateWindow(NamedTuple):
    """One window after its backward passes; its numbers may still be on their way from the device."""

    place: str
    rates: Mapping[str, float]
    rows: list[Sequence[int]]
    losses: list[Tensor]  # sums over each micro-batch of this process
    norm: Tensor
    targets: int  # of all processes
    overflow: bool


class EpochTotals:
    """The windows of the epoch under way, each added before its update and closed after it."""

    def __init__(self, learner: Learner, options: LoopOptions) -> None:
        self._learner = learner
        self._log_every = options.log_every
        self._stop = options.stop
        # On a CPU looking at each loss costs nothing and keeps bad gradients out of the weights; elsewhere it
        # would make every update wait for the device, so the losses are read when there is something to report.
        self._read_each = learner.accelerator.device.type == "cpu"
        self._pending: list[UpdateWindow] = []
        self._last: Sequence[Sequence[int]] = ()
        self._norm = 0.0
        self._mark()

    def _mark(self) -> None:
        state = self._learner.state
        self._since, self._loss_sum, self._targets = time.perf_counter(), state.loss_sum, state.targets

    def open(self, micro: Sequence[Batch]) -> int:
        """Set the rates of the update to come; the number of its targets, of all processes."""
        learner = self._learner
        (targets,) = learner.processes.all_reduce_sum([sum(batch.targets for batch in micro)])
        if targets <= 0:
            rows = ", ".join(str(row) for batch in micro for row in batch.rows)
            raise TrainingError(
                f"{describe_position(learner.state)}: found no target in rows {rows}, expected one at least; "
                "leave such rows out"
            )
        learner.optimizers.set_lr_multiplier(learner.schedule.multiplier(learner.state.step))
        return targets

    def add(self, window: UpdateWindow) -> None:
        """Take in a window whose gradients are there. Raises `NonFiniteError`, then or some windows later."""
        self._pending.append(window)
        if self._read_each or (self._learner.state.window + 1) % self._log_every == 0:
            self._read()

    def close_window(self, window: UpdateWindow) -> StepReport | None:
        """Count the update that was made, or left out, of the window; a report if one is due."""
        learner, state = self._learner, self._learner.state
        if window.overflow:
            state.skipped += 1
        else:
            state.step += 1
            if learner.average is not None:
                learner.average.update(state.step)
        state.window += 1
        stop = bool(learner.processes.all_reduce_max([int(self._stop())])[0])
        if state.window % self._log_every and not stop:
            return None
        if self._pending:
            self._read()
        return StepReport(
            epoch=state.epoch + 1,
            window=state.window,
            step=state.step,
            loss=(state.loss_sum - self._loss_sum) / (state.targets - self._targets),
            grad_norm=None if window.overflow else self._norm,
            rates=learner.optimizers.learning_rates(),
            targets_per_second=(state.targets - self._targets) / (time.perf_counter() - self._since),
            skipped=state.skipped,
            parts=state.parts,
            stop=stop,
        )

    def resume(self) -> None:
        """Go on after a report; what its reader did in between is not counted as training."""
        self._mark()

    def close(self) -> None:
        """Read what is still on its way, and look at the weights. Raises `TrainingError` for an epoch without a batch,
        `NonFiniteError` for weights that are not finite."""
        if self._pending:
            self._read()
        if self._learner.state.window == 0:
            raise TrainingError(
                f"epoch {self._learner.state.epoch + 1}: found no batch, expected one at least; "
                "is the training set empty?"
            )
        check_weights(self._learner, self._everywhere(self._last))

    def _read(self) -> None:
        """Bring the numbers of the pending windows from the device into the state.

        Raises `NonFiniteError` at the first number that is not finite, gradients of overflowed windows excepted.
        """
        learner = self._learner
        losses = learner.processes.sum(torch.stack([_summed(window.losses, learner) for window in self._pending]))
        norms = torch.stack([window.norm for window in self._pending])
        later = len(self._pending)  # updates since a window, the one under way aside
        for window, loss, norm in zip(self._pending, losses.tolist(), norms.tolist(), strict=True):
            later -= 1
            if not math.isfinite(loss):
                bad = [rows for rows, part in zip(window.rows, window.losses, strict=True) if not math.isfinite(part)]
                raise self._not_finite(window, f"a loss of {loss}", bad, later)
            if not math.isfinite(norm) and not window.overflow:
                raise self._not_finite(window, f"a gradient norm of {norm}", window.rows, later)
            learner.state.loss_sum += loss
            learner.state.targets += window.targets
            self._norm, self._last = norm, window.rows
        self._pending.clear()

    def _not_finite(self, window: UpdateWindow, what: str, rows: Sequence[Sequence[int]], later: int) -> NonFiniteError:
        """later: updates that were made since."""
        found = NonFinite(window.place, what, window.rates, self._everywhere(rows), later)
        return non_finite_error(self._learner, found)

    def _everywhere(self, rows: Sequence[Sequence[int]]) -> list[int]:
        """Rows of micro-batches, those of all processes."""
        own = np.fromiter(chain(*rows), dtype=np.int64)
        found: list[int] = np.concatenate(self._learner.processes.gather(own)).tolist()
        return found


def _summed(losses: Sequence[Tensor], learner: Learner) -> Tensor:
    if not losses:  # nothing of the window was this process's
        return torch.zeros((), device=learner.accelerator.device)
    return torch.stack([loss.float() for loss in losses]).sum()


def micro_batches(
    learner: Learner, batches: Iterable[Batch], gradient_accumulation_steps: int
) -> Iterator[list[Batch]]:
    """The micro-batches of each window of an epoch that is still to be done."""
    remaining = islice(batches, learner.state.window * gradient_accumulation_steps, None)
    while micro := list(islice(remaining, gradient_accumulation_steps)):
        yield micro


def describe_position(state: TrainState) -> str:
    """Where an error is: the epoch and the update under way."""
    return f"epoch {state.epoch + 1}, step {state.step + 1}"


def score_epoch(
    learner: Learner, evaluate: Callable[[], Evaluation] | None, options: LoopOptions, started: float
) -> EpochReport:
    """Score the weights that count (with a weight average: the average), and move the state to the epoch's end.

    A tie keeps the earlier epoch; any first score is the best yet. An epoch that isn't scored can't be the best.
    """
    state = learner.state
    due = (options.epochs - state.epoch - 1) % options.eval_every_epochs == 0
    if learner.average is not None:
        learner.average.exchange()
    learner.model.eval()
    evaluation = evaluate() if evaluate is not None and due else None
    train_loss = state.loss_sum / state.targets
    state.epoch, state.window, state.loss_sum, state.targets = state.epoch + 1, 0, 0.0, 0
    score = None if evaluation is None else float(evaluation.score)
    if score is not None and not math.isfinite(score):
        raise TrainingError(f"epoch {state.epoch}: found a dev score of {score}, expected a finite number")
    is_best = evaluate is None if score is None else state.best_score is None or score > state.best_score
    if is_best:
        state.best_score, state.best_epoch, state.stale_epochs = score, state.epoch, 0
    elif score is not None:
        state.stale_epochs += 1
    if score is not None:
        learner.schedule.observe(score)
    return EpochReport(
        epoch=state.epoch,
        step=state.step,
        train_loss=train_loss,
        score=score,
        metrics=None if evaluation is None else evaluation.metrics,
        is_best=is_best,
        best_epoch=state.best_epoch,
        stop=is_finished(state, options),
        seconds=time.perf_counter() - started,
        skipped=state.skipped,
        parts=state.parts,
    )


def restore_training_weights(learner: Learner) -> None:
    """Put back the weights that train, where an epoch's end left their average in the model."""
    if learner.average is not None and learner.average.exchanged:
        learner.average.exchange()


def is_finished(state: TrainState, options: LoopOptions) -> bool:
    """Whether the last epoch is over, or patience."""
    out_of_patience = options.patience is not None and state.stale_epochs >= options.patience
    return state.epoch >= options.epochs or out_of_patience


def check_options(learner: Learner, evaluate: Callable[[], Evaluation] | None, options: LoopOptions) -> None:
    """Raises `SettingsError` for options that are out of range or don't go together."""
    for name, fits, expected in (
        ("epochs", options.epochs >= 1, "at least 1"),
        ("gradient_accumulation_steps", options.gradient_accumulation_steps >= 1, "at least 1"),
        ("max_grad_norm", options.max_grad_norm is None or options.max_grad_norm > 0, "above 0, or none"),
        ("patience", options.patience is None or options.patience >= 1, "at least 1, or none"),
        ("log_every", options.log_every >= 1, "at least 1"),
        ("eval_every_epochs", options.eval_every_epochs >= 1, "at least 1"),
    ):
        if not fits:
            raise SettingsError(f"training.{name}: found {getattr(options, name)}, expected {expected}")
    if evaluate is None and (options.patience is not None or learner.schedule.needs_score):
        what = "patience" if options.patience is not None else "schedule 'plateau'"
        raise SettingsError(f"training: {what} follows the dev score, but there is no dev set; give one or do without")
