"""Which columns of a table hold text and labels, and whether its first row is names: by name, or by what they hold."""

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

HOW = "--text-column and --label-column: a name or a number from 0"

SWITCH = frozenset({"0", "1", "0.0", "1.0", "true", "false"})

_NAME = re.compile(r"[^\W\d][\w .:/()-]{0,39}")  # what a column may be called

_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")

_LABEL_LENGTH = 60  # more characters, on average, are no label

_IDS = frozenset({"", "id", "idx", "index", "guid", "uid", "unnamed: 0"})  # columns that count rows

_ENOUGH = 20  # rows from which a value that occurs once says something


class TableColumns(NamedTuple):
    """What was chosen: a name for every column, numbers if the file has none, and those of text and labels."""

    header: bool
    names: tuple[str, ...]
    text: tuple[int, ...]
    labels: tuple[int, ...]


class _Profile(NamedTuple):
    """What a column holds in the sample, empty cells aside."""

    filled: int
    distinct: int
    length: float
    is_numeric: bool
    is_switch: bool

    @property
    def repeats(self) -> bool:
        """Few values, as labels have: each twice on average, or too few rows to say."""
        return self.filled < 4 or 2 * self.distinct <= self.filled

    @property
    def may_be_label(self) -> bool:
        counts = self.is_numeric and self.filled > 1 and self.distinct == self.filled  # rows, say
        return bool(self.filled) and self.length <= _LABEL_LENGTH and self.repeats and not counts


def choose_columns(
    rows: Sequence[Sequence[str]], options: ClassReadOptions, place: str
) -> tuple[TableColumns, list[str]]:
    """The columns of a table that begins with these rows, all of the first one's width, and what to say of them.

    Raises DataError if they can't be told, or one that was named isn't there.
    """
    header, reason = _find_header(rows, options)
    names = tuple(rows[0]) if header else tuple(map(str, range(len(rows[0]))))
    body = rows[1:] if header else rows
    profiles = [_profile([row[column] for row in body]) for column in range(len(names))]
    text = tuple(resolve_column(wanted, names, place, HOW) for wanted in options.text_columns)
    labels = (
        tuple(resolve_column(wanted, names, place, HOW) for wanted in options.label_columns) if options.labels else ()
    )
    if set(text) & set(labels):
        raise DataError(f"found the same column for text and label ({HOW})", place)
    if not text:
        text = (_find_text(names if header else (), profiles, labels, place),)
    if options.labels and not labels:
        labels = _find_labels(names if header else (), profiles, text, place)
    if len(labels) > 1 and not header:
        raise DataError("found several label columns and no header, whose names would be the labels", place)
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
        bool(filled) and {value.lower() for value in distinct} <= SWITCH,
    )


def _find_header(rows: Sequence[Sequence[str]], options: ClassReadOptions) -> tuple[bool, str]:
    """Whether the first row is names, and why. A row of data is not to be lost, so without evidence it is none."""
    names = "header: the first row is names"
    if options.header is not None:
        return options.header, names if options.header else "header: none"
    if any(not is_number(column) for column in options.columns):
        return True, f"{names}, as columns were named"
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
                return True, f"{names}, as {cell!r} stands over numbers"
        if len(first) > 1 and _stands_out(first, below, new):
            return True, f"{names}, as nothing below is like it (if it is data, set data.header=no)"
    doubt = " (if it is names, set data.header=yes)" if all(map(_NAME.fullmatch, first)) else ""
    return False, f"header: none, the first row is data{doubt}"


def _stands_out(first: Sequence[str], below: Sequence[Sequence[str]], new: Sequence[bool]) -> bool:
    """Whether the first row is short where there are texts, and unseen where few values return again and again."""
    profiles = [_profile(cells) for cells in below]
    text = max(range(len(first)), key=lambda column: profiles[column].length)
    is_short = len(first[text]) < 20 and 10 * len(first[text]) < 3 * profiles[text].length
    returning = [column for column, profile in enumerate(profiles) if column != text and _returns(profile)]
    return is_short and bool(returning) and all(new[column] for column in returning)


def _returns(profile: _Profile) -> bool:
    return profile.filled >= _ENOUGH and 10 * profile.distinct <= profile.filled and profile.length <= _LABEL_LENGTH


def _find_text(names: Sequence[str], profiles: Sequence[_Profile], taken: Sequence[int], place: str) -> int:
    named = [column for column in find_named(names, TEXT_NAMES) if column not in taken]
    is_exact = bool(named) and names[named[0]].strip().casefold() in TEXT_NAMES
    if named and (is_exact or len(named) == 1):
        return named[0]
    likely = [column for column in range(len(profiles)) if column not in taken and not profiles[column].is_numeric]
    likely = named or likely or [column for column in range(len(profiles)) if column not in taken]
    likely.sort(key=lambda column: (-profiles[column].length, -profiles[column].distinct))
    if not likely or (len(likely) > 1 and not _is_clear(profiles[likely[0]], profiles[likely[1]])):
        raise _undecided("text", names, profiles, place)
    return likely[0]


def _is_clear(text: _Profile, other: _Profile) -> bool:
    """Whether the first is the text: clearly longer, or as long with far more values than the other repeats."""
    return text.length >= 1.5 * other.length or (not text.repeats and 4 * other.distinct <= text.distinct)


def _find_labels(
    names: Sequence[str], profiles: Sequence[_Profile], text: Sequence[int], place: str
) -> tuple[int, ...]:
    """The columns of labels; none if there is nothing besides text."""
    others = [column for column in range(len(profiles)) if column not in text]
    named = [column for column in find_named(names, LABEL_NAMES) if column in others]
    if named and (len(named) == 1 or names[named[0]].strip().casefold() in LABEL_NAMES):
        return (named[0],)
    filled = [c for c in others if profiles[c].filled and not (names and names[c].strip().casefold() in _IDS)]
    switches = [column for column in filled if profiles[column].is_switch]
    if not named and names and len(switches) > 1:
        return tuple(switches)
    likely = [column for column in (named or filled) if profiles[column].may_be_label]
    if len(likely) == 1:
        return (likely[0],)
    if not likely and len(filled) == 1 and _is_label_beside(profiles[filled[0]], profiles[text[0]]):
        return (filled[0],)
    if not filled:
        return ()
    raise _undecided("label", names, profiles, place)


def _is_label_beside(other: _Profile, text: _Profile) -> bool:
    """Whether a column of many values may still be the label of the text beside it: short, and some return."""
    is_few = other.distinct < other.filled or other.filled < _ENOUGH
    return other.length <= _LABEL_LENGTH and 1.5 * other.length <= text.length and is_few


def _undecided(what: str, names: Sequence[str], profiles: Sequence[_Profile], place: str) -> DataError:
    columns = list_columns(names) if names else f"{len(profiles)} columns without names, 0 to {len(profiles) - 1}"
    return DataError(f"can't tell which column is the {what}: found {columns}; name them ({HOW})", place)


def _describe(columns: TableColumns, options: ClassReadOptions) -> str:
    def said(chosen: Sequence[int]) -> str:
        return ", ".join(repr(columns.names[column]) if columns.header else str(column) for column in chosen)

    rest = [column for column in range(len(columns.names)) if column not in columns.text + columns.labels]
    parts = [f"text {said(columns.text)}"]
    if options.labels:
        parts.append(f"label {said(columns.labels)}" if columns.labels else "no label")
        parts += [f"not read {said(rest)}"] if rest else []
    return f"columns: {'; '.join(parts)} ({HOW})"
