"""The records of an input file as plain values, in chunks that depend on the input alone.

An item is a record as JSON can hold it:

    {"line", "text"}                               a raw text
    {"line", "tokens"}                             a pre-tokenized sentence
    {..., "values"}                                all values of a JSON object or a row of a table, by name
    {"line", "tokens", "rows", "before", "separator"}
                                                   a sentence in columns, and the lines without a token before it
    {"line", "error"}                              a bad record; with rows, before and separator if it is in columns

`line` (from 1) is the record's first line; `error` is the number of the bad line and its problem.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from nlp_app.core.chunking import chunk_by_size
from nlp_app.core.errors import DataError

Item = dict[str, Any]

Lines = Iterable[str | DataError]

_FIRST = 100  # records that show whether the file has the expected format

_REPORT_LIMIT = 10  # bad records that are reported one by one

_BLOCK = 256  # lines that are read together


class Chunk(NamedTuple):
    """Records that are predicted together.

    Attributes:
        number: Index of the chunk in the input, from 0.
        items: The records.
        position: How far the input has been read at the end of the chunk, in bytes.
    """

    number: int
    items: list[Item]
    position: int


def chunk_records(items: Iterable[Item], position: Callable[[], int]) -> Iterator[Chunk]:
    """Group records into chunks that fit in memory. The same input always gives the same chunks.

    Args:
        items: The records of the input.
        position: Returns how far the input has been read, in bytes.

    Yields:
        The chunks in order.
    """
    for number, group in enumerate(chunk_by_size(items, _size)):
        yield Chunk(number, group, position())


def _size(item: Item) -> int:
    return len(item["tokens"] if "tokens" in item else item.get("text", ""))


def unreadable_item(error: DataError, name: str, **more: Any) -> Item:
    """Make the item of a record that can't be read.

    Args:
        error: The problem.
        name: The file's name, which is removed from the message.
        more: More fields of the item.

    Returns:
        The item, with the fields `line` and `error`.
    """
    return {"line": error.line, "error": str(error).removeprefix(f"{name}:"), **more}


def with_file_line(error: DataError, name: str, line: int) -> DataError:
    """Replace the file and line of an error.

    Args:
        error: An error with its line in an excerpt of the file.
        name: The file's name.
        line: The line in the file, from 1.

    Returns:
        A new error with the same message.
    """
    place = f"{error.path}: " if error.line is None else f"{error.path}:{error.line}: "
    return DataError(str(error).removeprefix(place), name, line)


def require_readable(lines: Lines) -> Iterator[str]:
    """Pass lines on until one of them can't be read.

    Args:
        lines: Lines; an error stands for a line that can't be read.

    Yields:
        The lines.

    Raises:
        DataError: At the first line that can't be read.
    """
    for line in lines:
        if isinstance(line, DataError):
            raise line
        yield line


def reject_unreadable_file(items: Iterable[Item], name: str) -> Iterator[Item]:
    """Pass items on, unless fewer than a tenth of the first 100 can be read.

    Then the file as a whole is not in the expected format, and single bad records are not the problem.

    Args:
        items: The records of the file.
        name: The file's name.

    Yields:
        The items, in order.

    Raises:
        DataError: The error of the first bad record, if hardly any of the first records can be read.
    """
    remaining = iter(items)
    first = list(itertools.islice(remaining, _FIRST))
    bad = [item for item in first if "error" in item]
    readable = sum("error" not in item and _is_filled(item) for item in first)
    if bad and 10 * readable < len(bad) + readable:
        message = bad[0]["error"].removeprefix(f"{bad[0]['line']}: ")
        raise DataError(message, name, bad[0]["line"])
    return itertools.chain(first, remaining)


def _is_filled(item: Item) -> bool:
    return bool(item["tokens"] if "tokens" in item else item["text"].strip())


def read_in_blocks(
    lines: Iterable[tuple[int, str | DataError]], read: Callable[[list[str], list[int]], list[Item]], name: str
) -> Iterator[Item]:
    """Read lines that are a record each, many at once. If a block has a bad line, it is read again line by line.

    Args:
        lines: The lines with their numbers; an error stands for a line that can't be decoded.
        read: Reads lines, given with their numbers, as items. Raises DataError if one of them is bad.
        name: The file's name.

    Yields:
        The item of each line, in order.
    """
    remaining = iter(lines)
    while block := list(itertools.islice(remaining, _BLOCK)):
        good = [(number, line) for number, line in block if isinstance(line, str)]
        if len(good) == len(block):
            try:
                items = read([line for _, line in good], [number for number, _ in good])
            except DataError:
                pass
            else:
                yield from items
                continue
        for number, line in block:
            yield from _read_one(number, line, read, name)


def _read_one(
    number: int, line: str | DataError, read: Callable[[list[str], list[int]], list[Item]], name: str
) -> list[Item]:
    if isinstance(line, DataError):
        return [unreadable_item(line, name)]
    try:
        return read([line], [number])
    except DataError as error:
        return [unreadable_item(with_file_line(error, name, number), name)]


class BadRecords:
    """Counts records that can't be read and reports the first ten.

    Args:
        name: The file's name.
        is_strict: Whether the first bad record is an error.
        report: Shows a line to the user.
    """

    def __init__(self, name: str, is_strict: bool, report: Callable[[str], None]) -> None:
        self.count = 0
        self._name, self._is_strict, self._report = name, is_strict, report

    def check(self, items: Iterable[Item]) -> None:
        """Count and report the bad records among some items.

        Args:
            items: The next records of the file.

        Raises:
            DataError: At the first bad record, if bad records are errors.
        """
        for item in items:
            if "error" not in item:
                continue
            if self._is_strict:
                message = item["error"].removeprefix(f"{item['line']}: ")
                raise DataError(
                    f"{message} (an error because of --strict; without it, the record gets a null result)",
                    self._name,
                    item["line"],
                )
            self.count += 1
            if self.count <= _REPORT_LIMIT:
                self._report(f"bad record: {self._name}:{item['error']}")
            elif self.count == _REPORT_LIMIT + 1:
                self._report("bad record: more follow; they are counted, but not shown")

    def summary(self) -> str | None:
        """Write a line on the bad records for the end of the job.

        Returns:
            The line, or None if there were no bad records.
        """
        if not self.count:
            return None
        records = "record was written as a null result" if self.count == 1 else "records were written as null results"
        return f"{self._name}: {self.count:,} bad {records} (use --strict to fail instead)"
