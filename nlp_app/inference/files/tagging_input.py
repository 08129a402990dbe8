"""Files to tag, record by record: a bad one is an item of its own, and those after it are read as if it were good."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Callable, Iterator, Sequence

from nlp_app.core.errors import DataError
from nlp_app.core.types import Record, TokenRecord
from nlp_app.formats import tagging as formats
from nlp_app.formats.tagging.conll import SAMPLE, Layout, detect_layout, extract_token, is_blank, is_document_start
from nlp_app.formats.tagging.options import ReadOptions
from nlp_app.inference.files.records import Item, Lines, read_in_runs, require_readable, unreadable_item, with_file_line

_NOTHING = "_"  # stands in each column of a line that can't be read

_SPACES = "a space in a column, or an empty one, can't stand in space-separated output; give the tokens as JSON lines"


def sequence_items(lines: Lines, name: str, format: str, options: ReadOptions) -> Iterator[Item]:
    """The items of a file of a format in `formats.tagging.FORMATS` that is read from lines. Raises DataError for a file
    that is no such file at all, SettingsError for options that don't fit."""
    if format == "conll":
        return _column_items(lines, name, options)
    if format == "conllu":
        return _conllu_items(lines, name, options)
    if format == "jsonl":
        return _json_items(lines, name, options)
    if format == "text":
        return _text_items(lines, name)
    return map(record_item, formats.read_lines(require_readable(lines), name, format, options))


def record_item(record: Record) -> Item:
    """A record as an item."""
    if isinstance(record, TokenRecord):
        return {"line": record.lines[0] if record.lines else 0, "tokens": record.tokens}
    return {"line": record.line, "text": record.text}


def _text_items(lines: Lines, name: str) -> Iterator[Item]:
    for number, line in enumerate(lines, 1):
        yield unreadable_item(line, name) if isinstance(line, DataError) else {"line": number, "text": line}


def _json_items(lines: Lines, name: str, options: ReadOptions) -> Iterator[Item]:
    remaining, is_document = detect_json_document(lines)
    if is_document:
        yield from map(record_item, formats.read_lines(require_readable(remaining), name, "jsonl", options))
        return

    def read(run: list[str], numbers: list[int]) -> list[Item]:
        check_objects(run, name)
        records = list(formats.read_lines(run, name, "jsonl", options))
        if len(records) != len(run):
            raise DataError(f"found {len(records)} records on {len(run)} lines, expected one on each", name)
        return [record_item(record) | {"line": number} for record, number in zip(records, numbers, strict=True)]

    yield from read_in_runs(nonblank_lines(remaining), read, name)


def detect_json_document(lines: Lines) -> tuple[Lines, bool]:
    """The lines, and whether they are JSON that goes over several of them, and not a line for each record."""
    remaining = iter(lines)
    head = list(itertools.islice(remaining, SAMPLE))
    texts = [line for line in head if isinstance(line, str) and line.strip(" \t")]
    is_list = bool(texts) and texts[0].lstrip(" \t").startswith("[")
    is_document = is_list or (bool(texts) and not any(line.startswith("{") and is_object(line) for line in texts))
    return itertools.chain(head, remaining), is_document


def is_object(line: str) -> bool:
    """Whether the line is a JSON object."""
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def check_objects(lines: Sequence[str], name: str) -> None:
    """Raises DataError for lines of which one can't be an object by itself: the reader would take it for the beginning
    of a document."""
    for line in lines:
        shown = line.strip(" \t")
        if shown.startswith("["):
            raise DataError("found a list, expected an object {...}", name, 1)
        if len(lines) > 1 and not (shown.startswith("{") and shown.endswith("}")):
            raise DataError("found a line that is no object", name)


def nonblank_lines(lines: Lines) -> Iterator[tuple[int, str | DataError]]:
    """The lines that aren't blank, with their numbers."""
    for number, line in enumerate(lines, 1):
        if isinstance(line, DataError) or line.strip(" \t"):
            yield number, line


def _conllu_items(lines: Lines, name: str, options: ReadOptions) -> Iterator[Item]:
    options.check_column()
    for _, first, sentence in _sentences(lines, lambda line: not line.strip(" \t")):
        try:
            for record in formats.read_lines(require_readable(sentence), name, "conllu", options):
                yield record_item(record) | {"line": first}
        except DataError as error:
            yield unreadable_item(
                error if error in sentence else with_file_line(error, name, first + (error.line or 1) - 1), name
            )


def _column_items(lines: Lines, name: str, options: ReadOptions) -> Iterator[Item]:
    remaining = iter(lines)
    head = list(itertools.islice(remaining, SAMPLE))
    layout = _layout(head, name, options)
    for before, first, sentence in _sentences(
        itertools.chain(head, remaining), lambda line: is_blank(line) or is_document_start(line)
    ):
        shown = [line if is_blank(line) else " ".join((*layout.split(line), "O")) for line in before]
        rows, tokens = [], []
        wrong = next((line for line in sentence if isinstance(line, DataError)), None)
        for number, line in enumerate(sentence, first):
            try:
                fields, token = _row(line, layout, options, name, number)
            except DataError as error:
                fields, token = [_NOTHING] * layout.columns, _NOTHING
                wrong = wrong or error
            rows.append(fields)
            tokens.append(token)
        item: Item = {"line": first, "tokens": tokens, "rows": rows, "before": shown}
        yield item if wrong is None else unreadable_item(wrong, name, rows=rows, before=shown)


def _layout(head: Sequence[str | DataError], name: str, options: ReadOptions) -> Layout:
    """The columns of a file that begins with these lines. Raises DataError for a file of another kind, and where its
    columns aren't those that were named."""
    good = [line for line in head if isinstance(line, str)]
    layout = detect_layout(good, options.separator)
    fitting = [line for line in good if is_blank(line) or len(layout.split(line)) == layout.columns]
    if good and good[0].startswith("#") and good[0] not in fitting[:1]:
        fitting.insert(0, good[0])  # may name another format
    try:
        next(formats.read_lines(fitting, name, "conll", dataclasses.replace(options, separator=layout.separator)), None)
    except DataError as error:
        if error.line is None or "FORMAT=" in good[0]:
            raise
    return layout


def _row(line: str | DataError, layout: Layout, options: ReadOptions, name: str, number: int) -> tuple[list[str], str]:
    """A line's columns, and its token. Raises DataError for a line that is none, or can't be given back."""
    if isinstance(line, DataError):
        raise line
    fields = layout.fields(line, name, number)
    token = extract_token(fields, options.token_column, options.token_regex, (name, number))
    if any(not field or " " in field for field in fields):
        raise DataError(_SPACES, name, number)
    return fields, token


def _sentences(
    lines: Lines, is_between: Callable[[str], bool]
) -> Iterator[tuple[list[str], int, list[str | DataError]]]:
    """The lines between sentences, then the number of a sentence's first line, and its lines; at the end and after many
    lines between, no sentence."""
    before: list[str] = []
    sentence: list[str | DataError] = []
    number = 0
    for number, line in enumerate(lines, 1):
        if isinstance(line, DataError) or not is_between(line):
            sentence.append(line)
            continue
        if sentence or len(before) >= SAMPLE:
            yield before, number - len(sentence), sentence
            before, sentence = [], []
        before.append(line)
    if before or sentence:
        yield before, number + 1 - len(sentence), sentence
