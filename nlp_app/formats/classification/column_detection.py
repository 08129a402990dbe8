"""Detect a table's header and its text and label columns, from column names or from cell values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from nlp_app.core.errors import DataError
from nlp_app.formats.classification.column_names import (
    LABEL_NAMES,
    TEXT_NAMES,
    find_exact,
    find_partial,
    is_description,
    list_columns,
    resolve_column,
)
from nlp_app.formats.classification.column_profiles import Profile, profile_cells
from nlp_app.formats.classification.header_detection import find_header
from nlp_app.formats.classification.options import ClassReadOptions

COLUMN_HINT = "--text-column and --label-column: a name or a number from 0"

_ID_NAMES = frozenset({"", "id", "idx", "index", "guid", "uid", "unnamed: 0"})  # names of columns that number the rows


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
    header, reason = find_header(rows, options)
    names = tuple(rows[0]) if header else tuple(map(str, range(len(rows[0]))))
    body = rows[1:] if header else rows
    profiles = [profile_cells([row[column] for row in body]) for column in range(len(names))]
    text = tuple(resolve_column(wanted, names, place, COLUMN_HINT) for wanted in options.text_columns)
    labels = (
        tuple(resolve_column(wanted, names, place, COLUMN_HINT) for wanted in options.label_columns)
        if options.labels
        else ()
    )
    if set(text) & set(labels):
        raise DataError(f"found the same column for text and label ({COLUMN_HINT})", place)
    if not text:
        found = find_text(names if header else (), profiles, labels)
        if found is None:
            raise _ambiguous_column("text", names, rows[0], header, place)
        text = (found,)
    if options.labels and not labels:
        likely = find_labels(names if header else (), profiles, text)
        if likely is None:
            raise _ambiguous_column("label", names, rows[0], header, place)
        labels = likely
    if len(labels) > 1 and not header:
        raise DataError("found several label columns and no header, expected column names, which are the labels", place)
    columns = TableColumns(header, names, text, labels)
    return columns, [reason, _describe(columns, options)]


def find_text(names: Sequence[str], profiles: Sequence[Profile], excluded: Sequence[int] = ()) -> int | None:
    """Find the text column, by its name, or else by its values.

    A column whose name only contains a word for texts must also contain texts.

    Args:
        names: The names of the columns; empty without a header.
        profiles: The statistics of the columns.
        excluded: Columns that are not the text.

    Returns:
        The number of the column; None if this is ambiguous.
    """
    others = [column for column in range(len(profiles)) if column not in excluded]
    is_empty = not any(profile.filled for profile in profiles)
    exact = [column for column in find_exact(names, TEXT_NAMES) if column in others]
    if exact:
        return next((column for column in exact if profiles[column].may_be_text), exact[0])
    named = find_partial(
        names, TEXT_NAMES, lambda column: column in others and (is_empty or profiles[column].may_be_named_text)
    )
    likely = named or [column for column in others if not profiles[column].kind] or others
    likely = sorted(likely, key=lambda column: (-profiles[column].length, -profiles[column].distinct))
    if len(likely) > 1 and not profiles[likely[0]].is_text_rather_than(profiles[likely[1]]):
        return None
    return likely[0] if likely else None


def find_labels(names: Sequence[str], profiles: Sequence[Profile], text: Sequence[int]) -> tuple[int, ...] | None:
    """Find the label columns, by their names, or else by their values.

    A column whose name only contains a word for labels must also contain labels.

    Args:
        names: The names of the columns; empty without a header.
        profiles: The statistics of the columns.
        text: The numbers of the text columns.

    Returns:
        The numbers of the columns; empty if no other column than the text columns has values, and None if this is
        ambiguous.
    """
    others = [column for column in range(len(profiles)) if column not in text]
    exact = [column for column in find_exact(names, LABEL_NAMES) if column in others]
    if exact:
        return (exact[0],)
    is_empty = not any(profile.filled for profile in profiles)
    named = find_partial(
        names, LABEL_NAMES, lambda column: column in others and (is_empty or profiles[column].may_be_named_label)
    )
    if len(named) == 1:
        return (named[0],)
    filled = [
        column
        for column in others
        if profiles[column].filled
        and not (
            names and (names[column].strip().casefold() in _ID_NAMES or is_description(names[column], LABEL_NAMES))
        )
    ]
    words = [column for column in filled if profiles[column].may_be_label and not profiles[column].kind]
    binary = [column for column in filled if profiles[column].is_binary]
    if not named and names and len(binary) > 1 and not words:
        return tuple(binary)
    likely = [column for column in (named or filled) if profiles[column].may_be_label]
    if words:
        likely = [column for column in likely if profiles[column].kind != "truth"]
    likely = [column for column in likely if not (names and is_description(names[column], TEXT_NAMES))] or likely
    if not likely and len(filled) == 1 and profiles[filled[0]].may_be_label_of(profiles[text[0]]):
        return (filled[0],)
    if len(likely) == 1:
        return (likely[0],)
    return None if any(profiles[column].filled for column in others) else ()


def _ambiguous_column(role: str, names: Sequence[str], first: Sequence[str], header: bool, place: str) -> DataError:
    columns = list_columns(names)
    if not header:
        columns = f"{len(names)} columns without names, 0 to {len(names) - 1}, which begin with {list_columns(first)}"
    way_out = f"name them ({COLUMN_HINT})" + ("" if header else ", or set data.header=yes if these are names")
    return DataError(f"can't tell which column is the {role}: found {columns}; {way_out}", place)


def _describe(columns: TableColumns, options: ClassReadOptions) -> str:
    def format_columns(chosen: Sequence[int]) -> str:
        return ", ".join(repr(columns.names[column]) if columns.header else str(column) for column in chosen)

    unused = [column for column in range(len(columns.names)) if column not in columns.text + columns.labels]
    parts = [f"text {format_columns(columns.text)}"]
    if options.labels:
        parts.append(f"label {format_columns(columns.labels)}" if columns.labels else "no label")
        parts += [f"not read {format_columns(unused)}"] if unused else []
    return f"columns: {'; '.join(parts)} ({COLUMN_HINT})"
