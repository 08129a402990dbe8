"""Read files to classify record by record. A bad record is an item with an error; reading continues after it."""

from __future__ import annotations

import io
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from nlp_app.core.errors import DataError
from nlp_app.core.types import ClassRecord
from nlp_app.formats.classification import ClassFile, ClassReadOptions, open_classes, read_class_lines
from nlp_app.formats.classification.detection import SUFFIXES
from nlp_app.formats.classification.dialect import find_declared_delimiter
from nlp_app.formats.classification.read_plan import ReadPlan, RepairLog
from nlp_app.formats.io.compression import strip_compression_suffix
from nlp_app.formats.io.encodings import find_input_encoding
from nlp_app.formats.io.lines import CHUNK, decode_lines_or_errors
from nlp_app.formats.io.streams import PeekableStream
from nlp_app.formats.io.table_rows import NOT_CLOSED, RFC_4180
from nlp_app.inference.files.records import (
    Item,
    Lines,
    read_in_blocks,
    require_readable,
    unreadable_item,
    with_file_line,
)
from nlp_app.inference.files.tagging_input import check_objects, detect_json_document, is_object, nonblank_lines

F = TypeVar("F", bound=ClassFile)

Opener = Callable[[Callable[[ClassReadOptions], ClassFile]], ClassFile]

_BLOCK = 256  # rows that are read together

_ROW_LIMIT = 1 << 24  # characters; a quote that isn't closed within them makes a bad record


@dataclass(frozen=True)
class ClassSource:
    """A file of texts, with all decisions on how it is read.

    Attributes:
        name: The file's name.
        codec: The encoding of the lines.
        plan: Format, columns and quoting.
        remarks: Notes on what was detected.
        ledger: Repairs so far; it grows as the file is read.
    """

    name: str
    codec: str
    plan: ReadPlan
    remarks: list[str]
    ledger: RepairLog

    def items(self, lines: Lines) -> Iterator[Item]:
        """Read the records of the file.

        Args:
            lines: The lines of the file; an error stands for a line that can't be decoded.

        Yields:
            An item for each record.

        Raises:
            DataError: If the file as a whole is not in the detected format.
        """
        format = self.plan.options.format
        if format in ("csv", "tsv"):
            return self._rows(lines)
        if format == "jsonl":
            return self._objects(lines)
        return read_in_blocks(enumerate(lines, 1), self._read, self.name)

    def _read(self, lines: list[str], numbers: list[int], header: Sequence[str] = ()) -> list[Item]:
        """Read lines, preceded by the header. Their repairs enter the ledger only if all lines can be read."""
        header_lines = len(header)
        repairs = _BlockRepairs(numbers, header_lines)
        records = self.plan.read([*header, *lines], repairs)
        values = self._values([*header, *lines])
        items = [_item(record, numbers[record.line - 1 - header_lines], values) for record in records]
        for repair in repairs.repairs():
            for _ in range(repair.count):
                self.ledger.add(repair.what, repair.line)
        return items

    def _values(self, lines: Sequence[str]) -> dict[int, dict[str, Any]]:
        """Return all values of the records by line, as far as the format has more than texts."""
        return {} if self.plan.read_values is None else dict(self.plan.read_values(lines))

    def _objects(self, lines: Lines) -> Iterator[Item]:
        remaining, is_document = detect_json_document(lines)
        if is_document:
            document = list(require_readable(remaining))
            values = self._values(document)
            yield from (_item(record, record.line, values) for record in self.plan.read(document, self.ledger))
            return

        def read(block: list[str], numbers: list[int]) -> list[Item]:
            check_objects(block, self.name)
            return self._read(block, numbers)

        yield from read_in_blocks(nonblank_lines(remaining), read, self.name)

    def _rows(self, lines: Lines) -> Iterator[Item]:
        queue = _LineQueue(lines)
        header: list[str] = []
        if self.plan.options.header:
            header = self._header(queue)
        while block := queue.take(_BLOCK):
            numbers = [number for number, _ in block]
            try:
                yield from self._read(list(require_readable(line for _, line in block)), numbers, header)
                continue
            except DataError:
                queue.put_back(block)
            end = block[-1][0]
            while (first := queue.first) is not None and first <= end:
                yield from self._row(queue, header)

    def _header(self, queue: _LineQueue) -> list[str]:
        """Read the lines of the first row that isn't blank."""
        taken: list[str] = []
        while next_line := queue.take(1):
            taken.append(next(require_readable(line for _, line in next_line)))
            try:
                if any(line and find_declared_delimiter(line) is None for line in taken):
                    for _ in self.plan.read(taken, RepairLog()):
                        continue
                    break
            except DataError as error:
                if NOT_CLOSED not in str(error):
                    raise
        return taken

    def _row(self, queue: _LineQueue, header: list[str]) -> list[Item]:
        """Read the next row, which may span several lines.

        If it can't be read, its first line is a bad record and the next line starts a new row: otherwise a quote that
        is never closed would swallow the rest of the file.
        """
        (number, line), *_ = queue.take(1)
        if isinstance(line, DataError):
            return [unreadable_item(line, self.name)]
        taken = [(number, line)]
        quote = self.plan.options.quote_character or '"'
        size = 0
        while True:
            try:
                return self._read([str(text) for _, text in taken], [line_number for line_number, _ in taken], header)
            except DataError as error:
                is_open = NOT_CLOSED in str(error)
                row_error = with_file_line(error, self.name, number)
                if is_open:  # the message names a line of the excerpt that starts with the header
                    row_error = DataError(f"a quote opened in this row {NOT_CLOSED}; {RFC_4180}", self.name, number)
            more = queue.take_to_quote(_ROW_LIMIT - size, quote) if is_open else []
            if not more:
                queue.put_back(taken[1:])
                return [unreadable_item(row_error, self.name)]
            taken += [(line_number, text) for line_number, text in more if isinstance(text, str)]
            size += sum(len(str(text)) for _, text in more)


class _BlockRepairs(RepairLog):
    """Repairs in a block of numbered lines, which were read after `above` lines of the header."""

    def __init__(self, numbers: Sequence[int], above: int) -> None:
        super().__init__()
        self._numbers, self._above = numbers, above

    def add(self, what: str, line: int) -> None:
        if line > self._above:
            super().add(what, self._numbers[line - 1 - self._above])


class _LineQueue:
    """Numbered lines. Lines that were taken can be put back."""

    def __init__(self, lines: Lines) -> None:
        self._lines: Iterator[tuple[int, str | DataError]] = enumerate(lines, 1)
        self._back: deque[tuple[int, str | DataError]] = deque()

    @property
    def first(self) -> int | None:
        """The number of the next line, or None at the end."""
        if not self._back:
            self._back.extend(itertools.islice(self._lines, 1))
        return self._back[0][0] if self._back else None

    def take(self, count: int) -> list[tuple[int, str | DataError]]:
        """Take `count` lines, or as many as are left."""
        taken = [self._back.popleft() for _ in range(min(count, len(self._back)))]
        taken += itertools.islice(self._lines, count - len(taken))
        return taken

    def take_to_quote(self, limit: int, quote: str) -> list[tuple[int, str | DataError]]:
        """Take the lines up to one that may close a quote.

        Take none if a bad line, the end of the file or `limit` characters come first.
        """
        taken: list[tuple[int, str | DataError]] = []
        size = 0
        while size < limit and (next_line := self.take(1)):
            taken += next_line
            line = next_line[0][1]
            if isinstance(line, DataError):
                break
            if quote in line:
                return taken
            size += len(line)
        self.put_back(taken)
        return []

    def put_back(self, lines: Sequence[tuple[int, str | DataError]]) -> None:
        """Put back the lines that were taken last."""
        self._back.extendleft(reversed(lines))


def _item(record: ClassRecord, line: int, values: Mapping[int, dict[str, Any]]) -> Item:
    item: Item = {"line": line, "text": record.text}
    return item | {"values": values[record.line]} if record.line in values else item


def detect_layout(stream: PeekableStream, name: str, options: ClassReadOptions, open_file: Opener) -> ClassSource:
    """Detect how a file or stream is read: its encoding, format and columns.

    A regular file that is neither compressed nor damaged is examined as a whole, any other input from its beginning.

    Args:
        stream: The input.
        name: The input's name.
        options: The options that the user gave.
        open_file: Calls the given function, which opens the file with some options, and chooses these options.

    Returns:
        The file, ready to be read.

    Raises:
        DataError: If the file can't be read.
        SettingsError: If the options don't fit the file.
    """
    path = Path(name)
    codec, remarks, is_damaged = find_input_encoding(stream, name, options.encoding)
    if stream.size is not None and not stream.compressed and not is_damaged:
        try:
            file = open_file(lambda chosen: open_classes(path, replace(chosen, encoding=codec)))
            return _make_source(name, codec, file, remarks)
        except DataError as error:
            if error.line is None and b"\0" not in stream.head:
                raise
            # Perhaps only one line is bad: detect the format from the readable lines at the beginning.
    lines = list(_head(stream, name, codec))
    suffix = strip_compression_suffix(path).suffix.lower()
    if SUFFIXES.get(suffix) == "jsonl" or (lines and lines[0].lstrip(" \t").startswith("{")):
        remaining, is_document = detect_json_document(lines)
        lines = [line for line in require_readable(remaining) if is_document or is_object(line)]
    head = "\n".join([*lines, ""])
    format = options.format or (SUFFIXES.get(suffix) if name != "-" else None)
    file = open_file(lambda chosen: read_class_lines((), name, head, replace(chosen, format=format)))
    return _make_source(name, codec, file, remarks)


def _make_source(name: str, codec: str, file: ClassFile, remarks: list[str]) -> ClassSource:
    return ClassSource(name, codec, file.plan, [*remarks, *file.remarks], RepairLog())


def _head(stream: PeekableStream, name: str, codec: str) -> Iterable[str]:
    """Decode the complete, readable lines at the beginning of the stream."""
    head = stream.head
    cut = head.rfind(b"\n") + 1
    if len(head) >= CHUNK and cut:
        head = head[: cut + (codec == "utf-16-le" or (codec == "utf-16" and head.startswith(b"\xff\xfe")))]
    return (line for line in decode_lines_or_errors(io.BytesIO(head), name, codec) if isinstance(line, str))
