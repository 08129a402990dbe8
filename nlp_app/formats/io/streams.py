"""What goes through a command: input that may be a file or standard input, output likewise, runs of records."""

from __future__ import annotations

import io
import os
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from nlp_app.core.console import standard_output
from nlp_app.core.errors import DataError, read_error_message
from nlp_app.core.files import atomic_file
from nlp_app.formats.io.compression import Decompressed, Readable, detect_compression
from nlp_app.formats.io.lines import CHUNK

STDIN = "standard input"


def check_characters(texts: Sequence[str]) -> None:
    """Raises DataError for a text from the command line that isn't whole characters."""
    for number, text in enumerate(texts, 1):
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise DataError(f"TEXT {number}: found bytes that are not UTF-8; expected UTF-8 text")


class PeekableStream:
    """A stream whose beginning has been looked at, and is still there to be read; decompressed if need be.

    `head` is how it begins; `size` of a regular file its bytes as they are stored, else None; `position`: how many of
    them have been read; `compressed`: whether they are.
    """

    def __init__(self, stream: BinaryIO, name: str, size: int | None = None) -> None:
        self.size = size
        try:
            self._stored = _Counted(stream)
            kind = detect_compression(self._stored.ahead, name)
            self.compressed = kind is not None
            self._stream: Readable = self._stored
            if kind is not None:
                self._stream = io.BufferedReader(Decompressed(self._stored, kind, name), CHUNK)
            self.head = self._stream.read(CHUNK)
        except OSError as error:
            raise read_error_message(name, error) from error
        self._ahead = self.head

    @property
    def position(self) -> int:
        """Bytes read, as they are stored."""
        return self._stored.position

    def read(self, size: int) -> bytes:
        """The next bytes; none at the end."""
        ahead, self._ahead = self._ahead, b""
        return ahead or self._stream.read(size)


class _Counted:
    """A stream that counts what is read of it, and has a beginning to look at."""

    def __init__(self, stream: BinaryIO) -> None:
        self.position = 0
        self.ahead = stream.read(CHUNK)
        self._stream, self._rest = stream, self.ahead

    def read(self, size: int) -> bytes:
        found, self._rest = self._rest[:size], self._rest[size:]
        found = found or self._stream.read(size)
        self.position += len(found)
        return found


@contextmanager
def open_input(source: str) -> Iterator[PeekableStream]:
    """The bytes of a file, or with `-` of standard input."""
    if source == "-":
        if sys.stdin is None:
            raise DataError("is closed; give TEXT or --input FILE", STDIN)
        if sys.stdin.isatty():
            sys.stderr.write("reading standard input: a text a line, then Ctrl-D\n")
        yield PeekableStream(sys.stdin.buffer, STDIN)
        return
    with _opened(source) as stream:
        about = os.fstat(stream.fileno())
        yield PeekableStream(stream, source, about.st_size if stat.S_ISREG(about.st_mode) else None)


def _opened(path: str) -> BinaryIO:
    try:
        return Path(path).open("rb")
    except OSError as error:
        raise DataError(f"can't be read: {error.strerror}; give a file, or - for standard input", path) from error


def write_answers(data: bytes, target: str | None) -> None:
    """Write lines to a file that is complete or absent; None or `-`: to standard output."""
    if target is None or target == "-":
        with standard_output() as out:
            out.write(data.decode())
    else:
        with atomic_file(target, binary=True) as stream:
            stream.write(data)
