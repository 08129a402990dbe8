"""N-grams spelled out as tuples of strings: the reference for hashed n-gram keys."""

from __future__ import annotations

Gram = tuple[str | None, ...]  # None: the edge of a text or word


def windows(parts: list[str], order: int) -> list[Gram]:
    """Runs of `order` parts, the edges counted as parts."""
    padded = [None, *parts, None]
    return [tuple(padded[start : start + order]) for start in range(len(padded) - order + 1)]


def spell_words(text: list[str], order: int) -> list[Gram]:
    if not text:
        return []
    return [(word,) for word in text] if order == 1 else windows(text, order)


def spell_characters(text: list[str], order: int) -> list[Gram]:
    if order == 1:
        return []
    long = [list(word) for word in text if len(word) > 1]
    return [gram for word in long for gram in windows(word, order) if order < len(word) + 2]


def spell_skips(text: list[str], order: int) -> list[Gram]:
    """Pairs around a third word: the only order there is."""
    return [(one, other) for one, _, other in windows(text, 3)] if text and order == 1 else []
