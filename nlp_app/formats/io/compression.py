"""Read and write files compressed with gzip or zstd.

Compression is detected from the first bytes of a file. A file whose name ends in `.gz` or `.zst` but whose content is
not gzip or zstd is an error: it is damaged, or compressed in another format.
"""

from __future__ import annotations

import gzip
import io
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from nlp_app.core.errors import DataError
from nlp_app.formats.io.binary_files import reject_binary

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


_GZIP_LEVEL, _ZSTD_LEVEL = 6, 3


def compression_for_name(target: str | Path | None) -> str | None:
    """Return the compression that an output file's name asks for.

    Args:
        target: The output file, or None for standard output.

    Returns:
        `gzip`, `zstd`, or None for no compression.
    """
    return None if target is None else COMPRESSED.get(Path(target).suffix.lower())


def compress_frame(data: bytes, kind: str | None) -> bytes:
    """Compress bytes into one gzip member or one zstd frame.

    The gzip header has no timestamp, so that equal data gives equal bytes. The zstd frame has a checksum.

    Args:
        data: The bytes to compress.
        kind: `gzip`, `zstd`, or None to return the bytes unchanged.

    Returns:
        The compressed bytes.
    """
    if kind == "gzip":
        return gzip.compress(data, _GZIP_LEVEL, mtime=0)
    if kind == "zstd":
        import zstandard  # noqa: PLC0415 - only for files that need it

        return zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_checksum=True).compress(data)
    return data


COMPRESSED = {".gz": "gzip", ".zst": "zstd"}  # by the suffix of a file name

# The second pattern for zstd is a skippable frame; files written by pzstd begin with one.
_MAGIC = {"gzip": re.compile(rb"\x1f\x8b\x08"), "zstd": re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18")}

_READ_SIZE = 1 << 14  # compressed bytes per read; kept small because they can decompress to 1,000 times as many

_BUFFER_SIZE = 1 << 16


class Readable(Protocol):
    """A binary stream with a `read` method."""

    def read(self, size: int, /) -> bytes:
        """Read bytes.

        Args:
            size: The maximum number of bytes.

        Returns:
            The bytes; empty at the end of the stream.
        """


class _Frame(Protocol):
    """A decompressor for one gzip member or zstd frame."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /) -> bytes: ...


class Decompressed(io.RawIOBase):
    """A binary stream that decompresses another stream, frame by frame.

    Raises DataError while reading if the compressed data is damaged or ends too early.
    """

    def __init__(self, stream: Readable, kind: str, name: str) -> None:
        self._stream, self._kind, self._name = stream, kind, name
        self._frame: _Frame | None = None
        self._compressed = self._plain = b""
        self._position = 0

    def readable(self) -> bool:
        """Return True, as the stream can be read.

        Returns:
            True.
        """
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Read decompressed bytes into a buffer.

        Args:
            buffer: The buffer to fill.

        Returns:
            The number of bytes read: the size of the buffer, or fewer at the end of the data.
        """
        view = memoryview(buffer).cast("B")
        filled = 0
        while filled < len(view) and (self._position < len(self._plain) or self._decompress_next()):
            part = self._plain[self._position : self._position + len(view) - filled]
            view[filled : filled + len(part)] = part
            filled += len(part)
            self._position += len(part)
        return filled

    def close(self) -> None:
        """Close this stream and the compressed stream."""
        close = getattr(self._stream, "close", None)
        if close is not None and not self.closed:
            close()
        super().close()

    def _decompress_next(self) -> bool:
        """Decompress the next block of bytes; return False at the end of the data."""
        new_frame, error_type = _decompressor(self._kind)
        while True:
            self._compressed = self._compressed or self._stream.read(_READ_SIZE)
            if not self._compressed:
                if self._frame is not None:
                    raise DataError(f"ends in the middle of its {self._kind} data; is it complete?", self._name)
                return False
            if self._frame is None:
                if self._kind == "gzip":  # zero bytes may follow a member, as padding from tape archives
                    self._compressed = self._compressed.lstrip(b"\0")
                    if not self._compressed:
                        continue
                self._frame = new_frame()
            try:
                self._plain, self._position = self._frame.decompress(self._compressed), 0
            except error_type as error:
                advice = "compress it again without --long" if "too much memory" in str(error) else "is it damaged?"
                raise DataError(f"can't be decompressed: {error}; {advice}", self._name) from error
            self._compressed = self._frame.unused_data if self._frame.eof else b""
            if self._frame.eof:
                self._frame = None
            if self._plain:
                return True


def _decompressor(kind: str) -> tuple[Callable[[], _Frame], type[Exception]]:
    """Return a function that creates a frame decompressor, and the exception type that it raises."""
    if kind == "gzip":
        return (lambda: zlib.decompressobj(16 + zlib.MAX_WBITS)), zlib.error
    import zstandard  # noqa: PLC0415 - only for files that need it

    return (lambda: zstandard.ZstdDecompressor().decompressobj()), zstandard.ZstdError


def detect_compression(head: bytes, name: str | Path) -> str | None:
    """Detect the compression of a file from its first bytes.

    Args:
        head: The first bytes of the file, at least 4 unless the file is shorter.
        name: The file's name, for its suffix and for messages.

    Returns:
        `gzip`, `zstd`, or None if the file is not compressed.

    Raises:
        DataError: The name has a suffix of compressed files, but the content is not compressed in that format.
    """
    kind = next((kind for kind, magic in _MAGIC.items() if magic.match(head)), None)
    expected = COMPRESSED.get(Path(name).suffix.lower())
    if kind is None and expected is not None:
        raise DataError(f"found no {expected} data, expected it by the suffix; copy the file again, or rename it", name)
    return kind


def open_bytes(path: str | Path) -> io.BufferedReader:
    """Open a file for reading bytes, decompressed if it is compressed.

    Reading from the stream raises DataError if the compressed data is damaged.

    Args:
        path: The file.

    Returns:
        A buffered stream of the decompressed bytes.

    Raises:
        OSError: The file cannot be opened or read.
        DataError: The name has a suffix of compressed files, but the content is not compressed in that format; or the
            file is of a known binary kind.
    """
    stream: io.BufferedReader = io.BufferedReader(io.FileIO(path), _BUFFER_SIZE)
    try:
        kind = detect_compression(stream.peek(4), path)
    except BaseException:
        stream.close()
        raise
    if kind is not None:
        stream = io.BufferedReader(Decompressed(stream, kind, str(path)), _BUFFER_SIZE)
    try:
        reject_binary(stream.peek(_BUFFER_SIZE), path)
    except BaseException:
        stream.close()
        raise
    return stream


def strip_compression_suffix(path: str | Path) -> Path:
    """Remove a compression suffix from a path, so that the suffix of the format comes last.

    Args:
        path: A path such as `notes.jsonl.gz`.

    Returns:
        The path without `.gz` or `.zst`: `notes.jsonl`. Other paths are returned unchanged.
    """
    source = Path(path)
    return source.with_suffix("") if source.suffix.lower() in COMPRESSED else source
