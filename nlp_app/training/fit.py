"""Train a model: run the training loop and, at each of its reports, record the run and save checkpoints."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

from nlp_app import engine
from nlp_app.core.errors import SettingsError, TrainingError, is_out_of_memory, is_unsupported
from nlp_app.core.signals import Interrupted, StopSignal, record_stop_signals
from nlp_app.models import ModelParts
from nlp_app.storage.batching import ProcessShare
from nlp_app.training.engines import select_engine
from nlp_app.training.learner_setup import precision_note, updates_per_epoch
from nlp_app.training.runs.directory import RunDirectory
from nlp_app.training.runs.outputs import history_line
from nlp_app.training.runs.progress import Progress
from nlp_app.training.runs.start import OnEpochEnd, RunOptions
from nlp_app.training.runs.tensorboard import Tracker, open_tracker
from nlp_app.training.task import E, P, TrainingTask

_SCORES = 10  # of dev over a run, at most, where the settings leave it open


def fit(
    task: TrainingTask[P, E],
    parts: P,
    examples: E,
    learner: engine.Learner,
    run: RunDirectory,
    options: RunOptions,
) -> None:
    """Train, and record in `run` a line of history for each epoch, checkpoints, and the best model so far.

    Args:
        task: The task, with the number of epochs in its settings.
        parts: The model.
        examples: The training examples of the model.
        learner: The learner of its network.
        run: The run directory.
        options: Options of the run.

    Raises:
        Interrupted: SIGINT or SIGTERM has stopped the run after the current step; a checkpoint is saved.
        SettingsError: This machine cannot compute the network in the precision of the settings.
        TrainingError: Training has failed: weights or scores are not finite, or memory is full.
    """
    train, processes = task.settings.train, learner.processes
    options.progress.say(*precision_note(learner))
    share = ProcessShare(processes.rank, processes.count)
    updates = updates_per_epoch(train, examples.batch_count()) * train.epochs
    try:
        with ExitStack() as stack:
            stop_signal = stack.enter_context(record_stop_signals())
            show = stack.enter_context(
                options.progress.training(learner.state, train.epochs, updates, task.score_name(parts))
            )
            tracker: Tracker | None = None
            if processes.is_main:
                directory = run.output / "tensorboard"
                tracker = stack.enter_context(
                    open_tracker(directory, learner.state.step, task.settings.track.tensorboard)
                )
                if tracker is not None and not learner.state.step:
                    _write_graph(tracker, examples.batches(1), learner, options.progress)
            loop_options = engine.LoopOptions(
                epochs=train.epochs,
                gradient_accumulation_steps=train.gradient_accumulation_steps,
                max_grad_norm=train.max_grad_norm or None,
                patience=train.patience or None,
                eval_every_epochs=train.eval_every_epochs or -(-train.epochs // _SCORES),
                stop=lambda: bool(stop_signal),
            )
            handle = ReportHandler(learner, parts, run, options.on_epoch_end, show, tracker, stop_signal)
            run_engine = select_engine(train.engine, processes, options.progress)
            evaluate = task.evaluator(parts, examples, processes)
            run_engine(learner, lambda epoch: examples.batches(epoch, share), evaluate, loop_options, handle)
    except engine.RowsError as error:
        if not error.rows:
            raise
        lines = sorted(set(task.lines(examples.sources(error.rows))))
        first = ", ".join(map(str, lines[:8])) + (", ..." if len(lines) > 8 else "")
        raise TrainingError(f"{error}; the rows' lines in {task.source}: {first}") from error
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
                f"its {learner.accelerator.device.type} has no {precision} for it ({reason}). Set train.precision=no."
            ) from error
        raise


@dataclass
class ReportHandler:
    """Show and record each report of the loop, save checkpoints, and stop the run after a signal."""

    learner: engine.Learner
    parts: ModelParts
    run: RunDirectory
    on_epoch_end: OnEpochEnd | None
    show: Callable[[engine.Report], None]
    tracker: Tracker | None
    stop_signal: StopSignal

    def __call__(self, report: engine.Report) -> None:
        self.show(report)
        if self.tracker is not None:
            self.tracker.report(report)
        if isinstance(report, engine.EpochReport):
            self._keep(report)
            stop = not report.stop and bool(self.learner.processes.all_reduce_max([int(bool(self.stop_signal))])[0])
        else:
            stop = report.stop
        if self.learner.processes.is_main and (stop or isinstance(report, engine.StepReport)):
            self.run.save(self.learner, self.parts, now=stop)
        if stop:
            raise Interrupted(f"stopped after step {report.step}, and saved", self.stop_signal.number or signal.SIGTERM)

    def _keep(self, report: engine.EpochReport) -> None:
        if self.learner.processes.is_main:
            self.run.record_epoch(
                history_line(report, self.learner.optimizers.learning_rates()), self.learner, self.parts
            )
        if self.tracker is not None:
            self.tracker.histograms(self.learner.model, report.step)
        if self.on_epoch_end is not None:
            self.on_epoch_end(report)


def _write_graph(
    tracker: Tracker, batches: Iterator[engine.Batch], learner: engine.Learner, progress: Progress
) -> None:
    batch = next(batches, None)
    if batch is not None:
        tracker.graph(learner.model, batch.inputs, progress.say)
