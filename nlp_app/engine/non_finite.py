"""What to say when a loss or a gradient is no longer a finite number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from nlp_app.engine.batch import RowsError
from nlp_app.engine.learner import Learner


class NonFiniteError(RowsError):
    """A loss, a gradient or a weight is infinite or not a number."""


class NonFinite(NamedTuple):
    """What isn't finite: where, what it is, the rates there, and the rows of the batches at fault. later: updates that
    were made since, as an accelerator's numbers aren't looked at each time."""

    place: str
    what: str
    rates: Mapping[str, float]
    rows: Sequence[int]
    later: int = 0


def non_finite_error(learner: Learner, found: NonFinite) -> NonFiniteError:
    """The error for what was `found`: with rates, rows, the first part at fault, what to try."""
    rates = ", ".join(f"{part} {rate:.3g}" for part, rate in found.rates.items())
    shown = ", ".join(str(row) for row in found.rows[:8]) + (", ..." if len(found.rows) > 8 else "")
    rows = f"; {len(found.rows)} rows: {shown}" if found.rows else ""
    since = f"{found.later} updates later, " if found.later else ""
    return NonFiniteError(
        f"{found.place}: found {found.what}, expected finite numbers; learning rates: {rates}{rows}; "
        f"{since}{_first_part(learner)}; {_advice(learner)}",
        found.rows,
    )


def check_weights(learner: Learner, rows: Sequence[int] = ()) -> None:
    """Raises `NonFiniteError` if an update has made a weight infinite or not a number; `rows`: of the last one."""
    for name, parameter in learner.model.named_parameters():
        if parameter.requires_grad and not _finite(parameter):
            where = f"epoch {learner.state.epoch + 1}, step {learner.state.step}"
            what = f"weights of {name} that are infinite or not numbers"
            raise non_finite_error(learner, NonFinite(where, what, learner.optimizers.learning_rates(), rows))


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
        "in a new run, try a lower learning rate, a longer warm-up, a smaller norm of the gradient "
        "(train.learning_rate, train.warmup_ratio, train.max_grad_norm)"
        + (", or precision 'no'" if mixed else ", or look at these rows")
    )
