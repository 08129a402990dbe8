"""Learning-rate schedules: one multiplier for all parameter groups, chosen by name.

With n the number of steps made so far, N = `total_steps`, W = round(`warmup_ratio` * N), and for n >= W the progress
p = (n - W) / (N - W), at most 1:

    warm-up (n < W)   (n + 1) / W, so that the first step already changes the weights
    constant          1
    linear            1 - p
    cosine            (1 + cos(pi * p)) / 2          (Loshchilov & Hutter 2017, eq. 5, one cycle)
    step              lr_decay_factor ** floor((n - W) / step_size)
    plateau           lr_decay_factor ** (number of times the dev score did not improve for more than `patience`
                      evaluations)

All schedules except plateau depend on n only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from nlp_app.core.errors import SettingsError, did_you_mean


@dataclass(frozen=True)
class ScheduleOptions:
    """Options of a learning-rate schedule.

    Attributes:
        total_steps: Number of steps of the run.
        name: Name of the schedule, one of `SHAPES`.
        warmup_ratio: Share of the steps in which the learning rate rises to its full value.
        lr_decay_factor: Factor of each decay of "step" and "plateau".
        step_size: Number of steps between decays of "step".
        patience: Number of evaluations without a better score that "plateau" accepts before a decay.
    """

    total_steps: int
    name: str = "linear"
    warmup_ratio: float = 0.0
    lr_decay_factor: float = 0.5
    step_size: int = 1
    patience: int = 2


class Schedule:
    """The multiplier of all learning rates, step by step.

    Args:
        options: Options of the schedule.

    Raises:
        SettingsError: The name is unknown, or a value is out of range.
    """

    def __init__(self, options: ScheduleOptions) -> None:
        _check(options)
        self.options = options
        self._shape = SHAPES[options.name]
        self._warmup_steps = round(options.warmup_ratio * options.total_steps)
        self._num_decays, self._stale = 0, 0
        self._best: float | None = None

    @property
    def needs_score(self) -> bool:
        """True if the multiplier depends on the dev score."""
        return self.options.name == "plateau"

    def multiplier(self, step: int) -> float:
        """Return the multiplier of the next step.

        Args:
            step: Number of steps made so far.

        Returns:
            The multiplier, 0 to 1.
        """
        if step < self._warmup_steps:
            return (step + 1) / self._warmup_steps
        if self.needs_score:
            return self.options.lr_decay_factor**self._num_decays
        return self._shape(step - self._warmup_steps, self.options.total_steps - self._warmup_steps, self.options)

    def observe(self, score: float) -> None:
        """Record a dev score; only "plateau" uses it.

        Args:
            score: The score; higher is better.
        """
        if self._best is None or score > self._best:
            self._best, self._stale = score, 0
            return
        self._stale += 1
        if self._stale > self.options.patience:
            self._num_decays, self._stale = self._num_decays + 1, 0

    def state_dict(self) -> dict[str, Any]:
        """Return the state that `observe` changes.

        Returns:
            Values that can be stored as JSON, by name.
        """
        return {"drops": self._num_decays, "still": self._stale, "best": self._best}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a state.

        Args:
            state: The result of `state_dict`.
        """
        self._num_decays, self._stale, self._best = state["drops"], state["still"], state["best"]


def _constant(step: int, steps: int, options: ScheduleOptions) -> float:
    return 1.0


def _linear(step: int, steps: int, options: ScheduleOptions) -> float:
    return 1 - _progress(step, steps)


def _cosine(step: int, steps: int, options: ScheduleOptions) -> float:
    return (1 + math.cos(math.pi * _progress(step, steps))) / 2


def _step(step: int, steps: int, options: ScheduleOptions) -> float:
    return options.lr_decay_factor ** (step // options.step_size)


def _progress(step: int, steps: int) -> float:
    return 1.0 if step >= steps else step / steps


SHAPES: dict[str, Callable[[int, int, ScheduleOptions], float]] = {
    "constant": _constant,
    "linear": _linear,
    "cosine": _cosine,
    "step": _step,
    "plateau": _constant,
}


def _check(options: ScheduleOptions) -> None:
    if options.name not in SHAPES:
        hint = did_you_mean(options.name, SHAPES)
        raise SettingsError(f"schedule: found {options.name!r}, expected one of {', '.join(SHAPES)}{hint}")
    for name, fits, expected in (
        ("total_steps", options.total_steps >= 1, "at least 1"),
        ("warmup_ratio", 0 <= options.warmup_ratio <= 1, "a share of the updates, from 0 to 1"),
        ("lr_decay_factor", 0 < options.lr_decay_factor < 1, "between 0 and 1"),
        ("step_size", options.step_size >= 1, "at least 1"),
        ("patience", options.patience >= 0, "0 or more"),
    ):
        if not fits:
            raise SettingsError(f"schedule.{name}: found {getattr(options, name)}, expected {expected}")
