"""Training: one loop, optimizers, schedules, checkpoints. It knows tensors and targets; no words or tags."""

from nlp_app.training.averaging import WeightAverage
from nlp_app.training.batches import Batch, RowsError
from nlp_app.training.checkpoints import Latest, latest_checkpoint, load_checkpoint, save_checkpoint
from nlp_app.training.diagnosis import NonFiniteError
from nlp_app.training.epochs import EpochReport, Evaluation, LoopOptions, Report, StepReport
from nlp_app.training.learner import PRECISIONS, Learner, TrainState, make_accelerator
from nlp_app.training.loop import train
from nlp_app.training.optimizers import OPTIMIZERS, OptimizerOptions, Optimizers, make_optimizers
from nlp_app.training.processes import ALONE, Processes, join_processes
from nlp_app.training.randomness import deterministic, seed_everything
from nlp_app.training.schedules import SHAPES, Schedule, ScheduleOptions

__all__ = [
    "ALONE",
    "OPTIMIZERS",
    "PRECISIONS",
    "SHAPES",
    "Batch",
    "EpochReport",
    "Evaluation",
    "Latest",
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
    "WeightAverage",
    "deterministic",
    "join_processes",
    "latest_checkpoint",
    "load_checkpoint",
    "make_accelerator",
    "make_optimizers",
    "save_checkpoint",
    "seed_everything",
    "train",
]
