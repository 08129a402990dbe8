"""Convert a file of texts with classes to another format, and report any loss of information."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nlp_app.core.errors import SettingsError, did_you_mean
from nlp_app.core.files import atomic_file
from nlp_app.core.types import AnnotatedText, ClassRecord, ScoredLabel
from nlp_app.formats import annotated
from nlp_app.formats.classification import ClassFile, ClassReadOptions, open_classes
from nlp_app.formats.io.table_rows import format_row

_SUFFIXES = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".txt": "fasttext", ".spacy": "spacy"}


@dataclass(frozen=True, slots=True)
class ClassConversionReport:
    """The result of a conversion.

    Attributes:
        source: The file that was read.
        target: The file that was written.
        source_format: Format of the source.
        target_format: Format of the target.
        texts: Number of texts in the target.
        losses: The information of the source that the target does not hold, one phrase each.
        remarks: Properties that the reader detected in the source, and its repairs.
    """

    source: str
    target: str
    source_format: str
    target_format: str
    texts: int
    losses: list[str]
    remarks: list[str]


def convert_classes(
    source: str | Path, target: str | Path, options: ClassReadOptions, target_format: str | None = None
) -> ClassConversionReport:
    """Convert a file of texts with classes. The target is written completely or not at all.

    Args:
        source: The file to read.
        target: The file to write.
        options: How to read the source.
        target_format: A name in `annotated.CLASS_FORMATS`; None detects it from the suffix of the target.

    Returns:
        A report on the conversion, with everything that was lost.

    Raises:
        DataError: The source can't be read, or the target can't be written.
        SettingsError: The target's format is unknown.
    """
    format = target_format or _format_of(target)
    if format not in annotated.CLASS_FORMATS:
        known = ", ".join(annotated.CLASS_FORMATS)
        hint = did_you_mean(format, annotated.CLASS_FORMATS)
        raise SettingsError(f"--to {format}: texts with classes are written as {known}{hint}")
    file = open_classes(source, options)
    records = list(file)
    if format == "csv":
        with atomic_file(target) as stream:
            stream.writelines(f"{line}\n" for line in _table_lines(records))
    else:
        classes = sorted({label for record in records for label in record.labels or ()})
        annotated.write(map(_annotate, records), target, format, classes)
    return ClassConversionReport(
        source=str(source),
        target=str(target),
        source_format=file.format,
        target_format=format,
        texts=len(records),
        losses=_losses(file, records, format),
        remarks=[
            *file.remarks,
            *(f"{each.what}: {each.count:,} (the first: line {each.line})" for each in file.repairs),
        ],
    )


def _format_of(target: str | Path) -> str:
    suffix = Path(target).suffix.lower()
    if suffix not in _SUFFIXES:
        known = ", ".join(annotated.CLASS_FORMATS)
        raise SettingsError(f"{target}: no format of classes has the suffix {suffix!r}; choose one with --to: {known}")
    return _SUFFIXES[suffix]


def _annotate(record: ClassRecord) -> AnnotatedText:
    return AnnotatedText(record.text, labels=[ScoredLabel(label) for label in record.labels or ()])


def _table_lines(records: Sequence[ClassRecord]) -> Iterator[str]:
    yield "text,label"
    for record in records:
        labels = record.labels or ()
        yield format_row(
            (record.text, labels[0] if len(labels) == 1 else annotated.to_json(list(labels)) * bool(labels))
        )


def _losses(file: ClassFile, records: Sequence[ClassRecord], format: str) -> list[str]:
    """List the columns that were not read, and the texts without a label, which the target can't tell from others."""
    table = file.plan.table
    losses = []
    if table is not None:
        chosen = set(map(str, (*file.options.text_columns, *file.options.label_columns)))
        others = [name for number, name in enumerate(table.names) if not {name, str(number)} & chosen]
        losses += [f"the column {name!r}" for name in others]
    unlabeled = sum(record.labels is None for record in records)
    if unlabeled and format != "csv":
        losses.append(f"{unlabeled:,} texts without a label (written without classes)")
    return losses
