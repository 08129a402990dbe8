"""What the training runs of all tasks share: the learner, the loop with its records, and what a finished run leaves."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import nn

from nlp_app import training
from nlp_app.config import LoopSettings, Settings, write_settings
from nlp_app.errors import NlpAppError, TrainingError
from nlp_app.features.vectors import Vectors, read_vectors
from nlp_app.modeldir import Parts
from nlp_app.nn.precision import has_fast_bf16
from nlp_app.output import checksum
from nlp_app.plots import draw_history, plotting_available
from nlp_app.progress import Progress
from nlp_app.rundir import RunDirectory
from nlp_app.tracking import EVENTS, Tracker
from nlp_app.writing import write_text

_COMPUTE_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}

_SCORES = 10  # of dev over a run, at most, where the settings leave it open

S = TypeVar("S", bound=Settings)
Watch = Callable[[training.EpochReport], None]


@dataclass(frozen=True)
class Launch:
    """How a run is started: where, whether it goes on from a checkpoint, what shows it, and what is told of each epoch
    that has been kept; that may end the run by raising."""

    output: Path
    resume: bool
    progress: Progress
    watch: Watch | None = None


class Course(Protocol):
    """What is trained, and on what."""

    @property
    def parts(self) -> Parts:
        """The model."""

    @property
    def source(self) -> str:
        """The path of the training data."""

    @property
    def score_name(self) -> str:
        """What the dev score is called."""

    def batch_count(self) -> int:
        """Batches of the first epoch."""

    def batches(self, epoch: int) -> Iterator[training.Batch]:
        """The batches of an epoch (from 1); they follow from the data, the seed and the epoch alone."""

    @property
    def evaluate(self) -> Callable[[], training.Evaluation] | None:
        """What scores the network as it stands on dev; None without dev."""

    def lines(self, rows: Iterable[int]) -> list[int]:
        """The lines in the training file of rows of its data."""


def load_vectors(path: str, progress: Progress) -> Vectors | None:
    """The pretrained vectors of a file; none without a path."""
    if not path:
        return None
    vectors = read_vectors(Path(path))
    rows, width = len(vectors.vocabulary.symbols), vectors.matrix.shape[1]
    progress.say(f"vectors: {rows:,} of {width} dimensions; {vectors.untrained} untrained rows left out")
    return vectors


def epochs_of(train: LoopSettings, batches: int) -> int:
    """The epochs of a run, where the settings leave them to the size of the data."""
    if train.epochs:
        return train.epochs
    return min(max(round(train.UPDATES / updates_of(train, batches)), train.FEWEST_EPOCHS), train.MOST_EPOCHS)


def with_epochs(settings: S, batches: int) -> S:
    """The settings of a run with its number of epochs."""
    train = settings.train.model_copy(update={"epochs": epochs_of(settings.train, batches)})
    return settings.model_copy(update={"train": train})


def updates_of(train: LoopSettings, batches: int) -> int:
    """Optimizer updates in an epoch of so many batches."""
    return -(-batches // train.accumulation)


def make_learner(
    train: LoopSettings,
    network: nn.Module,
    batches: int,
    *,
    rate_factors: Mapping[str, float] | None = None,
    sparse_rate: float | None = None,
    plain_rate: float | None = None,
) -> training.Learner:
    """What trains a network, `batches` an epoch: device and precision, optimizers, schedule, average.

    `rate_factors`, `sparse_rate`, `plain_rate`: as `training.OptimizerOptions` takes them.
    """
    precision: str = train.precision
    if precision == "auto":
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        precision = "bf16" if has_fast_bf16(device) else "no"
    accelerator = training.make_accelerator(precision)
    placed = training.place_model(network, accelerator)
    optimizers = training.make_optimizers(
        placed,
        training.OptimizerOptions(
            name=train.optimizer,
            lr=train.rate,
            weight_decay=train.weight_decay,
            momentum=train.momentum,
            sparse_lr=sparse_rate,
            plain_lr=plain_rate,
            rate_factors=rate_factors or {},
        ),
    )
    updates = updates_of(train, batches)
    schedule = training.Schedule(
        training.ScheduleOptions(
            total_steps=updates * train.epochs,
            name=train.schedule,
            warmup=train.warmup,
            every=updates * train.step_epochs,
            factor=train.factor,
        )
    )
    average = training.WeightAverage(network, train.ema) if train.ema else None
    return training.Learner(placed, optimizers, schedule, accelerator, train.seed, average)


@contextmanager
def scored_in(network: nn.Module, learner: training.Learner) -> Iterator[None]:
    """While a pretrained body trains, let dev be scored in the precision that it is trained in."""
    has_body = hasattr(network, "compute_type")
    if has_body:
        network.compute_type = _COMPUTE_TYPES.get(learner.accelerator.mixed_precision)  # type: ignore[assignment]
    try:
        yield
    finally:
        if has_body:
            network.compute_type = None  # type: ignore[assignment]


def open_run(output: Path, task: str, settings: Settings, files: Iterable[Path]) -> RunDirectory:
    """The directory of a run with these settings on these files."""
    return RunDirectory(
        output,
        task,
        settings.model_dump(),
        {str(path): checksum(path) for path in files},
        settings.train.checkpoint_seconds,
    )


def fit(course: Course, learner: training.Learner, settings: Settings, run: RunDirectory, launch: Launch) -> None:
    """Train, leaving a line of history and a checkpoint an epoch, and the best model so far."""
    progress = launch.progress
    train, batches = settings.train, course.batch_count()
    options = training.LoopOptions(
        epochs=train.epochs,
        accumulation=train.accumulation,
        max_grad_norm=train.clip or None,
        patience=train.patience or None,
        score_every=train.score_every or -(-train.epochs // _SCORES),
    )
    done = learner.state.step + learner.state.skipped
    updates = updates_of(train, batches) * train.epochs
    try:
        with ExitStack() as stack:
            show = stack.enter_context(progress.training(train.epochs, done, updates, course.score_name))
            tracker = _tracker(stack, course, learner, settings, run, progress)

            def handle(report: training.Report) -> None:
                show(report)
                if tracker is not None:
                    tracker.report(report)
                if isinstance(report, training.EpochReport):
                    run.keep(_history_line(report, learner), learner, course.parts)
                    if tracker is not None:
                        tracker.histograms(learner.bare_model, report.step)
                    if launch.watch is not None:
                        launch.watch(report)

            _ENGINES[train.engine](learner, course, options, handle)
    except training.NonFiniteError as error:
        run.discard_if_empty()
        lines = sorted(set(course.lines(error.rows)))
        first = ", ".join(map(str, lines[:8])) + (", ..." if len(lines) > 8 else "")
        raise TrainingError(f"{error}; the rows' lines in {course.source}: {first}") from error
    except NlpAppError:
        run.discard_if_empty()
        raise


Handle = Callable[[training.Report], None]


def _loop(learner: training.Learner, course: Course, options: training.LoopOptions, handle: Handle) -> None:
    for report in training.train(learner, course.batches, course.evaluate, options):
        handle(report)


def _trainer(learner: training.Learner, course: Course, options: training.LoopOptions, handle: Handle) -> None:
    from nlp_app.training.trainer import train_with_trainer  # noqa: PLC0415 - transformers.Trainer takes seconds

    train_with_trainer(learner, course.batches, course.evaluate, options, handle)


_ENGINES: dict[str, Callable[[training.Learner, Course, training.LoopOptions, Handle], None]] = {
    "loop": _loop,
    "trainer": _trainer,
}


def _tracker(
    stack: ExitStack,
    course: Course,
    learner: training.Learner,
    settings: Settings,
    run: RunDirectory,
    progress: Progress,
) -> Tracker | None:
    directory = run.output / "tensorboard"
    if not settings.track.tensorboard:
        for path in directory.glob(EVENTS):  # of an earlier run
            path.unlink()
        if directory.is_dir() and not any(directory.iterdir()):
            directory.rmdir()
        return None
    tracker = stack.enter_context(Tracker(directory, learner.state.step))
    if not learner.state.step:
        batch = next(iter(course.batches(1)), None)
        if batch is not None:
            tracker.graph(learner.bare_model, batch.inputs, progress.say)
    return tracker


def _history_line(report: training.EpochReport, learner: training.Learner) -> dict[str, Any]:
    return {
        "epoch": report.epoch,
        "step": report.step,
        "train_loss": report.train_loss,
        "dev": report.metrics,
        "best": report.is_best,
        "rates": learner.optimizers.rates(),
        "skipped": report.skipped,
        "seconds": round(report.seconds, 3),
    }


def leave(run: RunDirectory, settings: Settings, metrics: Mapping[str, Any], card: str, progress: Progress) -> None:
    """Write what stands beside a finished model: scores, settings, card and, with matplotlib, the curves."""
    write_text(run.output / "metrics.json", json.dumps(metrics, ensure_ascii=False, indent=1) + "\n")
    write_text(run.output / "config.toml", write_settings(settings))
    write_text(run.output / "README.md", card)
    if not settings.track.plots:
        return
    if plotting_available():
        draw_history(_history(run), run.output / "history.png")
    else:
        progress.say("note: no history.png without matplotlib; pip install 'nlp-app[plot]'")


def _history(run: RunDirectory) -> Sequence[Mapping[str, Any]]:
    return [json.loads(line) for line in run.read_history()]
