"""The tagging task: targets spell the gold spans, paths spell them back, and the score counts all gold."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlp_app.core.types import CharSpan, Sentence, TokenSpan
from nlp_app.labels.schemes import encode
from nlp_app.labels.tag_set import TagSet
from nlp_app.metrics.spans import score_spans, selection_score


def sentence_of(length: int, spans: list[TokenSpan], unaligned: list[CharSpan] | None = None) -> Sentence:
    text = "x" * length
    return Sentence(text, list(range(length)), list(range(1, length + 1)), spans, [1], unaligned or [])


@st.composite
def sentences(draw: st.DrawFn) -> Sentence:
    spans, place = [], 0
    for gap, width, label in draw(
        st.lists(st.tuples(st.integers(0, 2), st.integers(1, 3), st.sampled_from(["A", "B-c"])), max_size=4)
    ):
        spans.append(TokenSpan(place + gap, place + gap + width, label))
        place += gap + width
    return sentence_of(place + draw(st.integers(1, 2)), spans)


@pytest.mark.parametrize("scheme", ["BIO", "IOE2", "BIOES", "BMES", "BILOU"])
@given(st.lists(sentences(), min_size=1, max_size=5))
def test_targets_spell_the_spans(scheme: str, corpus: list[Sentence]) -> None:
    tag_set = TagSet(("A", "B-c"), scheme)
    targets = tag_set.targets(corpus).tolist()
    assert len(targets) == sum(map(len, corpus))
    for sentence in corpus:
        path, targets = targets[: len(sentence)], targets[len(sentence) :]
        if scheme != "IOE2" or not touching(sentence):
            assert tag_set.spans(path) == sentence.spans
        moves = zip([len(tag_set.tags), *path], [*path, len(tag_set.tags) + 1], strict=True)
        assert all(tag_set.allowed[move] for move in moves)


@pytest.mark.parametrize("scheme", ["BIO", "IOB1", "IOE1", "IOE2", "BIOES", "BMES", "BILOU", "none"])
@given(st.lists(st.integers(0, 8), max_size=12))
def test_what_is_written_of_a_path_is_what_its_spans_spell(scheme: str, numbers: list[int]) -> None:
    """Of any path, permitted or not."""
    for labels in (("A", "B-c"), ("",)):
        tag_set = TagSet(labels, scheme)
        path = [number % len(tag_set.tags) for number in numbers]
        assert tag_set.written(path) == encode(tag_set.spans(path), len(path), tag_set.written_scheme)


def touching(sentence: Sentence) -> bool:
    spans = sentence.spans or []
    return any(a.end == b.start and a.label == b.label for a, b in pairwise(spans))


def test_perfect_predictions_score_one_unless_gold_fits_no_tokens() -> None:
    spans = [TokenSpan(0, 2, "A"), TokenSpan(3, 4, "B")]
    tag_set = TagSet(("A", "B"), "BIOES")
    whole = [sentence_of(5, spans)]
    assert score_spans(tag_set, whole, [spans])["f1"] == 1.0
    lost = [sentence_of(5, spans, [CharSpan(1, 3, "A"), CharSpan(0, 1, "C")])]
    scores = score_spans(tag_set, lost, [spans])
    assert (scores["precision"], scores["recall"]) == (1.0, 0.5)
    assert scores["per_type"]["A"]["recall"] == 0.5
    assert scores["per_type"]["C"]["support"] == 1


def test_labels_without_a_scheme_are_scored_by_accuracy() -> None:
    gold = [TokenSpan(0, 1, "NOUN"), TokenSpan(1, 2, "VERB"), TokenSpan(2, 3, "NOUN")]
    tag_set = TagSet.of([sentence_of(3, gold)], "none")
    assert tag_set.tags == ["NOUN", "VERB"]
    scores = score_spans(tag_set, [sentence_of(3, gold)], [[*gold[:2], TokenSpan(2, 3, "VERB")]])
    assert selection_score(scores) == pytest.approx(2 / 3)
    assert "f1" not in scores


def test_a_best_score_of_zero_is_a_score() -> None:
    tag_set = TagSet(("A",), "BIO")
    scores = score_spans(tag_set, [sentence_of(2, [TokenSpan(0, 1, "A")])], [[]])
    assert selection_score(scores) == 0.0
    assert score_spans(tag_set, [sentence_of(2, [])], [[]])["f1"] == 0.0
