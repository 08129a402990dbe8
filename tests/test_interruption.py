"""Being told to stop: what raises, what is noted, and what must not be disturbed."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from nlp_app.errors import DataError
from nlp_app.interruption import Interrupted, listening, terminable, undisturbed

NUMBERS = (signal.SIGINT, signal.SIGTERM)


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Whatever a test does, the handlers are those from before."""
    before = [signal.getsignal(number) for number in NUMBERS]
    yield
    assert [signal.getsignal(number) for number in NUMBERS] == before


@pytest.mark.parametrize("number", NUMBERS)
def test_what_others_make_of_a_signal_is_a_signal_all_the_same(number: signal.Signals) -> None:
    """As a library in C or Rust may, in the middle of which it came."""
    with pytest.raises(Interrupted) as caught, terminable():
        misread(number)
    assert (str(caught.value), caught.value.status) == ("stopped", 128 + number)


def misread(number: signal.Signals) -> None:
    try:
        signal.raise_signal(number)
    except KeyboardInterrupt:
        raise DataError("damaged") from None


def test_other_errors_are_left_as_they_are() -> None:
    with pytest.raises(DataError, match="damaged"), terminable():
        raise DataError("damaged")


def test_a_sigterm_that_comes_twice_counts_once_and_a_later_one_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with terminable():
        assert is_heard(signal.SIGTERM)
        assert not is_heard(signal.SIGTERM)
        monkeypatch.setattr("nlp_app.interruption._TWICE", 0.0)
        assert is_heard(signal.SIGTERM)
        assert is_heard(signal.SIGINT)


def is_heard(number: signal.Signals) -> bool:
    try:
        signal.raise_signal(number)
    except Interrupted:
        return True
    return False


@pytest.mark.parametrize("number", NUMBERS)
def test_what_is_short_is_not_disturbed(number: signal.Signals) -> None:
    with terminable():
        with undisturbed():
            signal.raise_signal(number)
        assert is_heard(number)


def test_what_is_noted_can_be_asked_for() -> None:
    with terminable(), listening() as heard:
        assert not heard
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert heard.number == signal.SIGTERM
        assert is_heard(signal.SIGINT)
