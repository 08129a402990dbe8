"""Plain text: a line is a text without labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from nlp_app.core.types import Record, TextRecord
from nlp_app.formats.tagging.options import ReadOptions
from nlp_app.formats.tagging.read_log import ReadLog


def read(lines: Iterable[str], name: str, options: ReadOptions, log: ReadLog | None = None) -> Iterator[Record]:
    """An unlabeled TextRecord for each line, empty ones too, so that output can match input line by line."""
    return (TextRecord(line, None, number) for number, line in enumerate(lines, 1))
