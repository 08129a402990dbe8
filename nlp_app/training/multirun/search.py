"""`train ner --search`, `train cls --search`: settings that do well on dev, and the final model trained with the best.

output/search/
  plan.json                  what was asked for
  journal.log                the trials that are over, as Optuna writes them
  trial-0000 ...             config.toml, history.jsonl and, of one that finished, metrics.json

Test data are read by the final run alone: the settings of trials name none.
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
from nlp_app.core.progress_bar import progress_bar
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
    "the best of many dev scores is an optimistic one; what the model is worth, only data that chose nothing can tell"
)

_KEPT = {"config.toml", "metrics.json", "history.jsonl"}

AnySettings = TaggingSettings | TransformerTaggingSettings | ClassificationSettings | TransformerClassificationSettings


@dataclass(frozen=True)
class SearchResult:
    """`account`: what stands in search.json. `metrics`: those of the final model."""

    account: dict[str, Any]
    metrics: dict[str, Any]


class _GivenUp(Exception):
    """Ends a trial after a quarter of its epochs, or two, or three."""

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
    """Try `trials` settings, the given ones first, and leave in `output` the model of those that do best on dev.

    fixed: names of settings that are not searched over, such as "train.learning_rate". Raises SettingsError, DataError
    or TrainingError; nothing in `output` has changed if data or settings are wrong, or Optuna isn't there.
    """
    require_optuna()
    require_one_process("--search")
    progress, task = Progress(quiet), _task(settings)
    check_output(output, task)
    given = _of_trials(settings)
    files = _look_at_data(given, output, progress)
    space = search_space(given, fixed)
    directory = output / DIRECTORY
    begin_runs(directory, make_plan(task, settings, files, fixed=sorted(fixed)), resume)

    study = Study(directory / "journal.log", space, current_values(given, space), settings.train.seed)
    with progress_bar(quiet, " trials", total=trials) as bar:
        for number, trial in enumerate(study.trials):  # one of them may have been recorded, and no more
            _tidy(directory / _name(number), with_values(given, trial.values))
            bar.update()
        while len(study.trials) < trials:
            number = len(study.trials)
            trial = _try(study, given, directory / _name(number), bar)
            study.record(trial)
            _tidy(directory / _name(number), with_values(given, trial.values))
            progress.say(_line(number, trials, trial))
            bar.update()
    best = _best(study.trials)

    values = study.trials[best].values
    progress.say("", f"trial {best} did best; now the final model, with its settings")
    begin_final(directory, _name(best))
    metrics = _train(with_values(settings, values), output, resume=True, quiet=quiet)
    account = _account(study, best, settings.train.seed)
    write_text(output / f"{DIRECTORY}.json", json.dumps(account, ensure_ascii=False, indent=1) + "\n")
    return SearchResult(account, metrics)


def _task(settings: AnySettings) -> str:
    return "ner" if isinstance(settings, TaggingSettings | TransformerTaggingSettings) else "cls"


def _train(settings: AnySettings, output: Path, **how: Any) -> dict[str, Any]:
    if isinstance(settings, TaggingSettings | TransformerTaggingSettings):
        return train_ner(settings, output, **how)
    return train_cls(settings, output, **how)


def _of_trials(settings: AnySettings) -> AnySettings:
    """The settings that trials start from: all files are named but test, those of the bundled corpus too; no plots."""
    test = settings.data.test
    if test and not test.startswith("hf:") and not Path(test).exists():  # it won't be read before the end
        raise SettingsError(f"data.test: found no file {test}; name one, or none")
    data = with_bundled_corpus(settings.data).model_copy(update={"test": ""})
    track = settings.track.model_copy(update={"plots": False, "tensorboard": False})
    return settings.model_copy(update={"data": data, "track": track})


def _look_at_data(settings: AnySettings, output: Path, progress: Progress) -> list[Path]:
    """Read the data once to show what is in them; their files."""
    if isinstance(settings, TaggingSettings | TransformerTaggingSettings):
        decided, start = read_initial_model(settings, output)
        tagging = read_splits(decided.data, settings.train.seed, start.tag_set.labels if start is not None else ())
        report, dev, files = tagging.report(), tagging.dev is not None, tagging.files()
    else:
        classes = read_class_splits(settings.data, settings.train.seed)
        report, dev, files = classes.report(), classes.dev is not None, classes.files()
    if not dev:
        raise SettingsError("--search: needs dev data to choose by; give --dev FILE, or a data.dev_share above 0")
    progress.say(*report, "")
    return files


def _try(study: Study, given: AnySettings, directory: Path, bar: tqdm[NoReturn]) -> Trial:
    """Train with the settings that come next, or go on with it if that was begun."""
    values = study.propose()
    settings = with_values(given, values)
    task = _task(given)

    def watch(report: EpochReport) -> None:
        bar.set_postfix_str(f"{directory.name}, epoch {report.epoch}")
        quarter = None if report.stop else study.should_prune(_quarters(directory, task))
        if quarter is not None:
            raise _GivenUp(quarter)

    try:
        metrics = _train(settings, directory, resume=True, quiet=True, watch=watch)
    except _GivenUp as given_up:
        quarters = {each: score for each, score in _quarters(directory, task).items() if each <= given_up.quarter}
        return Trial(values, STOPPED, max(quarters.values()), _seconds(directory), quarters)
    except (NlpAppError, torch.OutOfMemoryError) as error:
        if not study.trials and not isinstance(error, TrainingError):
            raise  # something is wrong with data or settings, and will be in each trial
        return Trial(values, FAILED, None, _seconds(directory), {}, " ".join(str(error).split()))
    score = selection_score(metrics["dev"]) if task == "ner" else class_selection_score(metrics["dev"])
    return Trial(values, FINISHED, score, _seconds(directory), _quarters(directory, task))


def _history(directory: Path) -> list[dict[str, Any]]:
    path = directory / "history.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []


def _seconds(directory: Path) -> float:
    return round(sum(float(line["seconds"]) for line in _history(directory)), 3)


def _quarters(directory: Path, task: str) -> dict[int, float]:
    """The first dev score from the end of each quarter of the epochs on, as far as the trial has come.

    Trials may have schedules of different lengths, and half-way through the one is not where the other is at the same
    epoch.
    """
    stored = stored_settings(directory, task)
    if stored is None:
        return {}
    epochs, score = stored["train"]["epochs"], selection_score if task == "ner" else class_selection_score
    scores = [(line["epoch"], score(line["dev"])) for line in _history(directory) if line["dev"] is not None]
    found: dict[int, float] = {}
    for quarter in QUARTERS:
        later = [each for epoch, each in scores if 4 * epoch >= quarter * epochs]
        if later:
            found[quarter] = later[0]
    return found


def _tidy(directory: Path, settings: Settings) -> None:
    """Keep of a trial that is recorded its settings and what came of it."""
    directory.mkdir(parents=True, exist_ok=True)
    for path in directory.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in _KEPT:
            path.unlink()
    if not (directory / "config.toml").is_file():  # a trial that came to its end has left its own
        write_text(directory / "config.toml", write_settings(settings))


def _best(trials: list[Trial]) -> int:
    """The number of the trial with the highest score; of equal ones, the first."""
    scores = {n: trial.score for n, trial in enumerate(trials) if trial.state == FINISHED and trial.score is not None}
    if not scores:
        raise TrainingError(f"--search: all {len(trials)} trials failed; the first: {trials[0].error}")
    return max(scores, key=lambda number: (scores[number], -number))


def _name(number: int) -> str:
    return f"trial-{number:04d}"


def _line(number: int, trials: int, trial: Trial) -> str:
    score = trial.error if trial.score is None else f"dev {trial.score:.4f}"
    values = ", ".join(f"{name.partition('.')[2]} {value:g}" for name, value in trial.values.items())
    return f"trial {number:>{len(str(trials))}}/{trials}  {trial.state}  {score}  {trial.seconds:.1f} s  {values}"


def _account(study: Study, best: int, seed: int) -> dict[str, Any]:
    account: dict[str, Any] = {
        "seed": seed,
        "note": NOTE,
        "best": best,
        "trials": [_entry(number, trial) for number, trial in enumerate(study.trials)],
    }
    importance = study.importance()
    return account | ({"importance": importance} if importance else {})


def _entry(number: int, trial: Trial) -> Mapping[str, Any]:
    entry = {"trial": number, "state": trial.state, "dev": trial.score, "seconds": trial.seconds}
    return entry | {"settings": dict(trial.values)} | ({"error": trial.error} if trial.error else {})
