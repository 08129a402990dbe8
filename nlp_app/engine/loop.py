"""Training loop: a generator that trains and yields reports.

    accelerator = make_accelerator()
    model = model.to(accelerator.device)
    optimizers = make_optimizers(model, OptimizerOptions(lr=2e-3))
    learner = Learner(model, optimizers, Schedule(ScheduleOptions(total_steps=900)), accelerator, seed=1)
    for report in train(learner, batches, evaluate, LoopOptions(epochs=10, patience=3)):
        ...  # show the report, save the best model, save a checkpoint, or break

The caller does logging, saving and plotting, at any report: the learner is then in a consistent state. At an
`EpochReport` the model has the weights that were evaluated (with a weight average: the average), and keeps them if the
caller stops there.
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
    """Train from `learner.state` until the last epoch, early stopping, or until `options.stop` returns True.

    Args:
        learner: The learner; it is changed in place.
        batches: Function from an epoch, from 1, to its micro-batches. They are the same at each call, as a run resumed
            within an epoch skips the first ones. Each process gets equally many, and some of them may be empty.
        evaluate: Function that evaluates the model, in evaluation mode, and returns the same score in all processes;
            None without a dev set.
        options: Options of the loop.

    Yields:
        A StepReport every `options.log_every` windows and an EpochReport after each epoch.

    Raises:
        SettingsError: An option is out of range, or needs a dev set and `evaluate` is None.
        TrainingError: Training cannot continue.
        NonFiniteError: A loss, gradient norm or weight is not finite.

    Example:
        >>> for report in train(learner, batches, evaluate, LoopOptions(epochs=10, patience=3)):
        ...     print(report)
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
    """Compute gradients of the mean loss over the window's targets in all processes; unscale and clip them."""
    if not learner.model.training:
        learner.model.train()
    rows, losses = run_with_oom_retry(learner, micro, lambda batches: _accumulate_gradients(learner, batches, targets))
    learner.processes.all_reduce_gradients(learner.model.parameters())
    overflow = _unscale(learner)
    norm = learner.optimizers.clip(max_grad_norm)
    return UpdateWindow(
        describe_position(learner.state), learner.optimizers.learning_rates(), rows, losses, norm, targets, overflow
    )


def _accumulate_gradients(
    learner: Learner, batches: Iterable[Batch], targets: int
) -> tuple[list[Sequence[int]], list[Tensor]]:
    """Run forward and backward passes; return rows and loss of each micro-batch that has targets."""
    accelerator = learner.accelerator
    rows, losses = [], []
    for batch in batches:
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
    """Remove fp16's loss scale from the gradients; return True if they overflowed and the step must be skipped.

    All optimizers skip the step or none does; `GradScaler.step` would decide for each one separately. At a scale of 1
    the scale is not the cause of an overflow, so the overflow is reported as an error.
    """
    scaler = learner.accelerator.scaler
    if scaler is None:
        return False
    # The scaler makes its scale at first use, and a process whose shares were all empty has not used it yet.
    scaler.scale(torch.zeros((), device=learner.accelerator.device))
    for optimizer in learner.optimizers.optimizers:
        scaler.unscale_(optimizer)
    before = scaler.get_scale()
    scaler.update()
    return bool(scaler.get_scale() < before and before > 1)
