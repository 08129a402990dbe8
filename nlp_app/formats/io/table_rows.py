"""Parse and format the rows of a table, such as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from nlp_app.core.errors import DataError

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


def format_row(cells: Sequence[object], delimiter: str = ",") -> str:
    """Format a row of a table as in RFC 4180.

    Args:
        cells: The cells; None is an empty cell.
        delimiter: The character between them.

    Returns:
        The row, without a line end.
    """
    stream = io.StringIO()
    csv.writer(stream, delimiter=delimiter, lineterminator="").writerow(cells)
    return stream.getvalue()


def _reason(error: csv.Error, first: int) -> str:
    message = str(error)
    if "end of data" in message or "limit" in message:
        return f"a quote opened in the row of line {first} {NOT_CLOSED}"
    if "new-line" in message:
        return "found a carriage return within a row"
    return "found text after a closing quote" if "expected after" in message else f"bad row: {message}"
