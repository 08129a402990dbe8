"""Folders that several runs keep in one directory: written aside, moved into place, and removed when they are old or
whoever wrote them has died.

Whoever writes holds a lock on its folder, which goes with the process. Where a file system has no locks, a folder that
nothing was written to for a day counts as left behind.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nlp_app.core.files import remove_directory, remove_leftovers, temporary_directory

NO_ENTRY = "nlp_app"  # names a folder that becomes no entry

_ENTRY = re.compile(r"[0-9a-f]{32}")

_PRIVATE = 0o700  # training texts stand in them


def is_entry_name(name: str) -> bool:
    """Whether an entry may have this name: 32 hexadecimal digits."""
    return _ENTRY.fullmatch(name) is not None


@contextmanager
def new_folder(directory: Path, name: str) -> Iterator[Path]:
    """A new folder to write into, for this user alone; removed at the end unless it was moved away. What runs that
    died left in the directory goes first.

    name: of the entry that it is to be, or NO_ENTRY. Raises OSError if there can't be such a folder.
    """
    directory.mkdir(_PRIVATE, parents=True, exist_ok=True)
    remove_leftovers(directory, pattern=f"{NO_ENTRY}|{_ENTRY.pattern}", shared=True)
    with temporary_directory(directory / name) as folder:
        yield folder


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
    """Remove an entry, at once for whoever looks. Those of other users stay."""
    if os.access(entry, os.R_OK | os.W_OK | os.X_OK):
        with suppress(OSError):
            remove_directory(entry)
