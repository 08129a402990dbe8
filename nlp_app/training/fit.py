"""What the training runs of all tasks share: the learner, the loop with its records, and what a finished run leaves."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Protocol

from nlp_app import engine
from nlp_app.config import Settings, write_settings
from nlp_app.core.errors import SettingsError, TrainingError, is_out_of_memory, is_unsupported
from nlp_app.core.files import write_text
from nlp_app.core.signals import Interrupted, Interruption, listening
from nlp_app.models import Parts
from nlp_app.reports.plots import draw_history, plotting_available
from nlp_app.storage.batching import WHOLE, Share
from nlp_app.training.learner_setup import note_of_precision, updates_of
from nlp_app.training.runs.directory import RunDirectory
from nlp_app.training.runs.progress import Progress
from nlp_app.training.runs.start import Launch
from nlp_app.training.runs.tensorboard import EVENTS, Tracker

_SCORES = 10  # of dev over a run, at most, where the settings leave it open


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

    def batches(self, epoch: int, share: Share) -> Iterator[engine.Batch]:
        """A share of the batches of an epoch (from 1); they follow from the data, the seed and the epoch alone."""

    @property
    def evaluate(self) -> Callable[[], engine.Evaluation] | None:
        """What scores the network as it stands on dev; None without dev."""

    def lines(self, rows: Iterable[int]) -> list[int]:
        """The lines in the training file of rows of its data."""


def fit(course: Course, learner: engine.Learner, settings: Settings, run: RunDirectory, launch: Launch) -> None:
    """Train, leaving a line of history for each epoch, checkpoints, and the best model so far.

    Raises Interrupted when told to stop (SIGINT, SIGTERM), after the update under way, with everything saved;
    SettingsError for a precision in which this machine can't compute the network.
    """
    train, processes = settings.train, learner.processes
    launch.progress.say(*note_of_precision(learner))
    share = Share(processes.rank, processes.count)
    updates = updates_of(train, course.batch_count()) * train.epochs
    try:
        with ExitStack() as stack:
            told = stack.enter_context(listening())
            show = stack.enter_context(
                launch.progress.training(learner.state, train.epochs, updates, course.score_name)
            )
            tracker = _tracker(stack, course, learner, settings, run, launch.progress) if processes.is_main else None
            options = engine.LoopOptions(
                epochs=train.epochs,
                accumulation=train.accumulation,
                max_grad_norm=train.clip or None,
                patience=train.patience or None,
                score_every=train.score_every or -(-train.epochs // _SCORES),
                stop=lambda: bool(told),
            )
            handle = _Handle(learner, course.parts, run, launch, show, tracker, told)
            run_engine = _engine(train.engine, processes, launch.progress)
            run_engine(learner, lambda epoch: course.batches(epoch, share), course.evaluate, options, handle)
    except engine.RowsError as error:
        if not error.rows:
            raise
        lines = sorted(set(course.lines(error.rows)))
        first = ", ".join(map(str, lines[:8])) + (", ..." if len(lines) > 8 else "")
        raise TrainingError(f"{error}; the rows' lines in {course.source}: {first}") from error
    except (RuntimeError, MemoryError) as error:
        reason = " ".join(str(error).split())[:200]
        if is_out_of_memory(error):
            raise TrainingError(
                f"out of memory, in an update or as dev was scored ({reason}); use a smaller model or dev set"
            ) from error
        precision = learner.accelerator.mixed_precision
        if precision != "no" and is_unsupported(error):
            raise SettingsError(
                f"train.precision: found {train.precision}, expected one that this machine can compute the model in: "
                f"its {learner.accelerator.device.type} has no {precision} for it ({reason}); use no"
            ) from error
        raise


@dataclass
class _Handle:
    """What is done at each report: show and record it, keep what has to be kept, stop where that was asked for."""

    learner: engine.Learner
    parts: Parts
    run: RunDirectory
    launch: Launch
    show: Callable[[engine.Report], None]
    tracker: Tracker | None
    told: Interruption

    def __call__(self, report: engine.Report) -> None:
        self.show(report)
        if self.tracker is not None:
            self.tracker.report(report)
        if isinstance(report, engine.EpochReport):
            self._keep(report)
            stop = not report.stop and bool(self.learner.processes.most([int(bool(self.told))])[0])
        else:
            stop = report.stop
        if self.learner.processes.is_main and (stop or isinstance(report, engine.StepReport)):
            self.run.save(self.learner, self.parts, now=stop)
        if stop:
            raise Interrupted(f"stopped after step {report.step}, and saved", self.told.number or signal.SIGTERM)

    def _keep(self, report: engine.EpochReport) -> None:
        if self.learner.processes.is_main:
            self.run.keep(_history_line(report, self.learner), self.learner, self.parts)
        if self.tracker is not None:
            self.tracker.histograms(self.learner.model, report.step)
        if self.launch.watch is not None:
            self.launch.watch(report)


Handle = Callable[[engine.Report], None]

Batches = Callable[[int], Iterable[engine.Batch]]

Evaluate = Callable[[], engine.Evaluation]

Engine = Callable[[engine.Learner, Batches, Evaluate | None, engine.LoopOptions, Handle], None]


def _loop(
    learner: engine.Learner,
    batches: Batches,
    evaluate: Evaluate | None,
    options: engine.LoopOptions,
    handle: Handle,
) -> None:
    for report in engine.train(learner, batches, evaluate, options):
        handle(report)


def _engine(name: str, processes: engine.Processes, progress: Progress) -> Engine:
    if name == "trainer" and processes.count > 1:
        progress.say("note: in several processes the engine is train.engine=loop; the results are the same")
    elif name == "trainer":
        from nlp_app.engine.hf_trainer import train_with_trainer  # noqa: PLC0415 - transformers.Trainer takes seconds

        return train_with_trainer
    return _loop


def _tracker(
    stack: ExitStack,
    course: Course,
    learner: engine.Learner,
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
        batch = next(iter(course.batches(1, WHOLE)), None)
        if batch is not None:
            tracker.graph(learner.model, batch.inputs, progress.say)
    return tracker


def _history_line(report: engine.EpochReport, learner: engine.Learner) -> dict[str, Any]:
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
