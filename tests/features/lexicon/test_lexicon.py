"""Matches of listed words, against a plain loop over strings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlp_app.core.errors import ModelError, SettingsError
from nlp_app.features.feature_index import NO_KEY, FeatureIndex
from nlp_app.features.lexicon.lexicon import LONGEST, Lexicon
from nlp_app.features.lexicon.lexicon_features import (
    BEGINS,
    BEGINS_SECOND,
    CLASS,
    COLUMNS,
    ENDS,
    ENDS_SECOND,
    INSIDE,
    INSIDE_SECOND,
    LEXICON_WINDOWS,
    LONGER_CLASS,
    MATCH_LENGTHS,
    WORD,
    LexiconRows,
    lexicon_columns,
    lexicon_keys,
)
from nlp_app.features.lexicon.token_keys import describe_forms, token_keys
from nlp_app.features.lexicon.word_lists import WordList
from nlp_app.text import make_tokenizer

CHAR = make_tokenizer("char")
BASIC = make_tokenizer("basic")

WORDS = st.lists(st.text("ab字词", min_size=1, max_size=9), min_size=1, max_size=12)
SENTENCES = st.lists(st.lists(st.sampled_from("ab字词"), max_size=12), max_size=5)


def word_list(*entries: tuple[str, int, str], name: str = "list") -> WordList:
    words, frequencies, classes = ([entry[place] for entry in entries] for place in range(3))
    return WordList(name, words, frequencies, classes, "")


def rows_of(forms: Sequence[str]) -> np.ndarray:
    return describe_forms(forms, [BASIC.normalize(form) for form in forms])


def columns_of(lexicon: Lexicon, *sentences: Sequence[str]) -> np.ndarray:
    return lexicon_columns(lexicon, rows_of([form for s in sentences for form in s]), [len(s) for s in sentences])


def class_of(lexicon: Lexicon, column: int, value: int) -> str:
    """The class that an id of a column stands for, with the length before it."""
    if column in (CLASS, LONGER_CLASS):
        return "" if value < 6 else lexicon.class_names.symbols[(value - 2) // 4 - 1]
    name = lexicon.class_names.symbols[(value - 2) // 4 - 1] if value else ""
    return f"{(value - 2) % 4 + 2}{name}" if value else ""


def listed(words: Sequence[str], sentence: Sequence[str]) -> set[tuple[int, int]]:
    """Starts and sizes of listed words, in characters."""
    text = "".join(sentence)
    return {
        (start, size)
        for start in range(len(text))
        for size in range(1, LONGEST + 1)
        if start + size <= len(text) and text[start : start + size] in words
    }


def spell(words: Sequence[str]) -> list[str]:
    """Words as they match: a tokenizer of characters would put a space between the letters of this test."""
    return [word for word in words if len(word) <= LONGEST]


def characters(texts: Sequence[str]) -> tuple[list[str], list[int]]:
    return [character for text in texts for character in text], [len(text) for text in texts]


@settings(max_examples=200, deadline=None)
@given(WORDS, SENTENCES)
def test_matches_are_those_of_a_loop(words: list[str], sentences: list[list[str]]) -> None:
    if not spell(words):
        with pytest.raises(SettingsError, match="no word of at most 8 tokens"):
            Lexicon.build([word_list(*((word, 1, "x") for word in words))], characters)
        return
    lexicon, skipped = Lexicon.build([word_list(*((word, 1, "x") for word in words))], characters)
    assert skipped == len(words) - len(spell(words))
    assert len(lexicon) == len(set(spell(words)))
    flat = [form for sentence in sentences for form in sentence]
    matches = lexicon.match(token_keys(rows_of(flat)), [len(sentence) for sentence in sentences])
    found = sorted(zip(matches.starts.tolist(), matches.sizes.tolist(), strict=True))
    offsets = np.cumsum([0, *map(len, sentences)]).tolist()
    wanted = [
        (offset + start, size)
        for offset, sentence in zip(offsets, sentences, strict=False)
        for start, size in listed(words, sentence)
    ]
    assert found == sorted(wanted)
    assert (np.diff(matches.sizes) >= 0).all()


@settings(max_examples=200, deadline=None)
@given(WORDS, SENTENCES)
def test_columns_are_those_of_a_loop(words: list[str], sentences: list[list[str]]) -> None:
    short = sorted(set(spell(words)))
    if not short:
        return
    class_by_word = {word: "nv"[len(word) % 2] for word in short}
    lexicon, _ = Lexicon.build([word_list(*((w, 1, c) for w, c in class_by_word.items()))], characters)
    found = columns_of(lexicon, *sentences)
    assert found.shape == (sum(map(len, sentences)), COLUMNS)
    rows = iter(found)
    for sentence in sentences:
        spans = sorted(listed(short, sentence), key=lambda span: -span[1])
        for place, row in zip(range(len(sentence)), rows, strict=False):
            kinds = {
                BEGINS: [s for s in spans if s[0] == place and s[1] > 1],
                ENDS: [s for s in spans if sum(s) - 1 == place and s[1] > 1],
                INSIDE: [s for s in spans if s[0] < place < sum(s) - 1],
            }
            lengths = row[MATCH_LENGTHS] - 2
            for column, length in ((BEGINS, lengths // 25), (ENDS, lengths // 5 % 5), (INSIDE, lengths % 5)):
                # The class follows from the length here, so that the order of words of equal length doesn't matter.
                names = [f"{min(s[1], 5)}{'nv'[s[1] % 2]}" for s in kinds[column]] + ["", ""]
                assert [class_of(lexicon, place, row[place]) for place in (column, column + 1)] == names[:2]
                assert length == (int(names[0][0]) - 1 if names[0] else 0)
            assert class_of(lexicon, CLASS, row[CLASS]) == class_by_word.get(sentence[place], "")


def test_columns_of_one_sentence() -> None:
    lexicon, _ = Lexicon.build(
        [word_list(("北京", 9, "city"), ("北京大学", 5, "school"), ("大学", 8, "noun"), ("学", 3, "noun"))], CHAR.norms
    )
    found = columns_of(lexicon, "在北京大学")
    names = [
        [class_of(lexicon, column, row[column]) for column in (BEGINS, BEGINS_SECOND, INSIDE, ENDS, ENDS_SECOND, CLASS)]
        for row in found
    ]
    assert names == [
        ["", "", "", "", "", ""],
        ["4school", "2city", "", "", "", ""],
        ["", "", "4school", "2city", "", ""],
        ["2noun", "", "4school", "", "", ""],
        ["", "", "", "4school", "2noun", "noun"],
    ]
    longer = [class_of(lexicon, LONGER_CLASS, row[LONGER_CLASS]) for row in found]
    assert longer == ["", "school", "school", "school", "school"]
    assert not found[:, INSIDE_SECOND].any()
    assert len({value % 4 for value in found[:, CLASS]}) == 1  # no capitals in Chinese
    assert len(set(found[1:, WORD])) == 1  # 北京大学 is the likeliest segment


@settings(max_examples=50, deadline=None)
@given(WORDS, SENTENCES, st.randoms(use_true_random=False))
def test_rows_are_those_of_the_keys(words: list[str], sentences: list[list[str]], random: Random) -> None:
    lexicon, _ = Lexicon.build(
        [word_list(("ab", 3, "x"), *((word, 1, random.choice("xyz")) for word in words))], characters
    )
    forms, lengths = rows_of([form for sentence in sentences for form in sentence]), [len(s) for s in sentences]
    keys = lexicon_keys(lexicon, forms, lengths)
    assert keys.shape == (len(forms), len(LEXICON_WINDOWS.templates))
    known = [key for key in np.unique(keys[keys > 0]).tolist() if random.random() < 0.7]
    index = FeatureIndex(np.array(known, dtype=np.uint64))
    assert (LexiconRows(lexicon, index).rows(forms, lengths) == index.rows(keys)).all()


def test_templates_are_enumerated() -> None:
    """The features of two tokens, spelled out: equal keys for equal spellings, and none for unknown parts."""
    lexicon, _ = Lexicon.build(
        [word_list(("New York", 1, "city"), ("May", 1, "first"), ("york", 1, "last"))], BASIC.norms
    )
    sentences = [["in", "New", "York"], ["May", "in", "new", "york"], ["NEW", "York", "May"]]
    columns = columns_of(lexicon, *sentences)
    spelled: dict[int, tuple[object, ...]] = {}
    keys = iter(lexicon_keys(lexicon, rows_of([f for s in sentences for f in s]), [len(s) for s in sentences]))
    place = 0
    for sentence in sentences:
        ids = columns[place : place + len(sentence)]
        place += len(sentence)
        for token in range(len(sentence)):
            for number, (template, key) in enumerate(zip(LEXICON_WINDOWS.templates, next(keys).tolist(), strict=True)):
                parts = [
                    ids[token + offset, column] if 0 <= token + offset < len(sentence) else -1
                    for column, offset in template
                ]
                assert (key == NO_KEY) == (0 in parts)
                if key != NO_KEY:
                    assert spelled.setdefault(key, (number, *parts)) == (number, *parts)
    assert len(set(spelled.values())) == len(spelled)


@pytest.mark.parametrize(
    ("word", "sentence", "matches"),
    [
        ("New York", ["new", "York"], True),
        ("New York", ["NEW YORK"], True),
        ("now here", ["nowhere"], False),
        ("nowhere", ["now", "here"], False),
        ("O'Brien", ["O'Brien"], True),
        ("O'Brien", ["O", "'", "Brien"], True),
        ("阿里巴巴", ["阿里", "巴巴"], True),
        ("阿里巴巴", ["阿里巴巴"], True),
        ("台灣大學", ["台湾", "大学"], True),
        ("台湾大学", ["台灣", "大學"], True),
        ("B-52", ["B-52"], True),
        ("5 12", ["512"], False),
        ("Ångström", ["angstrom"], True),
    ],
)
def test_tokens_may_divide_a_word_otherwise(word: str, sentence: list[str], matches: bool) -> None:
    lexicon, _ = Lexicon.build([word_list((word, 1, "x"))], BASIC.norms)
    found = lexicon.match(token_keys(rows_of(sentence)), [len(sentence)])
    assert ((0, len(sentence)) in zip(found.starts.tolist(), found.sizes.tolist(), strict=True)) == matches


def test_classes_are_combined() -> None:
    frequent = word_list(("paris", 9, "noun"), ("Paris", 20, "name"), ("rome", 1, "noun"))
    plain = word_list(("Paris", 1, "city"), ("Paris", 1, "first"), ("Rome", 1, "city"), ("Oslo", 1, "city"))
    lexicon, _ = Lexicon.build([frequent, plain], BASIC.norms)
    row = columns_of(lexicon, ["Paris", "Rome", "Oslo", "Bonn"])[:, CLASS]
    assert [class_of(lexicon, CLASS, value) for value in row] == ["city+first+name", "city+noun", "city", ""]
    assert lexicon.costs.argmin() == lexicon.index.rows(lexicon.index.keys)[lexicon.costs.argmin()] - 1


def test_save_and_load(tmp_path: Path) -> None:
    lexicon, _ = Lexicon.build([word_list(*((f"w{n}", n, f"c{n % 300}") for n in range(900)))], BASIC.norms)
    assert Lexicon.load(tmp_path) is None
    lexicon.save(tmp_path)
    loaded = Lexicon.load(tmp_path)
    assert loaded is not None
    sentence = [f"w{n}" for n in range(0, 1000, 7)]
    assert (columns_of(loaded, sentence) == columns_of(lexicon, sentence)).all()
    np.save(tmp_path / "lexicon_costs.npy", lexicon.costs[:-1])
    with pytest.raises(ModelError, match="don't fit together"):
        Lexicon.load(tmp_path)
