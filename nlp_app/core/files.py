"""Atomic files and directories, checksums and fsync.

Whatever is written or removed in several steps has a temporary name meanwhile, `.NAME.HEX` beside its place: one that a
killed process left behind is found by that name.
"""

from __future__ import annotations

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

# Names that older versions gave; the last ones also to what had to be kept from readers of a cache.
_OLD_NAMES = r"\.(saving|unfinished)-({of})|(nlp_app|\.[0-9a-f]{{32}})-[0-9a-f]{{32}}"

_PRIVATE = 0o700

_YOUNG = 10.0  # seconds: a directory so new may not have its lock yet

_STALE = 24 * 3600.0  # seconds without a change after which nobody writes, where a file system has no locks


def temporary_path(path: Path) -> Path:
    """A new temporary name beside `path`. Nothing is created."""
    return path.with_name(f".{path.name[:50]}.{uuid.uuid4().hex}")


def is_temporary(name: str, of: str = r".*") -> bool:
    """Tell temporary names, older versions' included, from all others.

    Args:
        name: The name of a file or directory, without its directory.
        of: A regular expression for the names that it may be a temporary one of.

    Returns:
        Whether a file or directory of this name is being written or removed, or was left behind.
    """
    return re.fullmatch(rf"\.({of})\.[0-9a-f]{{32}}|{_OLD_NAMES.format(of=of)}", name, re.DOTALL) is not None


@overload
def atomic_file(path: str | Path, binary: Literal[False] = False) -> AbstractContextManager[TextIO]: ...


@overload
def atomic_file(path: str | Path, binary: Literal[True]) -> AbstractContextManager[BinaryIO]: ...


def atomic_file(path: str | Path, binary: bool = False) -> AbstractContextManager[TextIO | BinaryIO]:
    """Open a file that is complete or absent: flushed to the disk and renamed into place when the block ends well.

    A link is followed: the file that it leads to is replaced. Special files (`/dev/null`, a named pipe) are written to
    directly, as nothing could be renamed onto them.

    Args:
        path: The file. Its directory has to exist.
        binary: Open it for bytes instead of text (UTF-8, line feeds).

    Returns:
        A context manager for the open file.

    Raises:
        DataError: The file can't be written, or the text is not valid UTF-8. Raised within the block or at its end.
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
            _let_go(stream)


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


def _let_go(stream: io.TextIOWrapper) -> None:
    """Leave the bytes beneath open; what they could not take goes nowhere."""
    try:
        stream.detach()
    except (OSError, ValueError):  # it flushes once more
        return


def write_error_message(path: str | Path, error: OSError) -> DataError:
    """What is said of a file that can't be written."""
    return DataError(f"can't be written: {error.strerror}; make room or name another place", path)


def write_text(path: Path, text: str) -> None:
    """Put a text file in place, whole. Raises DataError if it can't be written."""
    with atomic_file(path) as file:
        file.write(text)


@contextmanager
def temporary_directory(path: Path, mode: int = _PRIVATE) -> Iterator[Path]:
    """Create a directory beside `path`, and remove it at the end unless the block has renamed it.

    It is locked, so that `remove_leftovers` of other processes skips it.

    Args:
        path: The place that it is named for, in a directory that exists.
        mode: Its permissions, less those that the umask takes away; by default it is for this user alone.

    Yields:
        The directory, empty.

    Raises:
        OSError: It can't be created.
    """
    folder = temporary_path(path)
    folder.mkdir(mode)
    with ExitStack() as stack:
        stack.callback(_remove_if_there, folder)
        with suppress(OSError):  # a file system without locks
            stack.callback(os.close, lock(folder))
        yield folder


def _remove_if_there(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder, ignore_errors=True)  # files that are mapped may stay, on Windows


@contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Fill a directory that is complete or absent: flushed to the disk and renamed into place when the block ends well.

    A directory that is there already is replaced, and removed: a process that is killed between the two renames leaves
    both under temporary names. A link is followed.

    Args:
        path: The directory. Its parent has to exist.

    Yields:
        The directory to write into, empty.

    Raises:
        OSError: It can't be written.
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
    """Rename a directory, also onto one with files, whose own files then have a temporary name or are gone."""
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
    """Remove a directory, under a temporary name: whoever looks finds all of it or nothing. Of a link, only the link.

    Args:
        path: The directory, which has to exist.

    Raises:
        OSError: It can't be removed.
    """
    if path.is_symlink():
        path.unlink()
    else:
        shutil.rmtree(path.rename(temporary_path(path)))


def remove_leftovers(directory: Path, of: str = r".*", shared: bool = False) -> None:
    """Remove the temporary files and directories that killed processes have left; what can't be removed stays.

    Args:
        directory: The directory, not those below it.
        of: As for `is_temporary`.
        shared: Other processes may be writing there: keep whatever is new, or locked, or where there are no locks was
            changed within a day. Otherwise the caller has the directory for itself.
    """
    found: list[Path] = []
    with suppress(OSError):  # it can't be listed
        found += (path for path in directory.iterdir() if is_temporary(path.name, of))
    for path in found:
        with suppress(OSError):  # another process removes it, too
            if not shared or _age(path) > _patience(path):
                _delete(path)


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink()


def _patience(path: Path) -> float:
    """Seconds without a change after which nobody writes any more."""
    try:
        os.close(lock(path))
    except BlockingIOError:
        return float("inf")
    except OSError:
        return _STALE
    return _YOUNG


def _age(path: Path) -> float:
    """Seconds since a file, or a directory or a file in it, was written to."""
    return time.time() - max(inner.stat().st_mtime for inner in (path, *path.rglob("*")))


def checksum(path: Path) -> str:
    """SHA-256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def flush_file(path: Path) -> None:
    """See that what was written to a file is on the disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def flush_directory(path: Path) -> None:
    """See that the names in a directory are on the disk, where a system can."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError:
        return  # some network file systems
    finally:
        os.close(descriptor)
