"""What to say when a loss or a gradient is no longer a finite number."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nlp_app.training.batches import RowsError
from nlp_app.training.learner import Learner


class NonFiniteError(RowsError):
    """A loss, a gradient or a weight is infinite or not a number."""


def non_finite_error(learner: Learner, place: str, found: str, rows: Sequence[int]) -> NonFiniteError:
    """The error for what was `found` at `place`: with rates, rows, the first part at fault, what to try."""
    rates = ", ".join(f"{part} {rate:.3g}" for part, rate in learner.optimizers.rates().items())
    shown = ", ".join(str(row) for row in rows[:8]) + (", ..." if len(rows) > 8 else "")
    return NonFiniteError(
        f"{place}: found {found}, expected finite numbers; learning rates: {rates}; "
        f"{len(rows)} rows: {shown}; {_first_part(learner)}; {_advice(learner)}",
        rows,
    )


def check_weights(learner: Learner) -> None:
    """Raises `NonFiniteError` if an update has made a weight infinite or not a number."""
    for name, parameter in learner.model.named_parameters():
        if parameter.requires_grad and not _finite(parameter):
            rates = ", ".join(f"{part} {rate:.3g}" for part, rate in learner.optimizers.rates().items())
            raise NonFiniteError(
                f"epoch {learner.state.epoch + 1}, step {learner.state.step}: found weights of {name} that are not "
                f"finite numbers, after the update before; learning rates: {rates}; {_advice(learner)}",
                [],
            )


def _first_part(learner: Learner) -> str:
    """Names the first parameter that is not finite or, if all are, the first gradient."""
    named = list(learner.model.named_parameters())
    for name, parameter in named:
        if not _finite(parameter):
            return f"first non-finite parameter: {name}"
    for name, parameter in named:
        if parameter.grad is not None and not _finite(parameter.grad):
            return f"parameters are finite; first non-finite gradient: {name}"
    return "parameters and gradients are finite"


def _finite(tensor: Tensor) -> bool:
    values = tensor._values() if tensor.is_sparse else tensor
    return bool(torch.isfinite(values).all())


def _advice(learner: Learner) -> str:
    mixed = learner.accelerator.mixed_precision != "no"
    return (
        "in a new run, try a lower learning rate, a longer warm-up, a smaller max_grad_norm (train.rate, warmup, clip)"
        + (", or precision 'no'" if mixed else ", or look at these rows")
    )
