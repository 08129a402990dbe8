"""What is done with a model: `evaluate`, `tag`, `classify`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nlp_app.cli.options import (
    FormatChoice,
    any_format_option,
    bulk_options,
    changes_option,
    class_changes,
    class_formats,
    format_option,
    json_option,
    label_column_option,
    model_argument,
    no_columns,
    precision_option,
    quiet_option,
    sequence_format,
    text_column_option,
    threads_option,
    trust_option,
)
from nlp_app.cli.terminal import say, show
from nlp_app.core.errors import ModelError

if TYPE_CHECKING:
    from nlp_app.config import ClassificationDataSettings
    from nlp_app.inference import Classifier, Tagger
    from nlp_app.inference.files import JobOptions


@click.command()
@model_argument
@click.argument("file")
@json_option
@any_format_option
@text_column_option
@label_column_option
@changes_option
@precision_option
@trust_option
@threads_option
@quiet_option
def evaluate(model: str, file: str, as_json: bool, quiet: bool, **how: Any) -> None:
    """Score MODEL on a labeled FILE."""
    from nlp_app.commands.evaluate import evaluate_classes, evaluate_file  # noqa: PLC0415
    from nlp_app.inference import Classifier  # noqa: PLC0415
    from nlp_app.reports.classification_scores import class_score_table, confusion_table  # noqa: PLC0415
    from nlp_app.reports.model_card import score_table  # noqa: PLC0415

    loaded, name = _load(model, how), Path(file).name
    if isinstance(loaded, Classifier):
        scores, remarks = evaluate_classes(loaded, file, _class_settings(loaded, how), quiet)
        text = "\n\n".join(filter(None, (class_score_table({name: scores}), confusion_table(scores))))
    else:
        no_columns(how)
        scores, remarks = evaluate_file(loaded, Path(file), sequence_format(how["format"]), how["changes"], quiet)
        text = score_table({name: scores})
    if not quiet:
        say(*(f"note: {remark}" for remark in remarks))
    show(json.dumps(scores, ensure_ascii=False) if as_json else text)


@click.command()
@model_argument
@click.argument("texts", nargs=-1, metavar="[TEXT]...")
@click.option("--input", "source", metavar="FILE", help="A file to tag; without it or with -, standard input.")
@click.option("--output", "target", metavar="FILE", help="Where results go; without it, standard output.")
@format_option
@changes_option
@bulk_options
@precision_option
@trust_option
@threads_option
@quiet_option
def tag(model: str, texts: tuple[str, ...], source: str | None, target: str | None, **how: Any) -> None:
    """Find labeled spans in TEXTs, a file or standard input.

    A text gives a JSON line with its spans; columns come back with the predicted tag appended.
    """
    from nlp_app.commands.predict import tag_file, tag_texts  # noqa: PLC0415
    from nlp_app.inference import Tagger  # noqa: PLC0415

    _check_files(texts, source, target, how)
    tagger = _load(model, how)
    if not isinstance(tagger, Tagger):
        raise ModelError(f"{model}: found a classifier, expected a tagger; use `classify`")
    if texts:
        tag_texts(tagger, texts, target)
        return
    notes, said = tag_file(tagger, source or "-", target, how["format"], how["changes"], _plan(model, how))
    if not how["quiet"]:
        say(*(f"note: {remark}" for remark in notes))
    say(*said)


@click.command()
@model_argument
@click.argument("texts", nargs=-1, metavar="[TEXT]...")
@click.option("--input", "source", metavar="FILE", help="A file to classify; without it or with -, standard input.")
@click.option("--output", "target", metavar="FILE", help="Where results go; without it, standard output.")
@click.option("--top-k", type=int, metavar="N", help="So many classes of each text, best first.")
@click.option("--threshold", type=float, metavar="P", help="The classes of at least this probability; maybe none.")
@click.option("--format", type=FormatChoice(class_formats), help="The input's format, where it isn't recognized.")
@text_column_option
@changes_option
@bulk_options
@precision_option
@trust_option
@threads_option
@quiet_option
def classify(model: str, texts: tuple[str, ...], source: str | None, target: str | None, **how: Any) -> None:
    """Find the classes of TEXTs, a file or standard input: a JSON line for each text."""
    from nlp_app.commands.predict import PredictedClasses, classify_file, classify_texts  # noqa: PLC0415
    from nlp_app.inference import Classifier  # noqa: PLC0415
    from nlp_app.inference.classifier import validate_prediction_options  # noqa: PLC0415

    _check_files(texts, source, target, how)
    choice = PredictedClasses(how["top_k"], how["threshold"])
    validate_prediction_options(choice.top_k, choice.threshold)
    classifier = _load(model, how)
    if not isinstance(classifier, Classifier):
        raise ModelError(f"{model}: found a tagger, expected a classifier; use `tag`")
    if texts:
        classify_texts(classifier, texts, target, choice)
        return
    settings = _class_settings(classifier, how)
    notes, said = classify_file(classifier, source or "-", target, settings, choice, _plan(model, how))
    if not how["quiet"]:
        say(*(f"note: {remark}" for remark in notes))
    say(*said)


def _check_files(texts: Sequence[str], source: str | None, target: str | None, how: dict[str, Any]) -> None:
    for name, file in (("input", source), ("output", target)):
        if file == "":  # an unset variable of a script, most likely
            raise click.UsageError(f"--{name}: found an empty name, expected a file, or - for the standard {name}")
    if texts and source is not None:
        raise click.UsageError("found both TEXT and --input, expected one of them")
    for name in ("shard", "resume"):
        if texts and how[name]:
            raise click.UsageError(f"--{name} is for a file, found TEXT; give --input")


def _plan(model: str, how: dict[str, Any]) -> JobOptions:
    """How a file is gone through."""
    from nlp_app.inference.files import JobOptions, ModelLocation  # noqa: PLC0415

    at = ModelLocation(model, how["precision"], how["trust_remote_code"], _threads())
    quiet = how["quiet"]
    run = {name: how[name] for name in ("workers", "shard", "resume", "strict", "journal_seconds")}
    return JobOptions(at, **run, quiet=quiet, report=_nothing if quiet else _say_beside_bar)


def _nothing(message: str) -> None:
    """Say nothing."""


def _say_beside_bar(message: str) -> None:
    from tqdm import tqdm  # noqa: PLC0415

    with tqdm.external_write_mode(file=sys.stderr):
        say(message)


def _class_settings(classifier: Classifier, how: dict[str, Any]) -> ClassificationDataSettings:
    """How a file for a classifier is read: as its training data, the flags aside."""
    from nlp_app.commands.model_options import model_settings  # noqa: PLC0415

    return model_settings(classifier, how["format"], class_changes(how))


def _load(path: str, how: dict[str, Any]) -> Tagger | Classifier:
    import torch  # noqa: PLC0415

    from nlp_app.inference import load  # noqa: PLC0415

    threads = how["threads"] or (1 if how.get("workers", 1) > 1 else None)
    if threads:
        torch.set_num_threads(threads)
    return load(path, precision=how["precision"], trust_remote_code=how["trust_remote_code"])


def _threads() -> int:
    import torch  # noqa: PLC0415

    return torch.get_num_threads()
