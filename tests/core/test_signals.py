"""Being told to stop: what raises, what is noted, and what must not be disturbed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from signals import IGNORING_SIGINT, STOPPING, raise_signal

from nlp_app.core.errors import DataError
from nlp_app.core.signals import (
    Interrupted,
    StopSignal,
    ignore_stop_signals,
    raise_on_stop_signals,
    record_stop_signals,
)

pytestmark = pytest.mark.interrupt


@pytest.fixture(autouse=True)
def unchanged(handlers: None) -> Iterator[None]:
    """Whatever a test does, the handlers are those from before."""
    before = [signal.getsignal(number) for number in STOPPING]
    yield
    assert [signal.getsignal(number) for number in STOPPING] == before


@pytest.mark.parametrize("number", STOPPING)
def test_what_others_make_of_a_signal_is_a_signal_all_the_same(number: signal.Signals) -> None:
    """As a library in C or Rust may, in the middle of which it came."""
    with pytest.raises(Interrupted) as caught, raise_on_stop_signals():
        misread(number)
    assert (str(caught.value), caught.value.status) == ("stopped", 128 + number)


def misread(number: signal.Signals) -> None:
    try:
        raise_signal(number)
    except KeyboardInterrupt:
        raise DataError("damaged") from None


def test_other_errors_are_left_as_they_are() -> None:
    with pytest.raises(DataError, match="damaged"), raise_on_stop_signals():
        raise DataError("damaged")


def test_a_sigterm_that_comes_twice_counts_once_and_a_later_one_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with raise_on_stop_signals():
        assert is_heard(signal.SIGTERM)
        assert not is_heard(signal.SIGTERM)
        monkeypatch.setattr("nlp_app.core.signals._REPEAT_SECONDS", 0.0)
        assert is_heard(signal.SIGTERM)
        assert is_heard(signal.SIGINT)


def is_heard(number: signal.Signals) -> bool:
    try:
        raise_signal(number)
    except Interrupted:
        return True
    return False


@pytest.mark.parametrize("number", STOPPING)
def test_what_is_short_is_not_disturbed(number: signal.Signals) -> None:
    with raise_on_stop_signals():
        with ignore_stop_signals():
            raise_signal(number)
        assert is_heard(number)


def test_what_is_noted_can_be_asked_for() -> None:
    with raise_on_stop_signals(), record_stop_signals() as heard:
        assert not heard
        raise_signal(signal.SIGTERM)
        raise_signal(signal.SIGTERM)
        assert heard.number == signal.SIGTERM
        assert is_heard(signal.SIGINT)


@pytest.mark.parametrize("block", [raise_on_stop_signals, record_stop_signals, ignore_stop_signals])
def test_an_ignored_sigint_stays_ignored(block: Callable[[], AbstractContextManager[StopSignal | None]]) -> None:
    """As a script's `command &` leaves it. SIGTERM is handled all the same."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with raise_on_stop_signals(), block() as heard:
            raise_signal(signal.SIGINT)
            raise_signal(signal.SIGINT)
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
            assert not heard
            assert is_heard(signal.SIGTERM) == (block is raise_on_stop_signals)
            assert heard is None or heard.number == signal.SIGTERM
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def test_a_signal_that_nothing_catches_fails_the_test_and_pytest_goes_on(tmp_path: Path) -> None:
    """Also where an error within the block is taken for what a signal has caused."""
    conftest = Path(__file__).with_name("conftest.py")
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = interrupt\n")
    (tmp_path / "test_some.py").write_text(
        """
import signal
import pytest
from nlp_app.core.signals import record_stop_signals, raise_on_stop_signals
from signals import raise_signal

@pytest.mark.interrupt
def test_uncaught():
    raise_signal(signal.SIGINT)

@pytest.mark.interrupt
def test_wrong_within():
    with raise_on_stop_signals():
        with pytest.raises(KeyboardInterrupt):
            raise_signal(signal.SIGINT)
        assert False

@pytest.mark.interrupt
def test_deadly():
    raise_signal(signal.SIGTERM)

def test_without_the_marker():
    raise_signal(signal.SIGINT)

def test_last():
    assert True
"""
    )
    command = [sys.executable, "-m", "pytest", "-p", "conftest", "-p", "no:cacheprovider", tmp_path]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(conftest.parent), *sys.path])}
    done = subprocess.run([*IGNORING_SIGINT, *command], capture_output=True, text=True, timeout=300, env=environment)
    assert "4 failed, 1 passed" in done.stdout, done
