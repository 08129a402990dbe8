"""The commands that use a trained model: `evaluate`, `tag` and `classify`."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nlp_app.cli.options import (
    FORMAT_HELP,
    FormatChoice,
    FormatOption,
    any_format_option,
    backend_option,
    check_tagging_format,
    class_output_format_option,
    classification_format_option,
    data_changes,
    data_changes_option,
    examples,
    file_job_options,
    json_option,
    label_column_option,
    lossy_option,
    model_argument,
    precision_option,
    quiet_option,
    reject_column_options,
    span_output_format_option,
    tag_input_formats,
    text_column_option,
    threads_option,
    trust_option,
)
from nlp_app.cli.terminal import say, show
from nlp_app.core.errors import DataError, ModelError
from nlp_app.core.threads import limit_threads, thread_count

if TYPE_CHECKING:
    from nlp_app.config import ClassificationDataSettings
    from nlp_app.inference import Classifier, Tagger
    from nlp_app.inference.files import JobOptions


@click.command(epilog=examples("evaluate runs/ner test.conll", "evaluate runs/cls test.csv --json"))
@model_argument
@click.argument("file")
@json_option
@any_format_option
@text_column_option
@label_column_option
@data_changes_option
@backend_option
@precision_option
@trust_option
@threads_option
@quiet_option
def evaluate(model: str, file: str, as_json: bool, quiet: bool, **options: Any) -> None:
    """Evaluate a model on a labeled file.

    MODEL is a directory, or a name on the Hugging Face Hub. FILE is read like the training data of the model.
    """
    _set_threads(options)
    from nlp_app.commands.evaluate import evaluate_classes, evaluate_file  # noqa: PLC0415
    from nlp_app.inference import Classifier  # noqa: PLC0415
    from nlp_app.reports.classification_scores import class_score_table, confusion_table  # noqa: PLC0415
    from nlp_app.reports.model_card import score_table  # noqa: PLC0415

    loaded, name = _load_model(model, file, options), Path(file).name
    if isinstance(loaded, Classifier):
        with _hint_for_evaluation(model, "classifier", "texts with classes"):
            scores, remarks = evaluate_classes(loaded, file, _data_settings(loaded, options), quiet)
        text = "\n\n".join(filter(None, (class_score_table({name: scores}), confusion_table(scores))))
    else:
        reject_column_options(options)
        format = check_tagging_format(options["format"])
        with _hint_for_evaluation(model, "tagger", "tokens with tags, or texts with spans"):
            scores, remarks = evaluate_file(loaded, Path(file), format, options["changes"], quiet)
        text = score_table({name: scores})
    if not quiet:
        say(*(f"note: {remark}" for remark in remarks))
    show(json.dumps(scores, ensure_ascii=False) if as_json else text)


@click.command(
    epilog=examples(
        'tag runs/ner "Satya Nadella visited Shanghai."',
        "tag runs/ner --input notes.txt --output spans.jsonl",
    )
)
@model_argument
@click.argument("texts", nargs=-1, metavar="[TEXT]...")
@click.option("--input", "source", metavar="FILE", help="File to tag. By default, or with -, standard input is read.")
@click.option("--output", "target", metavar="FILE", help="File for the results. The default is standard output.")
@click.option("--format", cls=FormatOption, type=FormatChoice(tag_input_formats), help=FORMAT_HELP)
@click.option(
    "--text-column",
    metavar="COLUMN",
    default="",
    help="Column of the text in a table (CSV): a name or a number from 0. By default it is detected.",
)
@span_output_format_option
@lossy_option
@data_changes_option
@file_job_options
@backend_option
@precision_option
@trust_option
@threads_option
@quiet_option
def tag(model: str, texts: tuple[str, ...], source: str | None, target: str | None, **options: Any) -> None:
    """Tag texts, a file or standard input.

    MODEL is a directory, or a name on the Hugging Face Hub. For each TEXT, one JSON line with the labeled spans is
    written. The lines of a file with columns are written with the predicted tag as an additional column.
    """
    _set_threads(options)
    from nlp_app.commands.output_plan import OutputRequest  # noqa: PLC0415
    from nlp_app.commands.predict_texts import tag_texts  # noqa: PLC0415
    from nlp_app.inference import Tagger  # noqa: PLC0415

    _check_files(texts, source, target, options)
    tagger = _load_model(model, None if texts else source or "-", options)
    if not isinstance(tagger, Tagger):
        raise ModelError(f"{model}: found a classifier, expected a tagger; use `classify`")
    request = OutputRequest(target, options["output_format"], options["lossy"])
    if texts:
        say(*tag_texts(tagger, texts, request))
        return
    from nlp_app.commands.predict import TagInput, tag_file  # noqa: PLC0415 - it imports the settings

    job = _job_options(model, tagger.backend, options)
    file = TagInput(source or "-", options["format"], options["changes"], options["text_column"])
    notes, messages = tag_file(tagger, file, request, job)
    if not options["quiet"]:
        say(*(f"note: {note}" for note in notes))
    say(*messages)


@click.command(
    epilog=examples(
        'classify runs/cls "Where is my parcel?" --top-k 3', "classify runs/cls --input new.csv --output classes.jsonl"
    )
)
@model_argument
@click.argument("texts", nargs=-1, metavar="[TEXT]...")
@click.option(
    "--input", "source", metavar="FILE", help="File to classify. By default, or with -, standard input is read."
)
@click.option("--output", "target", metavar="FILE", help="File for the results. The default is standard output.")
@click.option("--top-k", type=int, metavar="N", help="Return the N most probable classes of each text, best first.")
@click.option(
    "--threshold",
    type=float,
    metavar="P",
    help="Return the classes with a probability of at least P. A text may have none.",
)
@classification_format_option
@text_column_option
@class_output_format_option
@lossy_option
@data_changes_option
@file_job_options
@backend_option
@precision_option
@trust_option
@threads_option
@quiet_option
def classify(model: str, texts: tuple[str, ...], source: str | None, target: str | None, **options: Any) -> None:
    """Classify texts, a file or standard input.

    MODEL is a directory, or a name on the Hugging Face Hub. For each TEXT, or each text of a file, one JSON line with
    the predicted classes is written.
    """
    _set_threads(options)
    from nlp_app.commands.output_plan import OutputRequest  # noqa: PLC0415
    from nlp_app.commands.predict_texts import PredictedClasses, classify_texts  # noqa: PLC0415
    from nlp_app.inference import Classifier  # noqa: PLC0415
    from nlp_app.inference.classifier import validate_prediction_options  # noqa: PLC0415

    _check_files(texts, source, target, options)
    choice = PredictedClasses(options["top_k"], options["threshold"])
    validate_prediction_options(choice.top_k, choice.threshold)
    classifier = _load_model(model, None if texts else source or "-", options)
    if not isinstance(classifier, Classifier):
        raise ModelError(f"{model}: found a tagger, expected a classifier; use `tag`")
    request = OutputRequest(target, options["output_format"], options["lossy"])
    if texts:
        say(*classify_texts(classifier, texts, request, choice))
        return
    from nlp_app.commands.predict import classify_file  # noqa: PLC0415 - it imports the settings

    settings, job = _data_settings(classifier, options), _job_options(model, classifier.backend, options)
    notes, messages = classify_file(classifier, source or "-", request, settings, choice, job)
    if not options["quiet"]:
        say(*(f"note: {note}" for note in notes))
    say(*messages)


def _check_files(texts: Sequence[str], source: str | None, target: str | None, options: dict[str, Any]) -> None:
    for name, file in (("input", source), ("output", target)):
        if file == "":  # most likely an unset variable in a shell script
            raise click.UsageError(f"--{name}: found an empty name, expected a file, or - for the standard {name}")
    if texts and source is not None:
        raise click.UsageError("found both TEXT and --input, expected one of them")
    for text in texts:
        if _is_file(text):
            raise click.UsageError(
                f"TEXT {text!r} is the name of a file; read it with --input, or give the text itself on standard input"
            )
    for name in ("shard", "resume"):
        if texts and options[name]:
            raise click.UsageError(f"--{name} is for a file, found TEXT; use --input instead")


@contextmanager
def _hint_for_evaluation(model: str, kind: str, expected: str) -> Iterator[None]:
    """Replace the hint on training in the error for a file of the other task."""
    try:
        yield
    except DataError as error:
        if "use `train" not in str(error):
            raise
        reason = re.sub(r":? use `train .*", "", str(error))
        raise DataError(f"{reason}; {model} is a {kind}, so give {expected}, or another model") from error


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):  # too long for a name, or a NUL
        return False


def _job_options(model: str, backend: str, options: dict[str, Any]) -> JobOptions:
    from nlp_app.inference.files import JobOptions, ModelLocation  # noqa: PLC0415

    location = ModelLocation(model, options["precision"], options["trust_remote_code"], thread_count(), backend)
    quiet = options["quiet"]
    same = {name: options[name] for name in ("workers", "shard", "resume", "strict", "journal_seconds")}
    return JobOptions(location, **same, quiet=quiet, report=_discard if quiet else _say_above_bar)


def _discard(message: str) -> None:
    """Ignore a message."""


def _say_above_bar(message: str) -> None:
    """Print a message on standard error without breaking the progress bar."""
    from tqdm import tqdm  # noqa: PLC0415

    with tqdm.external_write_mode(file=sys.stderr):
        say(message)


def _data_settings(classifier: Classifier, options: dict[str, Any]) -> ClassificationDataSettings:
    """Return the settings of the classifier's training data, changed by the options."""
    from nlp_app.commands.model_options import model_settings  # noqa: PLC0415

    return model_settings(classifier, options["format"], data_changes(options))


def _set_threads(options: dict[str, Any]) -> None:
    """Set the number of threads; NumPy reads it when it is imported."""
    threads = options["threads"] or (1 if options.get("workers", 1) > 1 else None)
    if threads:
        limit_threads(threads)


def _load_model(path: str, source: str | None, options: dict[str, Any]) -> Tagger | Classifier:
    """Load the model for a file, or for texts if there is no file."""
    from nlp_app.inference import load, load_for_file  # noqa: PLC0415

    choice = {name: options[name] for name in ("precision", "trust_remote_code", "backend")}
    return load(path, **choice) if source is None else load_for_file(path, source, **choice)
