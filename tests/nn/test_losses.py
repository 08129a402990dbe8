"""The losses against formulas in float64, torch's own, scikit-learn's support vector machine, and slopes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, log_expit, logsumexp
from sklearn.svm import LinearSVC
from torch import Tensor
from torch.nn import functional

from nlp_app.core.errors import SettingsError
from nlp_app.nn.losses import LOSSES, make_loss

pytestmark = pytest.mark.numeric

SINGLE = [name for name, loss in LOSSES.items() if not loss.multi_label]
MULTI = [name for name, loss in LOSSES.items() if loss.multi_label]
WEIGHTS = [0.25, 2.0, 1.0, 0.5]
CLASSES = len(WEIGHTS)


def focal(x: np.ndarray, y: np.ndarray, weights: np.ndarray, gamma: float) -> float:
    total = 0.0
    for row, true in zip(x, y, strict=True):
        log_p = row[true] - logsumexp(row)
        log_rest = logsumexp(np.delete(row, true)) - logsumexp(row)
        total += -weights[true] * np.exp(gamma * log_rest) * log_p
    return total


def hinge(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> float:
    total = 0.0
    for row, true in zip(x, y, strict=True):
        for number, logit in enumerate(row):
            sign, weight = (1, weights[number]) if number == true else (-1, 1.0)
            total += weight * max(0.0, 1 - sign * logit) ** 2
    return total


def smoothed(x: np.ndarray, y: np.ndarray, weights: np.ndarray, smoothing: float) -> float:
    shares = np.full(x.shape, smoothing / x.shape[1])
    shares[np.arange(len(y)), y] += 1 - smoothing
    return float(-(shares * weights * (x - logsumexp(x, axis=1, keepdims=True))).sum())


def binary_focal(x: np.ndarray, y: np.ndarray, weights: np.ndarray, gamma: float) -> float:
    ones = weights * expit(-x) ** gamma * -log_expit(x)
    zeros = expit(x) ** gamma * -log_expit(-x)
    return float(np.where(y == 1, ones, zeros).sum())


def drawn(seed: int, rows: int = 6, scale: float = 3.0) -> tuple[Tensor, Tensor, Tensor]:
    """Logits of float64, single-label targets, multi-label targets."""
    random = np.random.default_rng(seed)
    logits = torch.from_numpy(random.normal(scale=scale, size=(rows, CLASSES)))
    single = torch.from_numpy(random.integers(0, CLASSES, rows))
    return logits, single, torch.from_numpy(random.integers(0, 2, (rows, CLASSES)).astype(np.float64))


def targets_for(name: str, single: Tensor, multi: Tensor) -> Tensor:
    return multi if LOSSES[name].multi_label else single


seeds = st.integers(0, 10**6)
gammas = st.sampled_from([0.0, 0.5, 1.0, 2.0, 5.0])
scales = st.sampled_from([0.1, 3.0, 30.0])


@given(seeds, gammas, st.floats(0, 0.9), scales, st.booleans())
@settings(max_examples=100, deadline=None)
def test_values_are_those_of_the_formulas(
    seed: int, gamma: float, smoothing: float, scale: float, weighted: bool
) -> None:
    logits, single, multi = drawn(seed, scale=scale)
    weights = WEIGHTS if weighted else None
    factors = np.array(WEIGHTS if weighted else [1.0] * CLASSES)
    x, y, labels = logits.numpy(), single.numpy(), multi.numpy()
    expected: dict[str, tuple[float, dict[str, float]]] = {
        "cross_entropy": (smoothed(x, y, factors, smoothing), {"smoothing": smoothing}),
        "focal": (focal(x, y, factors, gamma), {"gamma": gamma}),
        "hinge": (hinge(x, y, factors), {}),
        "binary_cross_entropy": (binary_focal(x, labels, factors, 0.0), {}),
        "binary_focal": (binary_focal(x, labels, factors, gamma), {"gamma": gamma}),
    }
    assert set(expected) == set(LOSSES)
    for name, (value, options) in expected.items():
        loss = make_loss(name, multi_label=LOSSES[name].multi_label, weights=weights, **options)
        targets = targets_for(name, single, multi)
        assert loss(logits, targets).item() == pytest.approx(value, rel=1e-9, abs=1e-12)
        assert loss(logits.float(), targets).item() == pytest.approx(value, rel=1e-4, abs=1e-5)


@given(seeds, st.floats(0, 0.9))
@settings(max_examples=30, deadline=None)
def test_cross_entropies_are_torchs(seed: int, smoothing: float) -> None:
    logits, single, multi = drawn(seed)
    weights = torch.tensor(WEIGHTS, dtype=torch.float64)
    expected = functional.cross_entropy(logits, single, weights, reduction="sum", label_smoothing=smoothing)
    torch.testing.assert_close(
        make_loss("cross_entropy", weights=WEIGHTS, smoothing=smoothing)(logits, single), expected
    )
    plain = functional.cross_entropy(logits, single, weights, reduction="sum")
    torch.testing.assert_close(make_loss("focal", weights=weights, gamma=0)(logits, single), plain)
    binary = functional.binary_cross_entropy_with_logits(logits, multi, pos_weight=weights, reduction="sum")
    for name, options in (("binary_cross_entropy", {}), ("binary_focal", {"gamma": 0.0})):
        loss = make_loss(name, multi_label=True, weights=WEIGHTS, **options)
        torch.testing.assert_close(loss(logits, multi), binary)
        torch.testing.assert_close(loss(logits, multi.long()), binary)


def test_a_support_vector_machine_stands_where_the_hinge_has_no_slope() -> None:
    random = np.random.default_rng(5)
    x = random.normal(size=(90, 6))
    y = (x @ random.normal(size=(6, 3)) + random.normal(size=(90, 3))).argmax(1)
    weights = [0.5, 1.0, 3.0]
    machine = LinearSVC(C=0.7, class_weight=dict(enumerate(weights)), fit_intercept=False, tol=1e-10, max_iter=10**6)
    matrix = torch.from_numpy(machine.fit(x, y).coef_).requires_grad_()
    loss = make_loss("hinge", weights=weights)(torch.from_numpy(x) @ matrix.T, torch.from_numpy(y))
    slope = torch.autograd.grad(0.5 * matrix.square().sum() + 0.7 * loss, matrix)[0]
    assert slope.abs().max() < 1e-4
    assert (
        torch.autograd.grad(make_loss("hinge")(torch.from_numpy(x) @ matrix.T, torch.from_numpy(y)), matrix)[0]
        .abs()
        .max()
        > 1
    )


def losses() -> list[Callable[[Tensor, Tensor], Tensor]]:
    return [
        *(make_loss(name, multi_label=LOSSES[name].multi_label, weights=WEIGHTS) for name in LOSSES),
        make_loss("cross_entropy", smoothing=0.1),
        *(make_loss("focal", gamma=gamma) for gamma in (0.0, 0.5, 1.0)),
        *(make_loss("binary_focal", gamma=gamma, multi_label=True) for gamma in (0.0, 0.5, 1.0)),
    ]


@pytest.mark.parametrize("loss", losses(), ids=lambda loss: type(loss).__name__)
def test_gradients_are_slopes(loss: torch.nn.Module) -> None:
    logits, single, multi = drawn(7)
    targets = multi if type(loss).multi_label else single
    assert torch.autograd.gradcheck(lambda x: loss(x, targets), (logits.requires_grad_(),))


@pytest.mark.parametrize("loss", losses(), ids=lambda loss: type(loss).__name__)
@pytest.mark.parametrize("size", [20.0, 100.0, 1e4])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_extreme_logits_have_the_gradients_of_float64(loss: torch.nn.Module, size: float, kind: torch.dtype) -> None:
    corners = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * CLASSES) * size
    logits = torch.cat((corners, torch.eye(CLASSES) * size, -torch.eye(CLASSES) * size)).to(kind)
    multi = (torch.arange(logits.numel()) % 3 == 0).view(logits.shape).float()
    for single in torch.arange(CLASSES).unsqueeze(1).expand(-1, len(logits)):
        targets = multi if type(loss).multi_label else single
        found, exact = logits.clone().requires_grad_(), logits.double().requires_grad_()
        value, exact_value = loss(found, targets), loss(exact, targets)
        value.backward()
        exact_value.backward()
        assert value.dtype == torch.float32
        assert found.grad is not None
        assert exact.grad is not None
        assert torch.isfinite(exact.grad).all()
        torch.testing.assert_close(value.double(), exact_value, rtol=1e-5, atol=1e-5)
        # Of logits of 10,000 float32 has no more than three digits behind the point.
        rough = 1e-2 if kind == torch.bfloat16 else max(1e-5, 2.5e-7 * size)
        torch.testing.assert_close(found.grad.double(), exact.grad, rtol=rough, atol=1e-6)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_under_autocast_they_compute_in_float32(name: str, kind: torch.dtype) -> None:
    loss = make_loss(name, multi_label=LOSSES[name].multi_label, weights=WEIGHTS)
    logits, single, multi = drawn(3)
    targets = targets_for(name, single, multi)
    half = logits.to(kind)
    with torch.autocast("cpu", kind):
        value = loss(half, targets)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss(half.float(), targets), rtol=0, atol=0)


@given(seeds, st.sampled_from(sorted(LOSSES)))
@settings(max_examples=40, deadline=None)
def test_a_batch_is_the_sum_of_its_rows(seed: int, name: str) -> None:
    loss = make_loss(name, multi_label=LOSSES[name].multi_label, weights=WEIGHTS)
    logits, single, multi = drawn(seed)
    targets = targets_for(name, single, multi)
    alone = sum(loss(logits[row : row + 1], targets[row : row + 1]) for row in range(len(logits)))
    torch.testing.assert_close(loss(logits, targets), alone)
    assert loss(logits[:0], targets[:0]).item() == 0


def test_more_gamma_means_less_of_what_is_easy() -> None:
    easy, hard = torch.tensor([[4.0, 0.0]]), torch.tensor([[-4.0, 0.0]])
    true = torch.tensor([0])
    shares = []
    for gamma in (0.0, 1.0, 2.0):
        loss = make_loss("focal", gamma=gamma)
        shares.append((loss(easy, true) / loss(hard, true)).item())
    assert shares == sorted(shares, reverse=True)


def test_a_loss_saves_nothing() -> None:
    assert not make_loss("cross_entropy", weights=WEIGHTS).state_dict()


@pytest.mark.parametrize("name", SINGLE + MULTI)
def test_each_name_gives_its_loss(name: str) -> None:
    assert type(make_loss(name, multi_label=LOSSES[name].multi_label)) is LOSSES[name]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"name": "cross_entrpy"}, "expected one of cross_entropy, focal, hinge; did you mean 'cross_entropy'?"),
        (
            {"name": "hinge", "multi_label": True},
            "'hinge', which is not for multi-label data, expected one of",
        ),
        ({"name": "binary_focal"}, "'binary_focal', which is not for single-label data, expected one of cross_entropy"),
        (
            {"name": "hinge", "gamma": 2.0},
            "gamma: found 2.0 for loss 'hinge', which does not support it; only focal does",
        ),
        (
            {"name": "focal", "smoothing": 0.1},
            "smoothing: found 0.1 for loss 'focal', which does not support it; only cross_entr",
        ),
        ({"name": "focal", "gamma": -1.0}, "gamma: found -1.0, expected a number of at least 0"),
        ({"name": "focal", "gamma": float("nan")}, "gamma: found nan"),
        ({"name": "cross_entropy", "smoothing": 1.0}, "smoothing: found 1.0, expected at least 0 and less than 1"),
        ({"name": "hinge", "weights": [1.0, -1.0]}, "found [1.0, -1.0], expected numbers of at least 0"),
        ({"name": "hinge", "weights": [1.0, float("inf")]}, "class weights: found"),
    ],
)
def test_what_makes_no_sense_is_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError) as error:
        make_loss(**wrong)  # type: ignore[arg-type]
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_no_smoothing_fits_every_loss() -> None:
    for name in SINGLE:
        make_loss(name, smoothing=0.0)
