"""Keys of n-grams against n-grams that are spelt out: one key for each n-gram, wherever it stands."""

from __future__ import annotations

from collections import Counter
from itertools import chain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlp_app.features.ngrams import Found, Orders, character_keys, word_keys, words_of

Gram = tuple[str | None, ...]  # None: the edge of a text or word

ALPHABET = "ab<>^$_\x01é中国😀𠀀\ud800\uffff"
words = st.text(ALPHABET, min_size=1, max_size=6)
texts_of_words = st.lists(st.lists(words, max_size=6), max_size=6)
orders = st.tuples(st.integers(1, 4), st.integers(0, 9)).map(lambda pair: Orders(*pair))


def windows(parts: list[str], order: int) -> list[Gram]:
    """Runs of `order` parts, the edges counted as parts."""
    padded = [None, *parts, None]
    return [tuple(padded[start : start + order]) for start in range(len(padded) - order + 1)]


def spelt_words(text: list[str], order: int) -> list[Gram]:
    if not text:
        return []
    return [(word,) for word in text] if order == 1 else windows(text, order)


def spelt_characters(text: list[str], order: int) -> list[Gram]:
    if order == 1:
        return []
    long = [list(word) for word in text if len(word) > 1]
    return [gram for word in long for gram in windows(word, order) if order < len(word) + 2]


def found_words(texts: list[list[str]], orders: Orders) -> Found:
    counts = list(map(len, texts))
    return word_keys(words_of(list(chain(*texts)), counts), counts, orders)


def found_characters(texts: list[list[str]], orders: Orders) -> Found:
    return character_keys(words_of(list(chain(*texts)), list(map(len, texts))), orders)


KINDS = [(found_words, spelt_words), (found_characters, spelt_characters)]


@pytest.mark.parametrize(("find", "spell"), KINDS, ids=["words", "characters"])
@given(texts_of_words, orders)
def test_each_ngram_has_one_key_and_each_key_one_ngram(find, spell, texts, orders) -> None:
    keys, owners = find(texts, orders)
    # The shorter ones first, then from left to right.
    spelt = [
        (gram, number)
        for order in range(orders.shortest, orders.longest + 1)
        for number, text in enumerate(texts)
        for gram in spell(text, order)
    ]
    assert keys.dtype == np.uint64
    assert owners.tolist() == [number for _, number in spelt]
    pairs = set(zip(keys.tolist(), (gram for gram, _ in spelt), strict=True))
    assert len(pairs) == len({key for key, _ in pairs}) == len({gram for _, gram in pairs})


@pytest.mark.parametrize(("find", "spell"), KINDS, ids=["words", "characters"])
@given(texts_of_words, st.randoms(use_true_random=False))
def test_keys_of_a_text_are_the_same_in_any_company(find, spell, texts, random) -> None:
    order = random.sample(range(len(texts)), len(texts))
    keys, owners = find([texts[number] for number in order], Orders(1, 5))
    for place, number in enumerate(order):
        alone, owner = find([texts[number]], Orders(1, 5))
        assert not owner.any()
        assert Counter(keys[owners == place].tolist()) == Counter(alone.tolist())


def test_edges_are_features_of_their_own() -> None:
    keys, _ = found_words([["a", "b"]], Orders(2, 2))
    assert len(set(keys.tolist())) == 3  # before a, a b, after b
    (first, *_), _ = found_words([["a", "c"]], Orders(2, 2))
    assert first == keys[0]
    for texts in ([["b", "a"]], [["a"], ["b"]]):
        assert keys[1] not in found_words(texts, Orders(2, 2))[0]
    begin, _ = found_characters([["ab"]], Orders(2, 2))
    assert len(set(begin.tolist())) == 3  # <a, ab, b>
    assert found_characters([["ab"]], Orders(4, 9))[0].tolist() == []  # <ab> is the word itself
    assert found_characters([["a", "b"], ["中"]], Orders(1, 9))[0].tolist() == []


def test_the_order_of_words_and_characters_counts() -> None:
    for find, one, other in (
        (found_words, [["a", "b", "c"]], [["b", "a", "c"]]),
        (found_words, [["ab", "c"]], [["a", "bc"]]),
        (found_characters, [["abc"]], [["bac"]]),
    ):
        for order in (2, 3):
            assert set(find(one, Orders(order, order))[0].tolist()) != set(find(other, Orders(order, order))[0].tolist())
    same, _ = found_words([["ab"], ["ba"], ["aab"], ["aba"], ["\x01a"], ["a"]], Orders(1, 1))
    assert len(set(same.tolist())) == 6


def test_keys_are_kept_in_models_so_they_never_change() -> None:
    """With other keys, models that were saved would know no n-gram any more: raise the directory's format then."""
    keys = [*found_words([["a", "中"]], Orders(1, 2))[0].tolist(), *found_characters([["a😀"]], Orders(2, 2))[0].tolist()]
    assert [hex(key) for key in keys] == GOLDEN


GOLDEN: list[str] = []


@pytest.mark.parametrize("texts", [[], [[]], [[], []]])
def test_nothing(texts: list[list[str]]) -> None:
    for find in (found_words, found_characters):
        for found in (find(texts, Orders(1, 9)), find([["ab"]], Orders(1, 0))):
            assert [len(column) for column in found] == [0, 0]
