"""Detect the delimiter of a table.

CSV should follow RFC 4180. Tab-separated files are mostly written without quoting, so a `"` in them is a character of
the text unless all quotes in the file show otherwise.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from nlp_app.core.errors import DataError
from nlp_app.formats.classification.column_names import LABEL_NAMES, TEXT_NAMES, find_named, normalize_name
from nlp_app.formats.classification.options import ClassReadOptions
from nlp_app.formats.io.table_rows import Dialect, parse_rows

DELIMITERS = (",", ";", "\t", "|")

_DECLARATION = re.compile(r'"?sep=([,;\t|])"?', re.IGNORECASE)


def find_declared_delimiter(line: str) -> str | None:
    """Return the delimiter that the first line of a table for Excel declares.

    Args:
        line: The line.

    Returns:
        The delimiter of a line such as `sep=,`; None for other lines.
    """
    match = _DECLARATION.fullmatch(line)
    return match[1] if match else None


def blank_declaration(lines: Iterable[str]) -> Iterator[str]:
    """Replace the line that declares the delimiter, if it is the first one.

    Args:
        lines: The lines.

    Yields:
        The lines, with an empty line for the declaration.
    """
    for number, line in enumerate(lines):
        yield "" if number == 0 and find_declared_delimiter(line) else line


def sample_rows(lines: Sequence[str], dialect: Dialect, whole: bool) -> list[list[str]]:
    """Parse the first lines, up to a row that is invalid or incomplete.

    Args:
        lines: The first lines.
        dialect: The syntax of the table.
        whole: True if the lines are the whole source; if not, the last row may be incomplete and is dropped.

    Returns:
        The cells of each row that is not blank.
    """
    rows = []
    try:
        for _, row in parse_rows(lines, dialect, ""):
            rows.append(row)
    except DataError:  # the same error is raised with its line when the table is read
        return [row for row in rows if row]
    if not whole and len(rows) > 1:
        rows.pop()
    return [row for row in rows if row]


def find_delimiter(lines: Sequence[str], options: ClassReadOptions, whole: bool = True) -> str | None:
    """Find the delimiter of a table.

    A delimiter that gives the first row known or requested column names is preferred, else the one for which most rows
    have the same number of cells.

    Args:
        lines: The first lines.
        options: Reading options, with requested columns.
        whole: True if the lines are the whole source.

    Returns:
        The delimiter; None if there is only one column.
    """
    best, best_delimiter = (False, 0.0), None
    for delimiter, quoting in itertools.product(DELIMITERS, (True, False)):
        rows = sample_rows(lines, Dialect(delimiter, quoting), whole)
        width, share = usual_width(rows)
        if width < 2 or options.quoting is (not quoting):
            continue
        names = rows[0]
        requested = {normalize_name(column) for column in options.columns if isinstance(column, str)} & set(
            map(normalize_name, names)
        )
        known = find_named(names, TEXT_NAMES) and find_named(names, LABEL_NAMES) and len(names) > 1
        evidence = (bool(requested or known), share)
        if evidence > best:
            best, best_delimiter = evidence, delimiter
    return best_delimiter


def usual_width(rows: Iterable[Sequence[str]]) -> tuple[int, float]:
    """Return the most frequent number of cells in a row.

    Args:
        rows: The rows.

    Returns:
        The number of cells, and the share of rows that have it.
    """
    widths = Counter(map(len, rows))
    if not widths:
        return 0, 0.0
    width, count = widths.most_common(1)[0]
    return width, count / widths.total()
