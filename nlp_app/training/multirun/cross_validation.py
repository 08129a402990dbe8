"""`train ner --folds`: cross-validate on data without a dev set, then train the final model on all data.

Each fold is tagged by a tagger that is trained on the other folds for all epochs of its schedule. The fold is not used
to select an epoch or a setting, so the scores over all sentences come from taggers that never saw them.
"""

from __future__ import annotations

import json
import shutil
import statistics
import textwrap
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nlp_app.config import TaggingSettings, TransformerTaggingSettings
from nlp_app.core.errors import DataError, SettingsError, TrainingError
from nlp_app.core.files import write_text
from nlp_app.core.progress_bar import progress_bar, show_status
from nlp_app.core.types import TokenSpan
from nlp_app.data.partition import assign_folds
from nlp_app.data.tagging.corpus import Corpus
from nlp_app.data.tagging.remarks import collect_labels
from nlp_app.data.tagging.splits import TaggingData, read_splits
from nlp_app.engine import EpochReport
from nlp_app.labels.schemes import NONE
from nlp_app.labels.tag_set import TagSet
from nlp_app.metrics.spans import score_spans, selection_score
from nlp_app.training.multirun.plan import begin_final, begin_runs, make_plan, require_one_process
from nlp_app.training.run import train_ner, train_tagger
from nlp_app.training.runs.predictions import write_predictions
from nlp_app.training.runs.progress import Progress
from nlp_app.training.runs.record import check_output, read_run, run_record_path
from nlp_app.training.runs.start import RunOptions, open_run
from nlp_app.training.tagging.initial_model import read_initial_model

DIRECTORY = "folds"

_SPANS = "spans.json"

_CARD_WIDTH = 110

METHOD = (
    "each fold was tagged by a tagger trained on the other folds for all epochs; the fold was not used to select an "
    "epoch or a setting"
)

_SUMMARIZED = ("precision", "recall", "f1", "accuracy", "weighted_f1")

Settings = TaggingSettings | TransformerTaggingSettings

Spans = list[list[TokenSpan]]


class _FoldData(TaggingData):
    """Data of one fold: `train` has the sentences of the other folds, `test` those of the fold.

    It has no files, as no file has exactly these sentences: cached data of the training file must not be used for it.
    """

    def corpora(self) -> list[tuple[str, Corpus]]:
        return [("train" if name == "train" else "fold", corpus) for name, corpus in super().corpora()]

    def files(self) -> list[Path]:
        return []


@dataclass(frozen=True)
class CrossValidation:
    """Result of a cross-validation.

    Attributes:
        report: Content of folds.json.
        metrics: Content of metrics.json; "dev" has the scores over all folds.
    """

    report: dict[str, Any]
    metrics: dict[str, Any]


def cross_validate(
    settings: Settings, output: Path, folds: int, resume: bool = False, quiet: bool = False
) -> CrossValidation:
    """Train a tagger for each fold, in `output`/folds/1 and so on, and the final tagger on all sentences in `output`.

    Args:
        settings: Settings of the runs, without a dev set.
        output: The run directory of the final tagger.
        folds: The number of folds, at least 2.
        resume: Resume the cross-validation in `output`.
        quiet: Show no progress on standard error.

    Returns:
        The scores of folds, and of the final tagger.

    Raises:
        SettingsError: The settings are wrong; nothing in `output` has changed.
        DataError: The data are wrong; nothing in `output` has changed.
        TrainingError: Training failed, or the cross-validation cannot be resumed.
        Interrupted: SIGINT or SIGTERM stopped it; `resume` continues it.
    """
    require_one_process("--folds")
    progress = Progress(quiet)
    check_output(output, "ner")
    _check(settings)
    final_settings = _without_dev(settings)
    resolved, initial_model = read_initial_model(final_settings, output)
    labels = initial_model.tag_set.labels if initial_model is not None else ()
    data = read_splits(resolved.data, resolved.train.seed, labels)
    progress.say(*data.report(), "")
    progress.warn(*data.warnings)
    sentences = data.train.sentences
    fold_of = assign_folds(
        [tuple(sentence.tokens) for sentence in sentences], folds, settings.train.seed, data.train.path
    )
    parts = [_split_off(data, fold_of, fold) for fold in range(folds)]
    directory = output / DIRECTORY
    begin_runs(directory, make_plan("ner", settings, data.files(), folds=folds), resume)

    predicted: Spans = [[] for _ in sentences]
    scores = []
    tag_set = TagSet.of(sentences, NONE if data.train.scheme == NONE else final_settings.model.network_scheme)
    name = "accuracy" if tag_set.scheme == NONE else "F1"
    with progress_bar(quiet, " folds", total=folds) as bar:
        for fold, part in enumerate(parts):

            def show_epoch(report: EpochReport, fold: int = fold) -> None:
                show_status(bar, f"fold {fold + 1}, epoch {report.epoch}")

            options = RunOptions(output, resume, Progress(True), show_epoch)
            spans = _predict_fold(directory / str(fold + 1), final_settings, part, options)
            indices = [index for index, its_fold in enumerate(fold_of) if its_fold == fold]
            for index, each in zip(indices, spans, strict=True):
                predicted[index] = each
            scores.append(score_spans(tag_set, [sentences[index] for index in indices], spans))
            bar.update()
            progress.say(
                f"fold {fold + 1}/{folds}  {len(indices):,} sentences  {name} {selection_score(scores[-1]):.4f}"
            )
    pooled = score_spans(tag_set, sentences, predicted)
    write_predictions(directory, data.train, predicted, scheme=tag_set.written_scheme)

    progress.say(
        "",
        f"all {folds} folds together: {name} {selection_score(pooled):.4f}; training the final model on all sentences",
    )
    begin_final(directory, "all")
    metrics = {"dev": pooled} | train_ner(final_settings, output, resume=True, quiet=quiet)
    report = _report(settings, pooled, scores, [fold_of.count(fold) for fold in range(folds)])
    _write_report(output, report, metrics)
    return CrossValidation(report, metrics)


def _check(settings: Settings) -> None:
    if settings.data.dev:
        raise SettingsError(
            f"data.dev: found {settings.data.dev}, but --folds is for data without a dev set; give only one of the two"
        )
    if not settings.data.train:
        raise SettingsError("--folds: needs --train FILE, as the bundled corpus has a dev set")
    for name, is_set in (
        ("patience", settings.train.patience),
        ("lr_schedule", settings.train.lr_schedule == "plateau"),
    ):
        if is_set:
            raise SettingsError(f"train.{name}: needs a dev score, and --folds has none; remove the setting")


def _without_dev(settings: Settings) -> Settings:
    data = settings.data.model_copy(update={"dev_share": 0.0})
    return settings.model_copy(update={"data": data})


def _split_off(data: TaggingData, fold_of: list[int], fold: int) -> _FoldData:
    pairs = list(zip(data.train.sentences, fold_of, strict=True))
    others, held_out = (
        replace(data.train, sentences=[sentence for sentence, its_fold in pairs if (its_fold == fold) == is_held_out])
        for is_held_out in (False, True)
    )
    if not collect_labels(others.sentences):
        raise DataError(
            f"only fold {fold + 1} has labeled spans, but the other folds need some to train on; use another --folds "
            "or --seed, or more data",
            data.train.path,
        )
    return _FoldData(
        others, None, held_out, data.tokenizer, data.agreement, data.settings, held_out=False, empty=0, known=data.known
    )


def _predict_fold(directory: Path, settings: Settings, part: _FoldData, options: RunOptions) -> Spans:
    """Train a tagger on the other folds and tag the fold; a resumed cross-validation reads the saved spans."""
    path = directory / _SPANS
    if options.resume and path.is_file():
        spans = _read_spans(path)
    else:
        # Read it for each fold, as training changes it.
        resolved, initial_model = read_initial_model(settings, directory)
        # A fold that was killed between the end of training and saving its spans is trained again.
        resume = options.resume and run_record_path(directory).is_file() and not read_run(directory).finished
        options = replace(options, output=directory, resume=resume)
        with open_run(options, "ner", resolved) as run:
            if run is None:
                raise RuntimeError(f"{directory}: found a finished run, expected an unfinished one")
            spans = train_tagger(resolved, initial_model, part, options, run).predictions["fold"]
        write_text(path, json.dumps(spans, ensure_ascii=False) + "\n")
    shutil.rmtree(directory / "checkpoints", ignore_errors=True)  # the fold is complete
    return spans


def _read_spans(path: Path) -> Spans:
    try:
        return [[TokenSpan(*span) for span in spans] for spans in json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError) as error:
        raise TrainingError(f"{path}: not readable ({error}); remove {path.parent} to train the fold again") from error


def _report(
    settings: Settings, pooled: dict[str, Any], scores: list[dict[str, Any]], sizes: list[int]
) -> dict[str, Any]:
    names = [name for name in _SUMMARIZED if name in pooled]
    values = {name: [float(each[name]) for each in scores] for name in names}
    return {
        "folds": len(scores),
        "seed": settings.train.seed,
        "how": METHOD,
        "pooled": pooled,
        "mean": {name: statistics.fmean(values[name]) for name in names},
        "standard_deviation": {name: statistics.stdev(values[name]) for name in names},
        "each": [{"sentences": size, "scores": each} for size, each in zip(sizes, scores, strict=True)],
    }


def _write_report(output: Path, report: dict[str, Any], metrics: dict[str, Any]) -> None:
    """Add the scores over all folds to the final run's metrics and model card, and write folds.json."""
    write_text(output / "metrics.json", json.dumps(metrics, ensure_ascii=False, indent=1) + "\n")
    name = "f1" if "f1" in report["pooled"] else "accuracy"
    mean, deviation = report["mean"][name], report["standard_deviation"][name]
    lines = [
        "",
        "## Cross-validation",
        "",
        f"{name.replace('f1', 'F1')} {report['pooled'][name]:.4f} over all sentences of {report['folds']} folds "
        f"(mean {mean:.4f}, standard deviation {deviation:.4f}):",
        *textwrap.wrap(
            f"{METHOD}. This model was trained on all sentences. All scores are in `folds.json`.", _CARD_WIDTH
        ),
    ]
    card = (output / "README.md").read_text(encoding="utf-8").partition("\n".join(lines[:2]))[0]
    write_text(output / "README.md", card + "\n".join(lines) + "\n")
    write_text(output / f"{DIRECTORY}.json", json.dumps(report, ensure_ascii=False, indent=1) + "\n")
