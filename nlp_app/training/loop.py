"""The one training loop: a generator that trains and yields reports.

    accelerator = make_accelerator()
    model = place_model(model, accelerator)
    optimizers = make_optimizers(model, OptimizerOptions(lr=2e-3))
    learner = Learner(model, optimizers, Schedule(ScheduleOptions(total_steps=900)), accelerator, seed=1)
    for report in train(learner, batches, evaluate, LoopOptions(epochs=10, patience=3)):
        ...  # show it, keep the best, save a checkpoint, break

Logging, saving and plotting are the caller's, and may happen at any report: `learner` is then complete. At an
`EpochReport` the model holds the weights that were scored (with a weight average: the average), and keeps
them if the caller stops there.

A window is the `accumulation` micro-batches of one update. Its gradient is that of the sum of all its losses
divided by the number of all its targets, across processes too, so it equals that of one big batch; the last
window of an epoch may be short and counts what it has.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from nlp_app.errors import SettingsError, TrainingError
from nlp_app.training.diagnosis import non_finite_error
from nlp_app.training.learner import Learner, TrainState
from nlp_app.training.randomness import seed_update


class Batch(Protocol):
    """A micro-batch: the model's keyword arguments, the number of targets, and the rows in the corpus."""

    @property
    def inputs(self) -> Mapping[str, Tensor]: ...

    @property
    def targets(self) -> int: ...

    @property
    def rows(self) -> Sequence[int]: ...


class Evaluation(NamedTuple):
    """A dev score (higher is better), and whatever else was measured."""

    score: float
    metrics: Mapping[str, Any]


@dataclass(frozen=True)
class LoopOptions:
    """`patience`: stop after so many epochs in a row without a better dev score; `log_every`: in windows."""

    epochs: int
    accumulation: int = 1
    max_grad_norm: float | None = 5.0
    patience: int | None = None
    log_every: int = 10


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


@dataclass(frozen=True)
class EpochReport:
    """An epoch's end. Without an `evaluate`, `score` and `metrics` are None; each epoch is the best yet."""

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


Report = StepReport | EpochReport


class _Window(NamedTuple):
    """One window after its backward passes; its numbers may still be on their way from the device."""

    place: str
    rows: list[Sequence[int]]
    losses: list[Tensor]  # sums over each micro-batch of this process
    norm: Tensor
    targets: int  # of all processes
    overflow: bool


def train(
    learner: Learner,
    batches: Callable[[int], Iterable[Batch]],
    evaluate: Callable[[], Evaluation] | None,
    options: LoopOptions,
) -> Iterator[Report]:
    """Train from where `learner.state` stands until the last epoch, or until patience ends.

    `batches(epoch)`, epochs from 1, gives the epoch's micro-batches, the same at each call (a run that
    resumes inside an epoch skips the first ones), and equally many to each process. `evaluate()` scores the
    model as it stands, in evaluation mode. Raises `SettingsError` for options that don't go together and
    `TrainingError` (`NonFiniteError`) for a run that can't go on.
    """
    _check(learner, evaluate, options)
    state = learner.state
    while not _finished(state, options):
        started = time.perf_counter()
        if learner.average is not None and learner.average.exchanged:
            learner.average.exchange()
        yield from _train_epoch(learner, batches(state.epoch + 1), options)
        if learner.average is not None:
            learner.average.exchange()
        learner.model.eval()
        evaluation = None if evaluate is None else evaluate()
        yield _close_epoch(learner, evaluation, options, started)


def _train_epoch(learner: Learner, batches: Iterable[Batch], options: LoopOptions) -> Iterator[StepReport]:
    state = learner.state
    # On a CPU looking at each loss costs nothing and keeps bad gradients out of the weights; elsewhere it
    # would make every update wait for the device, so the losses are read when there is something to report.
    read_each = learner.accelerator.device.type == "cpu"
    pending: list[_Window] = []
    since, loss_sum, targets = time.perf_counter(), state.loss_sum, state.targets
    micro_batches = islice(batches, state.window * options.accumulation, None)
    while micro := list(islice(micro_batches, options.accumulation)):
        window = _backward(learner, micro, options.max_grad_norm)
        pending.append(window)
        report_due = (state.window + 1) % options.log_every == 0
        if read_each or report_due:
            norm = _read(learner, pending)
        _update(learner, window)
        if report_due:
            elapsed = time.perf_counter() - since
            yield StepReport(
                epoch=state.epoch + 1,
                window=state.window,
                step=state.step,
                loss=(state.loss_sum - loss_sum) / (state.targets - targets),
                grad_norm=None if window.overflow else norm,
                rates=learner.optimizers.rates(),
                targets_per_second=(state.targets - targets) / elapsed,
                skipped=state.skipped,
            )
            since, loss_sum, targets = time.perf_counter(), state.loss_sum, state.targets
    if pending:
        _read(learner, pending)
    if state.window == 0:
        raise TrainingError(
            f"epoch {state.epoch + 1}: found no batch, expected one at least; is the training set empty?"
        )


def _backward(learner: Learner, micro: list[Batch], max_grad_norm: float | None) -> _Window:
    """Gradients of the mean loss over the window's targets, unscaled and clipped."""
    accelerator, model, state = learner.accelerator, learner.model, learner.state
    place = f"epoch {state.epoch + 1}, step {state.step + 1}"
    targets = int(sum(batch.targets for batch in micro))
    if accelerator.num_processes > 1:
        targets = int(accelerator.reduce(torch.tensor(targets, device=accelerator.device), "sum").item())
    if targets <= 0:
        rows = ", ".join(str(row) for batch in micro for row in batch.rows)
        raise TrainingError(f"{place}: found no target in rows {rows}, expected one at least; leave such rows out")
    learner.optimizers.scale_rates(learner.schedule.multiplier(state.step))
    seed_update(learner.seed, state.epoch, state.window, accelerator.process_index)
    if not model.training:
        model.train()
    # Gradients are averaged over processes; the sum is wanted.
    scale = accelerator.num_processes / targets
    losses = []
    for number, batch in enumerate(micro, 1):
        inputs = {name: value.to(accelerator.device, non_blocking=True) for name, value in batch.inputs.items()}
        # Processes exchange gradients once a window, in its last backward pass.
        with nullcontext() if number == len(micro) else accelerator.no_sync(model):
            with accelerator.autocast():
                loss = model(**inputs)
            accelerator.backward(loss * scale)
        losses.append(loss.detach())
    overflow = _unscale(learner)
    norm = learner.optimizers.clip(max_grad_norm)
    return _Window(place, [batch.rows for batch in micro], losses, norm, targets, overflow)


def _unscale(learner: Learner) -> bool:
    """Take fp16's loss scale out of the gradients; True if they overflowed and the update must be left out.

    Both optimizers are left out or neither, which `GradScaler.step` would decide for each by itself. At a
    scale of one an overflow is none of the scale's doing, and is left to be diagnosed.
    """
    scaler = learner.accelerator.scaler
    if scaler is None:
        return False
    for optimizer in learner.optimizers.parts:
        scaler.unscale_(optimizer)
    before = scaler.get_scale()
    scaler.update()
    return bool(scaler.get_scale() < before and before > 1)


def _read(learner: Learner, pending: list[_Window]) -> float:
    """Bring the numbers of the pending windows from the device into the state; the last gradient norm.

    Raises `NonFiniteError` at the first number that is not finite, gradients of overflowed windows excepted.
    """
    losses = torch.stack([torch.stack([loss.float() for loss in window.losses]).sum() for window in pending])
    if learner.accelerator.num_processes > 1:
        losses = learner.accelerator.reduce(losses, "sum")
    norms = torch.stack([window.norm for window in pending])
    for window, loss, norm in zip(pending, losses.tolist(), norms.tolist(), strict=True):
        if not math.isfinite(loss):
            bad = [rows for rows, part in zip(window.rows, window.losses, strict=True) if not math.isfinite(part)]
            raise non_finite_error(learner, window.place, f"a loss of {loss}", list(chain(*bad)))
        if not math.isfinite(norm) and not window.overflow:
            rows = list(chain(*window.rows))
            raise non_finite_error(learner, window.place, f"a gradient norm of {norm}", rows)
        learner.state.loss_sum += loss
        learner.state.targets += window.targets
    pending.clear()
    return float(norm)


def _update(learner: Learner, window: _Window) -> None:
    state = learner.state
    if window.overflow:
        state.skipped += 1
    else:
        learner.optimizers.step()
        state.step += 1
        if learner.average is not None:
            learner.average.update(state.step)
    learner.optimizers.zero_grad()
    state.window += 1


def _close_epoch(learner: Learner, evaluation: Evaluation | None, options: LoopOptions, started: float) -> EpochReport:
    """Move the state to the epoch's end. A tie keeps the earlier epoch; any first score is the best yet."""
    state = learner.state
    train_loss = state.loss_sum / state.targets
    state.epoch, state.window, state.loss_sum, state.targets = state.epoch + 1, 0, 0.0, 0
    score = None if evaluation is None else float(evaluation.score)
    if score is not None and not math.isfinite(score):
        raise TrainingError(f"epoch {state.epoch}: found a dev score of {score}, expected a finite number")
    is_best = score is None or state.best_score is None or score > state.best_score
    if is_best:
        state.best_score, state.best_epoch, state.stale_epochs = score, state.epoch, 0
    else:
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
        stop=_finished(state, options),
        seconds=time.perf_counter() - started,
        skipped=state.skipped,
    )


def _finished(state: TrainState, options: LoopOptions) -> bool:
    out_of_patience = options.patience is not None and state.stale_epochs >= options.patience
    return state.epoch >= options.epochs or out_of_patience


def _check(learner: Learner, evaluate: Callable[[], Evaluation] | None, options: LoopOptions) -> None:
    for name, fits, expected in (
        ("epochs", options.epochs >= 1, "at least 1"),
        ("accumulation", options.accumulation >= 1, "at least 1"),
        ("max_grad_norm", options.max_grad_norm is None or options.max_grad_norm > 0, "above 0, or none"),
        ("patience", options.patience is None or options.patience >= 1, "at least 1, or none"),
        ("log_every", options.log_every >= 1, "at least 1"),
    ):
        if not fits:
            raise SettingsError(f"training.{name}: found {getattr(options, name)}, expected {expected}")
    if evaluate is None and (options.patience is not None or learner.schedule.needs_score):
        what = "patience" if options.patience is not None else "schedule 'plateau'"
        raise SettingsError(f"training: {what} follows the dev score, but there is no dev set; give one or do without")
