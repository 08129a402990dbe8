"""Atomic files and directories, checksums and fsync.

A file or directory that is written or removed in several steps has a temporary name `.NAME.HEX` in the same directory
until then. If the process is killed, the leftover is recognized by this name.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Literal, TextIO, overload

from nlp_app.core.errors import DataError
from nlp_app.core.locks import lock

# Temporary names of older versions. The last form was also given to cache entries to hide them from readers.
_OLD_NAMES = r"\.(saving|unfinished)-({pattern})|(nlp_app|\.[0-9a-f]{{32}})-[0-9a-f]{{32}}"

_PRIVATE = 0o700

_YOUNG = 10.0  # seconds: a directory that was changed less than this ago may not have its lock yet

_STALE = 24 * 3600.0  # seconds without a change after which a leftover is removed on a file system without locks


def temporary_path(path: Path) -> Path:
    """Choose a new temporary name in the directory of `path`. Nothing is created.

    Args:
        path: The file or directory that will be written or removed.

    Returns:
        A path in the same directory that does not exist.
    """
    return path.with_name(f".{path.name[:50]}.{uuid.uuid4().hex}")


def is_temporary(name: str, pattern: str = r".*") -> bool:
    """Check if a name is a temporary name, including those of older versions.

    Args:
        name: The name of a file or directory, without its parent directory.
        pattern: Regular expression for the final name; temporary names of other files don't match.

    Returns:
        True if a file or directory of this name is being written or removed, or was left behind.
    """
    return (
        re.fullmatch(rf"\.({pattern})\.[0-9a-f]{{32}}|{_OLD_NAMES.format(pattern=pattern)}", name, re.DOTALL)
        is not None
    )


@overload
def atomic_file(path: str | Path, binary: Literal[False] = False) -> AbstractContextManager[TextIO]: ...


@overload
def atomic_file(path: str | Path, binary: Literal[True]) -> AbstractContextManager[BinaryIO]: ...


def atomic_file(path: str | Path, binary: bool = False) -> AbstractContextManager[TextIO | BinaryIO]:
    """Write a file atomically.

    A temporary file is written. At the end of the block it is flushed to the disk and renamed to `path`; after an
    exception it is deleted, and `path` is unchanged. A symbolic link is followed: its target is replaced. Special files
    (`/dev/null`, a named pipe) are written directly, since they can't be replaced.

    Args:
        path: The file. Its directory has to exist.
        binary: Open the file for bytes instead of text (UTF-8 with line feeds).

    Returns:
        A context manager for the open file.

    Raises:
        DataError: The file can't be written, or the text is not valid Unicode. Raised within the block or at its end.

    Example:
        >>> with atomic_file("labels.txt") as file:
        ...     _ = file.write("LOC")
    """
    return _atomic_bytes(path) if binary else _atomic_text(path)


@contextmanager
def _atomic_text(path: str | Path) -> Iterator[TextIO]:
    with _atomic_bytes(path) as raw:
        stream = io.TextIOWrapper(raw, encoding="utf-8", newline="\n")
        try:
            yield stream
            stream.flush()
        except UnicodeEncodeError as error:
            reason = f"found half of a surrogate pair ({error.reason}), expected whole characters"
            raise DataError(reason, path) from error
        finally:
            _detach(stream)


@contextmanager
def _atomic_bytes(path: str | Path) -> Iterator[BinaryIO]:
    target = Path(path)
    temporary: Path | None = None
    try:
        if target.is_dir():
            raise DataError("can't be written: is a directory; name a file", path)
        if not target.exists() or target.is_file():
            target = Path(os.path.realpath(target))
            temporary = temporary_path(target)
        with (temporary or target).open("wb" if temporary is None else "xb") as stream:
            yield stream
            stream.flush()
            if temporary is not None:
                os.fsync(stream.fileno())
        if temporary is not None:
            os.replace(temporary, target)
    except OSError as error:
        raise write_error_message(path, error) from error
    finally:
        if temporary is not None and os.path.lexists(temporary):
            temporary.unlink()


def _detach(stream: io.TextIOWrapper) -> None:
    """Detach the binary stream, so that it stays open; discard text that can't be written to it."""
    try:
        stream.detach()
    except (OSError, ValueError):  # `detach` flushes, which fails again
        return


_WRITE_ADVICE = {
    errno.ENOSPC: "make room or choose another path",
    errno.EDQUOT: "make room or choose another path",
    errno.EFBIG: "make room or choose another path",
    errno.ENOENT: "create its folder, or choose another path",
    errno.ENOTDIR: "a part of its path is a file; choose another path",
    errno.EISDIR: "it is a folder; choose the name of a file",
    errno.EACCES: "check the permissions of its folder, or choose another path",
    errno.EPERM: "check the permissions of its folder, or choose another path",
    errno.EROFS: "the disk is read-only; choose another path",
    errno.ENAMETOOLONG: "choose a shorter name",
}


def write_error_message(path: str | Path, error: OSError) -> DataError:
    """Make the error for a file that can't be written.

    Args:
        path: The file.
        error: The error of the operating system.

    Returns:
        An error whose message names the file, the reason and what to do.
    """
    advice = _WRITE_ADVICE.get(error.errno or 0, "choose another path")
    return DataError(f"can't be written: {error.strerror}; {advice}", path)


def write_text(path: Path, text: str) -> None:
    """Write or replace a text file atomically.

    Args:
        path: The file. Its directory has to exist.
        text: The content, saved as UTF-8.

    Raises:
        DataError: The file can't be written, or the text is not valid Unicode.
    """
    with atomic_file(path) as file:
        file.write(text)


@contextmanager
def temporary_directory(path: Path, mode: int = _PRIVATE) -> Iterator[Path]:
    """Create a temporary directory next to `path`, and remove it at the end unless the block has renamed it.

    The directory is locked, so that `remove_leftovers` in other processes skips it.

    Args:
        path: The path that the directory is named after. Its parent has to exist.
        mode: Permissions, limited by the umask; by default only this user has access.

    Yields:
        The empty directory.

    Raises:
        OSError: The directory can't be created.
    """
    folder = temporary_path(path)
    folder.mkdir(mode)
    with ExitStack() as stack:
        stack.callback(_remove_if_exists, folder)
        with suppress(OSError):  # the file system has no locks
            stack.callback(os.close, lock(folder))
        yield folder


def _remove_if_exists(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder, ignore_errors=True)  # on Windows, memory-mapped files can't be removed


@contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Write a directory atomically.

    A temporary directory is filled. At the end of the block it is flushed to the disk and renamed to `path`; after an
    exception it is deleted, and `path` is unchanged. An existing directory is replaced. This takes two renames: a
    process that is killed between them leaves both directories under temporary names. A symbolic link is followed.

    Args:
        path: The directory. Its parent has to exist.

    Yields:
        The empty temporary directory to write into.

    Raises:
        OSError: The directory can't be written.
    """
    target = Path(os.path.realpath(path))
    with temporary_directory(target, 0o777) as folder:
        yield folder
        for inner in folder.rglob("*"):
            if inner.is_dir():
                flush_directory(inner)
            else:
                flush_file(inner)
        flush_directory(folder)
        _rename_onto(folder, target)
        flush_directory(target.parent)


def _rename_onto(folder: Path, target: Path) -> None:
    """Rename a directory, and remove an existing one of the new name."""
    if not target.is_dir():
        folder.rename(target)
        return
    old = target.rename(temporary_path(target))
    try:
        folder.rename(target)
    except OSError:
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def remove_directory(path: Path) -> None:
    """Remove a directory atomically: it is renamed first, so that other processes see all of it or nothing.

    Args:
        path: An existing directory, or a symbolic link to one; then only the link is removed.

    Raises:
        OSError: The directory can't be removed.
    """
    if path.is_symlink():
        path.unlink()
    else:
        shutil.rmtree(path.rename(temporary_path(path)))


def remove_leftovers(directory: Path, pattern: str = r".*", shared: bool = False) -> None:
    """Remove the temporary files and directories of processes that were killed. Errors are ignored.

    Args:
        directory: The directory to search; its subdirectories are not searched.
        pattern: Regular expression for the final names, as for `is_temporary`.
        shared: Other processes may be writing to the directory. Keep files and directories that are locked, that were
            changed in the last 10 seconds, or, on a file system without locks, in the last 24 hours.
    """
    leftovers: list[Path] = []
    with suppress(OSError):  # the directory can't be listed
        leftovers += (path for path in directory.iterdir() if is_temporary(path.name, pattern))
    for path in leftovers:
        with suppress(OSError):  # another process may be removing it too
            if not shared or _age(path) > _max_age(path):
                _delete(path)


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink()


def _max_age(path: Path) -> float:
    """Return the seconds without a change after which a temporary file or directory counts as a leftover."""
    try:
        os.close(lock(path))
    except BlockingIOError:
        return float("inf")
    except OSError:
        return _STALE
    return _YOUNG


def _age(path: Path) -> float:
    """Return the seconds since the last change of a file, or of a directory and everything below it."""
    return time.time() - max(inner.stat().st_mtime for inner in (path, *path.rglob("*")))


def checksum(path: Path) -> str:
    """Compute the SHA-256 checksum of a file, without loading all of it into memory.

    Args:
        path: The file.

    Returns:
        The checksum as 64 hexadecimal digits.

    Raises:
        OSError: The file can't be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def flush_file(path: Path) -> None:
    """Flush the content of a file to the disk.

    Args:
        path: The file.

    Raises:
        OSError: The file can't be opened or flushed.
    """
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def flush_directory(path: Path) -> None:
    """Flush the names in a directory to the disk, if the operating system and the file system support it.

    Args:
        path: The directory.
    """
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError:
        return  # not supported by some network file systems
    finally:
        os.close(descriptor)
