"""Classes to targets, probabilities to classes, both to scores."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlp_app.labels.class_set import ClassSet
from nlp_app.metrics import multi_label_scores, single_label_scores
from nlp_app.metrics.classes import class_selection_score, score_classes

NAMES = ["sport", "天气", "10", "9", "art"]
one = st.lists(st.tuples(st.sampled_from([*NAMES, "new"])), max_size=20)
several = st.lists(st.frozensets(st.sampled_from(NAMES)).map(lambda each: tuple(sorted(each))), max_size=20)


def test_the_classes_are_sorted_and_stand_once() -> None:
    classes = ClassSet.of(["b", "a", "b", "10", "9"])
    assert classes == ClassSet(("10", "9", "a", "b"))
    assert not classes.multi_label
    assert ClassSet.of(iter("ba"), multi_label=True) == ClassSet(("a", "b"), True)


@given(one)
def test_one_class_there_and_back(labels: list[tuple[str, ...]]) -> None:
    classes = ClassSet.of(NAMES)
    targets = classes.targets(labels)
    assert (targets.dtype, targets.shape) == (np.int64, (len(labels),))
    known = targets >= 0
    assert [label != "new" for (label,) in labels] == known.tolist()
    found = classes.decide(np.eye(len(NAMES))[targets[known]])
    assert found == [each for each in labels if each != ("new",)]


@given(several)
def test_several_classes_there_and_back(labels: list[tuple[str, ...]]) -> None:
    classes = ClassSet.of(NAMES, multi_label=True)
    targets = classes.targets(labels)
    assert (targets.dtype, targets.shape) == (np.float32, (len(labels), len(NAMES)))
    assert classes.decide(targets) == labels
    assert classes.decide(targets, np.full(len(NAMES), 1.0)) == labels


def test_what_is_not_known_is_no_target() -> None:
    classes = ClassSet(("a", "b"), multi_label=True)
    assert classes.targets([("b", "new"), ("new",), ()]).tolist() == [[0, 1], [0, 0], [0, 0]]


def test_thresholds_of_each_label() -> None:
    classes = ClassSet(("a", "b", "c"), multi_label=True)
    scores = np.array([[0.5, 0.49, 0.9], [0.1, 0.2, 0.3]])
    assert classes.decide(scores) == [("a", "c"), ()]
    assert classes.decide(scores, np.array([0.6, 0.2, 0.3])) == [("b", "c"), ("b", "c")]
    assert classes.decide(scores[:0]) == []
    assert ClassSet(("a", "b", "c")).decide(scores) == [("c",), ("c",)]
    assert ClassSet(("a", "b", "c")).decide(scores[:0]) == []


def test_what_can_not_be_decided() -> None:
    with pytest.raises(ValueError, match="scores: found NaN"):
        ClassSet(("a", "b")).decide(np.array([[0.5, np.nan]]))
    with pytest.raises(ValueError, match="thresholds for single-label data"):
        ClassSet(("a", "b")).decide(np.array([[0.5, 0.5]]), np.array([0.5, 0.5]))
    for labels in ([("a",), ()], [("a",), ("a", "b")]):
        with pytest.raises(ValueError, match="text 1 has"):
            ClassSet(("a", "b")).targets(labels)


def test_scores_of_one_class_a_text() -> None:
    classes = ClassSet(("a", "b", "unused"))
    gold, found = [("a",), ("b",), ("new",), ("a",)], [("a",), ("a",), ("a",), ("a",)]
    scores = score_classes(classes, gold, found)
    assert scores == single_label_scores(["a", "b", "new", "a"], ["a", "a", "a", "a"])
    assert scores["per_label"]["new"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 1}
    assert "unused" not in scores["per_label"]
    assert class_selection_score(scores) == scores["weighted_f1"]
    probabilities = np.array([[0.8, 0.2, 0], [0.8, 0.2, 0], [0.8, 0.2, 0], [0.8, 0.2, 0]])
    calibrated = score_classes(classes, gold, found, probabilities)
    calibration = calibrated.pop("calibration")
    assert calibrated == scores
    assert calibration["ece"] == pytest.approx(0.8 - 0.5)
    assert calibration["nll"] == pytest.approx(-(2 * np.log(0.8) + np.log(0.2)) / 3)
    assert [each["count"] for each in calibration["bins"]] == [4]
    json.dumps(calibration)


def test_scores_of_several_classes_a_text() -> None:
    classes = ClassSet(("a", "b", "unused"), multi_label=True)
    gold, found = [("a", "new"), ()], [("a",), ("b",)]
    probabilities = np.array([[0.9, 0.1, 0.1], [0.1, 0.6, 0.1]], np.float32)
    scores = score_classes(classes, gold, found, probabilities)
    calibration = scores.pop("calibration")
    assert scores == multi_label_scores(gold, found, classes.labels)
    assert scores["hamming_loss"] == pytest.approx(2 / 8)
    assert calibration["nll"] == pytest.approx(-(5 * np.log(0.9) + np.log(0.4)) / 6, rel=1e-5)
    assert sum(each["count"] for each in calibration["bins"]) == 6


@pytest.mark.parametrize("multi_label", [False, True])
def test_nothing_is_scored_too(multi_label: bool) -> None:
    scores = score_classes(ClassSet(("a", "b"), multi_label), [], [], np.zeros((0, 2)))
    assert class_selection_score(scores) == scores["accuracy"] == scores["macro_f1"] == 0.0
    assert scores["calibration"] == {"ece": 0.0, "nll": 0.0, "bins": []}
