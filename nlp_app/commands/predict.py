"""Tag and classify files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from nlp_app.commands.model_options import _names_data_set, class_reading_options, tagging_reading_options
from nlp_app.commands.predict_texts import PredictedClasses, prediction_options
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
from nlp_app.formats.io.streams import STDIN, open_input
from nlp_app.inference import Tagger
from nlp_app.inference.classifier import Classifier, validate_prediction_options
from nlp_app.inference.files import InputFile, JobOptions, PredictionOptions, check_job_options, predict_file
from nlp_app.inference.files.classification_input import detect_layout
from nlp_app.inference.files.records import Item
from nlp_app.inference.files.tagging_input import record_item, sequence_items


def classify_file(
    classifier: Classifier,
    source: str,
    target: str | None,
    settings: ClassificationDataSettings,
    choice: PredictedClasses,
    plan: JobOptions,
) -> tuple[list[str], list[str]]:
    """Classify a file of any size in bounded memory, and write a JSON line for each text, in the order of the file.

    Args:
        classifier: A trained classifier.
        source: The file or the name of a Hugging Face data set; `-` for standard input.
        target: The file to write; None or `-` for standard output.
        settings: Settings for reading the file.
        choice: The classes to return.
        plan: Options of the job: processes, part of the input, resuming.

    Returns:
        Notes on how the file was read, and messages about the job.

    Raises:
        DataError: The file can't be read, contains no text, or the output can't be written.
        SettingsError: An option is invalid or does not fit the input.
    """
    validate_prediction_options(choice.top_k, choice.threshold)
    options = class_reading_options(classifier, settings, labels=False)
    learned = {name: classifier.parts.about["settings"].get(name, "") for name in ("text_column", "label_column")}
    other_columns = settings.model_dump(include=set(learned)) != learned
    is_hub = is_data_set(source) or settings.format == "hub"
    check_job_options(plan, source, target, is_hub)
    line_options = prediction_options(choice, target)
    reading = {"task": "classify", "settings": settings.model_dump()}

    def open_with_options(open_file: Callable[[ClassReadOptions], ClassFile]) -> ClassFile:
        return open_file(options) if other_columns else open_like_training_file(options, open_file)

    if is_hub:
        file = open_with_options(lambda chosen: open_classes(source, chosen))
        items: Iterator[Item] = ({"line": record.line, "text": record.text} for record in file)
        rows = InputFile(source, source, items, reading, is_data_set=True)
        messages = predict_file(classifier, line_options, rows, target, plan)
        return list(reading_remarks(file)), messages
    with open_input(source) as stream:
        name = STDIN if source == "-" else source
        if not stream.head:  # an empty input gives an empty output
            empty = InputFile(source, name, (), reading, stream.size, codec=detect_codec(b"", options.encoding))
            return [], predict_file(classifier, line_options, empty, target, plan)
        layout = detect_layout(stream, name, options, open_with_options)
        lines = decode_lines_or_errors(stream, name, layout.codec)
        records = _require_text(layout.items(lines), name)
        whole = InputFile(source, name, records, reading, stream.size, lambda: stream.position, layout.codec)
        messages = predict_file(classifier, line_options, whole, target, plan)
        return [*layout.remarks, *map(_describe_repair, layout.ledger.repairs())], messages


def _describe_repair(repair: ReadRepair) -> str:
    return f"{repair.count:,} {repair.what}, the first in line {repair.line}"


def _require_text(items: Iterator[Item], name: str) -> Iterator[Item]:
    """Yield the items, and raise DataError if a file that isn't empty has no items."""
    first = next(items, None)
    if first is None:
        raise DataError("found no text", name)
    yield first
    yield from items


def _size(record: ClassRecord) -> int:
    return len(record.text)


def tag_file(
    tagger: Tagger, source: str, target: str | None, format: str | None, changes: Sequence[str], plan: JobOptions
) -> tuple[list[str], list[str]]:
    """Tag a file of any size in bounded memory, and write the results in the order of the file.

    Lines with columns are written with the predicted tag as an additional column. Texts, tokens and JSON lines are
    written as JSON lines.

    Args:
        tagger: A trained tagger.
        source: The file or the name of a Hugging Face data set; `-` for standard input.
        target: The file to write; None or `-` for standard output.
        format: The format of the file; None to detect it.
        changes: Changes of the [data] settings, as `data.key=value`.
        plan: Options of the job: processes, part of the input, resuming.

    Returns:
        Notes on how the file was read, and messages about the job.

    Raises:
        DataError: The file can't be read, or the output can't be written.
        SettingsError: An option is invalid or does not fit the input.
    """
    # Labels in the file are ignored: they are predicted.
    options = replace(tagging_reading_options(tagger, source, format, changes).reading, tag_column=None, labels=False)
    is_data_set = _names_data_set(source, format)
    check_job_options(plan, source, target, is_data_set)
    prediction_options = PredictionOptions(compression=compression_for_name(target))
    reading = {"task": "tag", "format": format, "changes": list(changes)}
    if is_data_set:
        rows = map(record_item, formats.read(source, "hub", options))
        return [], predict_file(
            tagger, prediction_options, InputFile(source, source, rows, reading, is_data_set=True), target, plan
        )
    with open_input(source) as stream:
        name = STDIN if source == "-" else source
        encoding = find_input_encoding(stream, name, options.encoding)
        codec = encoding.codec
        file_format = format or formats.detect_format(strip_compression_suffix(name), stream.head, codec)
        if file_format == "brat" and format is None:
            file_format = "text"  # a text file of a brat folder; its annotation file is not needed
        items = sequence_items(decode_lines_or_errors(stream, name, codec), name, file_format, options)
        whole = InputFile(source, name, items, reading, stream.size, lambda: stream.position, codec)
        return encoding.remarks, predict_file(tagger, prediction_options, whole, target, plan)
