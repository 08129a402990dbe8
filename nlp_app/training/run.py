"""Train a tagger or classifier in one run, from settings to a model directory."""

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
    on_epoch_end: OnEpochEnd | None = None,
) -> dict[str, Any]:
    """Train a tagger and save it with its scores and predictions.

    With several processes, each of them calls this function.

    Args:
        settings: Settings of the run.
        output: The run directory; it is created if it does not exist.
        resume: Resume the run in `output` from its last checkpoint.
        quiet: Show no progress on standard error.
        on_epoch_end: Called with the report of each epoch after the epoch is recorded. It may end the run by raising
            an exception.

    Returns:
        The scores in metrics.json, by split; empty except in the main process.

    Raises:
        SettingsError: The settings are wrong; nothing in `output` has changed.
        DataError: The data are wrong; nothing in `output` has changed.
        TrainingError: The run cannot be resumed, or training failed.
        Interrupted: SIGINT or SIGTERM stopped the run; `resume` continues it.

    Example:
        >>> settings = read_settings(TaggingSettings, None, ["data.train=train.conll"])
        >>> metrics = train_ner(settings, Path("runs/ner"))
    """
    options = _run_options(output, resume, quiet, on_epoch_end)
    return _run("ner", settings, lambda: TaggingTask.read(settings, output), options)


def train_cls(
    settings: ClassificationSettings | TransformerClassificationSettings,
    output: Path,
    resume: bool = False,
    quiet: bool = False,
    on_epoch_end: OnEpochEnd | None = None,
) -> dict[str, Any]:
    """Train a text classifier and save it with its scores and predictions.

    With several processes, each of them calls this function.

    Args:
        settings: Settings of the run.
        output: The run directory; it is created if it does not exist.
        resume: Resume the run in `output` from its last checkpoint.
        quiet: Show no progress on standard error.
        on_epoch_end: Called with the report of each epoch after the epoch is recorded. It may end the run by raising
            an exception.

    Returns:
        The scores in metrics.json, by split; empty except in the main process.

    Raises:
        SettingsError: The settings are wrong; nothing in `output` has changed.
        DataError: The data are wrong; nothing in `output` has changed.
        TrainingError: The run cannot be resumed, or training failed.
        Interrupted: SIGINT or SIGTERM stopped the run; `resume` continues it.

    Example:
        >>> settings = read_settings(ClassificationSettings, None, ["data.train=train.csv"])
        >>> metrics = train_cls(settings, Path("runs/cls"))
    """
    options = _run_options(output, resume, quiet, on_epoch_end)
    return _run("cls", settings, lambda: ClassificationTask.read(settings), options)


def train_tagger(
    settings: TaggingSettings | TransformerTaggingSettings,
    initial_model: AnyTaggerParts | None,
    data: TaggingData,
    options: RunOptions,
    run: RunDirectory,
) -> TrainingResult:
    """Train a tagger on splits that are already in memory, in an open run directory.

    Args:
        settings: The settings that `read_initial_model` returned.
        initial_model: The model that `read_initial_model` returned.
        data: The splits.
        options: Options of the run.
        run: The run directory, opened by `open_run`.

    Returns:
        Scores and spans by split.
    """
    return train(TaggingTask(settings, data, initial_model), options, run)


def _run_options(output: Path, resume: bool, quiet: bool, on_epoch_end: OnEpochEnd | None) -> RunOptions:
    processes = engine.join_processes()
    return RunOptions(output, resume, Progress(quiet, processes.is_main), on_epoch_end, processes)


def _run(
    name: str, settings: Settings, read_task: Callable[[], TrainingTask[P, E]], options: RunOptions
) -> dict[str, Any]:
    """Open the run directory, read the data, train, and return the scores."""
    with open_run(options, name, settings) as run:
        if run is None:  # the run has finished
            return stored_metrics(options.output) if options.processes.is_main else {}
        with options.processes.main_process_first():
            task = read_task()
        options.progress.say(*task.data.report(), "")
        options.progress.warn(*task.data.warnings)
        return train(task, options, run).metrics


def train(task: TrainingTask[P, E], options: RunOptions, run: RunDirectory) -> TrainingResult:
    """Train the model of a task in an open run directory: prepare it, fit it, evaluate and save it.

    Args:
        task: The task with its settings and data.
        options: Options of the run.
        run: The run directory, opened by `open_run`.

    Returns:
        Scores and predictions by split; empty except in the main process.
    """
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
            progress.say(f"training on {describe_device(learner)}: {task.summary(examples)}")
            with evaluate_in_precision(parts.network, learner):
                fit(task, parts, examples, learner, run, options)

        if not processes.is_main:
            return TrainingResult()
        return _finish(task, parts, learner.state.best_epoch, run, progress)


def _finish(
    task: TrainingTask[P, E], parts: P, best_epoch: int, run: RunDirectory, progress: Progress
) -> TrainingResult:
    """Complete and evaluate the best model; save it with its scores, predictions and model card."""
    parts = task.complete(run.load_best(best_epoch, parts), progress)
    result = task.score(parts, run.output)
    write_run_outputs(run, task.settings, result.metrics, task.card(parts, result.metrics), progress)
    write_model(parts, run.output)
    run.close()
    reason = "best dev score" if task.has_dev else "the last one"
    progress.say("", f"saved the model of epoch {best_epoch} ({reason}) in {run.output}")
    return result
