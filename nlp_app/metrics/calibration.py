"""Calibration of probabilities: measure the calibration error, fit a temperature and tune decision thresholds.

Prediction uses this module too, so it imports only NumPy; fitting a temperature loads SciPy.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

TEMPERATURES = (0.05, 20.0)

SHRINKAGE = 20.0  # with more positives on dev, a label's own threshold has more weight than the pooled one

_CHUNK_SIZE = 1 << 20  # values

_SMALLEST = float(np.finfo(np.float32).tiny)  # keeps the log-loss finite if the true class has probability 0


def calibration_scores(confidence: ArrayLike, correct: ArrayLike, likelihood: ArrayLike) -> dict[str, Any]:
    """Compute calibration scores of n decisions.

    Args:
        confidence: Probability of each decision, (n,), from 0 to 1.
        correct: True for each correct decision, (n,) bool.
        likelihood: Predicted probability of each true outcome, (m,). m may be less than n, because an unknown gold
            label has no probability.

    Returns:
        `ece`: the expected calibration error; `nll`: the mean negative log-likelihood, 0 if m is 0; `bins`: the result
        of `calibration_bins`.

    Raises:
        ValueError: If the shapes of `confidence` and `correct` differ, or a confidence is outside 0 to 1.
    """
    bins = calibration_bins(confidence, correct)
    true = np.maximum(np.asarray(likelihood, np.float64), _SMALLEST)
    return {
        "ece": _expected_calibration_error(bins),
        "nll": float(-np.log(true).mean()) if len(true) else 0.0,
        "bins": bins,
    }


def calibration_bins(confidence: ArrayLike, correct: ArrayLike, bins: int = 15) -> list[dict[str, float | int]]:
    """Compute the reliability diagram of n decisions.

    Args:
        confidence: Probability of each decision, (n,), from 0 to 1.
        correct: True for each correct decision, (n,) bool.
        bins: Number of bins of equal width. A bin covers (low, high]; 0 belongs to the first bin.

    Returns:
        For each non-empty bin: `low`, `high`, `count`, mean `confidence` and `accuracy`.

    Raises:
        ValueError: If the shapes differ or a confidence is outside 0 to 1.
    """
    values, hits = np.asarray(confidence, np.float64), np.asarray(correct, np.float64)
    if values.shape != hits.shape or values.ndim != 1:
        raise ValueError(f"confidence, correct: found shapes {values.shape} and {hits.shape}; expected one shape (n,)")
    if not ((values >= 0) & (values <= 1 + 1e-5)).all():  # a float32 softmax may slightly exceed 1
        raise ValueError("found a confidence outside 0 to 1")
    edges = np.linspace(0, 1, bins + 1)
    bin_ids = np.clip(np.searchsorted(edges, values, side="left") - 1, 0, bins - 1)
    counts = np.bincount(bin_ids, minlength=bins)
    sums = [np.bincount(bin_ids, weights=column, minlength=bins) for column in (values, hits)]
    return [
        {
            "low": float(edges[index]),
            "high": float(edges[index + 1]),
            "count": int(counts[index]),
            "confidence": float(sums[0][index] / counts[index]),
            "accuracy": float(sums[1][index] / counts[index]),
        }
        for index in counts.nonzero()[0]
    ]


def _expected_calibration_error(bins: list[dict[str, float | int]]) -> float:
    """Average |accuracy - confidence| over the bins, weighted by their counts; 0 without bins.

    Naeini et al. 2015; Guo et al. 2017, equation 5.
    """
    total = sum(each["count"] for each in bins)
    return sum(each["count"] * abs(each["accuracy"] - each["confidence"]) for each in bins) / total if bins else 0.0


def fit_temperature(logits: NDArray[Any], targets: NDArray[Any], multi_label: bool) -> float:
    """Fit a softmax or sigmoid temperature by maximum likelihood (Guo et al. 2017, section 4.2).

    Args:
        logits: Finite scores, (n, k).
        targets: Class ids, (n,), or indicators 0 and 1, (n, k), for multi-label data. Negative targets are ignored.
        multi_label: True to scale sigmoid(logit / T) of each label, False for softmax(logits / T).

    Returns:
        The temperature T, from 0.05 to 20. If the optimum is outside this range (for example, if all decisions are
        correct), the nearer bound. If T makes no difference (no targets, or all logits equal), 1.0.

    Raises:
        ValueError: If a logit is not finite or the shapes do not match.
    """
    if not np.isfinite(logits).all():
        raise ValueError("found logits that are not finite")
    targets = np.asarray(targets)
    if targets.shape != (logits.shape if multi_label else logits.shape[:1]):
        raise ValueError(f"found targets of {targets.shape} for logits of {logits.shape}")
    from scipy.optimize import minimize_scalar  # noqa: PLC0415 - prediction imports this module but never fits

    loss_at = _sigmoid_loss if multi_label else _softmax_loss

    def loss(log_temperature: float) -> float:
        return loss_at(logits, targets, float(np.exp(-log_temperature)))

    # The loss is convex in the inverse temperature, so it has a single minimum in log space too.
    bounds = np.log(TEMPERATURES)
    optimum = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    ends = loss(bounds[0]), loss(bounds[1])
    if ends[0] == ends[1] == optimum.fun:
        return 1.0
    if min(ends) <= optimum.fun:  # the bounded search approaches the bounds but never evaluates them
        return TEMPERATURES[0] if ends[0] <= ends[1] else TEMPERATURES[1]
    return float(np.exp(optimum.x))


def confidence_temperature(logits: NDArray[Any], confidence: float, multi_label: bool) -> float:
    """Find the temperature at which the mean confidence has a given value, by bisection.

    The confidence of a text is the probability of its best class. In multi-label data it is the probability of each
    yes/no decision on a label. The mean decreases as the temperature rises.

    Args:
        logits: Finite scores, (n, k) with n > 0.
        confidence: The wanted mean confidence.
        multi_label: True for sigmoid probabilities, False for softmax.

    Returns:
        The temperature, within 0.01 %, from 0.05 to 20. If the wanted confidence is not reached in this range, a
        temperature next to the bound.
    """
    low, high = TEMPERATURES
    while high - low > 1e-4 * high:
        middle = (low + high) / 2
        if multi_label:
            mean = float((1 / (1 + np.exp(-np.abs(logits) / middle))).mean())
        else:
            z = logits.astype(np.float64) - logits.max(1, keepdims=True)
            mean = float((1 / np.exp(z / middle).sum(1)).mean())
        low, high = (middle, high) if mean > confidence else (low, middle)
    return float((low + high) / 2)


def _softmax_loss(logits: NDArray[Any], targets: NDArray[Any], inverse: float) -> float:
    """Sum the negative log-likelihood of the targets at an inverse temperature."""
    loss = 0.0
    for rows in _row_chunks(logits):
        known = targets[rows] >= 0
        z = logits[rows][known].astype(np.float64)
        z = inverse * (z - z[np.arange(len(z)), targets[rows][known]][:, None])
        peak = z.max(1, keepdims=True)
        loss += float((peak[:, 0] + np.log(np.exp(z - peak).sum(1))).sum())
    return loss


def _sigmoid_loss(logits: NDArray[Any], targets: NDArray[Any], inverse: float) -> float:
    """Sum the negative log-likelihood of multi-label targets at an inverse temperature."""
    loss = 0.0
    for rows in _row_chunks(logits):
        known = targets[rows] >= 0
        z = logits[rows][known].astype(np.float64)
        loss += float(np.logaddexp(0, np.where(targets[rows][known] > 0, -inverse, inverse) * z).sum())
    return loss


def _row_chunks(table: NDArray[Any]) -> list[slice]:
    """Split the rows into chunks of about a million values, so that float64 copies stay small."""
    rows = max(1, _CHUNK_SIZE // max(table.shape[1], 1))
    return [slice(start, start + rows) for start in range(0, len(table), rows)]


def tune_thresholds(
    probabilities: NDArray[Any], targets: NDArray[Any], shrinkage: float = SHRINKAGE
) -> NDArray[np.float64]:
    """Tune a decision threshold for each label to maximize F1 (S-cut, Yang 2001).

    Each label's best threshold is shrunk towards the best threshold of all labels pooled, because the best threshold
    of a rare label is mostly chance. A label with p positives gives its own threshold the weight p / (p + shrinkage).

    If several thresholds have the same F1, the middle of the widest gap between two neighboring probabilities is
    used; for gaps of equal width, the middle nearest to 0.5.

    Args:
        probabilities: Probabilities of the labels, (n, k).
        targets: Indicators 0 and 1, (n, k).
        shrinkage: Number of positives at which a label's own and the pooled threshold have equal weight; 0 uses the
            own threshold for every label with a positive.

    Returns:
        The thresholds, (k,): a label is predicted at or above its threshold. 0.5 for all if there are no positives.

    Raises:
        ValueError: If the shapes differ or are not (n, k).
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
    # 0 follows the lowest probability, so that predicting every text has a gap too.
    above = probabilities[order].astype(np.float64)
    below = np.append(above[1:], 0.0)
    correct = np.cumsum(positive[order])
    f1 = 2 * correct / (np.arange(1, len(above) + 1) + correct[-1])
    f1[:-1][above[:-1] == below[:-1]] = -1.0  # no threshold separates equal probabilities
    best = np.flatnonzero(f1 == f1.max())
    middle = (above[best] + below[best]) / 2
    widest = np.lexsort((np.abs(middle - 0.5), below[best] - above[best]))[0]
    # There is no number between two adjacent floats; use the upper one then.
    return float(middle[widest] if middle[widest] > below[best][widest] else above[best][widest])
