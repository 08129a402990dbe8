"""Epochs of both engines: windows of micro-batches, reports and progress of the run.

A window is the `gradient_accumulation_steps` micro-batches of one step. Its gradient is that of the sum of its losses
divided by the number of its targets, over all processes, so it equals the gradient of one large batch. The last window
of an epoch may have fewer micro-batches.
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
    """Result of an evaluation on dev.

    Attributes:
        score: The score that selects the best epoch; higher is better.
        metrics: All metrics by name.
    """

    score: float
    metrics: Mapping[str, Any]


@dataclass(frozen=True)
class LoopOptions:
    """Options of the training loop.

    Attributes:
        epochs: Number of epochs.
        gradient_accumulation_steps: Number of micro-batches per step.
        max_grad_norm: Limit on the gradient norm; None for no clipping.
        patience: Number of evaluations in a row without a better dev score after which training stops; None for no
            early stopping.
        log_every: Number of windows between step reports.
        eval_every_epochs: Number of epochs between evaluations on dev, counted back from the last epoch, which is
            always evaluated.
        stop: Function called after each step; training stops if it returns True in any process.
    """

    epochs: int
    gradient_accumulation_steps: int = 1
    max_grad_norm: float | None = 5.0
    patience: int | None = None
    log_every: int = 10
    eval_every_epochs: int = 1
    stop: Callable[[], bool] = lambda: False


@dataclass(frozen=True)
class StepReport:
    """Progress within an epoch.

    Attributes:
        epoch: The epoch, from 1.
        window: The window of the epoch, from 1.
        step: Number of optimizer steps so far.
        loss: Mean loss per target since the previous report.
        grad_norm: Gradient norm of the last window before clipping; None if gradients overflowed and the step was
            skipped.
        rates: Learning rate of each part of the model.
        targets_per_second: Speed since the previous report.
        skipped: Number of skipped steps so far.
        parts: Number of parts that each micro-batch is split into, because the whole did not fit into memory.
        stop: True if training stops here because `LoopOptions.stop` has returned True.
    """

    epoch: int
    window: int
    step: int
    loss: float
    grad_norm: float | None
    rates: Mapping[str, float]
    targets_per_second: float
    skipped: int
    parts: int
    stop: bool


@dataclass(frozen=True)
class EpochReport:
    """Result of an epoch.

    Attributes:
        epoch: The epoch, from 1.
        step: Number of optimizer steps so far.
        train_loss: Mean loss per target.
        score: Dev score; None if dev was not evaluated after this epoch.
        metrics: All dev metrics; None if dev was not evaluated.
        is_best: True if this is the best epoch so far; without an evaluation function, every epoch is.
        best_epoch: The best epoch so far.
        stop: True if this was the last epoch.
        seconds: Time of training and evaluation in this process.
        skipped: Number of skipped steps so far.
        parts: Number of parts that each micro-batch is split into, as in StepReport.
    """

    epoch: int
    step: int
    train_loss: float
    score: float | None
    metrics: Mapping[str, Any] | None
    is_best: bool
    best_epoch: int
    stop: bool
    seconds: float
    skipped: int
    parts: int = 1


Report = StepReport | EpochReport


class UpdateWindow(NamedTuple):
    """A window after its backward passes; its tensors may not be computed yet on an accelerator.

    Attributes:
        position: Epoch and step, as text.
        rates: Learning rate of each part of the model.
        rows: Rows of each micro-batch of this process.
        losses: Sum of the losses of each micro-batch of this process.
        norm: Gradient norm before clipping.
        targets: Number of targets in all processes.
        overflow: True if fp16 gradients overflowed.
    """

    position: str
    rates: Mapping[str, float]
    rows: list[Sequence[int]]
    losses: list[Tensor]
    norm: Tensor
    targets: int
    overflow: bool


class EpochTotals:
    """Counts of the current epoch; each window is added before its step and closed after it.

    Args:
        learner: The learner, whose state is updated.
        options: Options of the loop.
    """

    def __init__(self, learner: Learner, options: LoopOptions) -> None:
        self._learner = learner
        self._log_every = options.log_every
        self._stop = options.stop
        # On a CPU, reading each loss costs nothing and keeps bad gradients out of the weights. On an accelerator,
        # every step would wait for the device, so losses are read when a report is due.
        self._read_every_window = learner.accelerator.device.type == "cpu"
        self._pending_windows: list[UpdateWindow] = []
        self._last_rows: Sequence[Sequence[int]] = ()
        self._last_norm = 0.0
        self._start_interval()

    def _start_interval(self) -> None:
        state = self._learner.state
        self._interval_start = time.perf_counter()
        self._interval_loss, self._interval_targets = state.loss_sum, state.targets

    def open(self, micro: Sequence[Batch]) -> int:
        """Start a window and set the learning rates of its step.

        Args:
            micro: The window's micro-batches in this process.

        Returns:
            Number of targets in all processes.

        Raises:
            TrainingError: The window has no targets.
        """
        learner = self._learner
        (targets,) = learner.processes.all_reduce_sum([sum(batch.targets for batch in micro)])
        if targets <= 0:
            rows = ", ".join(str(row) for batch in micro for row in batch.rows)
            raise TrainingError(
                f"{describe_position(learner.state)}: found no target in rows {rows}, expected at least one; "
                "remove these rows"
            )
        learner.optimizers.set_lr_multiplier(learner.schedule.multiplier(learner.state.step))
        return targets

    def add(self, window: UpdateWindow) -> None:
        """Add a window after its backward passes.

        Args:
            window: The window.

        Raises:
            NonFiniteError: A loss or gradient norm of this window or a previous one is not finite. On an accelerator,
                the error may come several windows later.
        """
        self._pending_windows.append(window)
        if self._read_every_window or (self._learner.state.window + 1) % self._log_every == 0:
            self._read_pending()

    def close_window(self, window: UpdateWindow) -> StepReport | None:
        """Count a window's step, made or skipped.

        Args:
            window: The window.

        Returns:
            A report if one is due, or if training stops here.

        Raises:
            NonFiniteError: A loss or gradient norm is not finite.
        """
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
        if self._pending_windows:
            self._read_pending()
        return StepReport(
            epoch=state.epoch + 1,
            window=state.window,
            step=state.step,
            loss=(state.loss_sum - self._interval_loss) / (state.targets - self._interval_targets),
            grad_norm=None if window.overflow else self._last_norm,
            rates=learner.optimizers.learning_rates(),
            targets_per_second=(state.targets - self._interval_targets) / (time.perf_counter() - self._interval_start),
            skipped=state.skipped,
            parts=state.parts,
            stop=stop,
        )

    def resume(self) -> None:
        """Continue after a report; time spent on handling the report does not count as training."""
        self._start_interval()

    def close(self) -> None:
        """Read the losses of the last windows, and check the weights.

        Raises:
            TrainingError: The epoch has no batch.
            NonFiniteError: A loss, gradient norm or weight is not finite.
        """
        if self._pending_windows:
            self._read_pending()
        if self._learner.state.window == 0:
            raise TrainingError(
                f"epoch {self._learner.state.epoch + 1}: found no batch, expected at least one; "
                "is the training set empty?"
            )
        check_weights(self._learner, self._gather_rows(self._last_rows))

    def _read_pending(self) -> None:
        """Read losses and norms of the pending windows from the device and add them to the state.

        Raise NonFiniteError for the first value that is not finite; gradient norms of overflowed windows may be.
        """
        learner = self._learner
        losses = learner.processes.sum(
            torch.stack([_sum_losses(window.losses, learner) for window in self._pending_windows])
        )
        norms = torch.stack([window.norm for window in self._pending_windows])
        steps_since = len(self._pending_windows)
        for window, loss, norm in zip(self._pending_windows, losses.tolist(), norms.tolist(), strict=True):
            steps_since -= 1
            if not math.isfinite(loss):
                bad = [rows for rows, part in zip(window.rows, window.losses, strict=True) if not math.isfinite(part)]
                raise self._not_finite(window, f"a loss of {loss}", bad, steps_since)
            if not math.isfinite(norm) and not window.overflow:
                raise self._not_finite(window, f"a gradient norm of {norm}", window.rows, steps_since)
            learner.state.loss_sum += loss
            learner.state.targets += window.targets
            self._last_norm, self._last_rows = norm, window.rows
        self._pending_windows.clear()

    def _not_finite(
        self, window: UpdateWindow, value: str, rows: Sequence[Sequence[int]], steps_since: int
    ) -> NonFiniteError:
        problem = NonFinite(window.position, value, window.rates, self._gather_rows(rows), steps_since)
        return non_finite_error(self._learner, problem)

    def _gather_rows(self, rows: Sequence[Sequence[int]]) -> list[int]:
        """Gather the rows of micro-batches from all processes."""
        own = np.fromiter(chain(*rows), dtype=np.int64)
        gathered: list[int] = np.concatenate(self._learner.processes.gather(own)).tolist()
        return gathered


def _sum_losses(losses: Sequence[Tensor], learner: Learner) -> Tensor:
    if not losses:  # this process's share of the window is empty
        return torch.zeros((), device=learner.accelerator.device)
    return torch.stack([loss.float() for loss in losses]).sum()


def micro_batches(
    learner: Learner, batches: Iterable[Batch], gradient_accumulation_steps: int
) -> Iterator[list[Batch]]:
    """Group the micro-batches of an epoch into windows, and skip windows that are already done.

    Args:
        learner: The learner, whose state has the number of completed windows.
        batches: Micro-batches of the epoch.
        gradient_accumulation_steps: Number of micro-batches per window.

    Yields:
        Micro-batches of a window; the last window may have fewer.
    """
    remaining = islice(batches, learner.state.window * gradient_accumulation_steps, None)
    while micro := list(islice(remaining, gradient_accumulation_steps)):
        yield micro


def describe_position(state: TrainState) -> str:
    """Describe the current epoch and step for a message.

    Args:
        state: Progress of the run.

    Returns:
        A text such as "epoch 1, step 20", both counted from 1.
    """
    return f"epoch {state.epoch + 1}, step {state.step + 1}"


def score_epoch(
    learner: Learner, evaluate: Callable[[], Evaluation] | None, options: LoopOptions, started: float
) -> EpochReport:
    """Evaluate the model after an epoch and update the learner's state.

    With a weight average, the average is evaluated and stays in the model. If two epochs have the same score, the
    earlier one stays the best; the first score is always the best so far. An epoch without evaluation cannot be the
    best.

    Args:
        learner: The learner.
        evaluate: Function that evaluates the model on dev; None without a dev set.
        options: Options of the loop.
        started: Value of `time.perf_counter()` at the start of the epoch.

    Returns:
        The report of the epoch.

    Raises:
        TrainingError: The dev score is not finite.
    """
    state = learner.state
    is_due = (options.epochs - state.epoch - 1) % options.eval_every_epochs == 0
    if learner.average is not None:
        learner.average.exchange()
    learner.model.eval()
    evaluation = evaluate() if evaluate is not None and is_due else None
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
    """Put the trained weights back into the model if it has their average.

    Args:
        learner: The learner.
    """
    if learner.average is not None and learner.average.exchanged:
        learner.average.exchange()


def is_finished(state: TrainState, options: LoopOptions) -> bool:
    """Check if training is finished.

    Args:
        state: Progress of the run.
        options: Options of the loop.

    Returns:
        True after the last epoch, or if early stopping has ended the run.
    """
    out_of_patience = options.patience is not None and state.stale_epochs >= options.patience
    return state.epoch >= options.epochs or out_of_patience


def check_options(learner: Learner, evaluate: Callable[[], Evaluation] | None, options: LoopOptions) -> None:
    """Check the options of the loop.

    Args:
        learner: The learner, whose schedule may need a dev score.
        evaluate: Function that evaluates the model on dev; None without a dev set.
        options: The options.

    Raises:
        SettingsError: An option is out of range, or needs a dev set and `evaluate` is None.
    """
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
        option = "patience" if options.patience is not None else "schedule 'plateau'"
        raise SettingsError(f"training: {option} needs a dev score, but there is no dev set; add one, or turn it off")
