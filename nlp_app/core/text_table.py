"""Format tables, labels and lists of names for a terminal, also with wide characters."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

_WIDEST = 32  # columns of a label


def shorten(label: str, widest: int = _WIDEST) -> str:
    """Shorten a label to a width, with an ellipsis at the end. Characters that aren't printable become escapes.

    Args:
        label: The label.
        widest: Largest width, in terminal columns.

    Returns:
        The label in one line of at most `widest` columns.
    """
    printable = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in label)
    if display_width(printable) <= widest:
        return printable
    start, columns_left = "", widest - 1
    for character in printable:
        columns_left -= display_width(character)
        if columns_left < 0:
            break
        start += character
    return start + "…"


def format_names(names: Iterable[str], limit: int = 8) -> str:
    """Join names in alphabetical order, for a message.

    Args:
        names: The names.
        limit: Largest number of names to list. If there are more, the total is added.

    Returns:
        A list such as `LOC, ORG, PER` or `A, B, ... (12 in all)`.
    """
    ordered = sorted(names)
    return ", ".join(ordered[:limit]) + (f", ... ({len(ordered):,} in all)" if len(ordered) > limit else "")


def printable(text: str) -> str:
    """Escape characters that a terminal would hide or run as a control sequence.

    Args:
        text: The text.

    Returns:
        The text, with an escape sequence in place of each of these characters.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def display_width(text: str) -> int:
    """Measure the width of a text on a terminal.

    Args:
        text: The text, one line.

    Returns:
        The number of columns: 2 for a wide character (Unicode Standard Annex 11), 0 for a combining mark, 1 otherwise.
    """
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def format_table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Align the columns of a table: the first one to the left, the others to the right.

    Args:
        rows: The rows, all with the same number of cells.

    Returns:
        One line per row, without trailing spaces.
    """
    widths = [max(map(display_width, column)) for column in zip(*rows, strict=True)]
    lines = []
    for title, *cells in rows:
        padded = [title + " " * (widths[0] - display_width(title))]
        padded += [" " * (width - display_width(cell)) + cell for width, cell in zip(widths[1:], cells, strict=True)]
        lines.append("  ".join(padded).rstrip())
    return lines
