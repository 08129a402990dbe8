"""`train ner --search`, `train cls --search`: search for the best settings on dev, then train the final model.

output/search/
  plan.json                  settings, fixed settings and checksums of the data
  journal.log                the trials that have ended, in Optuna's format
  trial-0000 ...             config.toml, history.jsonl and, if the trial finished, metrics.json

Only the final run reads the test data; the settings of trials have no test file.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import torch
from tqdm import tqdm

from nlp_app.config import (
    ClassificationSettings,
    Settings,
    TaggingSettings,
    TransformerClassificationSettings,
    TransformerTaggingSettings,
    with_bundled_corpus,
    write_settings,
)
from nlp_app.core.errors import NlpAppError, SettingsError, TrainingError
from nlp_app.core.files import write_text
from nlp_app.core.progress_bar import progress_bar, show_status
from nlp_app.data.classification.splits import read_class_splits
from nlp_app.data.tagging.splits import read_splits
from nlp_app.engine import EpochReport
from nlp_app.metrics.classes import class_selection_score
from nlp_app.metrics.spans import selection_score
from nlp_app.training.multirun.optuna_study import FAILED, FINISHED, QUARTERS, STOPPED, Study, Trial, require_optuna
from nlp_app.training.multirun.plan import begin_final, begin_runs, make_plan, require_one_process
from nlp_app.training.multirun.search_space import current_values, search_space, with_values
from nlp_app.training.run import train_cls, train_ner
from nlp_app.training.runs.progress import Progress
from nlp_app.training.runs.record import check_output, stored_settings
from nlp_app.training.tagging.initial_model import read_initial_model

DIRECTORY = "search"

NOTE = (
    "the best of many dev scores is optimistic; evaluate the final model on data that was not used to select settings"
)

_TRIAL_FILES = {"config.toml", "metrics.json", "history.jsonl"}

AnySettings = TaggingSettings | TransformerTaggingSettings | ClassificationSettings | TransformerClassificationSettings


@dataclass(frozen=True)
class SearchResult:
    """Result of a search.

    Attributes:
        report: Content of search.json.
        metrics: The scores of the final model, by split.
    """

    report: dict[str, Any]
    metrics: dict[str, Any]


class _TrialPruned(Exception):
    """Raised to end a trial after one, two or three quarters of its epochs."""

    def __init__(self, quarter: int) -> None:
        super().__init__(quarter)
        self.quarter = quarter


def search(
    settings: AnySettings,
    output: Path,
    trials: int,
    fixed: Collection[str] = (),
    resume: bool = False,
    quiet: bool = False,
) -> SearchResult:
    """Search for the settings with the best dev score, and train the final model with them in `output`.

    Args:
        settings: Settings of the first trial, which the search starts from.
        output: The run directory of the final model; trials are saved in `output`/search.
        trials: The number of trials in all; a resumed search may have more.
        fixed: Names of settings that are not searched, such as "train.learning_rate".
        resume: Resume the search in `output`.
        quiet: Show no progress on standard error.

    Returns:
        The report on all trials, and the scores of the final model.

    Raises:
        SettingsError: The settings are wrong or Optuna is not installed; nothing in `output` has changed.
        DataError: The data are wrong; nothing in `output` has changed.
        TrainingError: All trials failed, the final run failed, or the search cannot be resumed.
        Interrupted: SIGINT or SIGTERM stopped the search; `resume` continues it.
    """
    require_optuna()
    require_one_process("--search")
    progress, task = Progress(quiet), _task(settings)
    check_output(output, task)
    base = _trial_settings(settings)
    files = _read_data(base, output, progress)
    space = search_space(base, fixed)
    directory = output / DIRECTORY
    begin_runs(directory, make_plan(task, settings, files, fixed=sorted(fixed)), resume)

    study = Study(directory / "journal.log", space, current_values(base, space), settings.train.seed)
    with progress_bar(quiet, " trials", total=trials) as bar:
        for number, trial in enumerate(study.trials):  # the last one may have been killed before its cleanup
            _cleanup(directory / _name(number), with_values(base, trial.values))
            bar.update()
        while len(study.trials) < trials:
            number = len(study.trials)
            trial = _run_trial(study, base, directory / _name(number), bar)
            study.record(trial)
            _cleanup(directory / _name(number), with_values(base, trial.values))
            progress.say(_trial_line(number, trials, trial))
            bar.update()
    best = _best(study.trials)

    values = study.trials[best].values
    progress.say("", f"trial {best} has the best dev score; training the final model with its settings")
    begin_final(directory, _name(best))
    metrics = _train(with_values(settings, values), output, resume=True, quiet=quiet)
    report = _report(study, best, settings.train.seed)
    write_text(output / f"{DIRECTORY}.json", json.dumps(report, ensure_ascii=False, indent=1) + "\n")
    return SearchResult(report, metrics)


def _task(settings: AnySettings) -> str:
    return "ner" if isinstance(settings, TaggingSettings | TransformerTaggingSettings) else "cls"


def _train(settings: AnySettings, output: Path, **options: Any) -> dict[str, Any]:
    if isinstance(settings, TaggingSettings | TransformerTaggingSettings):
        return train_ner(settings, output, **options)
    return train_cls(settings, output, **options)


def _trial_settings(settings: AnySettings) -> AnySettings:
    """Make the settings of trials: without test file, plots and TensorBoard; the bundled corpus has explicit paths."""
    test = settings.data.test
    if test and not test.startswith("hf:") and not Path(test).exists():  # checked now, as it is read only at the end
        raise SettingsError(f"data.test: found no file {test}; check the path, or leave the setting empty")
    data = with_bundled_corpus(settings.data).model_copy(update={"test": ""})
    track = settings.track.model_copy(update={"plots": False, "tensorboard": False})
    return settings.model_copy(update={"data": data, "track": track})


def _read_data(settings: AnySettings, output: Path, progress: Progress) -> list[Path]:
    """Read the data once to check and describe them; return their files."""
    if isinstance(settings, TaggingSettings | TransformerTaggingSettings):
        resolved, initial_model = read_initial_model(settings, output)
        labels = initial_model.tag_set.labels if initial_model is not None else ()
        tagging = read_splits(resolved.data, settings.train.seed, labels)
        report, has_dev, files = tagging.report(), tagging.dev is not None, tagging.files()
    else:
        classes = read_class_splits(settings.data, settings.train.seed)
        report, has_dev, files = classes.report(), classes.dev is not None, classes.files()
    if not has_dev:
        raise SettingsError("--search: needs dev data to compare trials; give --dev FILE, or a data.dev_share above 0")
    progress.say(*report, "")
    return files


def _run_trial(study: Study, base: AnySettings, directory: Path, bar: tqdm[NoReturn]) -> Trial:
    """Train with the next proposed settings; resume the trial if it was interrupted."""
    values = study.propose()
    settings = with_values(base, values)
    task = _task(base)

    def on_epoch_end(report: EpochReport) -> None:
        show_status(bar, f"{directory.name}, epoch {report.epoch}")
        quarter = None if report.stop else study.should_prune(_quarters(directory, task))
        if quarter is not None:
            raise _TrialPruned(quarter)

    try:
        metrics = _train(settings, directory, resume=True, quiet=True, on_epoch_end=on_epoch_end)
    except _TrialPruned as pruned:
        quarters = {each: score for each, score in _quarters(directory, task).items() if each <= pruned.quarter}
        return Trial(values, STOPPED, max(quarters.values()), _seconds(directory), quarters)
    except (NlpAppError, torch.OutOfMemoryError) as error:
        if not study.trials and not isinstance(error, TrainingError):
            raise  # data or settings are wrong, so all trials would fail
        return Trial(values, FAILED, None, _seconds(directory), {}, " ".join(str(error).split()))
    score = selection_score(metrics["dev"]) if task == "ner" else class_selection_score(metrics["dev"])
    return Trial(values, FINISHED, score, _seconds(directory), _quarters(directory, task))


def _history(directory: Path) -> list[dict[str, Any]]:
    path = directory / "history.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []


def _seconds(directory: Path) -> float:
    return round(sum(float(line["seconds"]) for line in _history(directory)), 3)


def _quarters(directory: Path, task: str) -> dict[int, float]:
    """Find the first dev score at or after the end of each quarter of a trial's epochs.

    Trials are compared by quarters and not by epochs, as they may have different numbers of epochs.
    """
    stored = stored_settings(directory, task)
    if stored is None:
        return {}
    epochs, score = stored["train"]["epochs"], selection_score if task == "ner" else class_selection_score
    scores = [(line["epoch"], score(line["dev"])) for line in _history(directory) if line["dev"] is not None]
    by_quarter: dict[int, float] = {}
    for quarter in QUARTERS:
        later = [value for epoch, value in scores if 4 * epoch >= quarter * epochs]
        if later:
            by_quarter[quarter] = later[0]
    return by_quarter


def _cleanup(directory: Path, settings: Settings) -> None:
    """Delete the model and checkpoints of a recorded trial; keep its settings, history and scores."""
    directory.mkdir(parents=True, exist_ok=True)
    for path in directory.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in _TRIAL_FILES:
            path.unlink()
    if not (directory / "config.toml").is_file():  # a finished trial has written its own
        write_text(directory / "config.toml", write_settings(settings))


def _best(trials: list[Trial]) -> int:
    """Return the number of the trial with the highest score; on a tie, the first one."""
    scores = {n: trial.score for n, trial in enumerate(trials) if trial.state == FINISHED and trial.score is not None}
    if not scores:
        raise TrainingError(f"--search: all {len(trials)} trials failed; the first: {trials[0].error}")
    return max(scores, key=lambda number: (scores[number], -number))


def _name(number: int) -> str:
    return f"trial-{number:04d}"


def _trial_line(number: int, trials: int, trial: Trial) -> str:
    score = trial.error if trial.score is None else f"dev {trial.score:.4f}"
    values = ", ".join(f"{name.partition('.')[2]} {value:g}" for name, value in trial.values.items())
    return f"trial {number:>{len(str(trials))}}/{trials}  {trial.state}  {score}  {trial.seconds:.1f} s  {values}"


def _report(study: Study, best: int, seed: int) -> dict[str, Any]:
    report: dict[str, Any] = {
        "seed": seed,
        "note": NOTE,
        "best": best,
        "trials": [_entry(number, trial) for number, trial in enumerate(study.trials)],
    }
    importance = study.importance()
    return report | ({"importance": importance} if importance else {})


def _entry(number: int, trial: Trial) -> Mapping[str, Any]:
    entry = {"trial": number, "state": trial.state, "dev": trial.score, "seconds": trial.seconds}
    return entry | {"settings": dict(trial.values)} | ({"error": trial.error} if trial.error else {})
