"""A cache directory shared by several runs: temporary folders, complete entries, and removal of old ones.

An entry is written to a temporary folder, which is then renamed. A run locks the folder that it writes to, and the lock
ends with the process, so folders of killed runs are recognized and removed. On file systems without locks, a folder
counts as abandoned if nothing was written to it for a day.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nlp_app.core.files import remove_directory, remove_leftovers, temporary_directory

NO_ENTRY = "nlp_app"  # name of a temporary folder that doesn't become an entry

_ENTRY = re.compile(r"[0-9a-f]{32}")

_PRIVATE = 0o700  # entries contain training texts


def is_entry_name(name: str) -> bool:
    """Check for a valid entry name: 32 hexadecimal digits.

    Args:
        name: Name of a folder.

    Returns:
        True if an entry may have this name.
    """
    return _ENTRY.fullmatch(name) is not None


@contextmanager
def new_folder(directory: Path, name: str) -> Iterator[Path]:
    """Create a temporary folder that only this user can access.

    The folder is removed at the end unless it was renamed. Abandoned folders of other runs are removed first.

    Args:
        directory: Directory of the cache; created if it doesn't exist.
        name: Name of the entry that the folder will become, or NO_ENTRY.

    Yields:
        Path of the folder.

    Raises:
        OSError: The folder cannot be created.
    """
    directory.mkdir(_PRIVATE, parents=True, exist_ok=True)
    remove_leftovers(directory, pattern=f"{NO_ENTRY}|{_ENTRY.pattern}", shared=True)
    with temporary_directory(directory / name) as folder:
        yield folder


def remove_oldest(directory: Path, protected: set[str], limit: int) -> None:
    """Remove the least recently used entries until the total size is within the limit.

    Args:
        directory: Directory of the cache.
        protected: Names of entries that must not be removed.
        limit: Maximum size of all entries, in bytes.
    """
    ages: list[tuple[float, int, Path]] = []
    with suppress(OSError):
        for path in directory.iterdir():
            if is_entry_name(path.name):
                ages.append((path.stat().st_mtime, sum(file.stat().st_size for file in path.rglob("*")), path))
    total = sum(size for _, size, _ in ages)
    for _, size, path in sorted(ages):
        if total > limit and path.name not in protected:
            remove(path)
            total -= size


def remove(entry: Path) -> None:
    """Remove an entry, unless it belongs to another user.

    To other processes, it disappears at once.

    Args:
        entry: Folder of the entry.
    """
    if os.access(entry, os.R_OK | os.W_OK | os.X_OK):
        with suppress(OSError):
            remove_directory(entry)
