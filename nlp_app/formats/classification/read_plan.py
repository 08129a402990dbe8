"""The common parts of all readers of classes: the plan for reading a source, and the log of repairs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from nlp_app.core.types import ClassRecord
from nlp_app.formats.classification.options import ClassReadOptions

NO_TEXT = "records without a text"

NO_LABEL = "records without a label"

LISTED = "cells with a list of labels, read as several labels"


@dataclass(frozen=True, slots=True)
class ReadRepair:
    """A kind of repair made while reading.

    Attributes:
        what: The kind, as a plural noun phrase.
        count: The number of repairs.
        line: The line (from 1) of the first repair.
    """

    what: str
    count: int
    line: int


class RepairLog:
    """Counts of the repairs made while a file is read."""

    def __init__(self) -> None:
        self._entries: dict[str, list[int]] = {}

    def add(self, kind: str, line: int) -> None:
        """Count a repair.

        Args:
            kind: The kind of repair, as a plural noun phrase.
            line: The line (from 1).
        """
        entry = self._entries.setdefault(kind, [0, line])
        entry[0] += 1

    def repairs(self) -> list[ReadRepair]:
        """Return the repairs so far.

        Returns:
            The kinds of repairs, in the order in which they first occurred.
        """
        return [ReadRepair(kind, count, line) for kind, (count, line) in self._entries.items()]


class Sample(NamedTuple):
    """The beginning of a source, and access to all of its lines.

    Attributes:
        name: The source's name, for messages.
        lines: The first lines.
        whole: True if `lines` are the whole source. If False, the last line may be part of a row.
        all_lines: Returns all lines, from the beginning at each call; for a stream, only `lines`.
        complete: True if `all_lines` covers the whole source.
    """

    name: str
    lines: list[str]
    whole: bool
    all_lines: Callable[[], Iterable[str]]
    complete: bool = True


class TableNames(NamedTuple):
    """The columns of a table, as they are written again.

    Attributes:
        names: The names in the header; the column numbers if there is no header.
        has_header: True if the first row contains the names.
        delimiter: The character between cells.
    """

    names: tuple[str, ...]
    has_header: bool
    delimiter: str


class ReadPlan(NamedTuple):
    """A plan for reading a source.

    Attributes:
        options: The options, with detected values filled in.
        remarks: Notes for the user on what was detected.
        read: Yields records from lines without line ends, and logs repairs.
        read_values: Yields all values of each record, by name, with the line of the record; None for formats that
            contain nothing but texts and labels.
        table: The column names and the delimiter of a table; None for other formats.
    """

    options: ClassReadOptions
    remarks: list[str]
    read: Callable[[Iterable[str], RepairLog], Iterator[ClassRecord]]
    read_values: Callable[[Iterable[str]], Iterator[tuple[int, dict[str, Any]]]] | None = None
    table: TableNames | None = None
