"""Detect the delimiter of a table, and parse its rows.

CSV should follow RFC 4180. Tab-separated files are mostly written without quoting, so a `"` in them is a character of
the text unless all quotes in the file show otherwise.
"""

from __future__ import annotations

import csv
import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from nlp_app.core.errors import DataError
from nlp_app.formats.classification.column_names import LABEL_NAMES, TEXT_NAMES, find_named, normalize_name
from nlp_app.formats.classification.options import ClassReadOptions

DELIMITERS = (",", ";", "\t", "|")

_DECLARATION = re.compile(r'"?sep=([,;\t|])"?', re.IGNORECASE)

CELL_LIMIT = 1 << 27  # characters of a quoted cell; a quote that is never closed must not use up the memory

NOT_CLOSED = "isn't closed"  # part of the message on a quoted cell without an end

RFC_4180 = (
    'expected RFC 4180 ("a ""quoted"" cell"); correct the row, or set whether quotes enclose cells (data.quoting)'
)


class Dialect(NamedTuple):
    r"""The syntax of a table.

    Attributes:
        delimiter: The character between cells.
        quoting: True if quotes enclose cells.
        escape: True if a quote inside a quoted cell is written `\"`.
        spaced: True if spaces after delimiters are ignored.
        quote: The character that encloses cells.
    """

    delimiter: str
    quoting: bool
    escape: bool = False
    spaced: bool = False
    quote: str = '"'


def parse_rows(lines: Iterable[str], dialect: Dialect, place: str) -> Iterator[tuple[int, list[str]]]:
    """Parse lines into rows.

    Args:
        lines: The lines, without line ends.
        dialect: The syntax of the table.
        place: The file's name, for messages.

    Yields:
        The line (from 1) where a row begins, and its cells. A blank line is a row without cells.

    Raises:
        DataError: Quotes are invalid. Names the line.
    """
    delimiter = dialect.delimiter
    if not dialect.quoting:
        for number, line in enumerate(lines, 1):
            yield number, line.split(delimiter) if line else []
        return
    if csv.field_size_limit() < CELL_LIMIT:  # the limit is global: raise it once, never lower it
        csv.field_size_limit(CELL_LIMIT)
    escape = "\\" if dialect.escape else None
    reader = csv.reader(
        (line + "\n" for line in lines),
        delimiter=delimiter,
        escapechar=escape,
        quotechar=dialect.quote,
        skipinitialspace=dialect.spaced,
        strict=True,
    )
    while True:
        first = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise DataError(f"{_reason(error, first)}; {RFC_4180}", place, reader.line_num) from error
        yield first, row


def _reason(error: csv.Error, first: int) -> str:
    message = str(error)
    if "end of data" in message or "limit" in message:
        return f"a quote opened in the row of line {first} {NOT_CLOSED}"
    if "new-line" in message:
        return "found a carriage return within a row"
    return "found text after a closing quote" if "expected after" in message else f"bad row: {message}"


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
