"""Hold out part of the training texts as a dev set."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nlp_app.core.errors import DataError
from nlp_app.core.hashing import text_hash
from nlp_app.core.types import ClassRecord
from nlp_app.data.classification.scan import LabeledTexts
from nlp_app.data.partition import MOST_HELD_OUT


@dataclass(frozen=True)
class HoldOut:
    """Which texts of a training file are held out as dev, by their hashes: equal texts stay on one side.

    `below`: those whose hash, with the salt, is below; `kept`: hashes of those that stay all the same.
    """

    salt: int
    below: int
    kept: frozenset[int] = frozenset()

    def __contains__(self, record: object) -> bool:
        if not isinstance(record, ClassRecord):
            return False
        found = text_hash(record.text, self.salt)
        return found < self.below and found not in self.kept


def hold_out_texts(texts: LabeledTexts, share: float, seed: int, most: int = MOST_HELD_OUT) -> HoldOut:
    """About `share` of the different texts, with their copies `most` at most, whichever classes they have.

    A class's last texts stay in training, and so does one that alone has more than `most` copies. Raises DataError if
    nothing can be held out.
    """
    salt = seed % (1 << 63) + 1  # not the hash that looks for duplicates
    hashes = np.fromiter((text_hash(record.text, salt) for record in texts), dtype=np.uint64)
    if not len(hashes):
        raise DataError("found no text with a label that isn't empty; training needs some", texts.file.path)
    distinct, counts = np.unique(hashes, return_counts=True)
    few = counts <= most
    fitting = int(np.searchsorted(np.cumsum(counts[few]), most, side="right"))
    wanted = min(max(1, round(share * len(distinct))), len(distinct) - 1, fitting)
    if wanted < 1:
        raise DataError("found too few different texts to hold some out as dev; give --dev FILE", texts.file.path)
    below = int(distinct[few][wanted - 1]) + 1
    many = {found for found in distinct[~few].tolist() if found < below}
    last = _last_of_their_label(texts, HoldOut(salt, below, frozenset(many)))
    if len(last) == wanted:
        raise DataError("found no texts to hold out as dev without losing a class; give --dev FILE", texts.file.path)
    return HoldOut(salt, below, frozenset(last | many))


def _last_of_their_label(texts: LabeledTexts, chosen: HoldOut) -> set[int]:
    """The hashes of those texts that are chosen, but have a label that no other text has."""
    left: set[str] = set()
    held: dict[str, set[int]] = {}  # the hashes of each label's texts
    for record in texts:
        is_held = record in chosen
        for label in record.labels or ():
            if is_held:
                held.setdefault(label, set()).add(text_hash(record.text, chosen.salt))
            else:
                left.add(label)
    return {found for label, hashes_of in held.items() if label not in left for found in hashes_of}
