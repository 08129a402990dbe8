"""How a table's cells are divided and quoted, by evidence; and its rows.

RFC 4180 is what CSV should be. Tab-separated files are mostly written without quoting, so there a `"` is a character
unless every quote in the file says otherwise.
"""

from __future__ import annotations

import csv
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from nlp_app.core.errors import DataError
from nlp_app.formats.classification.column_names import LABEL_NAMES, TEXT_NAMES, find_named, normalize_name
from nlp_app.formats.classification.options import ClassReadOptions

DELIMITERS = (",", ";", "\t", "|")

CELL_LIMIT = 1 << 27  # characters of a quoted cell: a quote that is never closed must not fill the memory

NOT_CLOSED = "isn't closed"  # what is said of a quoted cell that goes on to the end

RFC_4180 = 'expected RFC 4180 ("a ""quoted"" cell"); put it right, or say whether quotes enclose cells (data.quoting)'


class Dialect(NamedTuple):
    """`quoting`: whether `"` encloses cells. `escape`: a quote inside is `\\"`. `spaced`: spaces follow delimiters."""

    delimiter: str
    quoting: bool
    escape: bool = False
    spaced: bool = False


def parse_rows(lines: Iterable[str], dialect: Dialect, place: str) -> Iterator[tuple[int, list[str]]]:
    """Each row's cells and the line (from 1) where it begins. A blank line is the row of no cells.

    Raises DataError, with the line, for quotes that don't fit.
    """
    delimiter = dialect.delimiter
    if not dialect.quoting:
        for number, line in enumerate(lines, 1):
            yield number, line.split(delimiter) if line else []
        return
    if csv.field_size_limit() < CELL_LIMIT:  # one limit for the process: raised once, never lowered
        csv.field_size_limit(CELL_LIMIT)
    escape = "\\" if dialect.escape else None
    reader = csv.reader(
        (line + "\n" for line in lines),
        delimiter=delimiter,
        escapechar=escape,
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
    said = str(error)
    if "end of data" in said or "limit" in said:
        return f"a quote opened in the row of line {first} {NOT_CLOSED}"
    if "new-line" in said:
        return "found a carriage return within a row"
    return "found text after a closing quote" if "expected after" in said else f"bad row: {said}"


def sample_rows(lines: Sequence[str], dialect: Dialect, whole: bool) -> list[list[str]]:
    """The rows of the first lines that aren't blank, up to one that can't be read or is cut off."""
    rows = []
    try:
        for _, row in parse_rows(lines, dialect, ""):
            rows.append(row)
    except DataError:  # what is read later says so, with its place
        return [row for row in rows if row]
    if not whole and len(rows) > 1:
        rows.pop()
    return [row for row in rows if row]


def find_delimiter(lines: Sequence[str], options: ClassReadOptions, whole: bool = True) -> str | None:
    """What divides the cells: the delimiter that makes the first row names that are known or were asked for, else the
    one that makes the rows most alike; None if there is one column only."""
    best, found = (False, 0.0), None
    for delimiter, quoting in itertools.product(DELIMITERS, (True, False)):
        rows = sample_rows(lines, Dialect(delimiter, quoting), whole)
        width, alike = usual_width(rows)
        if width < 2 or options.quoting is (not quoting):
            continue
        names = rows[0]
        asked = {normalize_name(column) for column in options.columns if isinstance(column, str)} & set(
            map(normalize_name, names)
        )
        known = find_named(names, TEXT_NAMES) and find_named(names, LABEL_NAMES) and len(names) > 1
        evidence = (bool(asked or known), alike)
        if evidence > best:
            best, found = evidence, delimiter
    return found


def usual_width(rows: Iterable[Sequence[str]]) -> tuple[int, float]:
    """The most frequent number of cells, and the share of rows that have it."""
    widths = Counter(map(len, rows))
    if not widths:
        return 0, 0.0
    width, count = widths.most_common(1)[0]
    return width, count / widths.total()
