"""Set up device, precision, optimizers, learning-rate schedule and number of epochs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from nlp_app import engine
from nlp_app.config import Settings, TrainSettings
from nlp_app.core.errors import SettingsError, TrainingError
from nlp_app.features.lexicon.lexicon import LONGEST, Lexicon
from nlp_app.features.lexicon.word_lists import read_word_list
from nlp_app.features.pretrained_vectors import Vectors, read_vectors
from nlp_app.nn.lstm import BiLstm
from nlp_app.nn.precision import has_fast_bf16, supports_lstm
from nlp_app.text import Tokenizer
from nlp_app.training.examples import LearningRates


def load_vectors(path: str, say: Callable[[str], None]) -> Vectors | None:
    """Load pretrained vectors and report their number and size.

    Args:
        path: A file that `read_vectors` can read, or "".
        say: Called with a message about the vectors.

    Returns:
        The vectors; None if `path` is empty.

    Raises:
        DataError: The file cannot be read, or has no vectors.
    """
    if not path:
        return None
    vectors = read_vectors(Path(path))
    rows, width = len(vectors.vocabulary.symbols), vectors.matrix.shape[1]
    say(f"vectors: {rows:,} with {width} dimensions each; untrained rows skipped: {vectors.untrained:,}")
    return vectors


def load_lexicon(
    names: Sequence[str], tokenizer: Tokenizer, say: Callable[[str], None]
) -> tuple[Lexicon | None, tuple[dict[str, Any], ...]]:
    """Read lists of words and report their numbers of words.

    Args:
        names: Names or paths of the lists.
        tokenizer: Splits the words into tokens.
        say: Called with a message about each list.

    Returns:
        The lexicon, None without lists; and name, number of words and checksum of each list, as JSON values.

    Raises:
        SettingsError: A list cannot be found.
        DataError: A list cannot be read.
    """
    if not names:
        return None, ()
    lists = [read_word_list(name) for name in names]
    lexicon, skipped = Lexicon.build(lists, tokenizer.norms)
    for each in lists:
        say(f"lexicon {each.name}: {len(each.words):,} words, {len(set(each.classes)):,} classes")
    if skipped:
        say(f"lexicon: {skipped:,} words of more than {LONGEST} tokens skipped")
    return lexicon, tuple({"name": each.name, "words": len(each.words), "sha256": each.sha256} for each in lists)


_COMPUTE_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}

S = TypeVar("S", bound=Settings)


def resolve_epochs(train: TrainSettings, batches: int) -> int:
    """Return the number of epochs of a run; if the settings leave it open, choose it by the size of the data.

    Args:
        train: The training settings.
        batches: The number of batches per epoch.

    Returns:
        The number of epochs.
    """
    if train.epochs:
        return train.epochs
    return min(max(round(train.UPDATES / steps_per_epoch(train, batches)), train.FEWEST_EPOCHS), train.MOST_EPOCHS)


def with_epochs(settings: S, batches: int) -> S:
    """Set the number of epochs in the settings of a run, see `resolve_epochs`.

    Args:
        settings: The settings of the run.
        batches: The number of batches per epoch.

    Returns:
        A copy of the settings with the number of epochs.
    """
    train = settings.train.model_copy(update={"epochs": resolve_epochs(settings.train, batches)})
    return settings.model_copy(update={"train": train})


def steps_per_epoch(train: TrainSettings, batches: int) -> int:
    """Count the steps (optimizer updates) per epoch.

    Args:
        train: The training settings.
        batches: The number of batches per epoch.

    Returns:
        The number of steps; the last one may accumulate fewer batches.
    """
    return -(-batches // train.gradient_accumulation_steps)


def resolve_precision(precision: str) -> str:
    """Choose the precision for training on this machine.

    Args:
        precision: The setting `train.precision`; "auto" means bf16 if the machine computes fast in it.

    Returns:
        "no", "bf16" or "fp16".

    Raises:
        SettingsError: The machine does not support the precision.
    """
    has_cuda = torch.cuda.is_available()
    if precision == "auto":
        return "bf16" if has_fast_bf16(torch.device("cuda" if has_cuda else "cpu")) else "no"
    if precision == "fp16" and not has_cuda:
        raise SettingsError("train.precision: found fp16 on a CPU, but fp16 needs CUDA; use bf16, auto or no")
    return precision


def _common_precision(precision: str, processes: engine.Processes) -> str:
    """Choose one precision for all processes. The main one resolves "auto", as a speed test may decide it."""
    local = resolve_precision(precision)
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
    """Make a learner: move the network to its device, make optimizers, schedule and weight average.

    Args:
        train: The training settings, with the number of epochs.
        network: The network to train.
        batches: The number of batches per epoch.
        rates: Learning rates of parts of the network.
        processes: The processes that train it together.

    Returns:
        The learner.

    Raises:
        SettingsError: The machine does not support the precision.
        TrainingError: Other processes have a different network.
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
    steps = steps_per_epoch(train, batches)
    schedule = engine.Schedule(
        engine.ScheduleOptions(
            total_steps=steps * train.epochs,
            name=train.lr_schedule,
            warmup_ratio=train.warmup_ratio,
            step_size=steps * train.lr_step_epochs,
            lr_decay_factor=train.lr_decay_factor,
        )
    )
    average = engine.ExponentialMovingAverage(network, train.ema_decay) if train.ema_decay else None
    return engine.Learner(network, optimizers, schedule, accelerator, train.seed, average, processes=processes)


def precision_notes(learner: engine.Learner) -> Iterator[str]:
    """Report an LSTM that is computed in single precision because the CPU does not support a lower one.

    Args:
        learner: The learner of the network.

    Yields:
        One note, or none.
    """
    kind = _COMPUTE_TYPES.get(learner.accelerator.mixed_precision)
    if kind is None or learner.accelerator.device.type != "cpu" or supports_lstm(kind):
        return
    if any(isinstance(layer, BiLstm) for layer in learner.model.modules()):
        name = learner.accelerator.mixed_precision
        yield f"note: train.precision: this CPU cannot compute an LSTM in {name}; it is computed in single precision"


def describe_device(learner: engine.Learner) -> str:
    """Describe the device and, if there are several, the number of processes.

    Args:
        learner: The learner.

    Returns:
        For example "cpu", "cuda:0", or "cuda, in 2 processes".
    """
    count = learner.processes.count
    return str(learner.accelerator.device) if count == 1 else f"{learner.accelerator.device.type}, in {count} processes"


def _check_equal(network: nn.Module, processes: engine.Processes) -> None:
    """Check that all processes start with the same network. Other files or versions make it differ."""
    if processes.count == 1:
        return
    digest = blake2b(digest_size=7)
    for name, value in network.state_dict().items():
        digest.update(f"{name} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    own = int.from_bytes(digest.digest(), "little")
    if processes.all_reduce_max([own, -own]) != [own, -own]:
        raise TrainingError(
            f"process {processes.rank}: its network differs from the other processes' network; use the same files and "
            "versions of packages on all machines"
        )


@contextmanager
def evaluate_in_precision(network: nn.Module, learner: engine.Learner) -> Iterator[None]:
    """Evaluate a pretrained transformer in its training precision while the block runs.

    Args:
        network: The network; nothing changes for one without a pretrained body.
        learner: Its learner.

    Yields:
        Nothing.
    """
    has_body = hasattr(network, "compute_type")
    if has_body:
        network.compute_type = _COMPUTE_TYPES.get(learner.accelerator.mixed_precision)  # type: ignore[assignment]
    try:
        yield
    finally:
        if has_body:
            network.compute_type = None  # type: ignore[assignment]
