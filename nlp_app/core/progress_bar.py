"""How far a command has come, on standard error: a bar at a terminal, and a line now and then in a log."""

from __future__ import annotations

import os
import sys
from typing import Any, NoReturn, TextIO

from tqdm import tqdm

_WAIT = 2.0  # seconds until a bar appears

_PAUSE = 60.0  # seconds between lines

_COLUMNS = 80  # of a terminal that doesn't say


class _Log:
    """Where a bar is written a line at a time, as nothing that is written can be taken back."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a status of the bar as a line; nothing of what only moves about on a terminal."""
        if text.strip():
            self._stream.write(" ".join(text.split()) + "\n")
            self._stream.flush()
        return len(text)

    def flush(self) -> None:
        """Nothing: each line is."""


def progress_bar(quiet: bool, unit: str, total: int | None = None, initial: int = 0, **more: Any) -> tqdm[NoReturn]:
    """A bar that is told of its progress; it comes only if there is a wait, and goes when it is closed.

    total, initial: how much there is to do, None if that isn't known, and how much of it was done before; more: what
    else tqdm takes.
    """
    stream = sys.stderr
    given: dict[str, Any] = {"total": total, "initial": initial, "unit": unit} | more
    if quiet or stream is None:
        return tqdm(None, disable=True, **given)
    if stream.isatty():
        return tqdm(None, delay=_WAIT, file=stream, leave=False, **_width(stream), **given)
    plain = "{desc}{percentage:.0f} %, {n_fmt} of {total_fmt}{unit}, {rate_fmt}, {remaining} left{postfix}"
    plain = plain if total is not None else "{desc}{n_fmt}{unit}, {rate_fmt}{postfix}"
    given |= dict.fromkeys(("delay", "mininterval", "maxinterval"), _PAUSE)
    return tqdm(None, file=_Log(stream), bar_format=plain, **given)


def _width(stream: TextIO) -> dict[str, Any]:
    """As wide as the terminal, whatever becomes of it; some don't say how wide that is."""
    try:
        known = os.get_terminal_size(stream.fileno()).columns > 0
    except (OSError, ValueError):
        known = False
    return {"dynamic_ncols": True} if known else {"ncols": _COLUMNS}
