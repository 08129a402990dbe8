"""Files to classify, record by record: a bad one is an item of its own, and those that follow are read as if it were
good."""

from __future__ import annotations

import io
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from nlp_app.core.errors import DataError
from nlp_app.core.types import ClassRecord
from nlp_app.formats.classification import ClassFile, ClassReadOptions, open_classes, read_class_lines
from nlp_app.formats.classification.detection import SUFFIXES
from nlp_app.formats.classification.dialect import NOT_CLOSED, RFC_4180, find_declared_delimiter
from nlp_app.formats.classification.read_plan import ReadPlan, RepairLog
from nlp_app.formats.io.compression import strip_compression_suffix
from nlp_app.formats.io.encodings import find_input_encoding
from nlp_app.formats.io.lines import CHUNK, decode_lines_or_errors
from nlp_app.formats.io.streams import PeekableStream
from nlp_app.inference.files.records import Item, Lines, read_in_runs, require_readable, unreadable_item, with_file_line
from nlp_app.inference.files.tagging_input import check_objects, detect_json_document, is_object, nonblank_lines

F = TypeVar("F", bound=ClassFile)

Opener = Callable[[Callable[[ClassReadOptions], ClassFile]], ClassFile]

_RUN = 256  # rows that are read together

_ROW_LIMIT = 1 << 24  # characters in which a quote has to be closed


@dataclass(frozen=True)
class ClassSource:
    """A file of texts, settled how to be read. `remarks` say what was recognized; `ledger` grows with reading."""

    name: str
    codec: str
    plan: ReadPlan
    remarks: list[str]
    ledger: RepairLog

    def items(self, lines: Lines) -> Iterator[Item]:
        """The items of the file's lines. Raises DataError for a file that is no such file at all."""
        format = self.plan.options.format
        if format in ("csv", "tsv"):
            return self._rows(lines)
        if format == "jsonl":
            return self._objects(lines)
        return read_in_runs(enumerate(lines, 1), self._read, self.name)

    def _read(self, lines: list[str], numbers: list[int], header: Sequence[str] = ()) -> list[Item]:
        """The items of lines behind the file's header; what is put right on them is entered if all can be read."""
        above = len(header)
        ledger = _Placed(numbers, above)
        records = self.plan.read([*header, *lines], ledger)
        items = [_item(record, numbers[record.line - 1 - above]) for record in records]
        for repair in ledger.repairs():
            for _ in range(repair.count):
                self.ledger.add(repair.what, repair.line)
        return items

    def _objects(self, lines: Lines) -> Iterator[Item]:
        remaining, is_document = detect_json_document(lines)
        if is_document:
            yield from (
                _item(record, record.line) for record in self.plan.read(require_readable(remaining), self.ledger)
            )
            return

        def read(run: list[str], numbers: list[int]) -> list[Item]:
            check_objects(run, self.name)
            return self._read(run, numbers)

        yield from read_in_runs(nonblank_lines(remaining), read, self.name)

    def _rows(self, lines: Lines) -> Iterator[Item]:
        waiting = _Waiting(lines)
        header: list[str] = []
        if self.plan.options.header:
            header = self._header(waiting)
        while run := waiting.take(_RUN):
            numbers = [number for number, _ in run]
            try:
                yield from self._read(list(require_readable(line for _, line in run)), numbers, header)
                continue
            except DataError:
                waiting.put_back(run)
            end = run[-1][0]
            while (first := waiting.first) is not None and first <= end:
                yield from self._row(waiting, header)

    def _header(self, waiting: _Waiting) -> list[str]:
        """The lines of the first row that isn't blank."""
        taken: list[str] = []
        while run := waiting.take(1):
            taken.append(next(require_readable(line for _, line in run)))
            try:
                if any(line and find_declared_delimiter(line) is None for line in taken):
                    for _ in self.plan.read(taken, RepairLog()):
                        continue
                    break
            except DataError as error:
                if NOT_CLOSED not in str(error):
                    raise
        return taken

    def _row(self, waiting: _Waiting, header: list[str]) -> list[Item]:
        """The next row, which may go over several lines. If it can't be read, its first line is bad, and the next one
        begins a row: a quote that is never closed must not swallow the file."""
        (number, line), *_ = waiting.take(1)
        if isinstance(line, DataError):
            return [unreadable_item(line, self.name)]
        taken = [(number, line)]
        size = 0
        while True:
            try:
                return self._read([str(text) for _, text in taken], [place for place, _ in taken], header)
            except DataError as error:
                is_open = NOT_CLOSED in str(error)
                wrong = with_file_line(error, self.name, number)
                if is_open:  # which was read behind the header, and says another line
                    wrong = DataError(f"a quote opened in this row {NOT_CLOSED}; {RFC_4180}", self.name, number)
            more = waiting.take_to_quote(_ROW_LIMIT - size, self.plan.options.quote_character or '"') if is_open else []
            if not more:
                waiting.put_back(taken[1:])
                return [unreadable_item(wrong, self.name)]
            taken += [(place, text) for place, text in more if isinstance(text, str)]
            size += sum(len(str(text)) for _, text in more)


class _Placed(RepairLog):
    """Repairs in lines of these numbers, which come after `above` others that have been read before."""

    def __init__(self, numbers: Sequence[int], above: int) -> None:
        super().__init__()
        self._numbers, self._above = numbers, above

    def add(self, what: str, line: int) -> None:
        if line > self._above:
            super().add(what, self._numbers[line - 1 - self._above])


class _Waiting:
    """Numbered lines, of which some may be put back."""

    def __init__(self, lines: Lines) -> None:
        self._lines: Iterator[tuple[int, str | DataError]] = enumerate(lines, 1)
        self._back: deque[tuple[int, str | DataError]] = deque()

    @property
    def first(self) -> int | None:
        """The number of the next line, if there is one."""
        if not self._back:
            self._back.extend(itertools.islice(self._lines, 1))
        return self._back[0][0] if self._back else None

    def take(self, count: int) -> list[tuple[int, str | DataError]]:
        """So many lines, or as many as there are."""
        taken = [self._back.popleft() for _ in range(min(count, len(self._back)))]
        taken += itertools.islice(self._lines, count - len(taken))
        return taken

    def take_to_quote(self, limit: int, quote: str) -> list[tuple[int, str | DataError]]:
        """The lines up to one that may close a quote. None are taken if a bad line, the end or `limit` comes first."""
        taken: list[tuple[int, str | DataError]] = []
        size = 0
        while size < limit and (found := self.take(1)):
            taken += found
            line = found[0][1]
            if isinstance(line, DataError):
                break
            if quote in line:
                return taken
            size += len(line)
        self.put_back(taken)
        return []

    def put_back(self, lines: Sequence[tuple[int, str | DataError]]) -> None:
        """Lines that were taken last."""
        self._back.extendleft(reversed(lines))


def _item(record: ClassRecord, line: int) -> Item:
    return {"line": line, "text": record.text}


def detect_layout(stream: PeekableStream, name: str, options: ClassReadOptions, opened: Opener) -> ClassSource:
    """How the file or stream is read: encoding, format and columns, from all that it holds if it is a regular file
    without damage, else from its beginning.

    `opened` is told how a file is opened with some options, and chooses them. Raises DataError and SettingsError for a
    file that can't be read.
    """
    path = Path(name)
    codec, remarks, is_damaged = find_input_encoding(stream, name, options.encoding)
    if stream.size is not None and not stream.compressed and not is_damaged:
        try:
            file = opened(lambda chosen: open_classes(path, replace(chosen, encoding=codec)))
            return _settled(name, codec, file, remarks)
        except DataError as error:
            if error.line is None and b"\0" not in stream.head:
                raise
            # One bad line may be all: the good ones of the beginning tell as much.
    lines = list(_head(stream, name, codec))
    suffix = strip_compression_suffix(path).suffix.lower()
    if SUFFIXES.get(suffix) == "jsonl" or (lines and lines[0].lstrip(" \t").startswith("{")):
        found, is_document = detect_json_document(lines)
        lines = [line for line in require_readable(found) if is_document or is_object(line)]
    head = "\n".join([*lines, ""])
    known = options.format or (SUFFIXES.get(suffix) if name != "-" else None)
    file = opened(lambda chosen: read_class_lines((), name, head, replace(chosen, format=known)))
    return _settled(name, codec, file, remarks)


def _settled(name: str, codec: str, file: ClassFile, remarks: list[str]) -> ClassSource:
    return ClassSource(name, codec, file.plan, [*remarks, *file.remarks], RepairLog())


def _head(stream: PeekableStream, name: str, codec: str) -> Iterable[str]:
    """The whole, good lines that the stream begins with."""
    head = stream.head
    cut = head.rfind(b"\n") + 1
    if len(head) >= CHUNK and cut:
        head = head[: cut + (codec == "utf-16-le" or (codec == "utf-16" and head.startswith(b"\xff\xfe")))]
    return (line for line in decode_lines_or_errors(io.BytesIO(head), name, codec) if isinstance(line, str))
