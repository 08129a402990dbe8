"""Scores of classes against scikit-learn on the labels themselves, and against cases counted by hand."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, hamming_loss, precision_recall_fscore_support
from sklearn.preprocessing import MultiLabelBinarizer

from nlp_app.metrics import multi_label_scores, single_label_scores

LABELS = ["b", "a", "10", "9", "好", ""]
single = st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from(LABELS)), max_size=30)
some = st.lists(st.sampled_from(LABELS), max_size=4).map(tuple)
several = st.lists(st.tuples(some, some), max_size=12)


@settings(deadline=None, max_examples=50)
@given(single)
def test_one_class_a_text_is_scored_as_scikit_learn_scores_it(pairs: list[tuple[str, str]]) -> None:
    gold, found = [one for one, _ in pairs], [other for _, other in pairs]
    scores = single_label_scores(gold, found)
    assert json.loads(json.dumps(scores)) == scores
    if not pairs:
        assert scores == {
            "accuracy": 0.0,
            "weighted_f1": 0.0,
            "macro_f1": 0.0,
            "per_label": {},
            "confused": [],
            "confusion": {"labels": [], "matrix": []},
        }
        return
    assert scores["accuracy"] == pytest.approx(accuracy_score(gold, found))
    for average in ("weighted", "macro"):
        assert scores[f"{average}_f1"] == pytest.approx(f1_score(gold, found, average=average, zero_division=0))
    names = sorted({*gold, *found})
    assert list(scores["per_label"]) == scores["confusion"]["labels"] == names
    each = precision_recall_fscore_support(gold, found, labels=names, zero_division=0)
    for name, *values in zip(names, *each, strict=True):
        assert list(scores["per_label"][name].values()) == pytest.approx(values)
    with_nobody = confusion_matrix(gold, found, labels=[*names, "nobody's"])  # warns of a single label
    assert scores["confusion"]["matrix"] == with_nobody[:-1, :-1].tolist()
    wrong = Counter((one, other) for one, other in pairs if one != other)
    assert {(one, other): count for one, other, count in scores["confused"]}.items() <= wrong.items()
    assert [count for *_, count in scores["confused"]] == sorted(wrong.values(), reverse=True)[:20]


def test_a_case_counted_by_hand() -> None:
    scores = single_label_scores(["a", "a", "a", "b", "new"], ["a", "a", "b", "b", "a"])
    assert scores["accuracy"] == 0.6
    assert scores["per_label"]["a"] == {"precision": 2 / 3, "recall": 2 / 3, "f1": pytest.approx(2 / 3), "support": 3}
    assert scores["per_label"]["b"] == {"precision": 0.5, "recall": 1.0, "f1": pytest.approx(2 / 3), "support": 1}
    assert scores["per_label"]["new"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 1}
    assert scores["macro_f1"] == pytest.approx((2 / 3 + 2 / 3) / 3)
    assert scores["weighted_f1"] == pytest.approx((3 * 2 / 3 + 2 / 3) / 5)
    assert scores["confused"] == [["a", "b", 1], ["new", "a", 1]]
    assert scores["confusion"] == {"labels": ["a", "b", "new"], "matrix": [[2, 1, 0], [0, 1, 0], [1, 0, 0]]}


@pytest.mark.parametrize(("labels", "matrix"), [(200, True), (201, False)])
def test_many_classes_have_pairs_but_no_matrix(labels: int, matrix: bool) -> None:
    gold = [f"{number:03}" for number in range(labels)]
    found = [*gold[1:], gold[0]]
    scores = single_label_scores(gold, found)
    assert ("confusion" in scores) is matrix
    assert scores["confused"] == [[f"{number:03}", f"{number + 1:03}", 1] for number in range(20)]


@settings(deadline=None, max_examples=50)
@given(several, st.sets(st.sampled_from([*LABELS, "never"])))
def test_several_classes_a_text_are_scored_as_scikit_learn_scores_them(
    pairs: list[tuple[tuple[str, ...], tuple[str, ...]]], known: set[str]
) -> None:
    gold, found = [one for one, _ in pairs], [other for _, other in pairs]
    scores = multi_label_scores(gold, found, known)
    assert json.loads(json.dumps(scores)) == scores
    present = sorted({label for pair in pairs for side in pair for label in side})
    everything = sorted({*present, *known})
    assert list(scores["per_label"]) == present
    assert scores["accuracy"] == scores["subset_accuracy"]
    if not pairs:
        assert not any(value for key, value in scores.items())
        return
    right = sum(set(one) == set(other) for one, other in pairs)
    assert scores["subset_accuracy"] == pytest.approx(right / len(pairs))
    wrong = sum(len(set(one) ^ set(other)) for one, other in pairs)
    assert scores["hamming_loss"] == pytest.approx(wrong / len(pairs) / len(everything) if everything else 0.0)
    if len(present) < 2:  # scikit-learn takes one column for something else
        return
    binarizer = MultiLabelBinarizer(classes=present).fit([present])
    sides = binarizer.transform(gold), binarizer.transform(found)
    for average in ("micro", "macro", "weighted", "samples"):
        assert scores[f"{average}_f1"] == pytest.approx(f1_score(*sides, average=average, zero_division=0))
    precision, recall, *_ = precision_recall_fscore_support(*sides, average="micro", zero_division=0)
    assert (scores["precision"], scores["recall"]) == pytest.approx((precision, recall))
    each = precision_recall_fscore_support(*sides, average=None, zero_division=0)
    for name, *values in zip(present, *each, strict=True):
        assert list(scores["per_label"][name].values()) == pytest.approx(values)
    if everything == present:
        assert scores["hamming_loss"] == pytest.approx(hamming_loss(*sides))


def test_one_label_that_some_texts_have() -> None:
    scores = multi_label_scores([("a",), ("a",), (), ()], [("a",), (), ("a",), ()])
    assert scores["per_label"] == {"a": {"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 2}}
    assert scores["micro_f1"] == scores["macro_f1"] == scores["weighted_f1"] == 0.5
    assert scores["samples_f1"] == 0.25
    assert scores["accuracy"] == scores["hamming_loss"] == 0.5


def test_gold_and_predictions_have_to_be_as_many() -> None:
    for score in (single_label_scores, multi_label_scores):
        with pytest.raises(ValueError, match="found 1 and 2"):
            score(["a"], ["a", "b"])
