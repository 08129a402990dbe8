"""Training: one loop, optimizers, schedules, checkpoints. It knows tensors and targets; no words or tags."""

from nlp_app.training.averaging import WeightAverage
from nlp_app.training.checkpoints import Latest, latest_checkpoint, load_checkpoint, save_checkpoint
from nlp_app.training.diagnosis import NonFiniteError
from nlp_app.training.epochs import Batch, EpochReport, Evaluation, LoopOptions, Report, StepReport
from nlp_app.training.learner import PRECISIONS, Learner, TrainState, make_accelerator, place_model
from nlp_app.training.loop import train
from nlp_app.training.optimizers import OPTIMIZERS, OptimizerOptions, Optimizers, make_optimizers
from nlp_app.training.randomness import seed_everything
from nlp_app.training.schedules import SHAPES, Schedule, ScheduleOptions

__all__ = [
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
    "Report",
    "Schedule",
    "ScheduleOptions",
    "StepReport",
    "TrainState",
    "WeightAverage",
    "latest_checkpoint",
    "load_checkpoint",
    "make_accelerator",
    "make_optimizers",
    "place_model",
    "save_checkpoint",
    "seed_everything",
    "train",
]
