"""Hold out part of the training texts as a dev set."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nlp_app.core.errors import DataError
from nlp_app.core.hashing import text_hash
from nlp_app.core.types import ClassRecord
from nlp_app.data.classification.scan import LabeledTexts
from nlp_app.data.partition import MAX_HELD_OUT


@dataclass(frozen=True)
class HoldOut:
    """A rule that selects the dev texts of a training file by their hashes, so that equal texts stay together.

    A text is in the dev set if its salted hash is below the threshold and not excluded: `record in hold_out`.

    Attributes:
        salt: Salt of the hashes.
        threshold: Texts with a smaller hash are held out.
        excluded: Hashes below the threshold whose texts stay in training nevertheless.
    """

    salt: int
    threshold: int
    excluded: frozenset[int] = frozenset()

    def __contains__(self, record: object) -> bool:
        if not isinstance(record, ClassRecord):
            return False
        hashed = text_hash(record.text, self.salt)
        return hashed < self.threshold and hashed not in self.excluded


def hold_out_texts(texts: LabeledTexts, share: float, seed: int, limit: int = MAX_HELD_OUT) -> HoldOut:
    """Select about a share of the different texts as a dev set, at random.

    Equal texts stay together, and the selection is not stratified by class. The last texts of a class stay in training,
    and so does a text that has more than `limit` copies.

    Args:
        texts: The labeled texts; iterated twice.
        share: Share of the different texts to hold out, between 0 and 1.
        seed: Seed of the selection.
        limit: Maximum number of texts to hold out, copies included.

    Returns:
        The rule that selects the dev texts.

    Raises:
        DataError: No text can be held out.
    """
    salt = seed % (1 << 63) + 1  # never 0, the salt of the hashes that detect duplicates
    hashes = np.fromiter((text_hash(record.text, salt) for record in texts), dtype=np.uint64)
    if not len(hashes):
        raise DataError("found no text with a label that isn't empty; add labeled texts", texts.file.path)
    distinct, counts = np.unique(hashes, return_counts=True)
    small = counts <= limit
    fitting = int(np.searchsorted(np.cumsum(counts[small]), limit, side="right"))
    n_held_out = min(max(1, round(share * len(distinct))), len(distinct) - 1, fitting)
    if n_held_out < 1:
        raise DataError(
            "found too few different texts to hold out a dev set; name a dev file with --dev FILE", texts.file.path
        )
    threshold = int(distinct[small][n_held_out - 1]) + 1
    too_frequent = {hashed for hashed in distinct[~small].tolist() if hashed < threshold}
    needed = _needed_in_training(texts, HoldOut(salt, threshold, frozenset(too_frequent)))
    if len(needed) == n_held_out:
        raise DataError(
            "can't hold out a dev set without losing a class in training; name a dev file with --dev FILE",
            texts.file.path,
        )
    return HoldOut(salt, threshold, frozenset(needed | too_frequent))


def _needed_in_training(texts: LabeledTexts, selected: HoldOut) -> set[int]:
    """Return the hashes of selected texts with a label that no training text has."""
    trained: set[str] = set()
    hashes_by_label: dict[str, set[int]] = {}  # of the selected texts
    for record in texts:
        is_selected = record in selected
        for label in record.labels or ():
            if is_selected:
                hashes_by_label.setdefault(label, set()).add(text_hash(record.text, selected.salt))
            else:
                trained.add(label)
    return {hashed for label, hashes in hashes_by_label.items() if label not in trained for hashed in hashes}
