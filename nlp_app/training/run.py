"""One training run of a tagger or classifier, from settings to a model directory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from nlp_app import engine
from nlp_app.config import (
    ClassificationSettings,
    Settings,
    TaggingSettings,
    TransformerClassificationSettings,
    TransformerTaggingSettings,
)
from nlp_app.data.tagging.splits import TaggingData
from nlp_app.models import AnyTaggerParts, write_model
from nlp_app.nn.summary import summary_table
from nlp_app.training.classification.task import ClassificationTask
from nlp_app.training.fit import fit
from nlp_app.training.learner_setup import describe_device, evaluate_in_precision, make_learner
from nlp_app.training.runs.directory import RunDirectory
from nlp_app.training.runs.outputs import write_run_outputs
from nlp_app.training.runs.progress import Progress
from nlp_app.training.runs.record import stored_metrics
from nlp_app.training.runs.start import OnEpochEnd, RunOptions, open_run, start_run
from nlp_app.training.tagging.task import TaggingTask
from nlp_app.training.task import E, P, TrainingResult, TrainingTask


def train_ner(
    settings: TaggingSettings | TransformerTaggingSettings,
    output: Path,
    resume: bool = False,
    quiet: bool = False,
    watch: OnEpochEnd | None = None,
) -> dict[str, Any]:
    """Train a tagger and save it, its scores and predictions in a directory.

    With several processes each of them calls this.

    Args:
        settings: Settings of a run, by the kind of network.
        output: The directory.
        resume: Continue the run in `output` from its last checkpoint.
        quiet: Report nothing on standard error.
        watch: Called with the report of each epoch after the epoch is saved. It may end the run by raising.

    Returns:
        The scores in metrics.json; empty except in the main process.

    Raises:
        SettingsError, DataError: The settings or data are wrong; nothing in `output` has changed.
        TrainingError: The run cannot be resumed, or training has failed.
        Interrupted: SIGINT or SIGTERM has stopped the run; `resume` continues it.
    """
    options = _run_options(output, resume, quiet, watch)
    return _run("ner", settings, lambda: TaggingTask.read(settings, output), options)


def train_cls(
    settings: ClassificationSettings | TransformerClassificationSettings,
    output: Path,
    resume: bool = False,
    quiet: bool = False,
    watch: OnEpochEnd | None = None,
) -> dict[str, Any]:
    """Train a classifier and save it, its scores and predictions in a directory.

    Args, Returns and Raises are those of `train_ner`.
    """
    options = _run_options(output, resume, quiet, watch)
    return _run("cls", settings, lambda: ClassificationTask.read(settings), options)


def train_tagger(
    settings: TaggingSettings | TransformerTaggingSettings,
    start: AnyTaggerParts | None,
    data: TaggingData,
    options: RunOptions,
    run: RunDirectory,
) -> TrainingResult:
    """Train a tagger on splits that are already read, in an open run directory.

    Args:
        settings: The settings that `read_start` returned.
        start: The initial model that `read_start` returned.
        data: The splits.
        options: Options of the run.
        run: The directory, opened by `open_run`.

    Returns:
        Scores and spans by split.
    """
    return train(TaggingTask(settings, data, start), options, run)


def _run_options(output: Path, resume: bool, quiet: bool, on_epoch_end: OnEpochEnd | None) -> RunOptions:
    processes = engine.join_processes()
    return RunOptions(output, resume, Progress(quiet or not processes.is_main), on_epoch_end, processes)


def _run(
    name: str, settings: Settings, read_task: Callable[[], TrainingTask[P, E]], options: RunOptions
) -> dict[str, Any]:
    """Open the run directory, read the data and train; return the scores."""
    with open_run(options, name, settings) as run:
        if run is None:  # it has finished
            return stored_metrics(options.output) if options.processes.is_main else {}
        with options.processes.main_process_first():
            task = read_task()
        options.progress.say(*task.data.report(), "")
        return train(task, options, run).metrics


def train(task: TrainingTask[P, E], options: RunOptions, run: RunDirectory) -> TrainingResult:
    """Train the model of a task in an open run directory: prepare, fit, finish."""
    progress, processes = options.progress, options.processes
    train_settings = task.settings.train
    if train_settings.threads:
        torch.set_num_threads(train_settings.threads)
    engine.seed_everything(train_settings.seed)
    with engine.deterministic_algorithms(train_settings.deterministic):
        with processes.main_process_first():
            prepared = task.prepare(progress)
        parts, examples = prepared.parts, prepared.examples
        progress.say(summary_table(parts.network), "")
        task = task.with_epochs(examples.batch_count())
        learner = make_learner(task.settings.train, parts.network, examples.batch_count(), prepared.rates, processes)

        start_run(run, options, task.name, task.settings, [*task.data.files(), *prepared.files], learner)
        with task.stored(examples, options.output):
            progress.say(f"training: {task.summary(examples)}, on {describe_device(learner)}")
            with evaluate_in_precision(parts.network, learner):
                fit(task, parts, examples, learner, run, options)

        if not processes.is_main:
            return TrainingResult()
        return _finish(task, parts, learner.state.best_epoch, run, progress)


def _finish(
    task: TrainingTask[P, E], parts: P, best_epoch: int, run: RunDirectory, progress: Progress
) -> TrainingResult:
    """Complete and score the best model, and save it with its scores, predictions and card."""
    parts = task.complete(run.load_best(best_epoch, parts), progress)
    result = task.score(parts, run.output)
    write_run_outputs(run, task.settings, result.metrics, task.card(parts, result.metrics), progress)
    write_model(parts, run.output)
    run.close()
    chosen = "the best on dev" if task.has_dev else "the last"
    progress.say("", f"the model of epoch {best_epoch}, {chosen}, is in {run.output}")
    return result
