"""The objects of JSON lines, and of JSON documents, each with its line: what every reader of JSON begins with."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from nlp_app.core.errors import DataError

_SPACE = re.compile(r"[ \t\n\r]*")


def read_objects(lines: Iterable[str], name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each object and the line (from 1) where it begins.

    JSON lines are streamed. A document, which is one list or objects over several lines, is read as a whole.
    Raises DataError, with the line, for bad JSON, half characters, and values that are no objects.
    """
    numbered = ((number, line) for number, line in enumerate(lines, 1) if line.strip(" \t"))
    head = next(numbered, None)
    if head is None:
        return
    number, line = head
    if line.lstrip(" \t").startswith("[") or not _is_complete(line):
        parsed = _document([head, *numbered], name)
    else:
        parsed = ((number, _parse(line, name, number)) for number, line in itertools.chain([head], numbered))
    for number, value in parsed:
        if not isinstance(value, dict):
            raise DataError(f"found {json_type(value)}, expected an object {{...}}", name, number)
        yield number, value


def json_type(value: Any) -> str:
    """What a JSON value is, for messages."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _is_complete(line: str) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        # A line that is broken in its middle is an error of that line; one that ends too early is a
        # document's start.
        try:
            json.JSONDecoder().raw_decode(line.lstrip(" \t"))
        except json.JSONDecodeError as error:
            return error.pos < len(line.strip(" \t"))
        except (ValueError, RecursionError):
            return True
    return True


def _parse(text: str, name: str, number: int) -> Any:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"bad JSON: {error.msg} at column {error.colno}", name, number) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"bad JSON: {error}", name, number) from error
    _check_escapes(value, text, name, number)
    return value


def _document(lines: list[tuple[int, str]], name: str) -> Iterator[tuple[int, Any]]:
    """The objects of one JSON list, or of several values one after the other, each with its line."""
    decoder = json.JSONDecoder()
    text = "\n".join(line for _, line in lines)
    numbers = [number for number, _ in lines]
    in_list = text.lstrip(" \t").startswith("[")
    position = text.index("[") + 1 if in_list else 0
    row, counted = 0, 0
    while True:
        position = _skip(text, position)
        if in_list and text[position : position + 1] in (",", "]"):
            in_list = text[position] == ","
            position = _skip(text, position + 1)
        if position >= len(text):
            if in_list:
                raise DataError("bad JSON: the list isn't closed", name, numbers[-1])
            return
        row, counted = row + text.count("\n", counted, position), position
        try:
            value, end = decoder.raw_decode(text, position)
        except json.JSONDecodeError as error:
            line = numbers[text.count("\n", 0, min(error.pos, len(text) - 1))]
            raise DataError(f"bad JSON: {error.msg} at column {error.colno}", name, line) from error
        except (ValueError, RecursionError) as error:
            raise DataError(f"bad JSON: {error}", name, numbers[row]) from error
        _check_escapes(value, text[position:end], name, numbers[row])
        yield numbers[row], value
        position = end


def _skip(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return position if match is None else match.end()


def _check_escapes(value: Any, source: str, name: str, number: int) -> None:
    r"""Half of a character (`\ud83d` without its other half) can't be stored, so it is refused."""
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
