"""Weights of runs before and after a change of a setting; those before are trained once for all changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file

Weights = dict[str, Any]


def last_weights(run: Path) -> Weights:
    """The last state of all of a run, since the best epoch may be the same."""
    (last,) = (run / "checkpoints").glob("checkpoint-*/tensors.safetensors")
    return load_file(last)


def differ(a: Weights, b: Weights) -> bool:
    return a.keys() != b.keys() or any(a[name].shape != b[name].shape or (a[name] != b[name]).any() for name in a)


class Before:
    """Weights with the settings that a changed one needs to matter: of the first of two runs, which have to be equal.

    Most changes need no other setting, and share one pair of runs.
    """

    def __init__(self, train: Callable[[Path, dict[str, str]], Weights], directory: Path) -> None:
        self._train = train
        self._directory = directory
        self._known: dict[tuple[tuple[str, str], ...], Weights] = {}

    def __call__(self, along: dict[str, str]) -> Weights:
        key = tuple(sorted(along.items()))
        if key not in self._known:
            number = len(self._known)
            first, again = (self._train(self._directory / f"{number}-{turn}", along) for turn in ("first", "again"))
            assert not differ(first, again), along
            self._known[key] = first
        return self._known[key]
