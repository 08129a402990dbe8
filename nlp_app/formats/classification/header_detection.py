"""Detect whether the first row of a table contains column names.

Without evidence the first row counts as data, so that no data is lost.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from nlp_app.formats.classification.column_names import LABEL_NAMES, TEXT_NAMES, find_named, split_name
from nlp_app.formats.classification.column_profiles import Profile, profile_cells
from nlp_app.formats.classification.options import ClassReadOptions, is_number

_NAME = re.compile(r"[^\W\d][\w .:/()-]{0,39}")  # a plausible column name

_IDENTIFIER = re.compile(r"[^\W\d]\w{0,39}")

_NUMBERED = re.compile(r"[A-Za-z]+[ _.]?[0-9]{1,2}")  # `v1`, `Column 2`

_UNNAMED = re.compile(r"Unnamed: [0-9]+")  # as pandas writes a column without a name

_NAMES = "header: the first row contains column names"

_MIN_ROWS = 4  # with fewer rows, a first row that differs from the others is no evidence

# Words that name columns, in addition to those for texts and labels.
_NAME_WORDS = frozenset({*TEXT_NAMES, *LABEL_NAMES}) | frozenset({
    "abstract", "answer", "article", "author", "code", "comments", "date", "email", "feedback", "group", "id", "idx",
    "index", "kind", "lang", "language", "mood", "name", "note", "notes", "opinion", "outcome", "paragraph", "passage",
    "phrase", "post", "posts", "questions", "rating", "remark", "remarks", "reply", "response", "result", "reviews",
    "score", "sentences", "source", "split", "stance", "stars", "statement", "status", "subject", "summary", "texts",
    "time", "timestamp", "tone", "transcript", "tweets", "type", "user", "value", "verdict",
})  # fmt: skip


# Words that also begin short texts: one of them is no evidence.
_MORE_NAME_WORDS = frozenset({
    "channel", "complaint", "decision", "department", "dept", "grade", "issue", "level", "number", "priority",
    "problem", "product", "reason", "region", "section", "severity", "state", "team", "ticket", "version",
})  # fmt: skip


def find_header(rows: Sequence[Sequence[str]], options: ClassReadOptions) -> tuple[bool, str]:
    """Find out if the first row contains column names.

    Args:
        rows: The first rows, all of the same width.
        options: Reading options; a header that is set there is used.

    Returns:
        True if the first row contains names, and a remark with the reason.
    """
    if options.header is not None:
        return options.header, _NAMES if options.header else "header: none"
    if any(not is_number(column) for column in options.columns):
        return True, f"{_NAMES}, as columns are given by name"
    first, below = _without_empty_columns(rows)
    if len(first) > 1 and _has_numbers_as_names(first, below):
        return True, f"{_NAMES}, which are numbers"
    if any(map(_UNNAMED.fullmatch, first)):
        return True, _NAMES
    new = [cell not in cells for cell, cells in zip(first, below, strict=True)]
    if all(not cell or _NAME.fullmatch(cell) for cell in first):
        exact = {cell.casefold() for cell, is_new in zip(first, new, strict=True) if is_new}
        both = find_named(first, TEXT_NAMES) and find_named(first, LABEL_NAMES) and all(new)
        if both or exact & {*TEXT_NAMES, *LABEL_NAMES}:
            return True, _NAMES
        for cell, cells in zip(first, below, strict=True):
            if cell and len(cells) > 1 and profile_cells(cells).is_numeric:
                return True, f"{_NAMES}, as the cells below {cell!r} are numbers"
        if len(first) > 1 and (_differs_from_rows(first, below, new) or _looks_like_names(first, below, new)):
            return True, f"{_NAMES}, as it differs from all rows below (if it is data, set data.header=no)"
    doubt = " (if it contains names, set data.header=yes)" if all(map(_NAME.fullmatch, first)) else ""
    return False, f"header: none, the first row is data{doubt}"


def _without_empty_columns(rows: Sequence[Sequence[str]]) -> tuple[list[str], list[list[str]]]:
    """Return the cells of the first row and of the rows below, without columns that have no name and few values."""
    columns = [[cell.strip() for cell in cells] for cells in zip(*rows, strict=True)]
    columns = [cells for cells in columns if cells[0] or 2 * sum(map(bool, cells)) > len(cells)] or columns
    return [cells[0] for cells in columns], [cells[1:] for cells in columns]


def _has_numbers_as_names(first: Sequence[str], below: Sequence[Sequence[str]]) -> bool:
    """Return True for `0,1` above a text and a label, as pandas writes columns without names."""
    names = list(first[1:]) if not first[0] else list(first)
    is_text = [
        bool(cells) and profile_cells(cells).may_be_text and any(" " in cell for cell in cells) for cells in below
    ]
    return len(names) > 1 and names == [str(number) for number in range(len(names))] and any(is_text)


def _differs_from_rows(first: Sequence[str], below: Sequence[Sequence[str]], new: Sequence[bool]) -> bool:
    """Return True if the first row differs from the many rows below.

    Its cell is short in the column of texts, and its cells are new in all columns whose few values repeat often.
    """
    profiles = [profile_cells(cells) for cells in below]
    text = _find_longest(profiles)
    is_short = len(first[text]) < 20 and 10 * len(first[text]) < 3 * profiles[text].length
    repeating = [column for column, profile in enumerate(profiles) if column != text and profile.repeats_often]
    return is_short and bool(repeating) and all(new[column] for column in repeating)


def _looks_like_names(first: Sequence[str], below: Sequence[Sequence[str]], new: Sequence[bool]) -> bool:
    """Return True if the first row contains single words that name columns, above texts of several words and labels.

    The words are new in their columns. The one above the texts, or two of them, are typical names.
    """
    profiles = [profile_cells(cells) for cells in below]
    text = _find_longest(profiles)
    if not all(new) or len({cell.casefold() for cell in first}) < len(first) or len(below[0]) < _MIN_ROWS:
        return False
    if not all(_IDENTIFIER.fullmatch(cell) or (not column and not cell) for column, cell in enumerate(first)):
        return False
    long_cells = [cell for cell in below[text] if " " in cell or (not cell.isascii() and len(cell) > 6)]
    has_labels = any(profile.may_be_label for column, profile in enumerate(profiles) if column != text)
    if 10 * len(long_cells) < 9 * profiles[text].filled or not has_labels:
        return False
    if _has_known_word(first[text]):
        return True
    return sum(_is_typical_name(cell, cells) for cell, cells in zip(first, below, strict=True)) > 1


def _has_known_word(name: str) -> bool:
    return not _NAME_WORDS.isdisjoint(split_name(name))


def _is_typical_name(name: str, cells: Sequence[str]) -> bool:
    """Return True for a known word, or for a form that names have and the cells have not: `v1`, `text_lang`."""
    is_numbered = bool(_NUMBERED.fullmatch(name)) and not any(map(_NUMBERED.fullmatch, cells))
    is_known = _has_known_word(name) or not _MORE_NAME_WORDS.isdisjoint(split_name(name))
    return is_numbered or is_known or ("_" in name and not any("_" in cell for cell in cells))


def _find_longest(profiles: Sequence[Profile]) -> int:
    """Return the column with the longest values that are not numbers, dates, ids and the like."""
    return max(range(len(profiles)), key=lambda column: (not profiles[column].kind, profiles[column].length))
