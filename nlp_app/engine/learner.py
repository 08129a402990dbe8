"""What changes as training goes on, in one place: what the loop drives and a checkpoint saves."""

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
    """Where a run stands. A window is the micro-batches accumulated into one update."""

    epoch: int = 0  # epochs completed
    window: int = 0  # windows done in the epoch under way
    step: int = 0  # updates made
    skipped: int = 0  # updates left out because fp16 gradients overflowed
    loss_sum: float = 0.0  # over the targets of the epoch under way
    targets: int = 0
    best_score: float | None = None
    best_epoch: int = 0  # from 1; 0: none yet
    stale_epochs: int = 0  # since the best
    parts: int = 1  # into so many a micro-batch is cut, where the whole didn't fit into memory


@dataclass
class Learner:
    """A model in training. `model(**inputs)` gives the sum of the losses over a batch's targets, a scalar."""

    model: nn.Module
    optimizers: Optimizers
    schedule: Schedule
    accelerator: Accelerator
    seed: int
    average: ExponentialMovingAverage | None = None
    state: TrainState = field(default_factory=TrainState)
    processes: Processes = ALONE


def make_accelerator(precision: str = "no", cpu: bool = False) -> Accelerator:
    """The device (`cpu`: never another) and the mixed precision, `no`, `bf16` or `fp16`.

    Accelerate keeps one precision and one device for a process: those asked for last hold for all its runs.
    Raises `SettingsError` for an unknown precision, and for fp16 without CUDA.
    """
    if precision not in PRECISIONS:
        raise SettingsError(f"precision: found {precision!r}, expected one of {', '.join(PRECISIONS)}")
    if precision == "fp16" and (cpu or not torch.cuda.is_available()):
        raise SettingsError("precision: found 'fp16' on a CPU, which needs CUDA; use 'bf16' or 'no'")
    shared = AcceleratorState._shared_state
    on_cpu = cpu or not torch.accelerator.is_available()
    if shared and (shared["_mixed_precision"] != precision or (shared["device"].type == "cpu") != on_cpu):
        # A second run with other settings in the same process; the process group, where there is one, stays.
        AcceleratorState._reset_state(reset_partial_state=shared["num_processes"] == 1)
    return Accelerator(mixed_precision=precision, cpu=cpu)
