"""Hold out part of the training sentences as a dev set."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from nlp_app.core.errors import DataError
from nlp_app.data.partition import MOST_HELD_OUT
from nlp_app.data.tagging.corpus import Corpus
from nlp_app.storage.sentences import Places, StoredSentences, select_sentences, to_stored_sentences


def hold_out_sentences(train: Corpus, share: float, seed: int, most: int = MOST_HELD_OUT) -> tuple[Corpus, Corpus]:
    """Cut a dev part of about `share` of the sentences, `most` at most, from a training corpus; train and dev.

    Equal sentences stay on one side, and a label that training would lose stays in training. Raises DataError if
    nothing can be held out.
    """
    held = np.zeros(len(train.sentences), dtype=np.bool_)
    held[_held_places(to_stored_sentences(train.sentences), share, seed, most)] = True
    if not held.any():
        raise DataError("found too few different sentences to hold some out as dev; give --dev FILE", train.path)
    parts = [select_sentences(train.sentences, np.flatnonzero(held == wanted)) for wanted in (False, True)]
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
