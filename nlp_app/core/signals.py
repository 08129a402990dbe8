"""Being told to stop: by Ctrl-C, or by whoever gave the machine (SIGTERM)."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)

_TWICE = 5.0  # seconds within which two signals are one


class Interrupted(KeyboardInterrupt):
    """Something has stopped because it was told to, by the signal of that `number`. `status`: what its process ends
    with."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.number = number
        self.status = 128 + number


@dataclass
class StopSignal:
    """What was heard. `number`: of the first signal, 0 while there was none."""

    number: int = 0

    def __bool__(self) -> bool:
        return self.number > 0


@contextmanager
def raise_on_stop_signals() -> Iterator[None]:
    """Within the block SIGTERM and Ctrl-C raise Interrupted. A SIGTERM that comes twice at once counts once: whoever
    sends it to all processes of a group reaches some twice."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard = StopSignal()
    since = -_TWICE

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal since
        if number == signal.SIGTERM and time.monotonic() - since < _TWICE:
            return
        heard.number, since = heard.number or number, time.monotonic()
        raise Interrupted("stopped", heard.number)

    with _handled_by(stop):
        try:
            yield
        except Exception as error:
            if heard:  # code in other languages may make something else of what was raised in the middle of it
                raise Interrupted("stopped", heard.number) from error
            raise


@contextmanager
def record_stop_signals() -> Iterator[StopSignal]:
    """Within the block a first signal is noted, to be asked for; a second Ctrl-C ends the block at once, as usual.

    A second SIGTERM changes nothing: whoever sends it to all processes of a group reaches some twice. Only the main
    thread hears signals; elsewhere nothing changes.
    """
    heard = StopSignal()
    if threading.current_thread() is not threading.main_thread():
        yield heard
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}

    def hear(number: int, frame: FrameType | None) -> None:
        if not heard:
            heard.number = number
            return
        if number == signal.SIGTERM:
            return
        for each, handler in before.items():
            signal.signal(each, handler)
        signal.raise_signal(number)

    with _handled_by(hear):
        yield heard


@contextmanager
def ignore_stop_signals() -> Iterator[None]:
    """Within the block the signals that stop a program change nothing: for what is short, and harmful if left half
    done."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with _handled_by(signal.SIG_IGN):
        yield


@contextmanager
def _handled_by(handler: Callable[[int, FrameType | None], None] | signal.Handlers) -> Iterator[None]:
    """Within the block the signals that stop a program are handled so. What is ignored (as under nohup, or in a shell's
    background) stays ignored."""
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    chosen = [number for number in _SIGNALS if before[number] not in (signal.SIG_IGN, None)]
    for number in chosen:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number in chosen:
            signal.signal(number, before[number])
