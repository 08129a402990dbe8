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
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext

from nlp_app.training.epochs import (
    Batch,
    EpochCount,
    Evaluation,
    LoopOptions,
    Report,
    StepReport,
    Window,
    check_options,
    finished,
    micro_batches,
    open_window,
    place,
    score_epoch,
    train_weights,
)
from nlp_app.training.learner import Learner


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
    check_options(learner, evaluate, options)
    while not finished(learner.state, options):
        started = time.perf_counter()
        train_weights(learner)
        yield from _train_epoch(learner, batches(learner.state.epoch + 1), options)
        yield score_epoch(learner, evaluate, options, started)


def _train_epoch(learner: Learner, batches: Iterable[Batch], options: LoopOptions) -> Iterator[StepReport]:
    epoch = EpochCount(learner, options.log_every)
    for micro in micro_batches(learner, batches, options.accumulation):
        window = _backward(learner, micro, options.max_grad_norm)
        epoch.add(window)
        if not window.overflow:
            learner.optimizers.step()
        learner.optimizers.zero_grad()
        report = epoch.close_window(window)
        if report is not None:
            yield report
            epoch.resume()
    epoch.close()


def _backward(learner: Learner, micro: list[Batch], max_grad_norm: float | None) -> Window:
    """Gradients of the mean loss over the window's targets, unscaled and clipped."""
    accelerator, model = learner.accelerator, learner.model
    targets = open_window(learner, micro)
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
    return Window(place(learner.state), [batch.rows for batch in micro], losses, norm, targets, overflow)


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
