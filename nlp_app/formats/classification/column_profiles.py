"""Statistics of the values of a column or key, as evidence for texts and labels."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

BINARY_VALUES = frozenset({"0", "1", "0.0", "1.0", "true", "false"})

_TRUTH_VALUES = frozenset({"true", "false"})

_MAX_LABEL_LENGTH = 60  # mean number of characters

_MIN_ROWS = 20  # with fewer rows, a value that occurs only once is no evidence

_MIN_IDS = 4  # with fewer rows, labels such as `c1` and `c2` may all differ

_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")

_FRACTION = re.compile(r"[+-]?[0-9]+\.[0-9]*[1-9][0-9]*")

_CLOCK = r"[0-9]{1,2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?"

_DAY = r"[0-9]{1,4}[-/.][0-9]{1,2}[-/.][0-9]{1,4}"

_ZONE = r"Z|UTC|[AaPp][Mm]|[+-][0-9]{2}:?[0-9]{2}"

_DATE = re.compile(rf"({_DAY}([T ]{_CLOCK})?|{_CLOCK}) ?({_ZONE})?")

_MONTH = re.compile(r"\b(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\b", re.IGNORECASE)

_DATE_WORD = re.compile(
    rf"[0-9]{{1,4}}(st|nd|rd|th)?|{_CLOCK}|(?i:mon|tue|wed|thu|fri|sat|sun)[a-z]*|[A-Z]{{2,4}}|[+-][0-9]{{4}}"
)

_ADDRESS = re.compile(r"(https?://|www\.)\S+")

_ID = re.compile(r"(?=[!-~]*[0-9])[!-~]+")


class Profile(NamedTuple):
    """Statistics of a column's cells in the sample, without empty cells.

    Attributes:
        filled: The number of cells.
        distinct: The number of distinct values.
        length: The mean number of characters.
        kind: `number`, `fraction` (a number that is not whole), `truth`, `date`, `address` or `id` if all values are of
            this kind; otherwise empty.
        is_binary: True if all cells are 0 or 1, or true or false.
        is_single_words: True if all values are single words of ASCII characters.
    """

    filled: int
    distinct: int
    length: float
    kind: str
    is_binary: bool
    is_single_words: bool

    @property
    def is_numeric(self) -> bool:
        """True if all cells are numbers."""
        return self.kind in ("number", "fraction")

    @property
    def repeats(self) -> bool:
        """True if values repeat as labels do: each value twice on average, or too few rows to say."""
        return self.filled < 4 or 2 * self.distinct <= self.filled

    @property
    def repeats_often(self) -> bool:
        """True if the column has few short values, and each occurs ten times on average."""
        return self.filled >= _MIN_ROWS and 10 * self.distinct <= self.filled and self.length <= _MAX_LABEL_LENGTH

    @property
    def may_be_text(self) -> bool:
        """True if the values are not numbers, dates, ids, addresses or truth values."""
        return bool(self.filled) and not self.kind

    @property
    def may_be_named_text(self) -> bool:
        """True if the values fit a name that only contains a word for texts: not a few words that repeat, either."""
        return self.may_be_text and not (self.is_single_words and self.filled >= 4 and self.repeats)

    @property
    def may_be_label(self) -> bool:
        """True if the column may contain labels: short values that repeat."""
        is_row_number = self.is_numeric and self.filled > 1 and self.distinct == self.filled
        is_label_kind = self.kind not in ("date", "address", "id")
        is_short = bool(self.filled) and self.length <= _MAX_LABEL_LENGTH
        return is_short and is_label_kind and self.repeats and not is_row_number

    @property
    def may_be_named_label(self) -> bool:
        """True if the values fit a name that only contains a word for labels."""
        is_row_number = self.kind == "number" and self.filled >= _MIN_IDS and self.distinct == self.filled
        return bool(self.filled) and self.kind in ("", "number") and not is_row_number

    def may_be_label_of(self, text: Profile) -> bool:
        """Return True if a column with many values may still be a text column's label.

        Args:
            text: The text column.

        Returns:
            True if the values are short, and some of them repeat.
        """
        is_few = self.distinct < self.filled or self.filled < _MIN_ROWS
        is_short = self.length <= _MAX_LABEL_LENGTH and 1.5 * self.length <= text.length
        return is_short and is_few and self.kind not in ("date", "address", "id")

    def is_text_rather_than(self, other: Profile) -> bool:
        """Return True if this column, rather than another one, contains the texts.

        Args:
            other: The other column.

        Returns:
            True if this one is clearly longer, or has many different values while the values of the other repeat. If
            the other one has different values of several words, too, longer means three times as long.
        """
        is_other_text = (
            other.filled >= 4 and other.may_be_named_text and not other.is_single_words and not other.repeats
        )
        is_longer = self.length >= (3 if is_other_text else 1.5) * other.length
        return is_longer or (not self.repeats and 4 * other.distinct <= self.distinct)


def profile_cells(cells: Sequence[str]) -> Profile:
    """Collect the statistics of a column.

    Args:
        cells: The cells of the sample.

    Returns:
        The statistics.
    """
    filled = [cell.strip() for cell in cells if cell.strip()]
    distinct = set(filled)
    return Profile(
        len(filled),
        len(distinct),
        sum(map(len, filled)) / max(len(filled), 1),
        _kind(distinct, len(filled)),
        bool(filled) and {value.lower() for value in distinct} <= BINARY_VALUES,
        all(value.isascii() and " " not in value for value in distinct),
    )


def profile_values(values: Iterable[object]) -> Profile:
    """Collect the statistics of values from JSON or Arrow.

    Args:
        values: The values of the sample. The elements of a list count as values; objects are not counted.

    Returns:
        The statistics.
    """
    cells: list[str] = []
    for value in values:
        for entry in value if isinstance(value, list) else [value]:
            cells.append("" if entry is None or isinstance(entry, list | dict) else str(entry))
    return profile_cells(cells)


def _kind(values: Iterable[str], filled: int) -> str:
    distinct = list(values)
    kinds: list[tuple[str, Callable[[str], object]]] = [
        ("number", _NUMBER.fullmatch),
        ("truth", lambda value: value.lower() in _TRUTH_VALUES),
        ("date", _is_date),
        ("address", _ADDRESS.fullmatch),
    ]
    for kind, matches in kinds:
        if distinct and all(map(matches, distinct)):
            return "fraction" if kind == "number" and any(map(_FRACTION.fullmatch, distinct)) else kind
    is_id = len(distinct) == filled >= _MIN_IDS and all(map(_ID.fullmatch, distinct))
    return "id" if is_id else ""


def _is_date(value: str) -> bool:
    if _DATE.fullmatch(value):
        return True
    words = re.split(r"[\s,]+", value.strip("., "))
    rest = [word for word in words if not _MONTH.fullmatch(word)]
    return (
        len(value) <= 40
        and 1 < len(words) == len(rest) + 1
        and any(map(str.isdecimal, rest))
        and all(map(_DATE_WORD.fullmatch, rest))
    )
