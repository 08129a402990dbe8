"""Read lines of a label and a text (TREC), of `__label__` marks and a text (fastText), or of a text alone."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial

from nlp_app.core.errors import SettingsError
from nlp_app.core.types import ClassRecord
from nlp_app.formats.classification.options import ClassReadOptions
from nlp_app.formats.classification.read_plan import NO_LABEL, NO_TEXT, ReadPlan, RepairLog, Sample

MARK = "__label__"

_BLANK = "blank lines, skipped"

_LABEL_IN_TEXT = "lines with a label inside the text"

_GAP = re.compile(r"[ \t]")

_MARKED = re.compile(rf"(?:(?<=[ \t])|^){MARK}([^ \t]*)[ \t]?")  # anywhere in the line, as in fastText

_Reader = Callable[..., Iterator[ClassRecord]]


def plan_reading(sample: Sample, options: ClassReadOptions, format: str) -> ReadPlan:
    """Plan how to read lines of a format.

    Args:
        sample: The beginning of the source.
        options: Reading options.
        format: `label_text`, `fasttext` or `text`.

    Returns:
        The plan.

    Raises:
        SettingsError: The options name columns, which these formats do not have.
    """
    if options.columns:
        columns = ", ".join(map(str, options.columns))
        raise SettingsError(f"text_columns, label_columns: found {columns}, but the format {format} has no columns")
    readers: dict[str, tuple[_Reader, str]] = {
        "label_text": (_read_labeled, "a label, a space or tab, and the text on each line"),
        "fasttext": (_read_marked, f"{MARK} and a label, and the text on each line"),
        "text": (_read_texts, "a text on each line, without labels"),
    }
    reader, description = readers[format]
    resolved = dataclasses.replace(options, format=format)
    return ReadPlan(resolved, [f"format: {format}, {description}"], partial(reader, options=options))


def _read_texts(lines: Iterable[str], repair_log: RepairLog, *, options: ClassReadOptions) -> Iterator[ClassRecord]:
    """Yield a record for each line. An empty line is an empty text, so that output lines match input lines."""
    for number, line in enumerate(lines, 1):
        if not line and options.labels:
            repair_log.add(NO_TEXT, number)
        yield ClassRecord(line, None, number)


def _read_labeled(lines: Iterable[str], repair_log: RepairLog, *, options: ClassReadOptions) -> Iterator[ClassRecord]:
    separator = options.label_separator
    for number, line in enumerate(lines, 1):
        if not line and options.labels:
            repair_log.add(_BLANK, number)
            continue
        label, *rest = _GAP.split(line, 1)
        text = rest[0] if rest else ""
        labels = label.split(separator) if separator else [label]
        yield _make_record(text, labels, number, repair_log, options)


def _read_marked(lines: Iterable[str], repair_log: RepairLog, *, options: ClassReadOptions) -> Iterator[ClassRecord]:
    for number, line in enumerate(lines, 1):
        if not line and options.labels:
            repair_log.add(_BLANK, number)
            continue
        labels = []
        text = line
        while match := _MARKED.match(text):
            labels.append(match[1])
            text = text[match.end() :]
        if MARK in text and (labels_in_text := _MARKED.findall(text)):
            repair_log.add(_LABEL_IN_TEXT, number)
            labels += labels_in_text
            text = _MARKED.sub("", text).rstrip(" \t")
        yield _make_record(text, labels, number, repair_log, options)


def _make_record(
    text: str, labels: list[str], number: int, repair_log: RepairLog, options: ClassReadOptions
) -> ClassRecord:
    if not text:
        repair_log.add(NO_TEXT, number)
    if not options.labels:
        return ClassRecord(text, None, number)
    unique = tuple(dict.fromkeys(filter(None, labels)))
    if not unique:
        repair_log.add(NO_LABEL, number)
    return ClassRecord(text, unique or None, number)
