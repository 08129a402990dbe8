"""Run the training loop; at each report, record the progress of the run and save checkpoints."""

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
from nlp_app.training.learner_setup import precision_notes, steps_per_epoch
from nlp_app.training.runs.directory import RunDirectory
from nlp_app.training.runs.outputs import history_line
from nlp_app.training.runs.progress import Progress
from nlp_app.training.runs.start import OnEpochEnd, RunOptions
from nlp_app.training.runs.tensorboard import Tracker, open_tracker
from nlp_app.training.task import E, P, TrainingTask

_MAX_EVALUATIONS = 10  # evaluations on dev in a run, unless `train.eval_every_epochs` is set


def fit(
    task: TrainingTask[P, E],
    parts: P,
    examples: E,
    learner: engine.Learner,
    run: RunDirectory,
    options: RunOptions,
) -> None:
    """Train a model. Write the history of epochs, checkpoints and the best model to the run directory.

    Args:
        task: The task; its settings have the number of epochs.
        parts: The model to train.
        examples: Encoded training examples.
        learner: The network with its optimizers, schedule and device.
        run: The started run directory.
        options: Options of the run.

    Raises:
        Interrupted: SIGINT or SIGTERM stopped the run after the current step; a checkpoint is saved.
        SettingsError: This machine cannot compute the network in the precision of the settings.
        TrainingError: Training failed: weights or scores are not finite, or out of memory.
    """
    train, processes = task.settings.train, learner.processes
    options.progress.say(*precision_notes(learner))
    share = ProcessShare(processes.rank, processes.count)
    steps = steps_per_epoch(train, examples.batch_count()) * train.epochs
    try:
        with ExitStack() as stack:
            stop_signal = stack.enter_context(record_stop_signals())
            show = stack.enter_context(
                options.progress.training(learner.state, train.epochs, steps, task.score_name(parts))
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
                eval_every_epochs=train.eval_every_epochs or -(-train.epochs // _MAX_EVALUATIONS),
                stop=lambda: bool(stop_signal),
            )
            handle_report = ReportHandler(learner, parts, run, options.on_epoch_end, show, tracker, stop_signal)
            run_engine = select_engine(train.engine, processes, options.progress)
            evaluate = task.evaluator(parts, examples, processes)
            run_engine(learner, lambda epoch: examples.batches(epoch, share), evaluate, loop_options, handle_report)
    except engine.RowsError as error:
        if not error.rows:
            raise
        lines = sorted(set(task.lines(examples.sources(error.rows))))
        first = ", ".join(map(str, lines[:8])) + (", ..." if len(lines) > 8 else "")
        raise TrainingError(f"{error}; lines of these rows in {task.source}: {first}") from error
    except (RuntimeError, MemoryError) as error:
        reason = " ".join(str(error).split())[:200]
        if is_out_of_memory(error):
            raise TrainingError(
                f"out of memory in a training step or in the evaluation on dev ({reason}); use a smaller model or a "
                "smaller dev set"
            ) from error
        precision = learner.accelerator.mixed_precision
        if precision != "no" and is_unsupported(error):
            raise SettingsError(
                f"train.precision: found {train.precision}, but the {learner.accelerator.device.type} of this machine "
                f"cannot compute the model in {precision} ({reason}). Set train.precision=no."
            ) from error
        raise


@dataclass
class ReportHandler:
    """Show and record the reports of the training loop, save checkpoints, and stop the run after a signal."""

    learner: engine.Learner
    parts: ModelParts
    run: RunDirectory
    on_epoch_end: OnEpochEnd | None
    show: Callable[[engine.Report], None]
    tracker: Tracker | None
    stop_signal: StopSignal

    def __call__(self, report: engine.Report) -> None:
        """Handle one report. Raises Interrupted after a signal, when the checkpoint is saved."""
        self.show(report)
        if self.tracker is not None:
            self.tracker.log_report(report)
        if isinstance(report, engine.EpochReport):
            self._record_epoch(report)
            stop = not report.stop and bool(self.learner.processes.all_reduce_max([int(bool(self.stop_signal))])[0])
        else:
            stop = report.stop
        if self.learner.processes.is_main and (stop or isinstance(report, engine.StepReport)):
            self.run.save(self.learner, self.parts, now=stop)
        if stop:
            raise Interrupted(
                f"stopped at step {report.step}; checkpoint saved", self.stop_signal.number or signal.SIGTERM
            )

    def _record_epoch(self, report: engine.EpochReport) -> None:
        if self.learner.processes.is_main:
            self.run.record_epoch(
                history_line(report, self.learner.optimizers.learning_rates()), self.learner, self.parts
            )
        if self.tracker is not None:
            self.tracker.log_histograms(self.learner.model, report.step)
        if self.on_epoch_end is not None:
            self.on_epoch_end(report)


def _write_graph(
    tracker: Tracker, batches: Iterator[engine.Batch], learner: engine.Learner, progress: Progress
) -> None:
    batch = next(batches, None)
    if batch is not None:
        tracker.log_graph(learner.model, batch.inputs, progress.say)
