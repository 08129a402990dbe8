"""Probabilities that can be believed: how far they are from what comes true, and what is fitted on dev to bring them
nearer. It imports NumPy alone, as it is used where a model predicts; fitting a temperature loads SciPy.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

TEMPERATURES = (0.05, 20.0)

SHRINKAGE = 20.0  # positives on dev from which a label's own threshold has more say than the pooled one

_PIECE = 1 << 20

_SMALLEST = float(np.finfo(np.float32).tiny)  # a probability of 0 that came true has no finite logarithm


def calibration_scores(confidence: ArrayLike, correct: ArrayLike, likelihood: ArrayLike) -> dict[str, Any]:
    """`ece`, `nll` and `bins` of n decisions.

    confidence, correct: (n,), as for `calibration_bins`; likelihood: (m,), the probability given to what was true,
    whose negative logarithm has the mean `nll`; m may be less than n, as what no class stands for has none.
    """
    bins = calibration_bins(confidence, correct)
    true = np.maximum(np.asarray(likelihood, np.float64), _SMALLEST)
    return {"ece": _gap(bins), "nll": float(-np.log(true).mean()) if len(true) else 0.0, "bins": bins}


def calibration_bins(confidence: ArrayLike, correct: ArrayLike, bins: int = 15) -> list[dict[str, float | int]]:
    """The reliability diagram of n decisions: `low`, `high`, `count`, mean `confidence` and `accuracy` of each of the
    equally wide bins (low, high] that isn't empty.

    confidence: (n,) from 0 to 1 (0 belongs to the first bin); correct: (n,) bool.
    """
    values, right = np.asarray(confidence, np.float64), np.asarray(correct, np.float64)
    if values.shape != right.shape or values.ndim != 1:
        raise ValueError(f"confidence and correctness need one shape (n,): found {values.shape} and {right.shape}")
    if not ((values >= 0) & (values <= 1 + 1e-5)).all():  # a softmax in single precision may exceed 1 by a little
        raise ValueError("found a confidence outside 0 to 1")
    edges = np.linspace(0, 1, bins + 1)
    places = np.clip(np.searchsorted(edges, values, side="left") - 1, 0, bins - 1)
    counts = np.bincount(places, minlength=bins)
    sums = [np.bincount(places, weights=column, minlength=bins) for column in (values, right)]
    return [
        {
            "low": float(edges[place]),
            "high": float(edges[place + 1]),
            "count": int(counts[place]),
            "confidence": float(sums[0][place] / counts[place]),
            "accuracy": float(sums[1][place] / counts[place]),
        }
        for place in counts.nonzero()[0]
    ]


def _gap(bins: list[dict[str, float | int]]) -> float:
    """The mean distance between confidence and accuracy, weighted by the bins' counts (Naeini et al. 2015; Guo et al.
    2017, eq. 5); 0 without bins."""
    total = sum(each["count"] for each in bins)
    return sum(each["count"] * abs(each["accuracy"] - each["confidence"]) for each in bins) / total if bins else 0.0


def fit_temperature(logits: NDArray[Any], targets: NDArray[Any], multi_label: bool) -> float:
    """The temperature T that makes softmax(logits / T) most likely (Guo et al. 2017, section 4.2); of several labels
    a text, each label's sigmoid(logit / T).

    logits: (n, k), finite; targets: (n,) class ids, or (n, k) of 0 and 1; what is below 0 is left out. T is between
    0.05 and 20 and reaches these bounds where the best is beyond, as it is where all decisions are right. 1.0 where T
    makes no difference: no targets, or logits that are all equal.
    """
    if not np.isfinite(logits).all():
        raise ValueError("found logits that are not finite")
    targets = np.asarray(targets)
    if targets.shape != (logits.shape if multi_label else logits.shape[:1]):
        raise ValueError(f"found targets of {targets.shape} for logits of {logits.shape}")
    from scipy.optimize import minimize_scalar  # noqa: PLC0415 - predicting imports this module, and never fits

    loss_at = _sigmoid_loss if multi_label else _softmax_loss

    def loss(log_temperature: float) -> float:
        return loss_at(logits, targets, float(np.exp(-log_temperature)))

    # The loss is convex in the inverse temperature, so it has one minimum in the logarithm too.
    bounds = np.log(TEMPERATURES)
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    ends = loss(bounds[0]), loss(bounds[1])
    if ends[0] == ends[1] == found.fun:
        return 1.0
    if min(ends) <= found.fun:  # the search comes near the bounds, but never reaches them
        return TEMPERATURES[0] if ends[0] <= ends[1] else TEMPERATURES[1]
    return float(np.exp(found.x))


def confidence_temperature(logits: NDArray[Any], confidence: float, multi_label: bool) -> float:
    """The temperature at which decisions have this mean confidence: of the best class, or of each label as decided.

    logits: (n, k), finite, n > 0. Within 0.05 and 20; mean confidence falls as the temperature rises.
    """
    low, high = TEMPERATURES
    while high - low > 1e-4 * high:
        middle = (low + high) / 2
        if multi_label:
            found = float((1 / (1 + np.exp(-np.abs(logits) / middle))).mean())
        else:
            z = logits.astype(np.float64) - logits.max(1, keepdims=True)
            found = float((1 / np.exp(z / middle).sum(1)).mean())
        low, high = (middle, high) if found > confidence else (low, middle)
    return float((low + high) / 2)


def _softmax_loss(logits: NDArray[Any], targets: NDArray[Any], inverse: float) -> float:
    """The summed negative log-likelihood at an inverse temperature."""
    loss = 0.0
    for rows in _slices(logits):
        known = targets[rows] >= 0
        z = logits[rows][known].astype(np.float64)
        z = inverse * (z - z[np.arange(len(z)), targets[rows][known]][:, None])
        most = z.max(1, keepdims=True)
        loss += float((most[:, 0] + np.log(np.exp(z - most).sum(1))).sum())
    return loss


def _sigmoid_loss(logits: NDArray[Any], targets: NDArray[Any], inverse: float) -> float:
    """The same of decisions on each text and label."""
    loss = 0.0
    for rows in _slices(logits):
        known = targets[rows] >= 0
        z = logits[rows][known].astype(np.float64)
        loss += float(np.logaddexp(0, np.where(targets[rows][known] > 0, -inverse, inverse) * z).sum())
    return loss


def _slices(table: NDArray[Any]) -> list[slice]:
    """Rows in pieces of about a million numbers, so that copies stay small."""
    rows = max(1, _PIECE // max(table.shape[1], 1))
    return [slice(start, start + rows) for start in range(0, len(table), rows)]


def tune_thresholds(
    probabilities: NDArray[Any], targets: NDArray[Any], shrinkage: float = SHRINKAGE
) -> NDArray[np.float64]:
    """For each label the threshold that gives the best F1 to what is found at or above it (the S-cut of Yang 2001),
    drawn towards the threshold that is best for all texts and labels pooled: a rare label's own would follow chance.

    probabilities: (n, k); targets: (n, k) of 0 and 1; returns (k,). Of a label with p positives, its own threshold has
    a weight of p / (p + shrinkage). 0.5 if nothing is positive. Of thresholds that do equally well it is the middle of
    the widest gap between two probabilities, of equal gaps that nearest to 0.5.
    """
    if probabilities.shape != targets.shape or probabilities.ndim != 2:
        raise ValueError(
            f"found probabilities of {probabilities.shape} and targets of {targets.shape}, expected (n, k)"
        )
    positive = targets > 0
    if not positive.any():
        return np.full(positive.shape[1], 0.5)
    pooled = _best_threshold(probabilities.ravel(), positive.ravel())
    counts = positive.sum(0)
    own = np.array(
        [
            _best_threshold(probabilities[:, label], positive[:, label]) if count else pooled
            for label, count in enumerate(counts.tolist())
        ]
    )
    weight = counts / (counts + shrinkage) if shrinkage else np.minimum(counts, 1)
    return np.asarray(weight * own + (1 - weight) * pooled, dtype=np.float64)


def _best_threshold(probabilities: NDArray[Any], positive: NDArray[np.bool_]) -> float:
    order = np.argsort(-probabilities, kind="stable")
    # What stands below the last one is taken as 0, so that finding everything has a gap too.
    above = probabilities[order].astype(np.float64)
    below = np.append(above[1:], 0.0)
    right = np.cumsum(positive[order])
    f1 = 2 * right / (np.arange(1, len(above) + 1) + right[-1])
    f1[:-1][above[:-1] == below[:-1]] = -1.0  # no threshold stands between equals
    best = np.flatnonzero(f1 == f1.max())
    middle = (above[best] + below[best]) / 2
    widest = np.lexsort((np.abs(middle - 0.5), below[best] - above[best]))[0]
    # Between neighboring numbers there is no middle.
    return float(middle[widest] if middle[widest] > below[best][widest] else above[best][widest])
