"""Lines: a label and a text (TREC), `__label__` marks and a text (fastText), or a text alone."""

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

_BLANK = "blank lines, left out"

_LATER = "lines with a label after the text's beginning"

_GAP = re.compile(r"[ \t]")

_MARKED = re.compile(rf"(?:(?<=[ \t])|^){MARK}([^ \t]*)[ \t]?")  # as fastText reads them: anywhere in the line

_Reader = Callable[..., Iterator[ClassRecord]]


def plan_reading(sample: Sample, options: ClassReadOptions, format: str) -> ReadPlan:
    """How lines of this format are read. Raises SettingsError for columns, which lines don't have."""
    if options.columns:
        named = ", ".join(map(str, options.columns))
        raise SettingsError(f"text_columns, label_columns: found {named}, but the format {format} has no columns")
    readers: dict[str, tuple[_Reader, str]] = {
        "label_text": (_labeled, "a label, a space or tab, and the text on each line"),
        "fasttext": (_marked, f"{MARK} and a label, and the text on each line"),
        "text": (_texts, "a text on each line, without labels"),
    }
    reader, said = readers[format]
    resolved = dataclasses.replace(options, format=format)
    return ReadPlan(resolved, [f"format: {format}, {said}"], partial(reader, options=options))


def _texts(lines: Iterable[str], ledger: RepairLog, *, options: ClassReadOptions) -> Iterator[ClassRecord]:
    """An empty line is an empty text, so that output can match input line by line."""
    for number, line in enumerate(lines, 1):
        if not line and options.labels:
            ledger.add(NO_TEXT, number)
        yield ClassRecord(line, None, number)


def _labeled(lines: Iterable[str], ledger: RepairLog, *, options: ClassReadOptions) -> Iterator[ClassRecord]:
    separator = options.label_separator
    for number, line in enumerate(lines, 1):
        if not line and options.labels:
            ledger.add(_BLANK, number)
            continue
        label, *rest = _GAP.split(line, 1)
        text = rest[0] if rest else ""
        labels = label.split(separator) if separator else [label]
        yield _record(text, labels, number, ledger, options)


def _marked(lines: Iterable[str], ledger: RepairLog, *, options: ClassReadOptions) -> Iterator[ClassRecord]:
    for number, line in enumerate(lines, 1):
        if not line and options.labels:
            ledger.add(_BLANK, number)
            continue
        labels = []
        text = line
        while match := _MARKED.match(text):
            labels.append(match[1])
            text = text[match.end() :]
        if MARK in text and (later := _MARKED.findall(text)):
            ledger.add(_LATER, number)
            labels += later
            text = _MARKED.sub("", text).rstrip(" \t")
        yield _record(text, labels, number, ledger, options)


def _record(text: str, labels: list[str], number: int, ledger: RepairLog, options: ClassReadOptions) -> ClassRecord:
    if not text:
        ledger.add(NO_TEXT, number)
    if not options.labels:
        return ClassRecord(text, None, number)
    found = tuple(dict.fromkeys(filter(None, labels)))
    if not found:
        ledger.add(NO_LABEL, number)
    return ClassRecord(text, found or None, number)
