"""Dev where no file is named for it: a share of the training data, of which equal texts stay on one side and which no
label is lost to."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nlp_app.class_corpus import Texts, text_hash
from nlp_app.corpus import Corpus
from nlp_app.errors import DataError
from nlp_app.features.sentences import Places, StoredSentences, stored, taking
from nlp_app.types import ClassRecord

MOST_HELD_OUT = 20_000  # more sentences or texts than that say nothing new of a model, and dev is kept in memory


def hold_out_sentences(train: Corpus, share: float, seed: int, most: int = MOST_HELD_OUT) -> tuple[Corpus, Corpus]:
    """Cut a dev part of about `share` of the sentences, `most` at most, from a training corpus; train and dev.

    Equal sentences stay on one side, and a label that training would lose stays in training. Raises DataError if
    nothing can be held out.
    """
    held = np.zeros(len(train.sentences), dtype=np.bool_)
    held[_held_places(stored(train.sentences), share, seed, most)] = True
    if not held.any():
        raise DataError("found too few different sentences to hold some out as dev; give --dev FILE", train.path)
    parts = [taking(train.sentences, np.flatnonzero(held == wanted)) for wanted in (False, True)]
    return replace(train, sentences=parts[0]), replace(train, sentences=parts[1])


def _held_places(sentences: StoredSentences, share: float, seed: int, most: int) -> Places:
    """The places of the sentences that are held out: groups of equal ones, in the order of the seed."""
    members, starts = _groups(sentences.hashes)
    left = sentences.sentences_by_label()
    wanted = min(max(1, round(share * len(sentences))), most)
    held: list[Places] = []
    count = 0
    for group in np.random.default_rng(seed).permutation(len(starts) - 1):
        if count >= wanted:
            break
        places = members[starts[group] : starts[group + 1]]
        labels = sentences.sentences_by_label(places)
        if count + len(places) >= len(sentences) or count + len(places) > most or (left == labels)[labels > 0].any():
            continue
        left -= labels
        count += len(places)
        held.append(places)
    sentences.release()
    return np.concatenate([np.zeros(0, dtype=np.int64), *held])


def _groups(hashes: NDArray[np.uint64]) -> tuple[Places, Places]:
    """The places of equal hashes side by side, in the order in which each hash first occurs; and where each group
    starts, (groups + 1,)."""
    _, first, group = np.unique(hashes, return_index=True, return_inverse=True)
    number = np.empty(len(first), dtype=np.int64)
    number[np.argsort(first)] = np.arange(len(first))
    of = number[group]
    return np.argsort(of, kind="stable"), np.concatenate(([0], np.cumsum(np.bincount(of))))


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


def hold_out_texts(texts: Texts, share: float, seed: int, most: int = MOST_HELD_OUT) -> HoldOut:
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


def _last_of_their_label(texts: Texts, chosen: HoldOut) -> set[int]:
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
