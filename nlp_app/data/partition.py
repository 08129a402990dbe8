"""Cross-validation folds, and the size limit of a held-out dev set."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from nlp_app.core.errors import DataError


def assign_folds(examples: Sequence[Hashable], folds: int, seed: int, path: str) -> list[int]:
    """Assign each example to a cross-validation fold.

    Examples are shuffled. Equal examples go to the same fold, and the folds have about the same size.

    Args:
        examples: The examples; equal ones compare equal.
        folds: Number of folds.
        seed: Seed of the shuffling.
        path: File of the examples, for the error message.

    Returns:
        The fold number of each example, from 0 to `folds - 1`.

    Raises:
        DataError: There are fewer different examples than folds.
    """
    groups: dict[Hashable, list[int]] = {}
    for index, example in enumerate(examples):
        groups.setdefault(example, []).append(index)
    if len(groups) < folds:
        raise DataError(
            f"found {len(groups)} different sentences, expected at least one for each of {folds} folds; "
            "use fewer --folds, or more data",
            path,
        )
    members = list(groups.values())
    order = np.random.default_rng(seed).permutation(len(members)).tolist()
    sizes, assigned = [0] * folds, [0] * len(examples)
    # Assign the largest groups first, so that small groups can even out the sizes. The sort is stable: groups of the
    # same size stay shuffled.
    for group in sorted((members[number] for number in order), key=len, reverse=True):
        fold = sizes.index(min(sizes))
        sizes[fold] += len(group)
        for index in group:
            assigned[index] = fold
    return assigned


# Maximum number of sentences or texts in a held-out dev set. More would hardly make scores more reliable, and the dev
# set is kept in memory.
MAX_HELD_OUT = 20_000
