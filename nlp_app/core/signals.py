"""Handle SIGINT (Ctrl-C) and SIGTERM."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)

_REPEAT_SECONDS = 5.0  # a second SIGTERM within this time counts as the same one


class Interrupted(KeyboardInterrupt):
    """The program was stopped by a signal.

    Attributes:
        number: The number of the signal.
        status: The exit status for the process, 128 + `number`.
    """

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.number = number
        self.status = 128 + number


@dataclass
class StopSignal:
    """The first stop signal that arrived; true after one has arrived.

    Attributes:
        number: The number of the signal; 0 before one has arrived.
    """

    number: int = 0

    def __bool__(self) -> bool:
        return self.number > 0


@contextmanager
def raise_on_stop_signals() -> Iterator[None]:
    """Raise Interrupted when SIGTERM or SIGINT (Ctrl-C) arrives within the block.

    A SIGTERM that is repeated within 5 seconds is ignored: a sender that signals all processes of a group reaches some
    of them twice. Only the main thread can handle signals; in other threads nothing changes.

    Yields:
        None.

    Raises:
        Interrupted: A signal has arrived.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received = StopSignal()
    last_signal = -_REPEAT_SECONDS

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal last_signal
        if number == signal.SIGTERM and time.monotonic() - last_signal < _REPEAT_SECONDS:
            return
        received.number, last_signal = received.number or number, time.monotonic()
        raise Interrupted("stopped", received.number)

    with _handler(stop):
        try:
            yield
        except Exception as error:
            if received:  # a library in C or Rust may have replaced the Interrupted raised within it by its own error
                raise Interrupted("stopped", received.number) from error
            raise


@contextmanager
def record_stop_signals() -> Iterator[StopSignal]:
    """Record the first SIGTERM or SIGINT (Ctrl-C) within the block instead of stopping; a second Ctrl-C stops at once.

    A second SIGTERM is ignored: a sender that signals all processes of a group reaches some of them twice. Only the
    main thread can handle signals; in other threads nothing changes.

    Yields:
        An object that is true after a signal has arrived.
    """
    received = StopSignal()
    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}

    def record(number: int, frame: FrameType | None) -> None:
        if not received:
            received.number = number
            return
        if number == signal.SIGTERM:
            return
        for each, handler in before.items():
            signal.signal(each, handler)
        signal.raise_signal(number)

    with _handler(record):
        yield received


@contextmanager
def ignore_stop_signals() -> Iterator[None]:
    """Ignore SIGTERM and SIGINT (Ctrl-C) within the block, for a short operation that must not be interrupted.

    Yields:
        None.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with _handler(signal.SIG_IGN):
        yield


@contextmanager
def _handler(handler: Callable[[int, FrameType | None], None] | signal.Handlers) -> Iterator[None]:
    """Set the handler of the stop signals within the block.

    A signal that is ignored (under nohup, or in a background job of a shell) stays ignored.
    """
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    handled = [number for number in _SIGNALS if before[number] not in (signal.SIG_IGN, None)]
    for number in handled:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number in handled:
            signal.signal(number, before[number])
