"""Learning-rate schedules: one multiplier for all parameter groups, chosen by name.

With n the updates made so far, N = `total_steps`, W = round(`warmup_ratio` * N), and for n >= W the progress
p = (n - W) / (N - W), held at 1 beyond the end:

    warm-up (n < W)   (n + 1) / W, so that the first update already moves
    constant          1
    linear            1 - p
    cosine            (1 + cos(pi * p)) / 2          (Loshchilov & Hutter 2017, eq. 5, one cycle)
    step              factor ** floor((n - W) / every)
    plateau           factor ** (how often the dev score stood still for more than `patience` epochs)

All but plateau depend on n alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from nlp_app.core.errors import SettingsError, did_you_mean


@dataclass(frozen=True)
class ScheduleOptions:
    """`total_steps`: of the run; `warmup_ratio`: a share of them; `step_size`: in steps; `patience`: in epochs."""

    total_steps: int
    name: str = "linear"
    warmup_ratio: float = 0.0
    lr_decay_factor: float = 0.5
    step_size: int = 1
    patience: int = 2


class Schedule:
    """The multiplier of every learning rate. Raises `SettingsError` for an unknown name or a bad value."""

    def __init__(self, options: ScheduleOptions) -> None:
        _check(options)
        self.options = options
        self._shape = SHAPES[options.name]
        self._warmup_steps = round(options.warmup_ratio * options.total_steps)
        self._drops, self._still = 0, 0
        self._best: float | None = None

    @property
    def needs_score(self) -> bool:
        """Whether the multiplier follows the dev score."""
        return self.options.name == "plateau"

    def multiplier(self, step: int) -> float:
        """The multiplier for the update after `step` updates."""
        if step < self._warmup_steps:
            return (step + 1) / self._warmup_steps
        if self.needs_score:
            return self.options.lr_decay_factor**self._drops
        return self._shape(step - self._warmup_steps, self.options.total_steps - self._warmup_steps, self.options)

    def observe(self, score: float) -> None:
        """Take an epoch's dev score (higher is better) into account; only `plateau` does."""
        if self._best is None or score > self._best:
            self._best, self._still = score, 0
            return
        self._still += 1
        if self._still > self.options.patience:
            self._drops, self._still = self._drops + 1, 0

    def state_dict(self) -> dict[str, Any]:
        """What `observe` has gathered, as plain values."""
        return {"drops": self._drops, "still": self._still, "best": self._best}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what `state_dict` gave."""
        self._drops, self._still, self._best = state["drops"], state["still"], state["best"]


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
