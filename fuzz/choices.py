"""Decisions out of a fuzzer's bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Choices:
    """Bytes that are used up from the front: each decision takes one or two, zeros where none are left."""

    def __init__(self, data: bytes) -> None:
        self._data, self._place = data, 0

    def number(self, below: int) -> int:
        """A number from 0 to `below` - 1, at most 65,536 of them."""
        size = 1 if below <= 256 else 2
        taken = self.take(size)
        return int.from_bytes(taken, "little") % below

    def pick(self, options: Sequence[T]) -> T:
        """One of the options."""
        return options[self.number(len(options))]

    def take(self, size: int) -> bytes:
        """So many bytes, or as many as are left."""
        taken = self._data[self._place : self._place + size]
        self._place += len(taken)
        return taken

    def part(self) -> bytes:
        """A share of what is left: of 256 parts, as many as the next byte says."""
        share = self.number(256)
        return self.take((len(self._data) - self._place) * share // 255)

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(len(self._data))
