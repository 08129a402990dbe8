"""Detect the quotes that enclose the cells of a table, in a pass over the whole table.

In CSV quotes enclose cells, unless reading by RFC 4180 and by its common variants fails or gives rows that are too
wide. In tab-separated files quotes are characters, unless every quoted cell contains a character that has to be quoted,
or a column is quoted throughout. Single quotes enclose cells only if no other reading gives rows of equal width, or if
a column is quoted throughout.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from nlp_app.core.errors import DataError
from nlp_app.formats.classification.dialect import sample_rows, usual_width
from nlp_app.formats.classification.options import ClassReadOptions
from nlp_app.formats.classification.read_plan import Sample
from nlp_app.formats.io.table_rows import Dialect, parse_rows

_SINGLE = "' encloses cells"


class Quoting(NamedTuple):
    """The quoting of a table.

    Attributes:
        dialect: The syntax that fits the table.
        has_quotes: True if the table contains quotes at all.
        remark: A note for the user, if the quoting is unusual.
    """

    dialect: Dialect
    has_quotes: bool
    remark: str | None = None


def find_quoting(sample: Sample, delimiter: str, quoting: bool | None) -> Quoting:
    """Find the dialect that fits the whole table.

    Args:
        sample: The source.
        delimiter: The character between cells.
        quoting: Set by the user: True if quotes enclose cells; None to detect it.

    Returns:
        The dialect, and a remark if it is unusual.
    """
    has_quotes = any('"' in line for line in sample.all_lines())
    if quoting is False or not has_quotes:
        may_have = quoting is not False and delimiter != "\t" and not sample.complete
        return Quoting(Dialect(delimiter, may_have or quoting is True), has_quotes)
    has_equal_widths = _has_equal_widths(sample.all_lines(), delimiter)
    standard = Dialect(delimiter, True)
    objection: str | None = None
    for variant in (standard, standard._replace(escape=True)):
        fit = _fit(sample.all_lines(), variant)
        objection = objection or fit.objection
        if fit.is_spaced:
            spaced = variant._replace(spaced=True)
            spaced_fit = _fit(sample.all_lines(), spaced)
            if spaced_fit.objection is None:
                variant, fit = spaced, spaced_fit
        if fit.objection is None and (quoting or delimiter != "\t" or fit.is_needed(has_equal_widths)):
            is_usual = variant == standard and delimiter != "\t"
            return Quoting(variant, True, None if is_usual else f"quotes: enclose cells{_describe_variant(variant)}")
    if quoting or (delimiter != "\t" and not has_equal_widths):
        return Quoting(standard, True)  # invalid rows are reported with their lines when they are read
    reason = objection or "some quoted cells need no quotes"
    remark = f"quotes: part of the text, as {reason} (if they enclose cells, set data.quoting=yes)"
    return Quoting(Dialect(delimiter, False), True, remark)


def find_single_quoting(sample: Sample, delimiters: Sequence[str], options: ClassReadOptions) -> Quoting | None:
    """Find out if single quotes enclose cells.

    Args:
        sample: The source.
        delimiters: The characters that may separate cells.
        options: Reading options; a quote character that is set there is used.

    Returns:
        The quoting. None if single quotes are characters of the text: unless they are set, all rows must be equally
        wide when read with single quotes, and not without them, or a column must be quoted throughout.
    """
    if options.quote_character == '"' or options.quoting is False:
        return None
    for delimiter in delimiters:
        dialect = Dialect(delimiter, True, quote="'")
        begins = re.compile(f"(?:^|{re.escape(delimiter)})'")
        if any(map(begins.search, sample.lines)) and _is_rectangular(sample.all_lines(), dialect):
            unlike = (Dialect(delimiter, False), Dialect(delimiter, True))
            is_only_reading = not any(_is_rectangular(sample.all_lines(), other) for other in unlike)
            if is_only_reading or _fit(sample.all_lines(), dialect).is_for_columns:
                return Quoting(dialect, True, f"quotes: {_SINGLE} (if they do not, set data.quote_character=double)")
    if options.quote_character is None:
        return None
    widths = {
        mark: usual_width(sample_rows(sample.lines, Dialect(mark, True, quote="'"), sample.whole))
        for mark in delimiters
    }
    best = max(delimiters, key=lambda mark: (widths[mark][0] > 1, widths[mark][1]))
    return Quoting(Dialect(best, True, quote="'"), True, f"quotes: {_SINGLE}")


def _is_rectangular(lines: Iterable[str], dialect: Dialect) -> bool:
    """Return True if a table can be read, and all rows have the same number of cells."""
    width = 0
    try:
        for _, row in parse_rows(lines, dialect, ""):
            if row and len(row) != (width := width or len(row)):
                return False
    except DataError:
        return False
    return width > 1


class _Fit(NamedTuple):
    """The result of reading with quotes: a reason against it, and the purposes of the quotes."""

    objection: str | None
    is_for_cells: bool  # some cells need their quotes, and every quoted cell contains a quote, delimiter or line feed
    is_for_lines: bool  # the same, for line feeds only
    is_for_columns: bool  # a column is quoted throughout
    is_spaced: bool  # some quotes follow a delimiter and a space

    def is_needed(self, has_equal_widths: bool) -> bool:
        """Return True if the quotes cannot be characters of the text.

        Args:
            has_equal_widths: True if all lines have the same number of cells without quoting.
        """
        return self.is_for_columns or self.is_for_cells or (self.is_for_lines and not has_equal_widths)


def _fit(source: Iterable[str], dialect: Dialect) -> _Fit:
    """Read a table with quotes and collect the evidence for and against quoting."""
    recent: list[str] = []
    quote = dialect.quote

    def recording() -> Iterator[str]:
        for line in source:
            recent.append(line)
            yield line

    width = rows = in_cells = in_lines = needless = 0
    quoted: Counter[int] = Counter()
    is_spaced = False
    try:
        for number, row in parse_rows(recording(), dialect, ""):
            rows += bool(row)
            # The space must be outside of the quotes: a quoted cell may also begin with a space and a quote.
            outside = recent[0].startswith(f" {quote}") or f"{dialect.delimiter} {quote}" in recent[0]
            is_spaced = is_spaced or (outside and any(cell.startswith(f" {quote}") for cell in row))
            width = width or len(row)
            if len(row) > width and any(row[width:]):
                return _Fit(f"line {number} would have {len(row)} cells", False, False, False, is_spaced)
            cells = recent[0].split(dialect.delimiter)
            if len(recent) > 1:
                in_lines += 1
            elif len(cells) != len(row):
                in_cells += bool(row)
            elif quote in recent[0]:
                quoted_columns = [column for column, cell in enumerate(cells) if cell.startswith(quote)]
                quoted.update(quoted_columns)
                needed = sum(quote in row[column] for column in quoted_columns)
                in_cells += needed
                needless += len(quoted_columns) - needed
            recent.clear()
    except DataError as error:
        return _Fit(_shorten_error(error), False, False, False, is_spaced)
    is_column = rows > 2 and any(count >= rows - 1 for count in quoted.values())
    return _Fit(None, in_cells > 0 and not needless, in_lines > 0 and not needless, is_column, is_spaced)


def _shorten_error(error: DataError) -> str:
    reason = str(error).split(";")[0].removeprefix(": ").removeprefix(f":{error.line}: ")
    return f"in line {error.line}, {reason}"


def _has_equal_widths(source: Iterable[str], delimiter: str) -> bool:
    counts = {line.count(delimiter) for line in source if line}
    return len(counts) == 1 and counts != {0}


def _describe_variant(dialect: Dialect) -> str:
    if dialect.escape:
        return "; quotes inside have a backslash before them"
    return "; some have spaces before them" if dialect.spaced else ""
