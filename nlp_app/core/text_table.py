"""Aligned tables, wide characters, truncated labels and lists of names."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

_WIDEST = 32  # columns of a label


def shorten(label: str, widest: int = _WIDEST) -> str:
    """The label in at most `widest` columns of one line, an ellipsis for the rest, with escapes for what would not
    show."""
    printable = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in label)
    if display_width(printable) <= widest:
        return printable
    kept, room = "", widest - 1
    for character in printable:
        room -= display_width(character)
        if room < 0:
            break
        kept += character
    return kept + "…"


def format_names(names: Iterable[str], most: int = 8) -> str:
    """The first names in alphabetical order, with commas; where there are more than `most`, also how many."""
    known = sorted(names)
    return ", ".join(known[:most]) + (f", ... ({len(known):,} in all)" if len(known) > most else "")


def _printable(text: str) -> str:
    """The text with escapes for what would not show, or would do something, on a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def display_width(text: str) -> int:
    """The columns a text takes on a terminal: two for wide characters (Unicode Standard Annex 11), none for
    marks."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def format_table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns padded to their widest cell: the first to the left, the others to the right."""
    widths = [max(map(display_width, column)) for column in zip(*rows, strict=True)]
    lines = []
    for title, *cells in rows:
        padded = [title + " " * (widths[0] - display_width(title))]
        padded += [" " * (width - display_width(cell)) + cell for width, cell in zip(widths[1:], cells, strict=True)]
        lines.append("  ".join(padded).rstrip())
    return lines
