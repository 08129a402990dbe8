"""Losses of classification, by name.

Each is a module: `forward(logits (B, K), targets)` gives the sum over the batch, a scalar; who trains divides by the
number of targets. Single-label targets are (B,) int64 classes, multi-label targets (B, K) of 0 and 1. `weights` are
factors, (K,): of each class, or of each label where it is present.

All compute in float32 at least, whatever the autocast, and in log-probabilities where a probability could round to 0
or 1: losses and gradients are finite and right for logits of +-100 and beyond.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from nlp_app.core.errors import SettingsError, did_you_mean


class Loss(nn.Module):
    """What the losses share: `multi_label` says which targets one takes, `options` what else it can be told."""

    multi_label: ClassVar[bool] = False
    options: ClassVar[tuple[str, ...]] = ()

    def __init__(self, weights: Sequence[float] | Tensor | None = None) -> None:
        super().__init__()
        # A plain attribute, not a buffer: a loss has no place in a saved model, and a buffer that isn't saved comes
        # back as garbage where models are built without memory. So it follows the logits to their device instead.
        self.weights = None if weights is None else torch.tensor([float(weight) for weight in weights])

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """logits: (B, K) of any float type -> the sum of the losses, float32 (float64 for float64)."""
        kind = torch.promote_types(logits.dtype, torch.float32)
        weights = None if self.weights is None else self.weights.to(logits.device, kind)
        with torch.autocast(logits.device.type, enabled=False):
            return self._sum(logits.to(kind), targets, weights)

    def _sum(self, logits: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
        raise NotImplementedError


class CrossEntropy(Loss):
    """Cross entropy, with weights of the classes and label smoothing (Szegedy et al. 2016, section 7).

    As torch's with its sum for a reduction: a smoothed target's shares are each weighted by the class they fall on.
    """

    options = ("smoothing",)

    def __init__(self, weights: Sequence[float] | Tensor | None = None, smoothing: float = 0.0) -> None:
        super().__init__(weights)
        self.smoothing = smoothing

    def _sum(self, logits: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
        return functional.cross_entropy(logits, targets, weights, reduction="sum", label_smoothing=self.smoothing)


class Focal(Loss):
    """Focal loss of classes that exclude each other: -alpha_t (1 - p_t)^gamma log p_t (Lin et al. 2017, equation 5).

    p_t is the softmax's probability of the true class and alpha the weights; two classes at least. gamma 0 is weighted
    cross entropy. There is no smoothing: the loss knows one true class.
    """

    options = ("gamma",)

    def __init__(self, weights: Sequence[float] | Tensor | None = None, gamma: float = 2.0) -> None:
        super().__init__(weights)
        self.gamma = gamma

    def _sum(self, logits: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
        true = targets.unsqueeze(1)
        # p_t is the sigmoid of how far the true class is above the log-sum of the others.
        others = logits.scatter(1, true, -math.inf).logsumexp(1)
        losses = _focal(logits.gather(1, true).squeeze(1) - others, self.gamma)
        return (losses if weights is None else losses * weights[targets]).sum()


class Hinge(Loss):
    """Each class against the rest, squared hinge: what scikit-learn's LinearSVC minimizes by default, but its penalty.

    The sum over the classes of max(0, 1 - logit)^2 for the true one and max(0, 1 + logit)^2 for the others. A weight
    multiplies a class's term in the rows where it is the true one, as LIBLINEAR's class weights do.
    """

    def _sum(self, logits: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
        true = functional.one_hot(targets, logits.shape[1]).bool()
        losses = (1 - torch.where(true, logits, -logits)).relu().square()
        return (losses if weights is None else torch.where(true, losses * weights, losses)).sum()


class BinaryCrossEntropy(Loss):
    """Cross entropy of each label by itself; `weights` are torch's `pos_weight`."""

    multi_label = True

    def _sum(self, logits: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
        return functional.binary_cross_entropy_with_logits(
            logits, targets.to(logits.dtype), pos_weight=weights, reduction="sum"
        )


class BinaryFocal(Loss):
    """Focal loss of each label by itself (Lin et al. 2017, equation 4), p_t the sigmoid's probability of the target.

    gamma 0 is binary cross entropy with the same weights. The paper's alpha and 1 - alpha are, but for a common factor,
    a weight of alpha / (1 - alpha).
    """

    multi_label = True
    options = ("gamma",)

    def __init__(self, weights: Sequence[float] | Tensor | None = None, gamma: float = 2.0) -> None:
        super().__init__(weights)
        self.gamma = gamma

    def _sum(self, logits: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
        present = targets > 0.5
        losses = _focal(torch.where(present, logits, -logits), self.gamma)
        return (losses if weights is None else torch.where(present, losses * weights, losses)).sum()


def _focal(margin: Tensor, gamma: float) -> Tensor:
    """-(1 - p)^gamma log p where p is the sigmoid of the margin."""
    # The power by way of its log, which keeps all digits near p = 1 and has a gradient there for gamma < 1 too.
    losses = -functional.logsigmoid(margin)
    return losses * (gamma * functional.logsigmoid(-margin)).exp() if gamma else losses


LOSSES: dict[str, type[Loss]] = {
    "cross_entropy": CrossEntropy,
    "focal": Focal,
    "hinge": Hinge,
    "binary_cross_entropy": BinaryCrossEntropy,
    "binary_focal": BinaryFocal,
}


def make_loss(
    name: str,
    *,
    multi_label: bool = False,
    weights: Sequence[float] | Tensor | None = None,
    gamma: float | None = None,
    smoothing: float | None = None,
) -> Loss:
    """The loss of this name for single-label or multi-label targets; None: the loss's own default.

    Raises `SettingsError` for an unknown name, a loss of the other kind of targets, a value out of range, and for an
    option that the loss doesn't have.
    """
    fitting = [known for known, loss in LOSSES.items() if loss.multi_label == multi_label]
    if name not in fitting:
        why = f", which is not for {'several labels' if multi_label else 'one label'} a text" if name in LOSSES else ""
        hint = "" if name in LOSSES else did_you_mean(name, fitting)
        raise SettingsError(f"loss: found {name!r}{why}, expected one of {', '.join(fitting)}{hint}")
    if weights is not None and not all(math.isfinite(weight) and weight >= 0 for weight in map(float, weights)):
        raise SettingsError(f"class weights: found {[*map(float, weights)]}, expected numbers of at least 0")
    if gamma is not None and not 0 <= gamma < math.inf:
        raise SettingsError(f"gamma: found {gamma}, expected a number of at least 0")
    if smoothing is not None and not 0 <= smoothing < 1:
        raise SettingsError(f"smoothing: found {smoothing}, expected at least 0 and less than 1")
    # No smoothing is what a loss without that option does.
    given = {"gamma": gamma, "smoothing": smoothing or None}
    options = {option: value for option, value in given.items() if value is not None}
    for option, value in options.items():
        if option not in LOSSES[name].options:
            having = [known for known in fitting if option in LOSSES[known].options]
            raise SettingsError(f"{option}: found {value} for loss {name!r}, which has none; only {_listed(having)}")
    return LOSSES[name](weights, **options)


def _listed(names: Sequence[str]) -> str:
    return f"{' and '.join(names)} {'have' if len(names) > 1 else 'has'}" if names else "leave it unset"
