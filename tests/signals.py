"""Signals that tests send: to their own process, and to processes that they start.

A process that is started with SIGINT ignored (`command &` in a script, some CI runners) never gets a Ctrl-C, and its
children don't either. A test with the marker `interrupt` runs with the default handlers all the same, and so do the
processes that it starts.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOPPING = (signal.SIGINT, signal.SIGTERM)
IGNORING_SIGINT = ("sh", "-c", "trap '' INT; exec \"$@\"", "sh")  # in front of a command
_has_defaults = False


@contextmanager
def default_handlers() -> Iterator[None]:
    """Handle SIGINT and SIGTERM as a program does that is started at a terminal."""
    global _has_defaults
    before = {number: signal.getsignal(number) for number in STOPPING}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _has_defaults = True
    try:
        yield
    finally:
        _has_defaults = False
        for number, handler in before.items():
            signal.signal(number, handler)


def raise_signal(number: signal.Signals) -> None:
    """Send a signal to this process. The test fails if it has no marker, or if the signal would end pytest."""
    assert _has_defaults, "the test sends a signal to its own process: add the marker `interrupt`"
    assert signal.getsignal(number) is not signal.SIG_DFL, f"{number.name} would end pytest: nothing handles it"
    signal.raise_signal(number)


@contextmanager
def signal_in(function: str, number: signal.Signals) -> Iterator[None]:
    """Send a signal to this process at the first call of a function with this name."""

    def look(frame: FrameType, event: str, argument: object) -> None:
        if event == "call" and frame.f_code.co_name == function:
            sys.setprofile(None)
            raise_signal(number)

    sys.setprofile(look)
    try:
        yield
    finally:
        sys.setprofile(None)
