"""What the training runs of all tasks share: the learner, the loop with its records, and what a finished run leaves."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from nlp_app import training
from nlp_app.config import Settings, write_settings
from nlp_app.environment import environment, note_of_launch
from nlp_app.errors import SettingsError, TrainingError, is_out_of_memory, is_unsupported
from nlp_app.experiment.learners import check_precision, note_of_precision, updates_of
from nlp_app.features.columns import WHOLE, Share
from nlp_app.features.vectors import Vectors, read_vectors
from nlp_app.interruption import Interrupted, Interruption, listening
from nlp_app.modeldir import Parts
from nlp_app.output import checksum
from nlp_app.plots import draw_history, plotting_available
from nlp_app.progress import Progress
from nlp_app.run_record import RunRecord, check_output, has_finished, run_file
from nlp_app.rundir import RunDirectory
from nlp_app.tracking import EVENTS, Tracker
from nlp_app.writing import write_text

_SCORES = 10  # of dev over a run, at most, where the settings leave it open

Watch = Callable[[training.EpochReport], None]


@dataclass(frozen=True)
class Launch:
    """How a run is started: where, whether it goes on from a checkpoint, what shows it, what is told of each epoch that
    has been kept (it may end the run by raising), and which processes take part."""

    output: Path
    resume: bool
    progress: Progress
    watch: Watch | None = None
    processes: training.Processes = training.ALONE


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

    def batches(self, epoch: int, share: Share) -> Iterator[training.Batch]:
        """A share of the batches of an epoch (from 1); they follow from the data, the seed and the epoch alone."""

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


@contextmanager
def open_run(launch: Launch, task: str, settings: Settings) -> Iterator[RunDirectory | None]:
    """The directory of a run, its own within the block; None if a run that was to go on has finished.

    Raises SettingsError, DataError or TrainingError, before anything is read, for a place that can't be used and for a
    run that can't be taken up. What raises one of them within the block leaves nothing of a run that has saved nothing.
    """
    output, progress = launch.output, launch.progress
    check_output(output, task)
    check_precision(settings.train.precision)
    progress.say(*note_of_launch(launch.processes))
    run = RunDirectory(output, settings.train.checkpoint_seconds)
    if launch.resume:
        if has_finished(output, settings):
            progress.say(f"note: the run in {output} has finished: nothing is left to do")
            if launch.processes.is_main:
                run.tidy()  # it may have been killed as it ended
            yield None
            return
        if not run_file(output).is_file():
            corpus = "" if settings.data.train else ", on the bundled corpus"
            progress.say(f"note: nothing was saved in {output}: starting from the beginning{corpus}")
    with run.taken(task, settings, launch.resume) if launch.processes.is_main else nullcontext():
        yield run


def start_run(
    run: RunDirectory, launch: Launch, task: str, settings: Settings, files: Iterable[Path], learner: training.Learner
) -> None:
    """Make a run's directory ready for its first update, with these settings on these files."""
    record = RunRecord(
        task,
        settings.model_dump(),
        {str(path): checksum(path) for path in files},
        environment(launch.processes, learner.accelerator.device),
    )
    run.start(record, learner, launch.resume, launch.progress)


def fit(course: Course, learner: training.Learner, settings: Settings, run: RunDirectory, launch: Launch) -> None:
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
            options = training.LoopOptions(
                epochs=train.epochs,
                accumulation=train.accumulation,
                max_grad_norm=train.clip or None,
                patience=train.patience or None,
                score_every=train.score_every or -(-train.epochs // _SCORES),
                stop=lambda: bool(told),
            )
            handle = _Handle(learner, course.parts, run, launch, show, tracker, told)
            engine = _engine(train.engine, processes, launch.progress)
            engine(learner, lambda epoch: course.batches(epoch, share), course.evaluate, options, handle)
    except training.RowsError as error:
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

    learner: training.Learner
    parts: Parts
    run: RunDirectory
    launch: Launch
    show: Callable[[training.Report], None]
    tracker: Tracker | None
    told: Interruption

    def __call__(self, report: training.Report) -> None:
        self.show(report)
        if self.tracker is not None:
            self.tracker.report(report)
        if isinstance(report, training.EpochReport):
            self._keep(report)
            stop = not report.stop and bool(self.learner.processes.most([int(bool(self.told))])[0])
        else:
            stop = report.stop
        if self.learner.processes.is_main and (stop or isinstance(report, training.StepReport)):
            self.run.save(self.learner, self.parts, now=stop)
        if stop:
            raise Interrupted(f"stopped after step {report.step}, and saved", self.told.number or signal.SIGTERM)

    def _keep(self, report: training.EpochReport) -> None:
        if self.learner.processes.is_main:
            self.run.keep(_history_line(report, self.learner), self.learner, self.parts)
        if self.tracker is not None:
            self.tracker.histograms(self.learner.model, report.step)
        if self.launch.watch is not None:
            self.launch.watch(report)


Handle = Callable[[training.Report], None]


Batches = Callable[[int], Iterable[training.Batch]]
Evaluate = Callable[[], training.Evaluation]
Engine = Callable[[training.Learner, Batches, Evaluate | None, training.LoopOptions, Handle], None]


def _loop(
    learner: training.Learner,
    batches: Batches,
    evaluate: Evaluate | None,
    options: training.LoopOptions,
    handle: Handle,
) -> None:
    for report in training.train(learner, batches, evaluate, options):
        handle(report)


def _engine(name: str, processes: training.Processes, progress: Progress) -> Engine:
    if name == "trainer" and processes.count > 1:
        progress.say("note: in several processes the engine is train.engine=loop; the results are the same")
    elif name == "trainer":
        from nlp_app.training.trainer import train_with_trainer  # noqa: PLC0415 - transformers.Trainer takes seconds

        return train_with_trainer
    return _loop


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
        batch = next(iter(course.batches(1, WHOLE)), None)
        if batch is not None:
            tracker.graph(learner.model, batch.inputs, progress.say)
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
