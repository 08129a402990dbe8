"""Scores against a plain implementation of the CoNLL scorer's counting."""

from __future__ import annotations

from collections import Counter
from itertools import chain

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlp_app.metrics import entity_scores, label_scores, tag_scores

TAGS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-X-Y", "I-X-Y"]


def chunks(sentence: list[str]) -> set[tuple[int, int, str]]:
    """The chunks of a sentence as conlleval.pl finds them, by its startOfChunk and endOfChunk for BIO tags."""
    found, start = set(), 0
    before = ("O", "")
    for place, tag in enumerate([*sentence, "O"]):
        letter, _, kind = tag.partition("-")
        here = (letter, kind)
        ends = before[0] != "O" and (here[0] in ("O", "B") or before[1] != here[1])
        starts = here[0] != "O" and (here[0] == "B" or before[0] == "O" or before[1] != here[1])
        if ends:
            found.add((start, place, before[1]))
        if starts:
            start = place
        before = here
    return found


def rate(correct: int, of: int) -> float:
    return correct / of if of else 0.0


pairs = st.lists(st.lists(st.tuples(st.sampled_from(TAGS), st.sampled_from(TAGS)), max_size=8), max_size=5)


@settings(deadline=None)  # the first call loads the libraries that count
@given(pairs)
def test_entities_are_counted_as_the_conll_scorer_counts(sentences: list[list[tuple[str, str]]]) -> None:
    gold = [[one for one, _ in sentence] for sentence in sentences]
    predicted = [[other for _, other in sentence] for sentence in sentences]
    counts: dict[str, Counter[str]] = {"gold": Counter(), "found": Counter(), "correct": Counter()}
    for one, other in zip(gold, predicted, strict=True):
        for name, spans in (("gold", chunks(one)), ("found", chunks(other)), ("correct", chunks(one) & chunks(other))):
            counts[name].update(kind for _, _, kind in spans)
    scores = entity_scores(gold, predicted)

    kinds = {tag[2:] for tag in chain(*gold, *predicted) if tag != "O"}
    assert set(scores["per_type"]) == kinds
    for kind in (*kinds, None):
        gold_count, found, correct = (
            counts[name].total() if kind is None else counts[name][kind] for name in ("gold", "found", "correct")
        )
        each = scores if kind is None else scores["per_type"][kind]
        assert each["precision"] == pytest.approx(rate(correct, found))
        assert each["recall"] == pytest.approx(rate(correct, gold_count))
        assert each["f1"] == pytest.approx(rate(2 * correct, found + gold_count))
        assert each["support"] == gold_count
    assert scores["support"] == sum(each["support"] for each in scores["per_type"].values())


@settings(deadline=None)  # the first call loads the libraries that count
@given(pairs)
def test_accuracy_and_weighted_f1_are_over_all_tokens(sentences: list[list[tuple[str, str]]]) -> None:
    flat = [pair for sentence in sentences for pair in sentence]
    scores = tag_scores([[a for a, _ in s] for s in sentences], [[b for _, b in s] for s in sentences])
    assert scores["accuracy"] == pytest.approx(rate(sum(a == b for a, b in flat), len(flat)))
    weighted = 0.0
    for tag, support in Counter(a for a, _ in flat).items():
        found = sum(b == tag for _, b in flat)
        weighted += support * rate(2 * sum(a == b == tag for a, b in flat), support + found)
    assert scores["weighted_f1"] == pytest.approx(rate(weighted, len(flat)) if flat else 0.0)  # type: ignore[arg-type]


@settings(deadline=None)  # the first call loads the libraries that count
@given(pairs)
def test_labels_of_tokens(sentences: list[list[tuple[str, str]]]) -> None:
    flat = [pair for sentence in sentences for pair in sentence]
    scores = label_scores([[a for a, _ in s] for s in sentences], [[b for _, b in s] for s in sentences])
    assert set(scores["per_label"]) == {tag for pair in flat for tag in pair}
    for tag, each in scores["per_label"].items():
        gold, found = sum(a == tag for a, _ in flat), sum(b == tag for _, b in flat)
        correct = sum(a == b == tag for a, b in flat)
        assert (each["precision"], each["recall"], each["support"]) == (rate(correct, found), rate(correct, gold), gold)


def test_sentences_have_to_fit() -> None:
    for gold, predicted in (([["O"]], []), ([["O"]], [["O", "O"]])):
        with pytest.raises(ValueError, match="same sentences and lengths"):
            entity_scores(gold, predicted)
