"""Shares and folds of a corpus."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from nlp_app.core.errors import DataError


def assign_folds(examples: Sequence[Hashable], folds: int, seed: int, path: str) -> list[int]:
    """The fold of each example, from 0: shuffled by the seed, equal examples in one fold, folds of about equal size.

    Raises DataError, which names `path`, if there are fewer different examples than folds.
    """
    groups: dict[Hashable, list[int]] = {}
    for place, example in enumerate(examples):
        groups.setdefault(example, []).append(place)
    if len(groups) < folds:
        raise DataError(
            f"found {len(groups)} different sentences, expected one for each of {folds} folds at least; "
            "give a smaller --folds, or more data",
            path,
        )
    texts = list(groups.values())
    order = np.random.default_rng(seed).permutation(len(texts)).tolist()
    sizes, chosen = [0] * folds, [0] * len(examples)
    # The largest groups first: they are what would make folds unequal. The sort is stable, and keeps the shuffling.
    for group in sorted((texts[place] for place in order), key=len, reverse=True):
        fold = sizes.index(min(sizes))
        sizes[fold] += len(group)
        for place in group:
            chosen[place] = fold
    return chosen


MOST_HELD_OUT = 20_000  # more sentences or texts than that say nothing new of a model, and dev is kept in memory
