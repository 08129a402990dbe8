"""Hold out part of the training sentences as a dev set."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from nlp_app.core.errors import DataError
from nlp_app.data.partition import MAX_HELD_OUT
from nlp_app.data.tagging.corpus import Corpus
from nlp_app.storage.sentences import Places, StoredSentences, select_sentences, to_stored_sentences


def hold_out_sentences(train: Corpus, share: float, seed: int, limit: int = MAX_HELD_OUT) -> tuple[Corpus, Corpus]:
    """Split a training corpus into train and dev.

    Sentences are selected at random. Equal sentences stay together, and each label stays in training.

    Args:
        train: The training corpus.
        share: Share of the sentences to hold out, between 0 and 1.
        seed: Seed of the selection.
        limit: Maximum number of sentences to hold out.

    Returns:
        The remaining training corpus and the dev corpus.

    Raises:
        DataError: No sentence can be held out.
    """
    held = np.zeros(len(train.sentences), dtype=np.bool_)
    held[_select(to_stored_sentences(train.sentences), share, seed, limit)] = True
    if not held.any():
        raise DataError(
            "found too few different sentences to hold out a dev set; name a dev file with --dev FILE", train.path
        )
    parts = [select_sentences(train.sentences, np.flatnonzero(held == is_dev)) for is_dev in (False, True)]
    return replace(train, sentences=parts[0]), replace(train, sentences=parts[1])


def _select(sentences: StoredSentences, share: float, seed: int, limit: int) -> Places:
    """Return the indices of the sentences to hold out: groups of equal sentences, in random order."""
    members, starts = _groups(sentences.hashes)
    in_training = sentences.sentences_by_label()
    target = min(max(1, round(share * len(sentences))), limit)
    held: list[Places] = []
    count = 0
    for group in np.random.default_rng(seed).permutation(len(starts) - 1):
        if count >= target:
            break
        indices = members[starts[group] : starts[group + 1]]
        labels = sentences.sentences_by_label(indices)
        new_count = count + len(indices)
        if new_count >= len(sentences) or new_count > limit or (in_training == labels)[labels > 0].any():
            continue
        in_training -= labels
        count = new_count
        held.append(indices)
    sentences.release()
    return np.concatenate([np.zeros(0, dtype=np.int64), *held])


def _groups(hashes: NDArray[np.uint64]) -> tuple[Places, Places]:
    """Sort indices so that equal hashes are adjacent, in order of first occurrence.

    Returns the indices, and the start of each group in them, (groups + 1,).
    """
    _, first, group = np.unique(hashes, return_index=True, return_inverse=True)
    number = np.empty(len(first), dtype=np.int64)
    number[np.argsort(first)] = np.arange(len(first))
    groups = number[group]
    return np.argsort(groups, kind="stable"), np.concatenate(([0], np.cumsum(np.bincount(groups))))
