"""Standard output with readable errors."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from nlp_app.core.errors import DataError


@contextmanager
def standard_output() -> Iterator[TextIO]:
    """Open standard output for writing, and flush it at the end of the block.

    Yields:
        The text stream `sys.stdout`.

    Raises:
        DataError: Standard output is closed, or can't be written to.
        BrokenPipeError: The program that reads the output has ended.
    """
    name = "standard output"
    if sys.stdout is None:
        raise DataError("is closed; open it, or name an output file", name)
    try:
        yield sys.stdout
        sys.stdout.flush()
    except OSError as error:
        discard_standard_output()
        if isinstance(error, BrokenPipeError):
            raise
        raise DataError(f"can't be written: {error.strerror}; make room or name an output file", name) from error


def discard_standard_output() -> None:
    """Redirect standard output to the null device.

    Python flushes its buffer at exit, which would raise the same error again.
    """
    if sys.stdout is None:
        return
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
