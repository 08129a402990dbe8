"""Standard output, and errors when it cannot be written."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from nlp_app.core.errors import DataError


@contextmanager
def standard_output() -> Iterator[TextIO]:
    """Standard output, flushed at the end. Raises DataError if it can't be written, BrokenPipeError if nobody reads."""
    name = "standard output"
    if sys.stdout is None:
        raise DataError("is closed; leave it open, or name an output file", name)
    try:
        yield sys.stdout
        sys.stdout.flush()
    except OSError as error:
        discard_standard_output()
        if isinstance(error, BrokenPipeError):
            raise
        raise DataError(f"can't be written: {error.strerror}; make room or name an output file", name) from error


def discard_standard_output() -> None:
    """Let what Python still holds back for it go nowhere: flushed at exit, it would fail once more."""
    if sys.stdout is None:
        return
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
