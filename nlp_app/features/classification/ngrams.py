"""N-grams of a text as 64-bit keys: runs of words, and runs of characters inside a word.

Whole columns are computed at once, for many texts together; no n-gram is ever spelt out. A Chinese character is a word
of its own (the tokenizer has cut it so), and its n-grams are those of words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nlp_app.features.feature_index import Keys, mix_bits
from nlp_app.text.codepoints import code_points

_SPACE = 0x20

_SKIP = np.uint64(0xD6E8FEB86659FD93)

_EDGE = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F], dtype=np.uint64)  # the words before and after a text


class NgramRange(NamedTuple):
    """N-grams of `shortest` to `longest` parts; none if `longest` is 0."""

    shortest: int
    longest: int


class WordCharacters(NamedTuple):
    """The words of many texts, one after the other, as code points: `points` has a space before and after each.

    starts, lengths: (words,), where each begins and its code points; texts: (words,), the number of its text.
    """

    points: NDArray[np.uint32]
    starts: NDArray[np.intp]
    lengths: NDArray[np.intp]
    texts: NDArray[np.intp]


Found = tuple[Keys, NDArray[np.intp]]  # the keys of n-grams, and the text each belongs to


def word_characters(norms: Sequence[str], counts: Sequence[int]) -> WordCharacters:
    """The words `norms` of texts that have `counts` of them each. No norm may be empty or hold a space."""
    points = code_points(f" {' '.join(norms)} ") if norms else np.zeros(0, dtype=np.uint32)
    breaks = (points == _SPACE).nonzero()[0]
    starts = breaks[:-1] + 1
    return WordCharacters(points, starts, breaks[1:] - starts, np.repeat(np.arange(len(counts)), counts))


class MarkedWords(NamedTuple):
    """The words of texts as hashes, those of a text between two marks for its ends; `inner` is False for the marks.

    hashes, inner, texts: (words + 2 * texts that have words,), texts the number of each one's text.
    """

    hashes: Keys
    inner: NDArray[np.bool_]
    texts: NDArray[np.intp]


def mark_text_ends(words: WordCharacters, counts: Sequence[int]) -> MarkedWords:
    """The words with their texts' ends marked: the first word of a text is then a feature of its own."""
    numbers = np.flatnonzero(counts)
    sizes = np.asarray(counts, dtype=np.intp)[numbers] + 2
    ends = np.cumsum(sizes)
    texts = np.repeat(numbers, sizes)
    hashes = np.empty(len(texts), dtype=np.uint64)
    inner = np.ones(len(texts), dtype=bool)
    inner[ends - 1] = inner[ends - sizes] = False
    hashes[ends - sizes], hashes[ends - 1] = _EDGE
    hashes[inner] = _word_hashes(words)
    return MarkedWords(hashes, inner, texts)


def word_keys(words: MarkedWords, orders: NgramRange) -> Found:
    """N-grams of words, those at a text's ends with a mark for the end."""
    hashes, inner, texts = words
    key = mix_bits(hashes)  # not the hash itself: a sum of two of these would be the same in either order
    keys, owners = [], []
    for order in range(1, orders.longest + 1):
        reach = order - 1
        if order > 1:
            key = mix_bits(key[: len(texts) - reach] + hashes[reach:])
        if order < orders.shortest:
            continue
        chosen = inner if order == 1 else texts[: len(key)] == texts[reach:]
        keys.append(key[chosen])
        owners.append(texts[: len(key)][chosen])
    return _joined(keys, owners)


def skip_gram_keys(words: MarkedWords) -> Found:
    """Pairs of words with one word between them, whichever it is."""
    hashes, _, texts = words
    if len(hashes) < 3:
        return _joined([], [])
    chosen = texts[:-2] == texts[2:]
    return mix_bits(mix_bits(hashes[:-2] + _SKIP) + hashes[2:])[chosen], texts[:-2][chosen]


def character_keys(words: WordCharacters, orders: NgramRange) -> Found:
    """N-grams of characters within each word of two or more, a word's ends counted as characters; never a whole word,
    which is a feature already."""
    long = words.lengths > 1
    if not long.any() or not orders.longest:
        return _joined([], [])
    points, texts = _only(words, long)
    breaks = points == _SPACE
    before = np.cumsum(breaks)
    key = mix_bits(points.astype(np.uint64))
    keys, owners = [], []
    for order in range(2, orders.longest + 1):
        reach = order - 1
        key = mix_bits(key[: len(points) - reach] + points[reach:])
        if order < max(orders.shortest, 2):
            continue
        first, last = breaks[: len(key)], breaks[reach:]
        whole = before[reach - 1 : reach - 1 + len(key)] == before[: len(key)]  # no break but at the ends
        chosen = whole & ~(first & last)
        keys.append(key[chosen])
        owners.append(texts[: len(key)][chosen])
    return _joined(keys, owners)


def _only(words: WordCharacters, chosen: NDArray[np.bool_]) -> tuple[NDArray[np.uint32], NDArray[np.intp]]:
    """The points of the chosen words, a space before and after each, and the text of each point."""
    lengths, texts = words.lengths[chosen] + 1, words.texts[chosen]  # with the space after it
    sources = np.repeat(words.starts[chosen] - np.concatenate(([0], np.cumsum(lengths)[:-1])), lengths)
    places = np.arange(len(sources)) + sources
    points = np.concatenate((np.array([_SPACE], dtype=np.uint32), words.points[places]))
    owners = np.repeat(texts, lengths)
    # A space is the end of the word before it and the beginning of the next one: as a beginning, it is the next text's.
    owner = np.concatenate((owners[:1], owners))
    follows = np.flatnonzero(points == _SPACE)[:-1]
    owner[follows] = texts
    return points, owner


def _word_hashes(words: WordCharacters) -> Keys:
    """A hash of each word, of its code points and their places."""
    if not len(words.starts):
        return np.zeros(0, dtype=np.uint64)
    points = words.points[1:]  # each word now begins where the one before ends, with the space after it
    begins = words.starts - 1
    places = np.arange(len(points)) - np.repeat(begins, words.lengths + 1)
    mixed = mix_bits(points + (places.astype(np.uint64) << np.uint64(32)))
    mixed[points == _SPACE] = 0
    return mix_bits(np.add.reduceat(mixed, begins))


def _joined(keys: list[Keys], owners: list[NDArray[np.intp]]) -> Found:
    if not keys:
        return np.zeros(0, dtype=np.uint64), np.zeros(0, dtype=np.intp)
    return np.concatenate(keys), np.concatenate(owners)
