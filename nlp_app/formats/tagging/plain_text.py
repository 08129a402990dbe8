"""Read plain text: each line is a text without labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from nlp_app.core.types import Record, TextRecord
from nlp_app.formats.tagging.options import ReadOptions
from nlp_app.formats.tagging.read_log import ReadLog


def read(lines: Iterable[str], name: str, options: ReadOptions, log: ReadLog | None = None) -> Iterator[Record]:
    """Read a text from each line. Empty lines are kept, so that output lines match input lines.

    Args:
        lines: The lines of the file, without line ends.
        name: Not used; the readers of all formats have the same parameters.
        options: Not used.
        log: Not used.

    Returns:
        An iterator of unlabeled TextRecords.
    """
    return (TextRecord(line, None, number) for number, line in enumerate(lines, 1))
