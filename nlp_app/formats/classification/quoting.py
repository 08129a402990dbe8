"""Whether `"` encloses a table's cells, from a pass over all of it.

In CSV it does unless it can't: reading by RFC 4180, or by a variant that is met often, fails or gives rows that are too
wide. In tab-separated files it doesn't unless it must: every quoted cell holds what needs quoting, or a column is
quoted throughout.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from nlp_app.core.errors import DataError
from nlp_app.formats.classification.dialect import Dialect, parse_rows
from nlp_app.formats.classification.read_plan import Sample


class Quoting(NamedTuple):
    """The dialect that fits, whether there are quotes at all, and what to say of them."""

    dialect: Dialect
    has_quotes: bool
    remark: str | None = None


def find_quoting(sample: Sample, delimiter: str, quoting: bool | None) -> Quoting:
    """The dialect that fits all of a table; `quoting` where it was settled already."""
    has_quotes = any('"' in line for line in sample.all_lines())
    if quoting is False or not has_quotes:
        may_have = quoting is not False and delimiter != "\t" and not sample.complete
        return Quoting(Dialect(delimiter, may_have or quoting is True), has_quotes)
    is_even = _is_even(sample.all_lines(), delimiter)
    standard = Dialect(delimiter, True)
    objection: str | None = None
    for variant in (standard, standard._replace(escape=True)):
        fit = _fit(sample.all_lines(), variant)
        objection = objection or fit.objection
        if fit.is_spaced:
            spaced = variant._replace(spaced=True)
            other = _fit(sample.all_lines(), spaced)
            if other.objection is None:
                variant, fit = spaced, other
        if fit.objection is None and (quoting or delimiter != "\t" or fit.is_needed(is_even)):
            is_usual = variant == standard and delimiter != "\t"
            return Quoting(variant, True, None if is_usual else f"quotes: enclose cells{_variation(variant)}")
    if quoting or (delimiter != "\t" and not is_even):
        return Quoting(standard, True)  # the rows that don't fit are errors with their lines
    reason = objection or "cells have them that don't need them"
    remark = f"quotes: characters of the text, as {reason} (else set data.quoting=yes)"
    return Quoting(Dialect(delimiter, False), True, remark)


class _Fit(NamedTuple):
    """How reading with quotes goes: what speaks against it, and what the quotes are for."""

    objection: str | None
    is_for_cells: bool  # of quoted cells: some can't be read without, and each holds a quote, delimiter or line feed
    is_for_lines: bool  # the same, but line feeds only
    is_for_columns: bool
    is_spaced: bool  # some stand after a space that follows a delimiter

    def is_needed(self, is_even: bool) -> bool:
        """Whether the quotes can't be characters; `is_even`: without quoting, all lines have as many cells."""
        return self.is_for_columns or self.is_for_cells or (self.is_for_lines and not is_even)


def _fit(source: Iterable[str], dialect: Dialect) -> _Fit:
    recent: list[str] = []

    def recorded() -> Iterator[str]:
        for line in source:
            recent.append(line)
            yield line

    width = rows = in_cells = in_lines = in_vain = 0
    quoted: Counter[int] = Counter()
    is_spaced = False
    try:
        for number, row in parse_rows(recorded(), dialect, ""):
            rows += bool(row)
            # The space has to stand outside of the quotes: a quoted cell may begin with a space and a quote too.
            outside = recent[0].startswith(' "') or f'{dialect.delimiter} "' in recent[0]
            is_spaced = is_spaced or (outside and any(cell.startswith(' "') for cell in row))
            width = width or len(row)
            if len(row) > width and any(row[width:]):
                return _Fit(f"line {number} would have {len(row)} cells", False, False, False, is_spaced)
            cells = recent[0].split(dialect.delimiter)
            if len(recent) > 1:
                in_lines += 1
            elif len(cells) != len(row):
                in_cells += bool(row)
            elif '"' in recent[0]:
                enclosed = [column for column, cell in enumerate(cells) if cell.startswith('"')]
                quoted.update(enclosed)
                holding = sum('"' in row[column] for column in enclosed)
                in_cells += holding
                in_vain += len(enclosed) - holding
            recent.clear()
    except DataError as error:
        return _Fit(_shortened(error), False, False, False, is_spaced)
    is_column = rows > 2 and any(count >= rows - 1 for count in quoted.values())
    return _Fit(None, in_cells > 0 and not in_vain, in_lines > 0 and not in_vain, is_column, is_spaced)


def _shortened(error: DataError) -> str:
    reason = str(error).split(";")[0].removeprefix(": ").removeprefix(f":{error.line}: ")
    return f"in line {error.line}, {reason}"


def _is_even(source: Iterable[str], delimiter: str) -> bool:
    counts = {line.count(delimiter) for line in source if line}
    return len(counts) == 1 and counts != {0}


def _variation(dialect: Dialect) -> str:
    if dialect.escape:
        return ", and a backslash stands before those inside"
    return ", and spaces stand before some" if dialect.spaced else ""
