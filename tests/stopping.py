"""Runs that a test breaks off from within."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest


class Stop(Exception):
    """Breaks off a run."""


@contextmanager
def stopping_after(epoch: int, monkeypatch: pytest.MonkeyPatch, saved: bool = True) -> Iterator[None]:
    """Break off the run in this block after the epoch's checkpoint, or before it."""
    from nlp_app.training.runs.directory import RunDirectory

    keep = RunDirectory.record_epoch

    def keep_and_stop(self: RunDirectory, line: dict[str, Any], *rest: Any) -> None:
        if line["epoch"] == epoch and not saved:
            raise Stop
        keep(self, line, *rest)
        if line["epoch"] == epoch:
            raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(RunDirectory, "record_epoch", keep_and_stop)
        with pytest.raises(Stop):
            yield
