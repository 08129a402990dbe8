"""Atomic writes, checksums and fsync."""

from __future__ import annotations

import hashlib
import io
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO

from nlp_app.core.errors import DataError


@contextmanager
def whole_file(path: str | Path) -> Iterator[TextIO]:
    """A text file (UTF-8, line feeds), written as `whole_bytes` does. Raises DataError if it can't be written."""
    with whole_bytes(path) as raw:
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
def whole_bytes(path: str | Path) -> Iterator[BinaryIO]:
    """A file that is written aside, stored, and moved into place when the block ends well.

    What is no regular file (`/dev/null`, a named pipe) is written to directly, as nothing could be moved onto it.
    Raises DataError if it can't be written.
    """
    target = Path(path)
    aside: Path | None = None
    try:
        if target.is_dir():
            raise DataError("can't be written: is a directory; name a file", path)
        if not target.exists() or target.is_file():
            target = Path(os.path.realpath(target))
            aside = target.with_name(f".{target.name[:50]}.{uuid.uuid4().hex}")
        with (aside or target).open("wb" if aside is None else "xb") as stream:
            yield stream
            stream.flush()
            if aside is not None:
                os.fsync(stream.fileno())
        if aside is not None:
            os.replace(aside, target)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        if aside is not None and os.path.lexists(aside):
            aside.unlink()


def unwritable(path: str | Path, error: OSError) -> DataError:
    """What is said of a file that can't be written."""
    return DataError(f"can't be written: {error.strerror}; make room or name another place", path)


def _let_go(stream: io.TextIOWrapper) -> None:
    """Leave the bytes beneath open; what they could not take goes nowhere."""
    try:
        stream.detach()
    except (OSError, ValueError):  # it flushes once more
        return


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


def write_text(path: Path, text: str) -> None:
    """Put a text file in place, whole. Raises DataError if it can't be written."""
    with whole_file(path) as file:
        file.write(text)
