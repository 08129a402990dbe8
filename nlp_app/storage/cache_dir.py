"""Folders that several runs keep in one directory: written aside, moved into place, and removed when they are old or
whoever wrote them has died.

Whoever writes holds a lock on its folder, which goes with the process. Where a file system has no locks, a folder that
nothing was written to for a day counts as left behind.
"""

from __future__ import annotations

import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from nlp_app.core.locks import lock

TEMPORARY = "nlp_app"  # what a folder is named by that becomes no entry

_ENTRY = re.compile(r"[0-9a-f]{32}")

_ASIDE = re.compile(rf"({TEMPORARY}|\.[0-9a-f]{{32}})-[0-9a-f]{{32}}")  # being written, or removed

_PRIVATE = 0o700  # training texts stand in them

_YOUNG = 10.0  # seconds: one so new may not have its lock yet

_STALE = 24 * 3600.0  # seconds


def is_entry_name(name: str) -> bool:
    """Whether an entry may have this name: 32 hexadecimal digits."""
    return _ENTRY.fullmatch(name) is not None


@contextmanager
def aside(directory: Path, name: str) -> Iterator[Path]:
    """A new folder to write into, for this user alone; removed at the end unless it was moved away. What runs that
    died left in the directory goes first.

    name: of the entry that it is to be, or TEMPORARY. Raises OSError if there can't be such a folder.
    """
    directory.mkdir(_PRIVATE, parents=True, exist_ok=True)
    _remove_dead(directory)
    folder = _aside_name(directory, name)
    folder.mkdir(_PRIVATE)
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)  # what is mapped stays
        with suppress(OSError):  # no locks here
            stack.callback(os.close, lock(folder))
        yield folder


def _aside_name(directory: Path, name: str) -> Path:
    return directory / f"{'' if name == TEMPORARY else '.'}{name}-{uuid.uuid4().hex}"


def _remove_dead(directory: Path) -> None:
    """Remove what stands aside and nobody writes any more."""
    found: list[Path] = []
    with suppress(OSError):  # it can't be listed
        found += (folder for folder in directory.iterdir() if _ASIDE.fullmatch(folder.name))
    for folder in found:
        with suppress(OSError):  # what another run removes meanwhile is gone as well
            if _age(folder) > _patience(folder):
                shutil.rmtree(folder, ignore_errors=True)


def _patience(folder: Path) -> float:
    """Seconds without a change after which nobody writes a folder any more."""
    try:
        os.close(lock(folder))
    except BlockingIOError:
        return float("inf")
    except OSError:
        return _STALE
    return _YOUNG


def _age(folder: Path) -> float:
    """Seconds since a folder, or a file in it, was written to."""
    return time.time() - max(path.stat().st_mtime for path in (folder, *folder.rglob("*")))


def remove_oldest(directory: Path, staying: set[str], limit: int) -> None:
    """Remove the entries that were not used for longest, but those that stay, until all have `limit` bytes."""
    ages: list[tuple[float, int, Path]] = []
    with suppress(OSError):
        for path in directory.iterdir():
            if is_entry_name(path.name):
                ages.append((path.stat().st_mtime, sum(file.stat().st_size for file in path.rglob("*")), path))
    total = sum(size for _, size, _ in ages)
    for _, size, path in sorted(ages):
        if total > limit and path.name not in staying:
            remove(path)
            total -= size


def remove(entry: Path) -> None:
    """Moved aside first, so that nobody finds half of it. Those of other users stay."""
    if os.access(entry, os.R_OK | os.W_OK | os.X_OK):
        gone = _aside_name(entry.parent, entry.name)
        with suppress(OSError):
            entry.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)
