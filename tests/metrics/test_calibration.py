"""What is fitted on dev, against a search over everything that could have been chosen."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy.special import expit, log_expit, log_softmax
from sklearn.metrics import f1_score

from nlp_app.metrics.calibration import (
    TEMPERATURES,
    calibration_bins,
    calibration_scores,
    confidence_temperature,
    fit_temperature,
    tune_thresholds,
)

pytestmark = pytest.mark.numeric

Array = NDArray[np.float64]
GRID = np.geomspace(*TEMPERATURES, 400)


def softmax_loss(logits: Array, targets: Array, temperature: float) -> float:
    known = np.flatnonzero(targets >= 0)
    return float(-log_softmax(logits[known] / temperature, axis=1)[np.arange(len(known)), targets[known]].sum())


def sigmoid_loss(logits: Array, targets: Array, temperature: float) -> float:
    z = logits / temperature
    return float(-(targets * log_expit(z) + (1 - targets) * log_expit(-z))[targets >= 0].sum())


@pytest.mark.parametrize("multi_label", [False, True])
@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10**6), scale=st.floats(0.01, 100), rows=st.integers(1, 30), noise=st.floats(0, 1))
def test_no_temperature_is_more_likely(seed: int, scale: float, rows: int, noise: float, multi_label: bool) -> None:
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(rows, 4)) * scale
    if multi_label:
        targets = np.where(generator.random((rows, 4)) < noise, generator.integers(0, 2, (rows, 4)), logits > 0)
    else:
        targets = np.where(generator.random(rows) < noise, generator.integers(-1, 4, rows), logits.argmax(1))
        assume((targets >= 0).any())
    loss = sigmoid_loss if multi_label else softmax_loss
    found = fit_temperature(logits, targets, multi_label)
    assert TEMPERATURES[0] <= found <= TEMPERATURES[1]
    losses = [loss(logits, targets, temperature) for temperature in GRID]
    assert loss(logits, targets, found) <= min(losses) + 1e-9 * (1 + abs(min(losses)))


@pytest.mark.parametrize("temperature", [0.2, 1.0, 3.0])
def test_the_temperature_that_made_the_labels_is_found(temperature: float) -> None:
    generator = np.random.default_rng(3)
    logits = generator.normal(size=(40_000, 5)).astype(np.float32) * 2
    noise = generator.gumbel(size=logits.shape)
    targets = (logits / temperature + noise).argmax(1)  # a draw from the softmax
    assert fit_temperature(logits, targets, multi_label=False) == pytest.approx(temperature, rel=0.03)
    targets = generator.random(logits.shape) < expit(logits / temperature)
    assert fit_temperature(logits, targets, multi_label=True) == pytest.approx(temperature, rel=0.03)


def test_unknown_targets_are_left_out() -> None:
    generator = np.random.default_rng(1)
    logits, targets = generator.normal(size=(50, 3)), generator.integers(0, 3, 50)
    more = np.vstack((logits, generator.normal(size=(9, 3)) * 50)), np.append(targets, [-1] * 9)
    assert fit_temperature(*more, multi_label=False) == pytest.approx(fit_temperature(logits, targets, False), rel=1e-5)


def test_where_the_temperature_has_no_best_value() -> None:
    nothing = np.zeros((0, 3))
    assert fit_temperature(nothing, np.zeros(0, np.int64), multi_label=False) == 1.0
    assert fit_temperature(nothing, nothing, multi_label=True) == 1.0
    assert fit_temperature(np.ones((4, 3)), np.zeros(4, np.int64), multi_label=False) == 1.0
    assert fit_temperature(np.ones((4, 1)), np.zeros(4, np.int64), multi_label=False) == 1.0
    assert fit_temperature(np.ones((4, 3)), np.full(4, -1), multi_label=False) == 1.0
    right = np.eye(3)
    assert fit_temperature(right, np.arange(3), multi_label=False) == TEMPERATURES[0]
    assert fit_temperature(right, np.array([1, 2, 0]), multi_label=False) == TEMPERATURES[1]
    assert fit_temperature(right * 1e6, np.array([1, 2, 0]), multi_label=False) == TEMPERATURES[1]


def test_logits_and_targets_have_to_fit() -> None:
    with pytest.raises(ValueError, match="not finite"):
        fit_temperature(np.array([[np.nan, 0.0]]), np.array([0]), multi_label=False)
    with pytest.raises(ValueError, match="targets of"):
        fit_temperature(np.zeros((2, 3)), np.zeros(2, np.int64), multi_label=True)


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.2, 1 / 3, 0.5, 0.61, 0.999, 1.0]), st.booleans()), max_size=40))
def test_bins_hold_what_lies_between_their_edges(decisions: list[tuple[float, bool]]) -> None:
    confidence, correct = [c for c, _ in decisions], [r for _, r in decisions]
    total = 0
    for each in calibration_bins(confidence, correct, bins=10):
        inside = [(c, r) for c, r in decisions if each["low"] < c <= each["high"] or c == each["low"] == 0]
        assert each["count"] == len(inside) > 0
        assert each["confidence"] == pytest.approx(np.mean([c for c, _ in inside]))
        assert each["accuracy"] == pytest.approx(np.mean([r for _, r in inside]))
        total += len(inside)
    assert total == len(decisions)


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.61, 0.999, 1.0]), st.booleans()), max_size=40))
def test_the_calibration_error_is_the_mean_gap(decisions: list[tuple[float, bool]]) -> None:
    confidence, correct = [c for c, _ in decisions], [r for _, r in decisions]
    error = 0.0
    for place in range(15):
        inside = [(c, r) for c, r in decisions if max(math.ceil(c * 15) - 1, 0) == place]
        error += abs(sum(c for c, _ in inside) - sum(r for _, r in inside))
    expected = error / len(decisions) if decisions else 0.0
    assert expected_error(confidence, correct) == pytest.approx(expected)


def expected_error(confidence: list[float], correct: list[bool]) -> float:
    return float(calibration_scores(confidence, correct, [])["ece"])


def test_calibration_by_hand() -> None:
    assert expected_error([1.0, 1.0, 1.0, 1.0], [True, True, True, False]) == 0.25
    assert expected_error([0.55, 0.95], [False, True]) == pytest.approx((0.55 + 0.05) / 2)
    scores = calibration_scores([0.5, 0.5], [True, False], [0.5, 0.25])
    assert scores["nll"] == pytest.approx((np.log(2) + np.log(4)) / 2)
    assert scores["ece"] == 0
    assert calibration_scores([1.0], [False], [0.0])["nll"] < 100  # counted, and still a number


def test_confidences_are_probabilities() -> None:
    assert expected_error([np.nextafter(np.float32(1), np.float32(2))], [True]) == pytest.approx(0, abs=1e-6)
    for wrong in (-0.1, 1.1, np.nan):
        with pytest.raises(ValueError, match="outside"):
            calibration_bins([wrong], [True])
    with pytest.raises(ValueError, match="one shape"):
        calibration_bins([0.5], [True, False])


def thresholds_between(values: Array) -> Array:
    """One threshold for each way to part the values."""
    values = np.unique(np.append(values, 0.0))
    return (values[1:] + values[:-1]) / 2


levels = hnp.arrays(np.float64, (12, 3), elements=st.sampled_from([0.0, 0.1, 0.15, 0.4, 0.5, 0.55, 0.9, 1.0]))


@settings(deadline=None, max_examples=50)
@given(levels, hnp.arrays(np.bool_, (12, 3)))
def test_no_threshold_gives_a_better_f1(probabilities: Array, targets: NDArray[np.bool_]) -> None:
    found = tune_thresholds(probabilities, targets, shrinkage=0)
    for label in range(3):
        column, true = probabilities[:, label], targets[:, label]
        if not true.any():
            continue
        best = max(
            f1_score(true, column >= threshold, zero_division=0) for threshold in [*thresholds_between(column), 0.0]
        )
        assert f1_score(true, column >= found[label], zero_division=0) == pytest.approx(best)


@settings(deadline=None, max_examples=50)
@given(levels, hnp.arrays(np.bool_, (12, 3)))
def test_rare_labels_share_the_best_threshold_of_all(probabilities: Array, targets: NDArray[np.bool_]) -> None:
    found = tune_thresholds(probabilities, targets, shrinkage=np.inf)
    assert found == pytest.approx(np.full(3, found[0]), abs=1e-9)
    if not targets.any():
        assert found[0] == 0.5
        return
    choices = [*thresholds_between(probabilities), 0.0]
    best = max(f1_score(targets, probabilities >= choice, average="micro", zero_division=0) for choice in choices)
    assert f1_score(targets, probabilities >= found[0], average="micro", zero_division=0) == pytest.approx(best)


def test_equally_good_thresholds() -> None:
    true = np.array([[1], [1], [0], [0]])
    # One gap parts them; its middle.
    assert tune_thresholds(np.array([[0.9], [0.8], [0.4], [0.1]]), true, 0) == pytest.approx([0.6])
    # F1 is 2/3 above 0.8 and above 0.2 alike: the wider gap.
    true = np.array([[1], [0], [1], [0]])
    probabilities = np.array([[0.9], [0.85], [0.5], [0.1]])
    assert tune_thresholds(probabilities, true, 0) == pytest.approx([0.3])
    neighbors = np.array([[np.nextafter(0.5, 1)], [0.5]])
    found = tune_thresholds(neighbors, np.array([[1], [0]]), 0)
    assert (neighbors >= found).tolist() == [[True], [False]]


def test_a_label_is_drawn_towards_the_pooled_threshold_by_its_rarity() -> None:
    probabilities = np.array([[0.9, 0.3], [0.8, 0.3], [0.2, 0.2], [0.1, 0.1]])
    targets = np.array([[1, 0], [1, 1], [0, 0], [0, 0]])  # two positives and one
    own, pooled = tune_thresholds(probabilities, targets, 0), tune_thresholds(probabilities, targets, np.inf)
    found = tune_thresholds(probabilities, targets, 2.0)
    assert found == pytest.approx([own[0] / 2 + pooled[0] / 2, own[1] / 3 + pooled[1] * 2 / 3])


def test_a_label_with_enough_positives_keeps_its_own_threshold() -> None:
    probabilities = np.array([[0.9, 0.3], [0.8, 0.3], [0.2, 0.2], [0.1, 0.1]])
    targets = np.array([[1, 0], [1, 1], [0, 0], [0, 0]])
    own, pooled = tune_thresholds(probabilities, targets, shrinkage=0)
    assert own == pytest.approx(0.5)
    assert pooled == pytest.approx(0.25)  # three of the first four, where two of two give less
    with pytest.raises(ValueError, match="expected"):
        tune_thresholds(probabilities, targets[:, :1])


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("confidence", [0.75, 0.95])
def test_a_temperature_for_a_mean_confidence(multi_label: bool, confidence: float) -> None:
    logits = np.random.default_rng(1).normal(size=(50, 4)) * 3
    cooled = logits / confidence_temperature(logits, confidence, multi_label)
    if multi_label:
        chances = 1 / (1 + np.exp(-cooled))
        decided = np.maximum(chances, 1 - chances)
    else:
        decided = (np.exp(cooled) / np.exp(cooled).sum(1, keepdims=True)).max(1)
    assert decided.mean() == pytest.approx(confidence, abs=1e-3)
