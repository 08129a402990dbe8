"""N-grams of texts as 64-bit keys: sequences of words, and sequences of characters within a word.

They are computed on whole columns, for many texts together, without building strings. The tokenizer makes each Chinese
character a word, so the character n-grams of Chinese are word n-grams.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nlp_app.features.feature_index import Keys, mix_bits
from nlp_app.text.codepoints import code_points

_SPACE = 0x20

_SKIP = np.uint64(0xD6E8FEB86659FD93)  # distinguishes a pair with a gap from a pair of adjacent words

_EDGE = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F], dtype=np.uint64)  # hashes of the marks around a text


class NgramRange(NamedTuple):
    """The lengths of n-grams.

    Attributes:
        shortest: Minimum number of parts (words or characters).
        longest: Maximum number of parts. 0: no n-grams.
    """

    shortest: int
    longest: int


class WordCharacters(NamedTuple):
    """The words of many texts, concatenated, as code points.

    Attributes:
        points: Code points of the words, with a space before and after each word.
        starts: (words,) position of each word's first code point.
        lengths: (words,) number of code points of each word.
        texts: (words,) number of each word's text.
    """

    points: NDArray[np.uint32]
    starts: NDArray[np.intp]
    lengths: NDArray[np.intp]
    texts: NDArray[np.intp]


Ngrams = tuple[Keys, NDArray[np.intp]]  # the keys of n-grams, and the number of each one's text


def word_characters(norms: Sequence[str], counts: Sequence[int]) -> WordCharacters:
    """Convert the words of many texts to code points.

    Args:
        norms: Words of all texts, concatenated; none is empty or contains a space.
        counts: (texts,) number of words of each text.

    Returns:
        The words as code points.
    """
    points = code_points(f" {' '.join(norms)} ") if norms else np.zeros(0, dtype=np.uint32)
    breaks = (points == _SPACE).nonzero()[0]
    starts = breaks[:-1] + 1
    return WordCharacters(points, starts, breaks[1:] - starts, np.repeat(np.arange(len(counts)), counts))


class MarkedWords(NamedTuple):
    """The words of many texts as hashes, with a mark before and after the words of each text.

    n is the number of words, plus two for each text that has words.

    Attributes:
        hashes: (n,) hashes of the words and marks.
        inner: (n,) False for the marks.
        texts: (n,) number of each one's text.
    """

    hashes: Keys
    inner: NDArray[np.bool_]
    texts: NDArray[np.intp]


def mark_text_ends(words: WordCharacters, counts: Sequence[int]) -> MarkedWords:
    """Hash the words, and mark the start and end of each text.

    The first and last words of a text thereby become features of their own.

    Args:
        words: The words as code points.
        counts: (texts,) number of words of each text.

    Returns:
        The hashes, with marks.
    """
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


def word_keys(words: MarkedWords, orders: NgramRange) -> Ngrams:
    """Compute the keys of word n-grams; those at a text's start or end include the mark.

    Args:
        words: Hashes of the words, with marks.
        orders: Lengths of the n-grams.

    Returns:
        Keys of the n-grams, and the number of each one's text.
    """
    hashes, inner, texts = words
    key = mix_bits(hashes)  # without this, the sum of two hashes would be the same in either order
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
    return _concatenate(keys, owners)


def skip_gram_keys(words: MarkedWords) -> Ngrams:
    """Compute the keys of word pairs with one arbitrary word between them.

    Args:
        words: Hashes of the words, with marks.

    Returns:
        Keys of the pairs, and the number of each one's text.
    """
    hashes, _, texts = words
    if len(hashes) < 3:
        return _concatenate([], [])
    chosen = texts[:-2] == texts[2:]
    return mix_bits(mix_bits(hashes[:-2] + _SKIP) + hashes[2:])[chosen], texts[:-2][chosen]


def character_keys(words: WordCharacters, orders: NgramRange) -> Ngrams:
    """Compute the keys of character n-grams within words of two or more characters.

    The start and the end of a word count as a character each. An n-gram never covers a whole word, which is a word
    n-gram already.

    Args:
        words: The words as code points.
        orders: Lengths of the n-grams.

    Returns:
        Keys of the n-grams, and the number of each one's text.
    """
    long = words.lengths > 1
    if not long.any() or not orders.longest:
        return _concatenate([], [])
    points, texts = _select_words(words, long)
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
        whole = before[reach - 1 : reach - 1 + len(key)] == before[: len(key)]  # no space within
        chosen = whole & ~(first & last)
        keys.append(key[chosen])
        owners.append(texts[: len(key)][chosen])
    return _concatenate(keys, owners)


def _select_words(words: WordCharacters, chosen: NDArray[np.bool_]) -> tuple[NDArray[np.uint32], NDArray[np.intp]]:
    """Return the code points of the selected words, with spaces around each, and the text of each code point."""
    lengths, texts = words.lengths[chosen] + 1, words.texts[chosen]  # with the space after it
    sources = np.repeat(words.starts[chosen] - np.concatenate(([0], np.cumsum(lengths)[:-1])), lengths)
    places = np.arange(len(sources)) + sources
    points = np.concatenate((np.array([_SPACE], dtype=np.uint32), words.points[places]))
    owners = np.repeat(texts, lengths)
    # A space ends a word and starts the next one. N-grams belong to the text of their first code point, so it gets the
    # text of the next word.
    owner = np.concatenate((owners[:1], owners))
    follows = np.flatnonzero(points == _SPACE)[:-1]
    owner[follows] = texts
    return points, owner


def _word_hashes(words: WordCharacters) -> Keys:
    """Hash each word, from its code points and their positions."""
    if not len(words.starts):
        return np.zeros(0, dtype=np.uint64)
    points = words.points[1:]  # without the first space, the column is a sequence of words with a space after each
    begins = words.starts - 1
    places = np.arange(len(points)) - np.repeat(begins, words.lengths + 1)
    mixed = mix_bits(points + (places.astype(np.uint64) << np.uint64(32)))
    mixed[points == _SPACE] = 0
    return mix_bits(np.add.reduceat(mixed, begins))


def _concatenate(keys: list[Keys], owners: list[NDArray[np.intp]]) -> Ngrams:
    if not keys:
        return np.zeros(0, dtype=np.uint64), np.zeros(0, dtype=np.intp)
    return np.concatenate(keys), np.concatenate(owners)
