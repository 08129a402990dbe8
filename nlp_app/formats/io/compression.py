"""Files that may be compressed with gzip or zstd, which is told by their first bytes. A name that promises what they
don't hold is refused: it is damaged, or compressed in another way, and never meant to be read as it is."""

from __future__ import annotations

import gzip
import io
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from nlp_app.core.errors import DataError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


_LEVEL_OF_GZIP, _LEVEL_OF_ZSTD = 6, 3


def compression_for_name(target: str | Path | None) -> str | None:
    """`gzip` or `zstd` where the name of the output asks for it, else None."""
    return None if target is None else COMPRESSED.get(Path(target).suffix.lower())


def compress_frame(data: bytes, kind: str | None) -> bytes:
    """The bytes as one gzip member (without a time) or zstd frame (with a checksum); as they are for None."""
    if kind == "gzip":
        return gzip.compress(data, _LEVEL_OF_GZIP, mtime=0)
    if kind == "zstd":
        import zstandard  # noqa: PLC0415 - only for files that need it

        return zstandard.ZstdCompressor(level=_LEVEL_OF_ZSTD, write_checksum=True).compress(data)
    return data


COMPRESSED = {".gz": "gzip", ".zst": "zstd"}  # suffixes of names

# The second of zstd: a frame to be skipped, with which pzstd begins.
_MAGIC = {"gzip": re.compile(rb"\x1f\x8b\x08"), "zstd": re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18")}

_PIECE = 1 << 14  # compressed bytes taken at once: few, as they may become a thousand times as many

_BUFFER = 1 << 16


class Readable(Protocol):
    """What bytes can be read from."""

    def read(self, size: int, /) -> bytes: ...


class _Frame(Protocol):
    """One gzip member or zstd frame being decompressed."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /) -> bytes: ...


class Decompressed(io.RawIOBase):
    """What compressed bytes hold, frame after frame. Raises DataError where they are damaged or end too early."""

    def __init__(self, stream: Readable, kind: str, name: str) -> None:
        self._stream, self._kind, self._name = stream, kind, name
        self._frame: _Frame | None = None
        self._compressed = self._plain = b""
        self._place = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """As many bytes as fit, fewer only at the end."""
        view = memoryview(buffer).cast("B")
        filled = 0
        while filled < len(view) and (self._place < len(self._plain) or self._go_on()):
            piece = self._plain[self._place : self._place + len(view) - filled]
            view[filled : filled + len(piece)] = piece
            filled += len(piece)
            self._place += len(piece)
        return filled

    def close(self) -> None:
        close = getattr(self._stream, "close", None)
        if close is not None and not self.closed:
            close()
        super().close()

    def _go_on(self) -> bool:
        """Decompress a piece; False at the end."""
        start, errors = _decompressor(self._kind)
        while True:
            self._compressed = self._compressed or self._stream.read(_PIECE)
            if not self._compressed:
                if self._frame is not None:
                    raise DataError(f"ends in the middle of its {self._kind} data; is it complete?", self._name)
                return False
            if self._frame is None:
                if self._kind == "gzip":  # zeros may follow a member, from tapes
                    self._compressed = self._compressed.lstrip(b"\0")
                    if not self._compressed:
                        continue
                self._frame = start()
            try:
                self._plain, self._place = self._frame.decompress(self._compressed), 0
            except errors as error:
                advice = "compress it again without --long" if "too much memory" in str(error) else "is it damaged?"
                raise DataError(f"can't be decompressed: {error}; {advice}", self._name) from error
            self._compressed = self._frame.unused_data if self._frame.eof else b""
            if self._frame.eof:
                self._frame = None
            if self._plain:
                return True


def _decompressor(kind: str) -> tuple[Callable[[], _Frame], type[Exception]]:
    """What makes a frame's decompressor, and what that raises."""
    if kind == "gzip":
        return (lambda: zlib.decompressobj(16 + zlib.MAX_WBITS)), zlib.error
    import zstandard  # noqa: PLC0415 - only for files that need it

    return (lambda: zstandard.ZstdDecompressor().decompressobj()), zstandard.ZstdError


def detect_compression(head: bytes, name: str | Path) -> str | None:
    """`gzip` or `zstd` for a file that begins so; None for what isn't compressed. Raises DataError for a file that
    isn't, though its name ends as if it were."""
    kind = next((kind for kind, magic in _MAGIC.items() if magic.match(head)), None)
    promised = COMPRESSED.get(Path(name).suffix.lower())
    if kind is None and promised is not None:
        raise DataError(f"found no {promised} data, expected it by the name; copy it again, or name it otherwise", name)
    return kind


def open_bytes(path: str | Path) -> io.BufferedReader:
    """A file's bytes, decompressed if need be. Raises OSError, and DataError while reading damaged data."""
    stream: io.BufferedReader = io.BufferedReader(io.FileIO(path), _BUFFER)
    try:
        kind = detect_compression(stream.peek(4), path)
    except BaseException:
        stream.close()
        raise
    return stream if kind is None else io.BufferedReader(Decompressed(stream, kind, str(path)), _BUFFER)


def strip_compression_suffix(path: str | Path) -> Path:
    """The path without a suffix of compression: `notes.jsonl.gz` has the format of `notes.jsonl`."""
    found = Path(path)
    return found.with_suffix("") if found.suffix.lower() in COMPRESSED else found
