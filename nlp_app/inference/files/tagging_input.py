"""Read files to tag record by record. A bad record is an item with an error; reading continues after it."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from nlp_app.core.errors import DataError
from nlp_app.core.types import Record, TokenRecord
from nlp_app.formats import tagging as formats
from nlp_app.formats.io.json_objects import read_objects
from nlp_app.formats.tagging.column_choice import ColumnChoice, choose_columns
from nlp_app.formats.tagging.columns import (
    SAMPLE,
    Comments,
    Layout,
    detect_comments,
    detect_layout,
    is_between_sentences,
    is_blank,
)
from nlp_app.formats.tagging.conll import extract_token
from nlp_app.formats.tagging.options import ReadOptions
from nlp_app.formats.tagging.read_log import ReadLog
from nlp_app.inference.files.records import (
    Item,
    Lines,
    read_in_blocks,
    require_readable,
    unreadable_item,
    with_file_line,
)

_PLACEHOLDER = "_"  # for an empty token, and in each column of a line that can't be read


class TaggingInput(NamedTuple):
    """The records of a file to tag.

    Attributes:
        items: An item for each record.
        notes: Notes for the user on how the file is read.
    """

    items: Iterator[Item]
    notes: list[str]


def read_tagging_input(lines: Lines, name: str, format: str, options: ReadOptions) -> TaggingInput:
    """Read the records of a file to tag.

    Args:
        lines: The lines of the file; an error stands for a line that can't be decoded.
        name: The file's name.
        format: A format of `formats.tagging.FORMATS` that is read from lines.
        options: The options that the file is read with.

    Returns:
        The records, and notes on how they are read.

    Raises:
        DataError: If the file as a whole is not in this format.
        SettingsError: If the options don't fit the format.
    """
    if format == "conll":
        return _column_input(lines, name, options)
    if format == "conllu":
        return TaggingInput(_conllu_items(lines, name, options), [])
    if format == "jsonl":
        return TaggingInput(_json_items(lines, name, options), [])
    if format == "text":
        return TaggingInput(_text_items(lines, name), [])
    records = formats.read_lines(require_readable(lines), name, format, options)
    return TaggingInput(map(record_item, records), [])


def record_item(record: Record) -> Item:
    """Convert a record to an item.

    Args:
        record: Tokens or a raw text; tags and spans are ignored.

    Returns:
        The item.
    """
    if isinstance(record, TokenRecord):
        return {"line": record.lines[0] if record.lines else 0, "tokens": record.tokens}
    return {"line": record.line, "text": record.text}


def _text_items(lines: Lines, name: str) -> Iterator[Item]:
    for number, line in enumerate(lines, 1):
        yield unreadable_item(line, name) if isinstance(line, DataError) else {"line": number, "text": line}


def _json_items(lines: Lines, name: str, options: ReadOptions) -> Iterator[Item]:
    remaining, is_document = detect_json_document(lines)
    if is_document:
        document = list(require_readable(remaining))
        records = list(formats.read_lines(document, name, "jsonl", options))
        yield from _with_values(map(record_item, records), _objects(document, name))
        return

    def read(block: list[str], numbers: list[int]) -> list[Item]:
        check_objects(block, name)
        records = list(formats.read_lines(block, name, "jsonl", options))
        if len(records) != len(block):
            raise DataError(f"found {len(records)} records on {len(block)} lines, expected one record per line", name)
        items = [record_item(record) | {"line": number} for record, number in zip(records, numbers, strict=True)]
        return _with_values(items, _objects(block, name))

    yield from read_in_blocks(nonblank_lines(remaining), read, name)


def _objects(lines: Sequence[str], name: str) -> list[dict[str, Any]]:
    """Return the objects of JSON lines or of a document; none if one of them is not an object."""
    try:
        return [value for _, value in read_objects(lines, name)]
    except DataError:  # a list, such as spaCy's training pairs
        return []


def _with_values(items: Iterable[Item], values: Sequence[dict[str, Any]]) -> list[Item]:
    """Add the objects to their items; none are added if an object gave several records."""
    listed = list(items)
    if len(values) != len(listed):
        return listed
    return [item | {"values": value} for item, value in zip(listed, values, strict=True)]


def detect_json_document(lines: Lines) -> tuple[Lines, bool]:
    """Detect if lines are a single JSON document rather than one JSON object per line.

    Args:
        lines: The lines of the file. Its beginning is read.

    Returns:
        All lines, and True for a document that may span several lines.
    """
    remaining = iter(lines)
    head = list(itertools.islice(remaining, SAMPLE))
    texts = [line for line in head if isinstance(line, str) and line.strip(" \t")]
    is_list = bool(texts) and texts[0].lstrip(" \t").startswith("[")
    is_document = is_list or (bool(texts) and not any(line.startswith("{") and is_object(line) for line in texts))
    return itertools.chain(head, remaining), is_document


def is_object(line: str) -> bool:
    """Check if a line is a JSON object.

    Args:
        line: The line.

    Returns:
        True if it is a complete object.
    """
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def check_objects(lines: Sequence[str], name: str) -> None:
    """Check that each line can be a JSON object by itself; a reader would take another line for a document's beginning.

    Args:
        lines: The lines.
        name: The file's name.

    Raises:
        DataError: If a line is not an object.
    """
    for line in lines:
        shown = line.strip(" \t")
        if shown.startswith("["):
            raise DataError("found a list, expected an object {...}", name, 1)
        if len(lines) > 1 and not (shown.startswith("{") and shown.endswith("}")):
            raise DataError("found a line that is not a JSON object", name)


def nonblank_lines(lines: Lines) -> Iterator[tuple[int, str | DataError]]:
    """Number the lines and skip blank ones.

    Args:
        lines: The lines of the file.

    Yields:
        The number, from 1, and the line.
    """
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


def _column_input(lines: Lines, name: str, options: ReadOptions) -> TaggingInput:
    remaining = iter(lines)
    head = list(itertools.islice(remaining, SAMPLE))
    layout = _layout(head, name, options)
    readable = [line for line in head if isinstance(line, str)]
    comments = detect_comments(readable, layout, options.comment_prefix)
    choice = choose_columns(readable, layout, comments, options, name)
    log = ReadLog(counting=False)
    choice.report(log)
    items = _column_items(itertools.chain(head, remaining), name, layout, comments, choice)
    return TaggingInput(items, log.remarks)


def _column_items(
    lines: Iterable[str | DataError], name: str, layout: Layout, comments: Comments, choice: ColumnChoice
) -> Iterator[Item]:
    def is_between(line: str) -> bool:
        return is_between_sentences(line) or comments.contain(line)

    for before, first, sentence in _sentences(lines, is_between):
        rows, tokens = [], []
        first_error = next((line for line in sentence if isinstance(line, DataError)), None)
        for number, line in enumerate(sentence, first):
            try:
                fields, token = _row(line, layout, choice, name, number)
            except DataError as error:
                fields, token = [_PLACEHOLDER] * layout.columns, _PLACEHOLDER
                first_error = first_error or error
            rows.append(fields)
            tokens.append(token)
        more = {"rows": rows, "before": [_split_line_between(line, layout, comments) for line in before]}
        more["separator"] = layout.separator
        item: Item = {"line": first, "tokens": tokens, **more}
        yield (item if first_error is None else unreadable_item(first_error, name, **more))


def _split_line_between(line: str, layout: Layout, comments: Comments) -> str | list[str]:
    """Return a line without a token as it is, or the columns of one that begins a document, which gets a tag."""
    return line if is_blank(line) or comments.contain(line) else layout.split(line)


def _layout(head: Sequence[str | DataError], name: str, options: ReadOptions) -> Layout:
    """Detect the columns of a file from its first lines.

    Raises DataError for a file in another format, or if its columns don't fit the options.
    """
    readable = [line for line in head if isinstance(line, str)]
    layout = detect_layout(readable, options.separator)
    fitting = [line for line in readable if is_blank(line) or len(layout.split(line)) == layout.columns]
    if readable and readable[0].startswith("#") and readable[0] not in fitting[:1]:
        fitting.insert(0, readable[0])  # it may name another format
    try:
        next(formats.read_lines(fitting, name, "conll", dataclasses.replace(options, separator=layout.separator)), None)
    except DataError as error:
        if error.line is None or "FORMAT=" in readable[0]:
            raise
    return layout


def _row(line: str | DataError, layout: Layout, choice: ColumnChoice, name: str, number: int) -> tuple[list[str], str]:
    """Split a line into columns and find its token; an empty token is replaced. Raises DataError for a bad line."""
    if isinstance(line, DataError):
        raise line
    fields = layout.fields(line, name, number)
    if not fields[choice.token].strip(" "):
        return fields, _PLACEHOLDER
    return fields, extract_token(fields, choice.token, choice.pattern, (name, number)).strip(" ")


def _sentences(
    lines: Lines, is_between: Callable[[str], bool]
) -> Iterator[tuple[list[str], int, list[str | DataError]]]:
    """Split lines into sentences.

    Each item is the lines before the sentence, the number of its first line, and its lines. At the end of the file, and
    after many lines without a token, the sentence may be empty.
    """
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
