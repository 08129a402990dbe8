"""Names in a message: the first few of many."""

from __future__ import annotations

from collections.abc import Iterable


def some(names: Iterable[str], most: int = 8) -> str:
    """The first names in alphabetical order, with commas; where there are more than `most`, also how many."""
    known = sorted(names)
    return ", ".join(known[:most]) + (f", ... ({len(known):,} in all)" if len(known) > most else "")
