"""What every reader of classes answers: what it settled, and the records with an account of what was put right."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from nlp_app.core.types import ClassRecord
from nlp_app.formats.classification.options import ClassReadOptions

NO_TEXT = "records without a text"

NO_LABEL = "records without a label"


@dataclass(frozen=True, slots=True)
class ReadRepair:
    """What was put right while reading, how often, and the first line (from 1)."""

    what: str
    count: int
    line: int


class RepairLog:
    """Repairs, counted while a file is read."""

    def __init__(self) -> None:
        self._found: dict[str, list[int]] = {}

    def add(self, what: str, line: int) -> None:
        """Count one more of a kind."""
        entry = self._found.setdefault(what, [0, line])
        entry[0] += 1

    def repairs(self) -> list[ReadRepair]:
        """Each kind, in the order in which they first occurred."""
        return [ReadRepair(what, count, line) for what, (count, line) in self._found.items()]


class Sample(NamedTuple):
    """How a source begins, and where that settles nothing, the way to all of it.

    `lines` are complete unless `whole` is False, where the last may be a part of a row. `all_lines` begins anew at
    each call; of a stream it knows no more than `lines`, and `complete` is False.
    """

    name: str
    lines: list[str]
    whole: bool
    all_lines: Callable[[], Iterable[str]]
    complete: bool = True


class ReadPlan(NamedTuple):
    """How a source is read. `options` are resolved; `read` takes its lines, without their ends."""

    options: ClassReadOptions
    remarks: list[str]
    read: Callable[[Iterable[str], RepairLog], Iterator[ClassRecord]]
