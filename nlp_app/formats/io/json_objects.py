"""Read the objects of JSON Lines and JSON documents, each with its line number."""

from __future__ import annotations

import ast
import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from nlp_app.core.errors import DataError

_SPACE = re.compile(r"[ \t\n\r]*")


def read_objects(lines: Iterable[str], name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the objects of a JSON Lines file or a JSON document.

    JSON Lines are streamed. A document (one list, or objects that span several lines) is read into memory as a whole.

    Args:
        lines: The lines of the file, without line ends.
        name: The file's name, for messages.

    Yields:
        The line number (from 1) where an object begins, and the object.

    Raises:
        DataError: Invalid JSON, half of a surrogate pair, or a value that is not an object. Names the line.
    """
    for number, value in read_values(lines, name, lambda _: False):
        if not isinstance(value, dict):
            raise DataError(f"found {json_type(value)}, expected an object {{...}}", name, number)
        yield number, value


def read_values(lines: Iterable[str], name: str, is_record: Callable[[Any], bool]) -> Iterator[tuple[int, Any]]:
    """Yield the values of a JSON Lines file or a JSON document, see `read_objects`.

    Args:
        lines: The lines of the file, without line ends.
        name: The file's name, for messages.
        is_record: Returns True for a list that is one record. If the first line is one, the file is JSON Lines.

    Yields:
        The line number (from 1) where a value begins, and the value.

    Raises:
        DataError: Invalid JSON, or half of a surrogate pair. Names the line.
    """
    numbered = ((number, line) for number, line in enumerate(lines, 1) if line.strip(" \t"))
    head = next(numbered, None)
    if head is None:
        return
    first = head[1]
    is_list = first.lstrip(" \t").startswith("[")
    if (is_list and not is_record(_parse_or_none(first))) or not _is_complete(first):
        yield from _parse_document([head, *numbered], name)
        return
    for number, line in itertools.chain([head], numbered):
        yield number, _parse(line, name, number)


def json_type(value: Any) -> str:
    """Describe the type of a JSON value, for messages.

    Args:
        value: A value parsed from JSON.

    Returns:
        A noun with its article, such as `an object` or `a list`.
    """
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def load_cell(cell: Any) -> list[Any] | dict[str, Any] | None:
    """Parse a cell of a table that contains a list or an object, as JSON or Python writes them.

    Args:
        cell: The cell.

    Returns:
        The list or object; None if the cell is ordinary text, or no string.
    """
    if not isinstance(cell, str) or not cell.startswith(("[", "{")):
        return None
    try:
        value = json.loads(cell)
    except (ValueError, RecursionError):
        try:
            value = ast.literal_eval(cell)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return None
    return value if isinstance(value, list | dict) else None


def _is_complete(line: str) -> bool:
    """Return True if a line is a whole JSON value (or invalid), False if it is the beginning of a longer document."""
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        # An error before the end of the line means that the line is invalid; an error at its end means that the value
        # continues on the next line.
        try:
            json.JSONDecoder().raw_decode(line.lstrip(" \t"))
        except json.JSONDecodeError as error:
            return error.pos < len(line.strip(" \t"))
        except (ValueError, RecursionError):
            return True
    return True


def _parse_or_none(line: str) -> Any:
    """Parse a line; None if it is not valid JSON."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _parse(text: str, name: str, number: int) -> Any:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"bad JSON: {error.msg} at column {error.colno}", name, number) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"bad JSON: {error}", name, number) from error
    _check_escapes(value, text, name, number)
    return value


def _parse_document(lines: list[tuple[int, str]], name: str) -> Iterator[tuple[int, Any]]:
    """Yield the values of one JSON list, or of several JSON values in sequence, each with its line."""
    decoder = json.JSONDecoder()
    text = "\n".join(line for _, line in lines)
    numbers = [number for number, _ in lines]
    in_list = text.lstrip(" \t").startswith("[")
    position = text.index("[") + 1 if in_list else 0
    line_index, counted_to = 0, 0
    while True:
        position = _skip_space(text, position)
        if in_list and text[position : position + 1] in (",", "]"):
            in_list = text[position] == ","
            position = _skip_space(text, position + 1)
        if position >= len(text):
            if in_list:
                raise DataError("bad JSON: the list isn't closed", name, numbers[-1])
            return
        line_index, counted_to = line_index + text.count("\n", counted_to, position), position
        try:
            value, end = decoder.raw_decode(text, position)
        except json.JSONDecodeError as error:
            line = numbers[text.count("\n", 0, min(error.pos, len(text) - 1))]
            raise DataError(f"bad JSON: {error.msg} at column {error.colno}", name, line) from error
        except (ValueError, RecursionError) as error:
            raise DataError(f"bad JSON: {error}", name, numbers[line_index]) from error
        _check_escapes(value, text[position:end], name, numbers[line_index])
        yield numbers[line_index], value
        position = end


def _skip_space(text: str, position: int) -> int:
    """Return the position of the first character that is not white space."""
    match = _SPACE.match(text, position)
    return position if match is None else match.end()


def _check_escapes(value: Any, source: str, name: str, number: int) -> None:
    r"""Raise DataError for half of a surrogate pair (`\ud83d` without its second half), which cannot be encoded."""
    if "\\u" not in source:
        return
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            pending += [*item.keys(), *item.values()]
        elif isinstance(item, list):
            pending += item
        elif isinstance(item, str):
            try:
                item.encode()
            except UnicodeEncodeError as error:
                code = f"\\u{ord(item[error.start]):04x}"
                reason = f"half of a surrogate pair ({code}) at position {error.start} of a string"
                raise DataError(f"found {reason}; expected whole characters", name, number) from error
