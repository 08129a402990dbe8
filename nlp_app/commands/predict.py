"""Tag and classify texts and files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from nlp_app.commands.model_options import _names_data_set, class_reading_options, tagging_reading_options
from nlp_app.config import ClassificationDataSettings
from nlp_app.core.errors import DataError
from nlp_app.core.types import ClassRecord
from nlp_app.data.classification.options import open_like_training_file
from nlp_app.data.classification.splits import reading_remarks
from nlp_app.formats import tagging as formats
from nlp_app.formats.classification import ClassFile, ClassReadOptions, ReadRepair, open_classes
from nlp_app.formats.io.compression import compression_for_name, strip_compression_suffix
from nlp_app.formats.io.encodings import find_input_encoding
from nlp_app.formats.io.hf_datasets import is_data_set
from nlp_app.formats.io.lines import decode_lines_or_errors, detect_codec
from nlp_app.formats.io.streams import STDIN, check_characters, open_input, write_answers
from nlp_app.inference import Tagger
from nlp_app.inference.classifier import Classifier, validate_prediction_options
from nlp_app.inference.files import InputFile, JobOptions, PredictionOptions, check_job_options, predict_file
from nlp_app.inference.files.classification_input import detect_layout
from nlp_app.inference.files.output_lines import make_predictor
from nlp_app.inference.files.records import Item
from nlp_app.inference.files.tagging_input import record_item, sequence_items


@dataclass(frozen=True)
class PredictedClasses:
    """The classes to return for a text: the best `top_k`, those of at least `threshold`; None: as the model decides."""

    top_k: int | None = None
    threshold: float | None = None


def classify_texts(classifier: Classifier, texts: Sequence[str], target: str | None, choice: PredictedClasses) -> None:
    """A JSON line for each text."""
    check_characters(texts)
    items: list[Item] = [{"text": text} for text in texts]
    write_answers(make_predictor(classifier, _question(choice, target))(items), target)


def classify_file(
    classifier: Classifier,
    source: str,
    target: str | None,
    settings: ClassificationDataSettings,
    choice: PredictedClasses,
    plan: JobOptions,
) -> tuple[list[str], list[str]]:
    """Classify a file (`-`: standard input) of any size in bounded memory, in order, a JSON line for each text; returns
    notes on how it was read, and what has to be said of the job."""
    validate_prediction_options(choice.top_k, choice.threshold)
    options = class_reading_options(classifier, settings, labels=False)
    learned = {name: classifier.parts.about["settings"].get(name, "") for name in ("text_column", "label_column")}
    given = settings.model_dump(include=set(learned)) != learned
    is_hub = is_data_set(source) or settings.format == "hub"
    check_job_options(plan, source, target, is_hub)
    question = _question(choice, target)
    reading = {"task": "classify", "settings": settings.model_dump()}

    def opened(how: Callable[[ClassReadOptions], ClassFile]) -> ClassFile:
        return how(options) if given else open_like_training_file(options, how)

    if is_hub:
        file = opened(lambda chosen: open_classes(source, chosen))
        items: Iterator[Item] = ({"line": record.line, "text": record.text} for record in file)
        rows = InputFile(source, source, items, reading, is_data_set=True)
        said = predict_file(classifier, question, rows, target, plan)
        return list(reading_remarks(file)), said
    with open_input(source) as stream:
        name = STDIN if source == "-" else source
        if not stream.head:  # nothing in, nothing out
            empty = InputFile(source, name, (), reading, stream.size, codec=detect_codec(b"", options.encoding))
            return [], predict_file(classifier, question, empty, target, plan)
        settled = detect_layout(stream, name, options, opened)
        lines = decode_lines_or_errors(stream, name, settled.codec)
        records = _filled(settled.items(lines), name)
        whole = InputFile(source, name, records, reading, stream.size, lambda: stream.position, settled.codec)
        said = predict_file(classifier, question, whole, target, plan)
        return [*settled.remarks, *map(_repaired, settled.ledger.repairs())], said


def _question(choice: PredictedClasses, target: str | None) -> PredictionOptions:
    return PredictionOptions(choice.top_k, choice.threshold, compression_for_name(target))


def _repaired(repair: ReadRepair) -> str:
    return f"{repair.count:,} {repair.what}, the first in line {repair.line}"


def _filled(items: Iterator[Item], name: str) -> Iterator[Item]:
    """The items; raises DataError if there is none, though the file isn't empty."""
    first = next(items, None)
    if first is None:
        raise DataError("found no text", name)
    yield first
    yield from items


def _size(record: ClassRecord) -> int:
    return len(record.text)


def tag_texts(tagger: Tagger, texts: Sequence[str], target: str | None) -> None:
    """A JSON line for each text."""
    check_characters(texts)
    items: list[Item] = [{"text": text} for text in texts]
    write_answers(make_predictor(tagger, PredictionOptions(compression=compression_for_name(target)))(items), target)


def tag_file(
    tagger: Tagger, source: str, target: str | None, format: str | None, changes: Sequence[str], plan: JobOptions
) -> tuple[list[str], list[str]]:
    """Tag a file (`-`: standard input) of any size in bounded memory, in order, in the form that it came in; returns
    notes on how it was read, and what has to be said of the job.

    Columns come back with the predicted tag appended; texts, tokens and JSON lines as JSON lines.
    """
    # The labels are ours to give.
    options = replace(tagging_reading_options(tagger, source, format, changes).reading, tag_column=None, labels=False)
    is_data_set = _names_data_set(source, format)
    check_job_options(plan, source, target, is_data_set)
    question = PredictionOptions(compression=compression_for_name(target))
    reading = {"task": "tag", "format": format, "changes": list(changes)}
    if is_data_set:
        rows = map(record_item, formats.read(source, "hub", options))
        return [], predict_file(
            tagger, question, InputFile(source, source, rows, reading, is_data_set=True), target, plan
        )
    with open_input(source) as stream:
        name = STDIN if source == "-" else source
        encoding = find_input_encoding(stream, name, options.encoding)
        codec = encoding.codec
        found = format or formats.detect_format(strip_compression_suffix(name), stream.head, codec)
        if found == "brat" and format is None:
            found = "text"  # a text beside its annotations
        items = sequence_items(decode_lines_or_errors(stream, name, codec), name, found, options)
        given = InputFile(source, name, items, reading, stream.size, lambda: stream.position, codec)
        return encoding.remarks, predict_file(tagger, question, given, target, plan)
