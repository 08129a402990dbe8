"""Error for a loss, gradient or weight that is no longer finite, with its probable cause."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from nlp_app.engine.batch import RowsError
from nlp_app.engine.learner import Learner


class NonFiniteError(RowsError):
    """A loss, a gradient or a weight is infinite or NaN."""


class NonFinite(NamedTuple):
    """A value that is not finite.

    Attributes:
        position: Epoch and step, as text.
        value: The value, as text: "a loss of nan".
        rates: Learning rates of that step.
        rows: Rows of the batches that caused it.
        steps_since: Number of steps made since. On an accelerator, values are not read after each step.
    """

    position: str
    value: str
    rates: Mapping[str, float]
    rows: Sequence[int]
    steps_since: int = 0


def non_finite_error(learner: Learner, problem: NonFinite) -> NonFiniteError:
    """Make the error for a value that is not finite.

    Args:
        learner: The learner; its parameters and gradients are searched for the first one that is not finite.
        problem: The value.

    Returns:
        An error that names learning rates, rows and the first non-finite parameter or gradient, and gives advice.
    """
    rates = ", ".join(f"{part} {rate:.3g}" for part, rate in problem.rates.items())
    shown = ", ".join(str(row) for row in problem.rows[:8]) + (", ..." if len(problem.rows) > 8 else "")
    rows = f"; {len(problem.rows)} rows: {shown}" if problem.rows else ""
    since = f"{problem.steps_since} updates later, " if problem.steps_since else ""
    return NonFiniteError(
        f"{problem.position}: found {problem.value}, expected finite numbers; learning rates: {rates}{rows}; "
        f"{since}{_first_non_finite(learner)}; {_advice(learner)}",
        problem.rows,
    )


def check_weights(learner: Learner, rows: Sequence[int] = ()) -> None:
    """Check that all trainable weights are finite.

    Args:
        learner: The learner.
        rows: Rows of the last step's batches, for the error.

    Raises:
        NonFiniteError: A weight is infinite or NaN.
    """
    for name, parameter in learner.model.named_parameters():
        if parameter.requires_grad and not _is_finite(parameter):
            position = f"epoch {learner.state.epoch + 1}, step {learner.state.step}"
            value = f"weights of {name} that are infinite or not numbers"
            raise non_finite_error(learner, NonFinite(position, value, learner.optimizers.learning_rates(), rows))


def _first_non_finite(learner: Learner) -> str:
    """Name the first parameter that is not finite or, if all are, the first gradient."""
    named = list(learner.model.named_parameters())
    for name, parameter in named:
        if not _is_finite(parameter):
            return f"first non-finite parameter: {name}"
    for name, parameter in named:
        if parameter.grad is not None and not _is_finite(parameter.grad):
            return f"parameters are finite; first non-finite gradient: {name}"
    return "parameters and gradients are finite"


def _is_finite(tensor: Tensor) -> bool:
    values = tensor._values() if tensor.is_sparse else tensor
    return bool(torch.isfinite(values).all())


def _advice(learner: Learner) -> str:
    mixed = learner.accelerator.mixed_precision != "no"
    return (
        "start a new run with a lower learning rate, a longer warm-up or a lower limit on the gradient norm "
        "(train.learning_rate, train.warmup_ratio, train.max_grad_norm)"
        + (", or with precision 'no'" if mixed else ", or check these rows")
    )
