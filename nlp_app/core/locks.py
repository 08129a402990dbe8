"""Files and directories that one process has for itself."""

from __future__ import annotations

import os
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


def lock_descriptor(descriptor: int) -> None:
    """Lock what is open until it is closed, by whatever means. Raises BlockingIOError if another process has it locked,
    and another OSError where there are no locks."""
    if fcntl is None:
        raise OSError("a system without locks")
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def lock(path: Path) -> int:
    """A descriptor that has a file or directory locked until it is closed. Raises as `lock_descriptor` does."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        lock_descriptor(descriptor)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
