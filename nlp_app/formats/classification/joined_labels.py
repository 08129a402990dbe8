"""Find out if classes look like several labels in one cell, such as `food|late`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

# The first ones hardly occur within names; the others do (`Food & Drink`, `TCP/IP`).
_SEPARATORS = {"|": True, "#": True, ";": True, ",": False, "/": False, "+": False, "&": False}


def describe_joined_labels(labels: Iterable[str]) -> str | None:
    """Name the separator of labels that are joined, for the user.

    Args:
        labels: All classes of a file.

    Returns:
        A remark that names the setting; None if no class is made of other classes.
    """
    classes = set(labels)
    for separator, is_rare in _SEPARATORS.items():
        joined, whole = _find_joined(classes, separator, is_rare)
        if joined and 2 * len(joined) >= whole:
            count = f"{len(joined):,} class is" if len(joined) == 1 else f"{len(joined):,} classes are"
            found = f"label: {count} made of other classes, such as {min(joined)!r}"
            return f"{found}; if a cell holds several labels, set data.label_separator={separator!r}"
    return None


def _find_joined(classes: set[str], separator: str, is_rare: bool) -> tuple[list[str], int]:
    """Return the classes whose parts are classes, and the number of classes with the separator.

    A part is a class if it occurs alone or, with a rare separator, in two joined classes.
    """
    parts_of = {
        label: parts
        for label in classes
        if separator in label and len(parts := [part.strip() for part in label.split(separator) if part.strip()]) > 1
    }
    counts = Counter(part for parts in parts_of.values() for part in set(parts))
    known = {part for part, count in counts.items() if part in classes or (is_rare and count > 1)}
    return [label for label, parts in parts_of.items() if known.issuperset(parts)], len(parts_of)
