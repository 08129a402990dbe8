"""Records on their way through a model: plain values, in runs that depend on nothing but the input.

An item is what a reader found, as JSON can hold it:

    {"line", "text"}                               a raw text
    {"line", "tokens"}                             a sentence that came in tokens
    {"line", "tokens", "rows", "before"}           a sentence of columns, and the lines before it that hold no token
    {"line", "error"}                              a record that can't be read; of columns with rows and before

`line`, from 1, is where it begins; `error` is the line and what is wrong with it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from nlp_app.core.chunking import chunk_by_size
from nlp_app.core.errors import DataError

Item = dict[str, Any]

Lines = Iterable[str | DataError]

_FIRST = 100  # records that show whether a file is what it should be

_TOLD = 10  # bad records that are told one by one

_RUN = 256  # lines that are read together


class Chunk(NamedTuple):
    """Records that are predicted together: those of the input that come after `number`
    others; it had been read up to `position`."""

    number: int  # from 0
    items: list[Item]
    position: int


def chunk_records(items: Iterable[Item], position: Callable[[], int]) -> Iterator[Chunk]:
    """The records in runs that are small enough to be held in memory, the same for the same input always."""
    for number, run in enumerate(chunk_by_size(items, _size)):
        yield Chunk(number, run, position())


def _size(item: Item) -> int:
    return len(item["tokens"] if "tokens" in item else item.get("text", ""))


def unreadable_item(error: DataError, name: str, **more: Any) -> Item:
    """The item of a record that can't be read."""
    return {"line": error.line, "error": str(error).removeprefix(f"{name}:"), **more}


def with_file_line(error: DataError, name: str, line: int) -> DataError:
    """The error, with the line where it is in the whole file."""
    place = f"{error.path}: " if error.line is None else f"{error.path}:{error.line}: "
    return DataError(str(error).removeprefix(place), name, line)


def require_readable(lines: Lines) -> Iterator[str]:
    """Lines that are all good. Raises DataError at one that isn't."""
    for line in lines:
        if isinstance(line, DataError):
            raise line
        yield line


def refuse_unreadable(items: Iterable[Item], name: str) -> Iterator[Item]:
    """The items; raises the first one's DataError if hardly any of the first can be read: then it is the file that is
    not what it should be, and not a line of it."""
    remaining = iter(items)
    first = list(itertools.islice(remaining, _FIRST))
    wrong = [item for item in first if "error" in item]
    right = sum("error" not in item and _is_filled(item) for item in first)
    if wrong and 10 * right < len(wrong) + right:
        message = wrong[0]["error"].removeprefix(f"{wrong[0]['line']}: ")
        raise DataError(message, name, wrong[0]["line"])
    return itertools.chain(first, remaining)


def _is_filled(item: Item) -> bool:
    return bool(item["tokens"] if "tokens" in item else item["text"].strip())


def read_in_runs(
    lines: Iterable[tuple[int, str | DataError]], read: Callable[[list[str], list[int]], list[Item]], name: str
) -> Iterator[Item]:
    """Items of lines that are a record each, with their numbers; what `read` refuses together is read one by one."""
    remaining = iter(lines)
    while run := list(itertools.islice(remaining, _RUN)):
        good = [(number, line) for number, line in run if isinstance(line, str)]
        if len(good) == len(run):
            try:
                items = read([line for _, line in good], [number for number, _ in good])
            except DataError:
                pass
            else:
                yield from items
                continue
        for number, line in run:
            yield from _apart(number, line, read, name)


def _apart(
    number: int, line: str | DataError, read: Callable[[list[str], list[int]], list[Item]], name: str
) -> list[Item]:
    if isinstance(line, DataError):
        return [unreadable_item(line, name)]
    try:
        return read([line], [number])
    except DataError as error:
        return [unreadable_item(with_file_line(error, name, number), name)]


class BadRecords:
    """An account of records that can't be read: the first are told, all are counted."""

    def __init__(self, name: str, is_strict: bool, tell: Callable[[str], None]) -> None:
        self.count = 0
        self._name, self._is_strict, self._tell = name, is_strict, tell

    def look_at(self, items: Iterable[Item]) -> None:
        """Raises DataError at the first one, if none is allowed."""
        for item in items:
            if "error" not in item:
                continue
            if self._is_strict:
                message = item["error"].removeprefix(f"{item['line']}: ")
                raise DataError(
                    f"{message} (--strict; without it such a record is a null result)", self._name, item["line"]
                )
            self.count += 1
            if self.count <= _TOLD:
                self._tell(f"bad record: {self._name}:{item['error']}")
            elif self.count == _TOLD + 1:
                self._tell("bad record: more of them follow, and are only counted")

    def remark(self) -> str | None:
        """What is to be said at the end."""
        if not self.count:
            return None
        records = "record" if self.count == 1 else "records"
        return f"{self._name}: {self.count:,} {records} couldn't be read and got a null result (--strict refuses them)"
