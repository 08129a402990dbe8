"""Tag and classify files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from nlp_app.commands.model_options import _names_data_set, class_reading_options, tagging_reading_options
from nlp_app.commands.output_plan import OutputRequest, plan_output
from nlp_app.commands.predict_texts import PredictedClasses
from nlp_app.config import ClassificationDataSettings
from nlp_app.core.errors import DataError, SettingsError
from nlp_app.core.types import ClassRecord
from nlp_app.data.classification.options import open_like_training_file, parse_columns
from nlp_app.data.classification.splits import reading_remarks
from nlp_app.formats import tagging as formats
from nlp_app.formats.classification import ClassFile, ClassReadOptions, ReadRepair, open_classes
from nlp_app.formats.classification.read_plan import TableNames
from nlp_app.formats.io.compression import strip_compression_suffix
from nlp_app.formats.io.encodings import find_input_encoding
from nlp_app.formats.io.hf_datasets import is_data_set
from nlp_app.formats.io.lines import decode_lines_or_errors, detect_codec
from nlp_app.formats.io.streams import STDIN, PeekableStream, open_input
from nlp_app.inference import Tagger
from nlp_app.inference.classifier import Classifier, validate_prediction_options
from nlp_app.inference.files import InputFile, JobOptions, PredictionOptions, check_job_options, predict_file
from nlp_app.inference.files.classification_input import ClassSource, detect_layout
from nlp_app.inference.files.records import Item
from nlp_app.inference.files.tagging_input import read_tagging_input, record_item

TABLES = ("csv", "tsv")  # formats of texts with classes that `tag` reads as well


def classify_file(
    classifier: Classifier,
    source: str,
    request: OutputRequest,
    settings: ClassificationDataSettings,
    choice: PredictedClasses,
    plan: JobOptions,
) -> tuple[list[str], list[str]]:
    """Classify a file of any size in bounded memory, and write the answers in the order of the file.

    Other values of the input, such as ids, are written as well.

    Args:
        classifier: A trained classifier.
        source: The file or the name of a Hugging Face data set; `-` for standard input.
        request: The output.
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
    check_job_options(plan, source, request.target, is_hub)
    chosen_classes = PredictionOptions(choice.top_k, choice.threshold)
    reading = {"task": "classify", "settings": settings.model_dump()}

    def open_with_options(open_file: Callable[[ClassReadOptions], ClassFile]) -> ClassFile:
        return open_file(options) if other_columns else open_like_training_file(options, open_file)

    def run(file: InputFile, kind: str, table: TableNames | None = None) -> list[str]:
        output = plan_output(request, chosen_classes, "classify", kind, table)
        messages = predict_file(classifier, output.options, file, output.target, plan)
        return [*messages, *output.finish(classes=classifier.labels)]

    if is_hub:
        file = open_with_options(lambda chosen: open_classes(source, chosen))
        items: Iterator[Item] = ({"line": record.line, "text": record.text} for record in file)
        messages = run(InputFile(source, source, items, reading, is_data_set=True), "other")
        return list(reading_remarks(file)), messages
    with open_input(source) as stream:
        name = STDIN if source == "-" else source
        if not stream.head:  # an empty input gives an empty output
            empty = InputFile(source, name, (), reading, stream.size, codec=detect_codec(b"", options.encoding))
            return [], run(empty, "text")
        layout = detect_layout(stream, name, options, open_with_options)
        lines = decode_lines_or_errors(stream, name, layout.codec)
        records = _require_text(layout.items(lines), name)
        whole = InputFile(source, name, records, reading, stream.size, lambda: stream.position, layout.codec)
        messages = run(whole, _kind_of(layout), layout.plan.table)
        return [*layout.remarks, *map(_describe_repair, layout.ledger.repairs())], messages


def _kind_of(layout: ClassSource) -> str:
    if layout.plan.table is not None:
        return "table"
    return "other" if layout.plan.options.format == "jsonl" else "text"


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


@dataclass(frozen=True)
class TagInput:
    """The file to tag, and how it is read.

    Attributes:
        source: The file or the name of a Hugging Face data set; `-` for standard input.
        format: The format: a tagging format, or one of `TABLES`; None to detect it.
        changes: Changes of the [data] settings, as `data.key=value`.
        text_column: Name or number of the text column of a table; empty to detect it.
    """

    source: str
    format: str | None = None
    changes: Sequence[str] = ()
    text_column: str = ""

    @property
    def is_table(self) -> bool:
        """True for a table of texts."""
        suffix = strip_compression_suffix(self.source).suffix.lower()
        return self.format in TABLES or (self.format is None and suffix == ".csv")


def tag_file(tagger: Tagger, file: TagInput, request: OutputRequest, plan: JobOptions) -> tuple[list[str], list[str]]:
    """Tag a file of any size in bounded memory, and write the results in the order of the file.

    Lines with columns are written with the predicted tag as an additional column. Texts, tokens, JSON lines and the
    rows of tables are written as JSON lines, with all other values of the input, or in the format of the output.

    Args:
        tagger: A trained tagger.
        file: The file, and how it is read.
        request: The output.
        plan: Options of the job: processes, part of the input, resuming.

    Returns:
        Notes on how the file was read, and messages about the job.

    Raises:
        DataError: The file can't be read, or the output can't be written.
        SettingsError: An option is invalid or does not fit the input.
    """
    source, format, is_table = file.source, file.format, file.is_table
    if file.text_column and not is_table:
        raise SettingsError(f"--text-column is for tables; give a .csv file, or --format {' or '.join(TABLES)}")
    reading = tagging_reading_options(tagger, source, None if is_table else format, file.changes).reading
    # Labels in the file are ignored: they are predicted.
    options = replace(reading, tag_column=None, labels=False)
    is_data_set = not is_table and _names_data_set(source, format)
    check_job_options(plan, source, request.target, is_data_set)

    def run(file: InputFile, kind: str, table: TableNames | None = None) -> list[str]:
        output = plan_output(request, PredictionOptions(), "tag", kind, table)
        messages = predict_file(tagger, output.options, file, output.target, plan)
        return [*messages, *output.finish(tagger.parts.tokenizer)]

    job = {"task": "tag", "format": format, "changes": list(file.changes), "text_column": file.text_column}
    if is_data_set:
        rows = map(record_item, formats.read(source, "hub", options))
        data_set = InputFile(source, source, rows, job, is_data_set=True)
        return [], run(data_set, "other")
    with open_input(source) as stream:
        name = STDIN if source == "-" else source
        table = _open_table(stream, name, file, options.encoding) if is_table and stream.head else None
        if table is not None:
            codec, notes, kind = table.codec, table.remarks, "table"
            items = table.items(decode_lines_or_errors(stream, name, codec))
        else:
            encoding = find_input_encoding(stream, name, options.encoding)
            codec = encoding.codec
            found = format or _detect_format(name, stream.head, codec)
            items, reading_notes = read_tagging_input(decode_lines_or_errors(stream, name, codec), name, found, options)
            kind = {"conll": "columns", "text": "text"}.get(found, "other")
            notes = [*encoding.remarks, *(_format_note(found, format) if stream.head else []), *reading_notes]
        whole = InputFile(source, name, items, job, stream.size, lambda: stream.position, codec)
        messages = run(whole, kind, None if table is None else table.plan.table)
        repairs = [] if table is None else map(_describe_repair, table.ledger.repairs())
        return [*notes, *repairs], messages


def _open_table(stream: PeekableStream, name: str, file: TagInput, encoding: str | None) -> ClassSource:
    columns = parse_columns(file.text_column)
    options = ClassReadOptions(format=file.format or "csv", encoding=encoding, text_columns=columns, labels=False)
    return detect_layout(stream, name, options, lambda open_file: open_file(options))


def _detect_format(name: str, head: bytes, codec: str) -> str:
    found = formats.detect_format(strip_compression_suffix(name), head, codec)
    return "text" if found == "brat" else found  # a text file of a brat folder; its annotation file is not needed


def _format_note(found: str, requested: str | None) -> list[str]:
    """Describe the detected format of a file to tag, with the option for another one."""
    if requested is not None:
        return []
    details = {
        "text": "a text on each line (--format conll reads columns)",
        "conll": "a token on each line (--format text reads a text on each line)",
    }
    return [f"format: {found}" + (f", {details[found]}" if found in details else "")]
