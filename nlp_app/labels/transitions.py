"""Allowed transitions and span boundaries of a tag scheme."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from nlp_app.labels.schemes import NONE, OUTSIDE, _check, _parse, find_scheme


def allowed_transitions(tags: Sequence[str], scheme: str) -> NDArray[np.bool_]:
    """(T + 2, T + 2) bool: may the column's tag follow the row's? T is the sentence's start, T + 1 its end.

    Exactly the pairs that `encode` can write. `none`: everything but into the start and out of the end.
    """
    rules = find_scheme(scheme)
    allowed = np.ones((len(tags) + 2, len(tags) + 2), dtype=np.bool_)
    if rules.name != NONE:
        for tag in tags:
            _check(tag, rules)
        allowed[:] = _pairs([*tags, OUTSIDE, OUTSIDE], rules.allows)
    allowed[:, len(tags)] = False
    allowed[len(tags) + 1, :] = False
    return allowed


def segment_boundaries(tags: Sequence[str], scheme: str) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Where spans begin and end, as `decode` reads any sequence of these T tags: two bool arrays.

    `opens` (T + 1, T): after the row's tag (row T: the sentence's start) the column's tag begins a new span.
    `closes` (T, T + 1): before the column's tag (column T: the sentence's end) a span with the row's tag
    ends.
    """
    rules = find_scheme(scheme)
    count = len(tags)
    if rules.name == NONE:
        return np.ones((count + 1, count), dtype=np.bool_), np.ones((count, count + 1), dtype=np.bool_)
    inside = np.array([_check(tag, rules)[0] != OUTSIDE for tag in tags], dtype=np.bool_)
    divided = _pairs([*tags, OUTSIDE], rules.divides)
    return divided[:, :count] & inside[None, :], divided[:count, :] & inside[:, None]


def _pairs(tags: Sequence[str], relation: Callable[[str, str], bool]) -> NDArray[np.bool_]:
    """(T, T) bool: the relation of the row's tag to the column's. It depends on their letters, and whether their types
    are the same, so it is asked for these alone: there may be thousands of tags."""
    parsed = [_parse(tag) for tag in tags]
    letters = {letter: number for number, letter in enumerate(dict.fromkeys(letter for letter, _ in parsed))}
    types = {label: number for number, label in enumerate(dict.fromkeys(label for _, label in parsed))}
    same, other = (
        np.array([[relation(f"{one}-x", f"{two}-{label}") for two in letters] for one in letters], dtype=np.bool_)
        for label in ("x", "y")
    )
    columns = np.array([letters[letter] for letter, _ in parsed])
    rows, numbers = columns[:, None], np.array([types[label] for _, label in parsed])
    related: NDArray[np.bool_] = np.where(numbers[:, None] == numbers, same[rows, columns], other[rows, columns])
    return related
