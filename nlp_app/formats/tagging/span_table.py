r"""Read CSV with labeled spans as JSON in a cell, as Label Studio exports them.

Each row is read like a JSON object whose keys are the names of the columns. A line end within a quoted cell is read as
a line feed, although it may have been written as `\r\n`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from nlp_app.core.errors import DataError, OtherTaskError
from nlp_app.core.types import Record
from nlp_app.formats.io.json_objects import load_cell
from nlp_app.formats.io.table_rows import Dialect, parse_rows
from nlp_app.formats.tagging.object_reader import ObjectReader
from nlp_app.formats.tagging.options import ReadOptions
from nlp_app.formats.tagging.read_log import ReadLog

_DELIMITERS = ",\t;"


def read(lines: Iterable[str], name: str, options: ReadOptions, log: ReadLog | None = None) -> Iterator[Record]:
    """Read a record from each row after the header.

    Args:
        lines: The lines of the file, without line ends.
        name: The file's name, for messages.
        options: Reading options.
        log: Collects remarks, repairs and the parts that are skipped.

    Yields:
        The records.

    Raises:
        DataError: A row is invalid, or most spans are bad. Names the line.
        OtherTaskError: No cell contains spans.
    """
    remaining = iter(lines)
    header = next(remaining, "")
    delimiter = max(_DELIMITERS, key=header.count)
    table = _Table(name)
    rows = parse_rows(_chain(header, remaining), Dialect(delimiter, quoting=True), name)
    yield from ObjectReader(name, options, log or ReadLog(counting=False)).read_all(table.objects(rows))
    if options.labels and not table.has_spans:
        reason = "found no cell with labeled spans: use `train cls` for texts with classes, or export JSON"
        raise OtherTaskError(reason, name)


def _chain(first: str, remaining: Iterator[str]) -> Iterator[str]:
    yield first
    yield from remaining


class _Table:
    """The rows of one file.

    Attributes:
        has_spans: True after a row with a list of spans.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self.has_spans = False

    def objects(self, rows: Iterable[tuple[int, list[str]]]) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield each row after the first one as an object, with its line."""
        names: list[str] = []
        for number, row in rows:
            if not names:
                names = row
            elif len(row) > len(names):
                found = f"found {len(row)} cells, expected {len(names)} as in the header"
                raise DataError(f"{found}; put cells that contain the delimiter in quotes", self._name, number)
            elif row:
                yield number, {key: self._value(cell) for key, cell in zip(names, row, strict=False)}

    def _value(self, cell: str) -> Any:
        """Return the list of spans in a cell, None for an empty cell, or the cell."""
        items = load_cell(cell)
        if isinstance(items, list) and all(map(_may_be_span, items)):
            self.has_spans |= bool(items)
            return items
        return cell or None


def _may_be_span(item: Any) -> bool:
    if isinstance(item, list | tuple):
        return len(item) > 1 and type(item[0]) is int
    return isinstance(item, dict) and ("start" in item or "start_offset" in item)
