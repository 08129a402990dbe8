"""Progress bar on standard error; one line per minute when the output is not a terminal."""

from __future__ import annotations

import os
import sys
from typing import Any, NoReturn, TextIO

from tqdm import tqdm

_DELAY = 2.0  # seconds until a bar appears

_LOG_INTERVAL = 60.0  # seconds between lines

_COLUMNS = 80  # width of a terminal that doesn't report its width


class _LogStream:
    """A stream that writes each state of a bar as a new line, since lines of a log can't be overwritten."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write the state of a bar as one line; ignore texts that only move the cursor."""
        if text.strip():
            self._stream.write(" ".join(text.split()) + "\n")
            self._stream.flush()
        return len(text)

    def flush(self) -> None:
        """Do nothing: `write` has flushed each line."""


def progress_bar(quiet: bool, unit: str, total: int | None = None, initial: int = 0, **options: Any) -> tqdm[NoReturn]:
    """Create a progress bar on standard error.

    At a terminal the bar appears after 2 seconds and disappears when it is closed. Elsewhere a line is written every
    minute.

    Args:
        quiet: Show nothing.
        unit: Unit of the counts, with a leading space if there is to be one.
        total: Number of units to process; None if it isn't known.
        initial: Number of units that are done already.
        **options: Further arguments of `tqdm`.

    Returns:
        The bar. Call its `update` for progress; use it as a context manager, or close it.
    """
    stream = sys.stderr
    arguments: dict[str, Any] = {"total": total, "initial": initial, "unit": unit} | options
    if quiet or stream is None:
        return tqdm(None, disable=True, **arguments)
    if stream.isatty():
        return tqdm(None, delay=_DELAY, file=stream, leave=False, **_width(stream), **arguments)
    line = "{desc}{percentage:.0f} %, {n_fmt} of {total_fmt}{unit}, {rate_fmt}, {remaining} left{postfix}"
    line = line if total is not None else "{desc}{n_fmt}{unit}, {rate_fmt}{postfix}"
    arguments |= dict.fromkeys(("delay", "mininterval", "maxinterval"), _LOG_INTERVAL)
    return tqdm(None, file=_LogStream(stream), bar_format=line, **arguments)


def show_status(bar: tqdm[Any], status: str) -> None:
    """Show a status after a bar: immediately at a terminal, and with the next line in a log.

    Args:
        bar: The bar.
        status: The status, such as `fold 2, epoch 3`.
    """
    bar.set_postfix_str(status, refresh=sys.stderr is not None and sys.stderr.isatty())


def _width(stream: TextIO) -> dict[str, Any]:
    """Return tqdm's arguments for the width: that of the terminal, also when it is resized, or 80 if it is unknown."""
    try:
        known = os.get_terminal_size(stream.fileno()).columns > 0
    except (OSError, ValueError):
        known = False
    return {"dynamic_ncols": True} if known else {"ncols": _COLUMNS}
