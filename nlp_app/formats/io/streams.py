"""Input and output streams of a command: files, standard input and standard output."""

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
from nlp_app.formats.io.binary_files import reject_binary
from nlp_app.formats.io.compression import Decompressed, Readable, detect_compression
from nlp_app.formats.io.lines import CHUNK

STDIN = "standard input"


def check_characters(texts: Sequence[str]) -> None:
    """Reject command-line texts that are not valid UTF-8.

    Args:
        texts: The texts.

    Raises:
        DataError: A text contains bytes that are not UTF-8. Names its number, from 1.
    """
    for number, text in enumerate(texts, 1):
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise DataError(f"TEXT {number}: found bytes that are not UTF-8; expected UTF-8 text")


class PeekableStream:
    """A binary stream whose beginning can be examined before it is read; decompressed if it is compressed.

    Attributes:
        head: The first bytes, decompressed; `read` returns them again.
        size: The size of a regular file in bytes, as stored; None for other inputs.
        compressed: True if the input is compressed.
    """

    def __init__(self, stream: BinaryIO, name: str, size: int | None = None) -> None:
        self.size = size
        try:
            self._stored = _CountingStream(stream)
            kind = detect_compression(self._stored.ahead, name)
            self.compressed = kind is not None
            self._stream: Readable = self._stored
            if kind is not None:
                self._stream = io.BufferedReader(Decompressed(self._stored, kind, name), CHUNK)
            self.head = self._stream.read(CHUNK)
            reject_binary(self.head, name)
        except OSError as error:
            raise read_error_message(name, error) from error
        self._ahead = self.head

    @property
    def position(self) -> int:
        """Number of bytes read so far, as stored (compressed bytes if the input is compressed)."""
        return self._stored.position

    def read(self, size: int) -> bytes:
        """Read the next bytes.

        Args:
            size: The number of bytes to read. The first call returns the whole of `head`.

        Returns:
            The decompressed bytes; empty at the end.
        """
        ahead, self._ahead = self._ahead, b""
        return ahead or self._stream.read(size)


class _CountingStream:
    """A stream that counts the bytes read from it, and whose beginning can be examined."""

    def __init__(self, stream: BinaryIO) -> None:
        self.position = 0
        self.ahead = stream.read(CHUNK)
        self._stream, self._rest = stream, self.ahead

    def read(self, size: int) -> bytes:
        data, self._rest = self._rest[:size], self._rest[size:]
        data = data or self._stream.read(size)
        self.position += len(data)
        return data


@contextmanager
def open_input(source: str) -> Iterator[PeekableStream]:
    """Open the input of a command.

    Args:
        source: A file, or `-` for standard input.

    Yields:
        The open stream.

    Raises:
        DataError: The file cannot be opened, or standard input is closed.
    """
    if source == "-":
        if sys.stdin is None:
            raise DataError("is closed; give TEXT or --input FILE", STDIN)
        if sys.stdin.isatty():
            sys.stderr.write("reading standard input: one text per line, end with Ctrl-D\n")
        yield PeekableStream(sys.stdin.buffer, STDIN)
        return
    with _open_file(source) as stream:
        status = os.fstat(stream.fileno())
        yield PeekableStream(stream, source, status.st_size if stat.S_ISREG(status.st_mode) else None)


def _open_file(path: str) -> BinaryIO:
    try:
        return Path(path).open("rb")
    except OSError as error:
        raise DataError(f"can't be read: {error.strerror}; give a file, or - for standard input", path) from error


def write_answers(data: bytes, target: str | None) -> None:
    """Write output lines to a file or to standard output.

    A file is written to a temporary file first, so that it is either complete or absent.

    Args:
        data: The lines, as UTF-8.
        target: The output file; None or `-` for standard output.
    """
    if target is None or target == "-":
        with standard_output() as out:
            out.write(data.decode())
    else:
        with atomic_file(target, binary=True) as stream:
            stream.write(data)
