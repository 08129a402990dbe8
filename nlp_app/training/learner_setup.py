"""What learns a network: device and precision, optimizers, schedule, average; and for how long."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from nlp_app import engine
from nlp_app.config import Settings, TrainSettings
from nlp_app.core.errors import SettingsError, TrainingError
from nlp_app.features.pretrained_vectors import Vectors, read_vectors
from nlp_app.nn.lstm import BiLstm
from nlp_app.nn.precision import has_fast_bf16, supports_lstm
from nlp_app.training.examples import LearningRates


def load_vectors(path: str, say: Callable[[str], None]) -> Vectors | None:
    """The pretrained vectors of a file; none without a path. `say` gets their size."""
    if not path:
        return None
    vectors = read_vectors(Path(path))
    rows, width = len(vectors.vocabulary.symbols), vectors.matrix.shape[1]
    say(f"vectors: {rows:,} of {width} dimensions; {vectors.untrained} untrained rows left out")
    return vectors


_COMPUTE_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}

S = TypeVar("S", bound=Settings)


def epochs_of(train: TrainSettings, batches: int) -> int:
    """The epochs of a run, where the settings leave them to the size of the data."""
    if train.epochs:
        return train.epochs
    return min(max(round(train.UPDATES / updates_per_epoch(train, batches)), train.FEWEST_EPOCHS), train.MOST_EPOCHS)


def with_epochs(settings: S, batches: int) -> S:
    """The settings of a run with its number of epochs."""
    train = settings.train.model_copy(update={"epochs": epochs_of(settings.train, batches)})
    return settings.model_copy(update={"train": train})


def updates_per_epoch(train: TrainSettings, batches: int) -> int:
    """Optimizer updates in an epoch of so many batches."""
    return -(-batches // train.gradient_accumulation_steps)


def check_precision(precision: str) -> str:
    """The precision to train in, on this machine. Raises SettingsError for one that it can't."""
    has_cuda = torch.cuda.is_available()
    if precision == "auto":
        return "bf16" if has_fast_bf16(torch.device("cuda" if has_cuda else "cpu")) else "no"
    if precision == "fp16" and not has_cuda:
        raise SettingsError("train.precision: found fp16 on a CPU, which needs CUDA; use bf16, auto or no")
    return precision


def _common_precision(precision: str, processes: engine.Processes) -> str:
    """Return the precision of all processes; the main one decides on "auto", as it may rest on a measurement."""
    local = check_precision(precision)
    if precision != "auto":
        return local
    is_bf16 = processes.all_reduce_max([int(processes.is_main and local == "bf16")])[0]
    return "bf16" if is_bf16 else "no"


def make_learner(
    train: TrainSettings,
    network: nn.Module,
    batches: int,
    rates: LearningRates,
    processes: engine.Processes = engine.ALONE,
) -> engine.Learner:
    """What trains a network, `batches` an epoch: device and precision, optimizers, schedule, average.

    Raises TrainingError if other processes have another network.
    """
    accelerator = engine.make_accelerator(_common_precision(train.precision, processes))
    network.to(accelerator.device)
    _check_equal(network, processes)
    optimizers = engine.make_optimizers(
        network,
        engine.OptimizerOptions(
            name=train.optimizer,
            lr=train.learning_rate,
            weight_decay=train.weight_decay,
            momentum=train.momentum,
            sparse_lr=rates.get("sparse_rate"),
            plain_lr=rates.get("plain_rate"),
            rate_factors=rates.get("rate_factors", {}),
        ),
    )
    updates = updates_per_epoch(train, batches)
    schedule = engine.Schedule(
        engine.ScheduleOptions(
            total_steps=updates * train.epochs,
            name=train.lr_schedule,
            warmup_ratio=train.warmup_ratio,
            step_size=updates * train.lr_step_epochs,
            lr_decay_factor=train.lr_decay_factor,
        )
    )
    average = engine.ExponentialMovingAverage(network, train.ema_decay) if train.ema_decay else None
    return engine.Learner(network, optimizers, schedule, accelerator, train.seed, average, processes=processes)


def precision_note(learner: engine.Learner) -> Iterator[str]:
    """Name the layers that learn in single precision because the processor has nothing else for them."""
    kind = _COMPUTE_TYPES.get(learner.accelerator.mixed_precision)
    if kind is None or learner.accelerator.device.type != "cpu" or supports_lstm(kind):
        return
    if any(isinstance(layer, BiLstm) for layer in learner.model.modules()):
        name = learner.accelerator.mixed_precision
        yield f"note: train.precision: this processor has no LSTM in {name}; the LSTM is computed in single precision"


def describe_device(learner: engine.Learner) -> str:
    """Where a network learns, for a person."""
    count = learner.processes.count
    return str(learner.accelerator.device) if count == 1 else f"{learner.accelerator.device.type}, in {count} processes"


def _check_equal(network: nn.Module, processes: engine.Processes) -> None:
    """Whether all processes begin with the same network, as the same data, settings and versions make it."""
    if processes.count == 1:
        return
    digest = blake2b(digest_size=7)
    for name, value in network.state_dict().items():
        digest.update(f"{name} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    own = int.from_bytes(digest.digest(), "little")
    if processes.all_reduce_max([own, -own]) != [own, -own]:
        raise TrainingError(
            f"process {processes.rank}: found another network than other processes have, expected the same one; give "
            "all machines the same files and versions"
        )


@contextmanager
def evaluate_in_precision(network: nn.Module, learner: engine.Learner) -> Iterator[None]:
    """While a pretrained body trains, let dev be scored in the precision that it is trained in."""
    has_body = hasattr(network, "compute_type")
    if has_body:
        network.compute_type = _COMPUTE_TYPES.get(learner.accelerator.mixed_precision)  # type: ignore[assignment]
    try:
        yield
    finally:
        if has_body:
            network.compute_type = None  # type: ignore[assignment]
