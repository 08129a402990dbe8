"""Keys of n-grams against n-grams that are spelt out: one key for each n-gram, wherever it stands."""

from __future__ import annotations

from collections import Counter
from itertools import chain
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from spelled_ngrams import spell_characters, spell_skips, spell_words

from nlp_app.features.classification.ngrams import (
    NgramRange,
    Ngrams,
    character_keys,
    mark_text_ends,
    skip_gram_keys,
    word_characters,
    word_keys,
)

ALPHABET = "ab<>^$_\x01é中国😀𠀀\ud800\uffff"
words = st.text(ALPHABET, min_size=1, max_size=6)
texts_of_words = st.lists(st.lists(words, max_size=6), max_size=6)
orders = st.tuples(st.integers(1, 4), st.integers(0, 9)).map(lambda pair: NgramRange(*pair))


def found_words(texts: list[list[str]], orders: NgramRange) -> Ngrams:
    counts = list(map(len, texts))
    return word_keys(mark_text_ends(word_characters(list(chain(*texts)), counts), counts), orders)


def found_characters(texts: list[list[str]], orders: NgramRange) -> Ngrams:
    return character_keys(word_characters(list(chain(*texts)), list(map(len, texts))), orders)


def found_skips(texts: list[list[str]], orders: NgramRange) -> Ngrams:
    counts = list(map(len, texts))
    return skip_gram_keys(mark_text_ends(word_characters(list(chain(*texts)), counts), counts))


KINDS = {
    "words": (found_words, spell_words),
    "characters": (found_characters, spell_characters),
    "skips": (found_skips, spell_skips),
}


@pytest.mark.parametrize("kind", KINDS)
@given(texts_of_words, orders)
def test_each_ngram_has_one_key_and_each_key_one_ngram(kind: str, texts: list[list[str]], orders: NgramRange) -> None:
    find, spell = KINDS[kind]
    orders = orders if kind != "skips" else NgramRange(1, 1)
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


@pytest.mark.parametrize("kind", KINDS)
@given(texts_of_words, st.randoms(use_true_random=False))
def test_keys_of_a_text_are_the_same_in_any_company(kind: str, texts: list[list[str]], random: Random) -> None:
    find, _ = KINDS[kind]
    order = random.sample(range(len(texts)), len(texts))
    keys, owners = find([texts[number] for number in order], NgramRange(1, 5))
    for place, number in enumerate(order):
        alone, owner = find([texts[number]], NgramRange(1, 5))
        assert not owner.any()
        assert Counter(keys[owners == place].tolist()) == Counter(alone.tolist())


def test_edges_are_features_of_their_own() -> None:
    keys, _ = found_words([["a", "b"]], NgramRange(2, 2))
    assert len(set(keys.tolist())) == 3  # before a, a b, after b
    (first, *_), _ = found_words([["a", "c"]], NgramRange(2, 2))
    assert first == keys[0]
    for texts in ([["b", "a"]], [["a"], ["b"]]):
        assert keys[1] not in found_words(texts, NgramRange(2, 2))[0]
    begin, _ = found_characters([["ab"]], NgramRange(2, 2))
    assert len(set(begin.tolist())) == 3  # <a, ab, b>
    assert found_characters([["ab"]], NgramRange(4, 9))[0].tolist() == []  # <ab> is the word itself
    assert found_characters([["a", "b"], ["中"]], NgramRange(1, 9))[0].tolist() == []


def test_the_order_of_words_and_characters_counts() -> None:
    for find, one, other in (
        (found_words, [["a", "b", "c"]], [["b", "a", "c"]]),
        (found_words, [["ab", "c"]], [["a", "bc"]]),
        (found_characters, [["abc"]], [["bac"]]),
    ):
        for order in (2, 3):
            assert set(find(one, NgramRange(order, order))[0].tolist()) != set(
                find(other, NgramRange(order, order))[0].tolist()
            )
    same, _ = found_words([["ab"], ["ba"], ["aab"], ["aba"], ["\x01a"], ["a"]], NgramRange(1, 1))
    assert len(set(same.tolist())) == 6


def test_keys_are_kept_in_models_so_they_never_change() -> None:
    """With other keys, models that were saved would know no n-gram any more: raise the directory's format then."""
    words, characters = (
        found_words([["a", "中"]], NgramRange(1, 2))[0],
        found_characters([["a😀"]], NgramRange(2, 2))[0],
    )
    assert list(map(hex, words.tolist())) == [
        "0xbb40ef38592f7435", "0xe072c05d2a2aa0a8",
        "0x67291df55ff7d148", "0xae0f39e88ce72819", "0x6c21dcffa9aa4e9",
    ]  # fmt: skip
    assert list(map(hex, characters.tolist())) == ["0x91af01c4bc0dccef", "0x9736f395d68c237e", "0x7a33ae0f820b99d"]


@pytest.mark.parametrize("texts", [[], [[]], [[], []]])
def test_nothing(texts: list[list[str]]) -> None:
    for find, _ in KINDS.values():
        assert [len(column) for column in find(texts, NgramRange(1, 9))] == [0, 0]
    for find in (found_words, found_characters):
        assert [len(column) for column in find([["ab"]], NgramRange(1, 0))] == [0, 0]


def test_a_pair_around_a_word_is_no_pair_beside_each_other() -> None:
    around, _ = found_skips([["a", "x", "b"], ["a", "y", "b"]], NgramRange(1, 1))
    assert around[1] == around[4]
    assert around[1] not in found_words([["a", "b"]], NgramRange(1, 3))[0]
    assert around[1] != found_skips([["b", "x", "a"]], NgramRange(1, 1))[0][1]
