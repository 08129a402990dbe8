"""The one training loop: a generator that trains and yields reports.

    accelerator = make_accelerator()
    model = model.to(accelerator.device)
    optimizers = make_optimizers(model, OptimizerOptions(lr=2e-3))
    learner = Learner(model, optimizers, Schedule(ScheduleOptions(total_steps=900)), accelerator, seed=1)
    for report in train(learner, batches, evaluate, LoopOptions(epochs=10, patience=3)):
        ...  # show it, keep the best, save a checkpoint, break

Logging, saving and plotting are the caller's, and may happen at any report: `learner` is then complete. At an
`EpochReport` the model holds the weights that were scored (with a weight average: the average), and keeps
them if the caller stops there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor

from nlp_app.engine.batch import Batch
from nlp_app.engine.epochs import (
    EpochTotals,
    Evaluation,
    LoopOptions,
    Report,
    StepReport,
    UpdateWindow,
    check_options,
    describe_position,
    is_finished,
    micro_batches,
    restore_training_weights,
    score_epoch,
)
from nlp_app.engine.learner import Learner
from nlp_app.engine.out_of_memory import run_with_oom_retry


def train(
    learner: Learner,
    batches: Callable[[int], Iterable[Batch]],
    evaluate: Callable[[], Evaluation] | None,
    options: LoopOptions,
) -> Iterator[Report]:
    """Train from where `learner.state` stands until the last epoch, or until patience ends, or `options.stop` says so.

    `batches(epoch)`, epochs from 1, gives the epoch's micro-batches, the same at each call (a run that
    resumes inside an epoch skips the first ones), and equally many to each process, to some maybe empty ones.
    `evaluate()` scores the model as it stands, in evaluation mode, and gives all processes the same score.
    Raises `SettingsError` for options that don't go together and `TrainingError` (`NonFiniteError`) for a run
    that can't go on.
    """
    check_options(learner, evaluate, options)
    while not is_finished(learner.state, options):
        started = time.perf_counter()
        restore_training_weights(learner)
        for report in _train_epoch(learner, batches(learner.state.epoch + 1), options):
            yield report
            if report.stop:
                return
        yield score_epoch(learner, evaluate, options, started)


def _train_epoch(learner: Learner, batches: Iterable[Batch], options: LoopOptions) -> Iterator[StepReport]:
    epoch = EpochTotals(learner, options)
    for micro in micro_batches(learner, batches, options.gradient_accumulation_steps):
        window = _backward(learner, micro, epoch.open(micro), options.max_grad_norm)
        epoch.add(window)
        if not window.overflow:
            learner.optimizers.step()
        learner.optimizers.zero_grad()
        report = epoch.close_window(window)
        if report is not None:
            yield report
            epoch.resume()
    epoch.close()


def _backward(learner: Learner, micro: list[Batch], targets: int, max_grad_norm: float | None) -> UpdateWindow:
    """Gradients of the mean loss over the window's targets, of all processes, unscaled and clipped."""
    if not learner.model.training:
        learner.model.train()
    rows, losses = run_with_oom_retry(learner, micro, lambda pieces: _gradients(learner, pieces, targets))
    learner.processes.all_reduce_gradients(learner.model.parameters())
    overflow = _unscale(learner)
    norm = learner.optimizers.clip(max_grad_norm)
    return UpdateWindow(
        describe_position(learner.state), learner.optimizers.learning_rates(), rows, losses, norm, targets, overflow
    )


def _gradients(learner: Learner, pieces: Iterable[Batch], targets: int) -> tuple[list[Sequence[int]], list[Tensor]]:
    """Forward and backward over micro-batches; the rows and the loss of each that has targets."""
    accelerator = learner.accelerator
    rows, losses = [], []
    for batch in pieces:
        if not batch.targets:
            continue
        inputs = {name: value.to(accelerator.device, non_blocking=True) for name, value in batch.inputs.items()}
        with accelerator.autocast():
            loss = learner.model(**inputs)
        accelerator.backward(loss * (1 / targets))
        rows.append(batch.rows)
        losses.append(loss.detach())
    return rows, losses


def _unscale(learner: Learner) -> bool:
    """Take fp16's loss scale out of the gradients; True if they overflowed and the update must be left out.

    Both optimizers are left out or neither, which `GradScaler.step` would decide for each by itself. At a
    scale of one an overflow is none of the scale's doing, and is left to be diagnosed.
    """
    scaler = learner.accelerator.scaler
    if scaler is None:
        return False
    # A process whose share was empty so far has scaled nothing; asked for, the scale is there.
    scaler.scale(torch.zeros((), device=learner.accelerator.device))
    for optimizer in learner.optimizers.parts:
        scaler.unscale_(optimizer)
    before = scaler.get_scale()
    scaler.update()
    return bool(scaler.get_scale() < before and before > 1)
