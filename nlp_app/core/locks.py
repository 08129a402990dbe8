"""Exclusive locks on files and directories."""

from __future__ import annotations

import os
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


def lock_descriptor(descriptor: int) -> None:
    """Lock an open file or directory.

    The lock is released when the descriptor is closed, also when the process is killed.

    Args:
        descriptor: An open file descriptor.

    Raises:
        BlockingIOError: Another process holds the lock.
        OSError: The operating system or the file system has no locks.
    """
    if fcntl is None:
        raise OSError("this system has no file locks")
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def lock(path: Path) -> int:
    """Open and lock a file or directory.

    Args:
        path: A file or directory that exists.

    Returns:
        A file descriptor. Closing it releases the lock.

    Raises:
        BlockingIOError: Another process holds the lock.
        OSError: The path can't be opened, or the operating system or the file system has no locks.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        lock_descriptor(descriptor)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
