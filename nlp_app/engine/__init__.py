"""Training engine: loop, optimizers, schedules and checkpoints.

The engine works on tensors and targets; it has no notion of words or tags.
"""

from __future__ import annotations

from nlp_app.engine.batch import Batch, RowsError
from nlp_app.engine.checkpoints import LatestCheckpoint, latest_checkpoint, load_checkpoint, save_checkpoint
from nlp_app.engine.distributed import ALONE, Processes, join_processes
from nlp_app.engine.ema import ExponentialMovingAverage
from nlp_app.engine.epochs import EpochReport, Evaluation, LoopOptions, Report, StepReport
from nlp_app.engine.learner import PRECISIONS, Learner, TrainState, make_accelerator
from nlp_app.engine.loop import train
from nlp_app.engine.non_finite import NonFiniteError
from nlp_app.engine.optimizers import OPTIMIZERS, OptimizerOptions, Optimizers, make_optimizers
from nlp_app.engine.random_state import deterministic_algorithms, seed_everything
from nlp_app.engine.schedules import SHAPES, Schedule, ScheduleOptions

__all__ = [
    "ALONE",
    "OPTIMIZERS",
    "PRECISIONS",
    "SHAPES",
    "Batch",
    "EpochReport",
    "Evaluation",
    "ExponentialMovingAverage",
    "LatestCheckpoint",
    "Learner",
    "LoopOptions",
    "NonFiniteError",
    "OptimizerOptions",
    "Optimizers",
    "Processes",
    "Report",
    "RowsError",
    "Schedule",
    "ScheduleOptions",
    "StepReport",
    "TrainState",
    "deterministic_algorithms",
    "join_processes",
    "latest_checkpoint",
    "load_checkpoint",
    "make_accelerator",
    "make_optimizers",
    "save_checkpoint",
    "seed_everything",
    "train",
]
