"""Held-out dev sets: their share, duplicates stay together, no label is lost, and the limit."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlp_app.core.errors import DataError
from nlp_app.core.types import ClassRecord, Sentence, TokenSpan
from nlp_app.data.classification.hold_out import HoldOut, hold_out_texts
from nlp_app.data.classification.scan import LabeledTexts
from nlp_app.data.tagging.corpus import Corpus
from nlp_app.data.tagging.hold_out import hold_out_sentences
from nlp_app.data.tagging.remarks import collect_labels
from nlp_app.formats.classification import open_classes
from nlp_app.storage.sentences import StoredSentences


def sentence(word: str, label: str | None, line: int = 1) -> Sentence:
    return Sentence(word, [0], [len(word)], [] if label is None else [TokenSpan(0, 1, label)], [line])


def corpus(pairs: list[tuple[str, str | None]]) -> Corpus:
    return Corpus("train.conll", "conll", [sentence(*pair) for pair in pairs])


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from(["X", "Y", "Z", None])), min_size=1, max_size=30),
    st.floats(0.05, 0.6),
    st.integers(0, 3),
)
def test_sentences_that_are_held_out(pairs: list[tuple[str, str | None]], share: float, seed: int) -> None:
    whole = corpus(pairs)
    try:
        train, dev = hold_out_sentences(whole, share, seed)
    except DataError:  # too few of them
        return
    key = [(one.text, tuple(one.spans or ())) for one in (*train.sentences, *dev.sentences)]
    assert Counter(key) == Counter((one.text, tuple(one.spans or ())) for one in whole.sentences)
    assert train.sentences
    assert dev.sentences
    assert not {one.text for one in train.sentences} & {one.text for one in dev.sentences}
    assert collect_labels(train.sentences) == collect_labels(whole.sentences)
    again = hold_out_sentences(whole, share, seed)[1]
    assert [id(one) for one in again.sentences] == [id(one) for one in dev.sentences]


def test_the_share_of_held_out_sentences() -> None:
    whole = corpus([(f"word{number}", "X" if number % 3 else None) for number in range(200)])
    assert len(hold_out_sentences(whole, 0.1, 1)[1].sentences) == 20
    assert hold_out_sentences(whole, 0.1, 1)[1].sentences != hold_out_sentences(whole, 0.1, 2)[1].sentences


def reference_held_out(sentences: list[Sentence], share: float, seed: int) -> set[int]:
    """Reference implementation over groups of sentences in memory; returns the lines that are held out."""
    groups: dict[str, list[Sentence]] = {}
    for each in sentences:
        groups.setdefault(each.text, []).append(each)
    left = Counter(span.label for each in sentences for span in each.spans or ())
    held: set[int] = set()
    for place in np.random.default_rng(seed).permutation(len(groups)).tolist():
        group = list(groups.values())[place]
        labels = Counter(span.label for each in group for span in each.spans or ())
        full = len(held) >= max(1, round(share * len(sentences))) or len(held) + len(group) >= len(sentences)
        if not full and all(left[label] > count for label, count in labels.items()):
            left -= labels
            held |= {each.lines[0] for each in group}
    return held


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from(["X", "Y", None])), min_size=1, max_size=30),
    st.floats(0.05, 0.6),
    st.integers(0, 3),
)
def test_held_out_sentences_equal_the_reference(pairs: list[tuple[str, str | None]], share: float, seed: int) -> None:
    sentences = [sentence(word, label, line) for line, (word, label) in enumerate(pairs)]
    expected = reference_held_out(sentences, share, seed)
    for some in (sentences, StoredSentences.from_sentences(sentences)):
        whole = Corpus("a.conll", "conll", some)
        if not expected:
            with pytest.raises(DataError, match="too few different sentences"):
                hold_out_sentences(whole, share, seed)
            continue
        train, dev = hold_out_sentences(whole, share, seed)
        assert {each.lines[0] for each in dev.sentences} == expected
        assert {each.lines[0] for each in train.sentences} == {*range(len(pairs))} - expected


def test_the_limit_of_held_out_sentences() -> None:
    words = [sentence(f"word{number % 90}", "X", number) for number in range(200)]
    dev = hold_out_sentences(Corpus("a.conll", "conll", words), 0.5, 1, limit=7)[1].sentences
    assert 6 <= len(dev) <= 7


def write(path: Path, rows: Iterable[tuple[str, Sequence[str] | str | None]]) -> Path:
    path.write_text("".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows))
    return path


def held_and_left(texts: LabeledTexts, chosen: HoldOut) -> tuple[list[ClassRecord], list[ClassRecord]]:
    held, left = (
        list(LabeledTexts(texts.file, texts.multi_label, chosen, select_held_out=side)) for side in (True, False)
    )
    assert sorted(held + left, key=lambda row: row.line) == list(texts)  # all of them, once
    return held, left


@settings(max_examples=80)
@given(
    st.lists(
        st.tuples(st.integers(0, 15), st.lists(st.sampled_from("wxyz"), max_size=2, unique=True)),
        min_size=2,
        max_size=30,
    ),
    st.sampled_from([0.05, 0.2, 0.5, 0.9]),
    st.integers(0, 5),
    st.sampled_from([1, 3, 1000]),
    st.booleans(),
)
def test_texts_that_are_held_out(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[int, list[str]]],
    share: float,
    seed: int,
    limit: int,
    multi_label: bool,
) -> None:
    path = tmp_path_factory.mktemp("held") / "a.jsonl"
    marked = [(f"text {number}", labels if multi_label else (labels or ["w"])[0]) for number, labels in rows]
    texts = LabeledTexts(open_classes(write(path, [("first", ["x"] if multi_label else "x"), *marked])), multi_label)
    try:
        chosen = hold_out_texts(texts, share, seed, limit)
    except DataError as error:
        message = str(error)
    else:
        message = ""
        held, left = held_and_left(texts, chosen)
        different = {row.text for row in texts}
        assert held
        assert left
        assert {row.text for row in held}.isdisjoint(row.text for row in left)  # equal texts on one side
        assert {label for row in left for label in row.labels or ()} == {
            label for row in texts for label in row.labels or ()
        }
        assert len({row.text for row in held}) <= min(max(1, round(share * len(different))), len(different) - 1)
        assert len(held) <= limit
        assert held_and_left(texts, hold_out_texts(texts, share, seed, limit)) == (held, left)
    assert "\n" not in message
    assert not message or "hold" in message


def test_the_share_of_held_out_texts_and_the_seed(tmp_path: Path) -> None:
    rows = [(f"text {number}", "xyz"[number % 3]) for number in range(1000)]
    texts = LabeledTexts(open_classes(write(tmp_path / "a.jsonl", rows)), False)
    sides = []
    for seed in (1, 2, (1 << 63) - 1):
        for share, wanted in ((0.1, 100), (0.25, 250)):
            held, _ = held_and_left(texts, hold_out_texts(texts, share, seed, 10_000))
            assert len(held) == wanted
        assert len(held_and_left(texts, hold_out_texts(texts, 0.5, seed, 20))[0]) == 20
        sides.append({row.text for row in held})
    assert len(set(map(frozenset, sides))) == 3
    assert len(sides[0] & sides[1]) < 100  # 62.5 by chance


def test_a_class_seen_once_stays_in_training(tmp_path: Path) -> None:
    rows = [(f"text {number}", "xy"[number % 2]) for number in range(50)]
    rows += [(f"only {number}", f"once {number}") for number in range(20)]
    texts = LabeledTexts(open_classes(write(tmp_path / "a.jsonl", rows)), False)
    for seed in range(10):
        held, left = held_and_left(texts, hold_out_texts(texts, 0.4, seed, 1000))
        assert {label for row in left for label in row.labels or ()} == {label for _, label in rows}
        assert not any(row.text.startswith("only") for row in held)


def test_equal_texts_with_different_labels_stay_together(tmp_path: Path) -> None:
    """Even if one of the copies is the only text of its class, which has to stay in training."""
    rows = [(f"text {number}", "x") for number in range(20) for _ in range(2)]
    rows += [(f"text {number}", f"once {number}") for number in range(0, 20, 3)]
    texts = LabeledTexts(open_classes(write(tmp_path / "a.jsonl", rows)), False)
    for seed in range(10):
        held, left = held_and_left(texts, hold_out_texts(texts, 0.5, seed, 1000))
        assert {row.text for row in held}.isdisjoint(row.text for row in left)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("same", "x"), ("same", "y")], "found too few different texts"),
        ([("one", "x"), ("two", "y")], "without losing a class"),
        ([("", "x"), (" ", "y")], "found no text with a label"),
    ],
)
def test_nothing_to_hold_out(tmp_path: Path, rows: list[tuple[str, str]], message: str) -> None:
    texts = LabeledTexts(open_classes(write(tmp_path / "a.jsonl", rows)), False)
    with pytest.raises(DataError, match=message) as caught:
        hold_out_texts(texts, 0.5, 0, 1000)
    assert str(caught.value).startswith(str(tmp_path / "a.jsonl"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("limit", [5, 16, 50, 1000])
def test_copies_count(tmp_path: Path, limit: int) -> None:
    rows = [(f"text {number}", "xy"[number % 2]) for number in range(100) for _ in range(16)]
    rows += [(f"alone {number}", "x") for number in range(20)] + [("everywhere", "x")] * 2000
    texts = LabeledTexts(open_classes(write(tmp_path / "a.jsonl", rows)), False)
    for seed in range(5):
        held, _ = held_and_left(texts, hold_out_texts(texts, 0.5, seed, limit))
        assert 0 < len(held) <= limit
        assert "everywhere" not in {row.text for row in held}
