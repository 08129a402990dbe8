"""Classification losses.

Each loss is a module. `forward(logits, targets)` returns the sum over the batch, a scalar; the training loop divides it
by the number of targets. Shapes: B texts, K classes. Single-label targets are class ids, (B,) int64; multi-label
targets are indicators 0 and 1, (B, K). `weights`, (K,), are factors of each class, or of each label where it is
present.

All losses compute in float32 or wider, also under autocast, and in log-probabilities where a probability could round to
0 or 1. So losses and gradients are finite and correct even for logits beyond +-100.
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
    """Base class of the losses.

    Attributes:
        multi_label: True if the loss takes multi-label targets.
        options: Names of the options of `make_loss` that the loss supports.
        weights: Class weights, (K,) float32, or None.
    """

    multi_label: ClassVar[bool] = False
    options: ClassVar[tuple[str, ...]] = ()

    def __init__(self, weights: Sequence[float] | Tensor | None = None) -> None:
        super().__init__()
        # A plain attribute, not a buffer: losses are not saved with a model, and an unsaved buffer would contain
        # garbage in a network built on the meta device. So `forward` moves the weights to the logits' device.
        self.weights = None if weights is None else torch.tensor([float(weight) for weight in weights])

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Compute the loss, summed over the batch.

        Args:
            logits: (B, K) of any floating type.
            targets: Class ids, (B,), or for a multi-label loss indicators 0 and 1, (B, K).

        Returns:
            A scalar, float32, or float64 for float64 logits.
        """
        kind = torch.promote_types(logits.dtype, torch.float32)
        weights = None if self.weights is None else self.weights.to(logits.device, kind)
        with torch.autocast(logits.device.type, enabled=False):
            return self._sum(logits.to(kind), targets, weights)

    def _sum(self, logits: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
        raise NotImplementedError


class CrossEntropy(Loss):
    """Cross entropy with class weights and label smoothing (Szegedy et al. 2016, section 7).

    Like `torch.nn.CrossEntropyLoss(reduction="sum")`: each class's share of a smoothed target is weighted by the weight
    of that class.
    """

    options = ("smoothing",)

    def __init__(self, weights: Sequence[float] | Tensor | None = None, smoothing: float = 0.0) -> None:
        super().__init__(weights)
        self.smoothing = smoothing

    def _sum(self, logits: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
        return functional.cross_entropy(logits, targets, weights, reduction="sum", label_smoothing=self.smoothing)


class Focal(Loss):
    """Focal loss of single-label targets: -alpha_t (1 - p_t)^gamma log p_t (Lin et al. 2017, equation 5).

    p_t is the softmax probability of the true class and alpha the class weights. At least two classes are required.
    With gamma 0 it is weighted cross entropy. Label smoothing is not supported: the loss is defined for one true class.
    """

    options = ("gamma",)

    def __init__(self, weights: Sequence[float] | Tensor | None = None, gamma: float = 2.0) -> None:
        super().__init__(weights)
        self.gamma = gamma

    def _sum(self, logits: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
        true = targets.unsqueeze(1)
        # p_t is the sigmoid of the true class's logit minus the logsumexp of the other logits.
        others = logits.scatter(1, true, -math.inf).logsumexp(1)
        losses = _focal(logits.gather(1, true).squeeze(1) - others, self.gamma)
        return (losses if weights is None else losses * weights[targets]).sum()


class Hinge(Loss):
    """Squared hinge loss, one-vs-rest: the default loss of scikit-learn's LinearSVC without its penalty.

    The sum over the classes of max(0, 1 - logit)^2 for the true class and max(0, 1 + logit)^2 for the others. A class's
    weight multiplies its term in the rows where it is the true class, like LIBLINEAR's class weights.
    """

    def _sum(self, logits: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
        true = functional.one_hot(targets, logits.shape[1]).bool()
        losses = (1 - torch.where(true, logits, -logits)).relu().square()
        return (losses if weights is None else torch.where(true, losses * weights, losses)).sum()


class BinaryCrossEntropy(Loss):
    """Binary cross entropy of each label; `weights` are the `pos_weight` of PyTorch."""

    multi_label = True

    def _sum(self, logits: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
        return functional.binary_cross_entropy_with_logits(
            logits, targets.to(logits.dtype), pos_weight=weights, reduction="sum"
        )


class BinaryFocal(Loss):
    """Binary focal loss of each label (Lin et al. 2017, equation 4).

    p_t is the sigmoid probability of the target. With gamma 0 it is binary cross entropy with the same weights. The
    paper's factors alpha and 1 - alpha correspond, up to a common factor, to the weight alpha / (1 - alpha).
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
    """Compute -(1 - p)^gamma log p, where p is the sigmoid of the margin."""
    # The power is computed from its logarithm, which is precise near p = 1, with a finite gradient there for gamma < 1.
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
    """Create a loss by name.

    Args:
        name: A key of `LOSSES`.
        multi_label: True for multi-label targets.
        weights: Class weights, (K,), at least 0; None: all 1.
        gamma: Focusing parameter of a focal loss, at least 0; None: the loss's default.
        smoothing: Label smoothing, at least 0 and less than 1; None: the loss's default.

    Returns:
        The loss.

    Raises:
        SettingsError: If the name is unknown, the loss does not fit the targets, a value is out of range, or the loss
            does not support an option.

    Example:
        >>> make_loss("focal", gamma=1.0).gamma
        1.0
    """
    fitting = [known for known, loss in LOSSES.items() if loss.multi_label == multi_label]
    if name not in fitting:
        reason = f", which is not for {'multi' if multi_label else 'single'}-label data" if name in LOSSES else ""
        hint = "" if name in LOSSES else did_you_mean(name, fitting)
        raise SettingsError(f"loss: found {name!r}{reason}, expected one of {', '.join(fitting)}{hint}")
    if weights is not None and not all(math.isfinite(weight) and weight >= 0 for weight in map(float, weights)):
        raise SettingsError(f"class weights: found {[*map(float, weights)]}, expected numbers of at least 0")
    if gamma is not None and not 0 <= gamma < math.inf:
        raise SettingsError(f"gamma: found {gamma}, expected a number of at least 0")
    if smoothing is not None and not 0 <= smoothing < 1:
        raise SettingsError(f"smoothing: found {smoothing}, expected at least 0 and less than 1")
    # Smoothing 0 is valid for every loss.
    candidates = {"gamma": gamma, "smoothing": smoothing or None}
    options = {option: value for option, value in candidates.items() if value is not None}
    for option, value in options.items():
        if option not in LOSSES[name].options:
            supporting = [known for known in fitting if option in LOSSES[known].options]
            raise SettingsError(
                f"{option}: found {value} for loss {name!r}, which does not support it; {_support_hint(supporting)}"
            )
    return LOSSES[name](weights, **options)


def _support_hint(names: Sequence[str]) -> str:
    return f"only {' and '.join(names)} {'do' if len(names) > 1 else 'does'}" if names else "leave it unset"
