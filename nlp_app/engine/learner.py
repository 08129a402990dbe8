"""A model in training with everything that changes during training and is saved in a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import nn

from nlp_app.core.errors import SettingsError
from nlp_app.engine.distributed import ALONE, Processes
from nlp_app.engine.ema import ExponentialMovingAverage
from nlp_app.engine.optimizers import Optimizers
from nlp_app.engine.schedules import Schedule

PRECISIONS = ("no", "bf16", "fp16")


@dataclass
class TrainState:
    """Progress of a run. A window is the micro-batches that are accumulated into one step.

    Attributes:
        epoch: Number of completed epochs.
        window: Number of completed windows of the current epoch.
        step: Number of optimizer steps.
        skipped: Number of steps skipped because fp16 gradients overflowed.
        loss_sum: Sum of the losses of the current epoch.
        targets: Number of targets of the current epoch.
        best_score: Best dev score; None before the first one.
        best_epoch: Epoch of the best score, from 1; 0 before the first one.
        stale_epochs: Number of evaluations since the best score.
        parts: Number of parts that each micro-batch is split into, because the whole did not fit into memory.
    """

    epoch: int = 0
    window: int = 0
    step: int = 0
    skipped: int = 0
    loss_sum: float = 0.0
    targets: int = 0
    best_score: float | None = None
    best_epoch: int = 0
    stale_epochs: int = 0
    parts: int = 1


@dataclass
class Learner:
    """A model in training.

    Attributes:
        model: The model; `model(**inputs)` returns a scalar, the sum of the losses over a batch's targets.
        optimizers: Optimizers of its parameters.
        schedule: Learning-rate schedule.
        accelerator: Device and precision.
        seed: Seed of the run.
        average: Moving average of the weights, if there is one.
        state: Progress of the run.
        processes: The processes that train together.
    """

    model: nn.Module
    optimizers: Optimizers
    schedule: Schedule
    accelerator: Accelerator
    seed: int
    average: ExponentialMovingAverage | None = None
    state: TrainState = field(default_factory=TrainState)
    processes: Processes = ALONE


def make_accelerator(precision: str = "no", cpu: bool = False) -> Accelerator:
    """Make the accelerator, which has the device and the mixed precision.

    Accelerate keeps one precision and one device per process, so the last call decides for all runs in the process.

    Args:
        precision: "no", "bf16" or "fp16".
        cpu: Use the CPU even if there is an accelerator.

    Returns:
        The accelerator.

    Raises:
        SettingsError: The precision is unknown, or it is fp16 and there is no CUDA device.
    """
    if precision not in PRECISIONS:
        raise SettingsError(f"precision: found {precision!r}, expected one of {', '.join(PRECISIONS)}")
    if precision == "fp16" and (cpu or not torch.cuda.is_available()):
        raise SettingsError("precision: found 'fp16' on a CPU, which needs CUDA; use 'bf16' or 'no'")
    shared = AcceleratorState._shared_state
    on_cpu = cpu or not torch.accelerator.is_available()
    if shared and (shared["_mixed_precision"] != precision or (shared["device"].type == "cpu") != on_cpu):
        # Second run in this process, with other settings. A process group cannot be set up twice, so keep it.
        AcceleratorState._reset_state(reset_partial_state=shared["num_processes"] == 1)
    return Accelerator(mixed_precision=precision, cpu=cpu)
