"""`train ner --folds`: cross-validation for data without a dev set, and a final model of all of it.

Nothing is chosen on a fold: each tagger trains to the end of its schedule on the other folds, and its last epoch tags
the fold. So the scores over all sentences are those of taggers that never saw them, in no way.
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
from nlp_app.core.progress_bar import progress_bar
from nlp_app.core.types import TokenSpan
from nlp_app.data.partition import assign_folds
from nlp_app.data.tagging.corpus import Corpus
from nlp_app.data.tagging.splits import TaggingData, collect_labels, read_splits
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

HOW = (
    "each fold was tagged by a tagger trained on the other folds to the last epoch; no epoch and no setting was chosen "
    "on it"
)

_SUMMED_UP = ("precision", "recall", "f1", "accuracy", "weighted_f1")

Settings = TaggingSettings | TransformerTaggingSettings

Spans = list[list[TokenSpan]]


class _FoldData(TaggingData):
    """The sentences of all folds but one to train on, and that one, in place of `test`, to be scored on.

    It has no files: none holds just these sentences, and what is kept of a file's must not be taken for theirs.
    """

    def corpora(self) -> list[tuple[str, Corpus]]:
        return [("train" if name == "train" else "fold", corpus) for name, corpus in super().corpora()]

    def files(self) -> list[Path]:
        return []


@dataclass(frozen=True)
class CrossValidation:
    """`account`: what stands in folds.json. `metrics`: in metrics.json; its `dev` is over all folds."""

    account: dict[str, Any]
    metrics: dict[str, Any]


def cross_validate(
    settings: Settings, output: Path, folds: int, resume: bool = False, quiet: bool = False
) -> CrossValidation:
    """Train a tagger for each fold, in `output`/folds/1 and so on, and then one of all sentences, in `output`.

    Raises SettingsError, DataError or TrainingError; nothing in `output` has changed if data or settings are wrong.
    """
    require_one_process("--folds")
    progress = Progress(quiet)
    check_output(output, "ner")
    _check(settings)
    whole = _without_dev(settings)
    decided, start = read_initial_model(whole, output)
    data = read_splits(decided.data, decided.train.seed, start.tag_set.labels if start is not None else ())
    progress.say(*data.report(), "")
    sentences = data.train.sentences
    places = assign_folds(
        [tuple(sentence.tokens) for sentence in sentences], folds, settings.train.seed, data.train.path
    )
    parts = [_cut(data, places, fold) for fold in range(folds)]
    directory = output / DIRECTORY
    begin_runs(directory, make_plan("ner", settings, data.files(), folds=folds), resume)

    found: Spans = [[] for _ in sentences]
    scores = []
    tag_set = TagSet.of(sentences, NONE if data.train.scheme == NONE else whole.model.network_scheme)
    name = "accuracy" if tag_set.scheme == NONE else "F1"
    with progress_bar(quiet, " folds", total=folds) as bar:
        for fold, part in enumerate(parts):

            def show_epoch(report: EpochReport, fold: int = fold) -> None:
                bar.set_postfix_str(f"fold {fold + 1}, epoch {report.epoch}")

            options = RunOptions(output, resume, Progress(True), show_epoch)
            spans = _spans_of(directory / str(fold + 1), whole, part, options)
            mine = [place for place, of in enumerate(places) if of == fold]
            for place, each in zip(mine, spans, strict=True):
                found[place] = each
            scores.append(score_spans(tag_set, [sentences[place] for place in mine], spans))
            bar.update()
            progress.say(f"fold {fold + 1}/{folds}  {len(mine):,} sentences  {name} {selection_score(scores[-1]):.4f}")
    pooled = score_spans(tag_set, sentences, found)
    write_predictions(directory, data.train, found, scheme=tag_set.written_scheme)

    progress.say(
        "", f"all {folds} folds together: {name} {selection_score(pooled):.4f}; now the model of all sentences"
    )
    begin_final(directory, "all")
    metrics = {"dev": pooled} | train_ner(whole, output, resume=True, quiet=quiet)
    account = _account(settings, pooled, scores, [places.count(fold) for fold in range(folds)])
    _leave(output, account, metrics)
    return CrossValidation(account, metrics)


def _check(settings: Settings) -> None:
    if settings.data.dev:
        raise SettingsError(
            f"data.dev: found {settings.data.dev} beside --folds, which is for data without a dev set; give one of them"
        )
    if not settings.data.train:
        raise SettingsError("--folds: needs --train FILE; the bundled corpus has a dev set")
    for name, chosen in (
        ("patience", settings.train.patience),
        ("lr_schedule", settings.train.lr_schedule == "plateau"),
    ):
        if chosen:
            raise SettingsError(f"train.{name}: follows a dev score, and with --folds there is none; leave it out")


def _without_dev(settings: Settings) -> Settings:
    data = settings.data.model_copy(update={"dev_share": 0.0})
    return settings.model_copy(update={"data": data})


def _cut(data: TaggingData, places: list[int], fold: int) -> _FoldData:
    pairs = list(zip(data.train.sentences, places, strict=True))
    kept, held = (
        replace(data.train, sentences=[sentence for sentence, place in pairs if (place == fold) == is_held])
        for is_held in (False, True)
    )
    if not collect_labels(kept.sentences):
        raise DataError(
            f"found labeled spans in fold {fold + 1} alone; expected some in the others, to learn from; give another "
            "--folds or --seed, or more data",
            data.train.path,
        )
    return _FoldData(
        kept, None, held, data.tokenizer, data.agreement, data.settings, held_out=False, empty=0, known=data.known
    )


def _spans_of(directory: Path, whole: Settings, part: _FoldData, options: RunOptions) -> Spans:
    """What a tagger of the other folds finds in a fold; it is trained if it hasn't been."""
    path = directory / _SPANS
    if options.resume and path.is_file():
        found = _read_spans(path)
    else:
        decided, start = read_initial_model(whole, directory)  # anew for each fold, as training changes it
        # One that had just finished, and hasn't left what it found, is trained anew.
        resume = options.resume and run_record_path(directory).is_file() and not read_run(directory).finished
        options = replace(options, output=directory, resume=resume)
        with open_run(options, "ner", decided) as run:
            if run is None:
                raise RuntimeError(f"{directory}: a fold that had not finished has")
            found = train_tagger(decided, start, part, options, run).predictions["fold"]
        write_text(path, json.dumps(found, ensure_ascii=False) + "\n")
    shutil.rmtree(directory / "checkpoints", ignore_errors=True)  # nothing goes on from there
    return found


def _read_spans(path: Path) -> Spans:
    try:
        return [[TokenSpan(*span) for span in spans] for spans in json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError) as error:
        raise TrainingError(f"{path}: not readable ({error}); remove {path.parent} to train the fold again") from error


def _account(
    settings: Settings, pooled: dict[str, Any], scores: list[dict[str, Any]], sizes: list[int]
) -> dict[str, Any]:
    names = [name for name in _SUMMED_UP if name in pooled]
    values = {name: [float(each[name]) for each in scores] for name in names}
    return {
        "folds": len(scores),
        "seed": settings.train.seed,
        "how": HOW,
        "pooled": pooled,
        "mean": {name: statistics.fmean(values[name]) for name in names},
        "standard_deviation": {name: statistics.stdev(values[name]) for name in names},
        "each": [{"sentences": size, "scores": each} for size, each in zip(sizes, scores, strict=True)],
    }


def _leave(output: Path, account: dict[str, Any], metrics: dict[str, Any]) -> None:
    """Write the scores over all folds into what the final run has left, and the account."""
    write_text(output / "metrics.json", json.dumps(metrics, ensure_ascii=False, indent=1) + "\n")
    name = "f1" if "f1" in account["pooled"] else "accuracy"
    mean, deviation = account["mean"][name], account["standard_deviation"][name]
    lines = [
        "",
        "## Cross-validation",
        "",
        f"{name.replace('f1', 'F1')} {account['pooled'][name]:.4f} over all sentences of {account['folds']} folds "
        f"(mean {mean:.4f}, standard deviation {deviation:.4f}):",
        *textwrap.wrap(f"{HOW}. This model is of all sentences; all scores stand in `folds.json`.", _CARD_WIDTH),
    ]
    card = (output / "README.md").read_text(encoding="utf-8").partition("\n".join(lines[:2]))[0]
    write_text(output / "README.md", card + "\n".join(lines) + "\n")
    write_text(output / f"{DIRECTORY}.json", json.dumps(account, ensure_ascii=False, indent=1) + "\n")
