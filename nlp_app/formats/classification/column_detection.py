"""Detect a table's header and its text and label columns, from column names or from cell values."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from nlp_app.core.errors import DataError
from nlp_app.formats.classification.column_names import (
    LABEL_NAMES,
    TEXT_NAMES,
    find_named,
    list_columns,
    resolve_column,
)
from nlp_app.formats.classification.options import ClassReadOptions, is_number

COLUMN_HINT = "--text-column and --label-column: a name or a number from 0"

BINARY_VALUES = frozenset({"0", "1", "0.0", "1.0", "true", "false"})

_NAME = re.compile(r"[^\W\d][\w .:/()-]{0,39}")  # a plausible column name

_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")

_MAX_LABEL_LENGTH = 60  # mean number of characters

_ID_NAMES = frozenset({"", "id", "idx", "index", "guid", "uid", "unnamed: 0"})  # names of columns that number the rows

_MIN_ROWS = 20  # with fewer rows, a value that occurs only once is no evidence


class TableColumns(NamedTuple):
    """The columns of a table.

    Attributes:
        header: True if the first row contains column names.
        names: The name of every column; its number if there is no header.
        text: The numbers of the text columns.
        labels: The numbers of the label columns.
    """

    header: bool
    names: tuple[str, ...]
    text: tuple[int, ...]
    labels: tuple[int, ...]


class _Profile(NamedTuple):
    """Statistics of a column's cells in the sample, without empty cells.

    Attributes:
        filled: The number of cells.
        distinct: The number of distinct values.
        length: The mean number of characters.
        is_numeric: True if all cells are numbers.
        is_binary: True if all cells are 0 or 1, or true or false.
    """

    filled: int
    distinct: int
    length: float
    is_numeric: bool
    is_binary: bool

    @property
    def repeats(self) -> bool:
        """True if values repeat as labels do: each value twice on average, or too few rows to say."""
        return self.filled < 4 or 2 * self.distinct <= self.filled

    @property
    def may_be_label(self) -> bool:
        """True if the column may contain labels: short values that repeat."""
        is_row_number = self.is_numeric and self.filled > 1 and self.distinct == self.filled
        return bool(self.filled) and self.length <= _MAX_LABEL_LENGTH and self.repeats and not is_row_number


def choose_columns(
    rows: Sequence[Sequence[str]], options: ClassReadOptions, place: str
) -> tuple[TableColumns, list[str]]:
    """Choose the text and label columns of a table.

    Args:
        rows: The first rows, all of the same width.
        options: Reading options; columns that are named there are used.
        place: The file's name, for messages.

    Returns:
        The columns, and remarks for the user on the header and the columns.

    Raises:
        DataError: The columns are ambiguous, or a named column does not exist.
    """
    header, reason = _find_header(rows, options)
    names = tuple(rows[0]) if header else tuple(map(str, range(len(rows[0]))))
    body = rows[1:] if header else rows
    profiles = [_profile([row[column] for row in body]) for column in range(len(names))]
    text = tuple(resolve_column(wanted, names, place, COLUMN_HINT) for wanted in options.text_columns)
    labels = (
        tuple(resolve_column(wanted, names, place, COLUMN_HINT) for wanted in options.label_columns)
        if options.labels
        else ()
    )
    if set(text) & set(labels):
        raise DataError(f"found the same column for text and label ({COLUMN_HINT})", place)
    if not text:
        text = (_find_text(names if header else (), profiles, labels, place),)
    if options.labels and not labels:
        labels = _find_labels(names if header else (), profiles, text, place)
    if len(labels) > 1 and not header:
        raise DataError("found several label columns and no header, expected column names, which are the labels", place)
    columns = TableColumns(header, names, text, labels)
    return columns, [reason, _describe(columns, options)]


def _profile(cells: Sequence[str]) -> _Profile:
    filled = [cell.strip() for cell in cells if cell.strip()]
    distinct = set(filled)
    return _Profile(
        len(filled),
        len(distinct),
        sum(map(len, filled)) / max(len(filled), 1),
        bool(filled) and all(map(_NUMBER.fullmatch, distinct)),
        bool(filled) and {value.lower() for value in distinct} <= BINARY_VALUES,
    )


def _find_header(rows: Sequence[Sequence[str]], options: ClassReadOptions) -> tuple[bool, str]:
    """Return True if the first row contains column names, and a remark with the reason.

    Without evidence the first row counts as data, so that no data is lost.
    """
    names = "header: the first row contains column names"
    if options.header is not None:
        return options.header, names if options.header else "header: none"
    if any(not is_number(column) for column in options.columns):
        return True, f"{names}, as columns are given by name"
    first = [cell.strip() for cell in rows[0]]
    below = [[row[column].strip() for row in rows[1:]] for column in range(len(first))]
    new = [cell not in cells for cell, cells in zip(first, below, strict=True)]
    if all(not cell or _NAME.fullmatch(cell) for cell in first):
        exact = {cell.casefold() for cell, is_new in zip(first, new, strict=True) if is_new}
        both = find_named(first, TEXT_NAMES) and find_named(first, LABEL_NAMES) and all(new)
        if both or exact & {*TEXT_NAMES, *LABEL_NAMES}:
            return True, names
        for cell, cells in zip(first, below, strict=True):
            if cell and len(cells) > 1 and _profile(cells).is_numeric:
                return True, f"{names}, as the cells below {cell!r} are numbers"
        if len(first) > 1 and _looks_like_header(first, below, new):
            return True, f"{names}, as it differs from all rows below (if it is data, set data.header=no)"
    doubt = " (if it contains names, set data.header=yes)" if all(map(_NAME.fullmatch, first)) else ""
    return False, f"header: none, the first row is data{doubt}"


def _looks_like_header(first: Sequence[str], below: Sequence[Sequence[str]], new: Sequence[bool]) -> bool:
    """Return True if the first row differs from the rows below.

    Its cell is short in the column of texts, and its cells are new in all columns whose few values repeat often.
    """
    profiles = [_profile(cells) for cells in below]
    text = max(range(len(first)), key=lambda column: profiles[column].length)
    is_short = len(first[text]) < 20 and 10 * len(first[text]) < 3 * profiles[text].length
    repeating = [column for column, profile in enumerate(profiles) if column != text and _repeats_often(profile)]
    return is_short and bool(repeating) and all(new[column] for column in repeating)


def _repeats_often(profile: _Profile) -> bool:
    return (
        profile.filled >= _MIN_ROWS and 10 * profile.distinct <= profile.filled and profile.length <= _MAX_LABEL_LENGTH
    )


def _find_text(names: Sequence[str], profiles: Sequence[_Profile], label_columns: Sequence[int], place: str) -> int:
    named = [column for column in find_named(names, TEXT_NAMES) if column not in label_columns]
    is_exact = bool(named) and names[named[0]].strip().casefold() in TEXT_NAMES
    if named and (is_exact or len(named) == 1):
        return named[0]
    likely = [
        column for column in range(len(profiles)) if column not in label_columns and not profiles[column].is_numeric
    ]
    likely = named or likely or [column for column in range(len(profiles)) if column not in label_columns]
    likely.sort(key=lambda column: (-profiles[column].length, -profiles[column].distinct))
    if not likely or (len(likely) > 1 and not _is_clearly_text(profiles[likely[0]], profiles[likely[1]])):
        raise _ambiguous_column("text", names, profiles, place)
    return likely[0]


def _is_clearly_text(text: _Profile, other: _Profile) -> bool:
    """Return True if the first column, rather than the second, contains the texts.

    It is clearly longer, or it has many different values while the values of the second repeat.
    """
    return text.length >= 1.5 * other.length or (not text.repeats and 4 * other.distinct <= text.distinct)


def _find_labels(
    names: Sequence[str], profiles: Sequence[_Profile], text: Sequence[int], place: str
) -> tuple[int, ...]:
    """Return the label columns; empty if no other column than the text columns has values."""
    others = [column for column in range(len(profiles)) if column not in text]
    named = [column for column in find_named(names, LABEL_NAMES) if column in others]
    if named and (len(named) == 1 or names[named[0]].strip().casefold() in LABEL_NAMES):
        return (named[0],)
    filled = [
        column
        for column in others
        if profiles[column].filled and not (names and names[column].strip().casefold() in _ID_NAMES)
    ]
    binary = [column for column in filled if profiles[column].is_binary]
    if not named and names and len(binary) > 1:
        return tuple(binary)
    likely = [column for column in (named or filled) if profiles[column].may_be_label]
    if len(likely) == 1:
        return (likely[0],)
    if not likely and len(filled) == 1 and _may_be_label_of(profiles[filled[0]], profiles[text[0]]):
        return (filled[0],)
    if not filled:
        return ()
    raise _ambiguous_column("label", names, profiles, place)


def _may_be_label_of(other: _Profile, text: _Profile) -> bool:
    """Return True if a column with many values may still be a text column's label: short, with some repeated values."""
    is_few = other.distinct < other.filled or other.filled < _MIN_ROWS
    return other.length <= _MAX_LABEL_LENGTH and 1.5 * other.length <= text.length and is_few


def _ambiguous_column(role: str, names: Sequence[str], profiles: Sequence[_Profile], place: str) -> DataError:
    columns = list_columns(names) if names else f"{len(profiles)} columns without names, 0 to {len(profiles) - 1}"
    return DataError(f"can't tell which column is the {role}: found {columns}; name them ({COLUMN_HINT})", place)


def _describe(columns: TableColumns, options: ClassReadOptions) -> str:
    def format_columns(chosen: Sequence[int]) -> str:
        return ", ".join(repr(columns.names[column]) if columns.header else str(column) for column in chosen)

    unused = [column for column in range(len(columns.names)) if column not in columns.text + columns.labels]
    parts = [f"text {format_columns(columns.text)}"]
    if options.labels:
        parts.append(f"label {format_columns(columns.labels)}" if columns.labels else "no label")
        parts += [f"not read {format_columns(unused)}"] if unused else []
    return f"columns: {'; '.join(parts)} ({COLUMN_HINT})"
