"""Allowed transitions and span boundaries of a tag scheme."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from nlp_app.labels.schemes import NONE, OUTSIDE, _check, _parse, find_scheme


def allowed_transitions(tags: Sequence[str], scheme: str) -> NDArray[np.bool_]:
    """Build the matrix of tag transitions that a scheme allows.

    A transition is allowed if `encode` can write it. Without a scheme ("none"), everything is allowed but a
    transition into the start or out of the end.

    Args:
        tags: T tags of the scheme.
        scheme: Name of the scheme.

    Returns:
        (T + 2, T + 2) bool; `[i, j]` is True if tag j may follow tag i. Index T is the start of the sentence,
        T + 1 its end.

    Raises:
        SettingsError: If there is no scheme of this name.
        DataError: If a tag is not valid in the scheme.
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
    """Find the pairs of neighboring tags between which `decode` starts or ends a span.

    Args:
        tags: T tags of the scheme.
        scheme: Name of the scheme.

    Returns:
        Two bool arrays: `opens`, (T + 1, T), is True at `[i, j]` if tag j starts a span after tag i (row T: the start
        of the sentence). `closes`, (T, T + 1), is True at `[i, j]` if a span that contains tag i ends before tag j
        (column T: the end of the sentence).

    Raises:
        SettingsError: If there is no scheme of this name.
        DataError: If a tag is not valid in the scheme.
    """
    rules = find_scheme(scheme)
    count = len(tags)
    if rules.name == NONE:
        return np.ones((count + 1, count), dtype=np.bool_), np.ones((count, count + 1), dtype=np.bool_)
    inside = np.array([_check(tag, rules)[0] != OUTSIDE for tag in tags], dtype=np.bool_)
    boundary = _pairs([*tags, OUTSIDE], rules.is_boundary)
    return boundary[:, :count] & inside[None, :], boundary[:count, :] & inside[:, None]


def _pairs(tags: Sequence[str], relation: Callable[[str, str], bool]) -> NDArray[np.bool_]:
    """Evaluate a relation for all pairs of tags: (T, T) bool, row's tag first.

    The relation depends only on the two letters and on whether the types are equal. There may be thousands of tags,
    so it is called only once for each pair of letters with equal types and once with different types.
    """
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
