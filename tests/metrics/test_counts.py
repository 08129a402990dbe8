"""Counts that are added up give, to the last bit, the scores that seqeval and scikit-learn take of all tags at once."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlp_app import metrics
from nlp_app.core.types import CharSpan, Sentence, TokenSpan
from nlp_app.labels.schemes import NONE, encode
from nlp_app.labels.tag_set import TagSet
from nlp_app.metrics import TagCounts
from nlp_app.metrics.spans import count_spans, score_spans, span_scores

LABELS = ("A", "B-c", "D")


@st.composite
def span_lists(draw: st.DrawFn, length: int) -> list[TokenSpan]:
    edges = sorted(draw(st.sets(st.integers(0, length), max_size=6)))
    pairs = pairwise(edges)
    return [TokenSpan(a, b, draw(st.sampled_from(LABELS))) for a, b in pairs if draw(st.booleans())]


@st.composite
def predictions(draw: st.DrawFn) -> tuple[Sentence, list[TokenSpan]]:
    length = draw(st.integers(0, 7))
    gold = draw(span_lists(length))
    found = gold if draw(st.booleans()) else draw(span_lists(length))
    lost = [CharSpan(0, 1, label) for label in draw(st.lists(st.sampled_from(("A", "E")), max_size=2))]
    return Sentence("x" * length, list(range(length)), list(range(1, length + 1)), gold, [1], lost), found


@given(st.lists(st.lists(predictions(), max_size=4), max_size=4))
def test_entities(chunks: list[list[tuple[Sentence, list[TokenSpan]]]]) -> None:
    tag_set, counts = TagSet(LABELS, "BIOES"), TagCounts()
    for chunk in chunks:
        count_spans(tag_set, counts, [sentence for sentence, _ in chunk], [found for _, found in chunk])
    flat = [pair for chunk in chunks for pair in chunk]
    gold = [encode(sentence.spans or (), len(sentence), "BIO") for sentence, _ in flat]
    found = [encode(spans, len(sentence), "BIO") for sentence, spans in flat]
    lost = [span for sentence, _ in flat for span in sentence.unaligned]
    expected = metrics.entity_scores(gold + [[f"B-{span.label}"] for span in lost], found + [["O"] for _ in lost])
    assert span_scores(tag_set, counts) == expected
    assert score_spans(tag_set, [sentence for sentence, _ in flat], [spans for _, spans in flat]) == expected


@given(st.lists(st.lists(st.tuples(st.sampled_from("XYZ"), st.sampled_from("XYZW")), max_size=9), max_size=5))
def test_labels(sentences: list[list[tuple[str, str]]]) -> None:
    tag_set, counts = TagSet(("X", "Y", "Z"), NONE), TagCounts()
    gold, found = [[g for g, _ in each] for each in sentences], [[f for _, f in each] for each in sentences]
    for tags, others in zip(gold, found, strict=True):
        length = len(tags)
        spans = [[TokenSpan(n, n + 1, tag) for n, tag in enumerate(each)] for each in (tags, others)]
        sentence = Sentence("x" * length, list(range(length)), list(range(1, length + 1)), spans[0], [1])
        count_spans(tag_set, counts, [sentence], [spans[1]])
    assert span_scores(tag_set, counts) == metrics.label_scores(gold, found)


def test_as_many_tags_are_needed() -> None:
    with pytest.raises(ValueError, match="shorter"):
        TagCounts().add(["O", "O"], ["O"])
