"""Bytes to lines: encodings, byte order marks, and errors that name the byte.

Lines end at a line feed, before which a carriage return is dropped, and nowhere else: U+2028, U+0085 and the
like are characters of the text.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator
from typing import Protocol

from nlp_app.errors import DataError, SettingsError

CHUNK = 1 << 16
_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_EXPECTED = "expected UTF-8, or UTF-16 with a byte order mark; name the file's encoding (setting data.encoding)"


class Readable(Protocol):
    """What bytes can be read from."""

    def read(self, size: int, /) -> bytes: ...


def encoding_of(head: bytes, named: str | None) -> str:
    """The codec for a file that begins with `head`. Raises SettingsError for an unknown name."""
    if named is None:
        return "utf-16" if head.startswith(_UTF16_MARKS) else "utf-8-sig"
    try:
        codec = codecs.lookup(named).name
        codecs.getincrementaldecoder(codec)
        b"a".decode(codec, "replace")  # an empty one would be decoded by anything
    except (LookupError, ValueError) as error:
        raise SettingsError(f"encoding: found {named!r}, expected a text encoding such as utf-8 or gb18030") from error
    return "utf-8-sig" if codec == "utf-8" else codec


def lines_of_bytes(stream: Readable, name: str, encoding: str) -> Iterator[str]:
    """The lines of an open file, without their ends, read in chunks.

    Raises DataError for bytes that aren't in the encoding, with their offset and line, and for a NUL.
    """
    parts: list[str] = []
    number = 1
    for text in _decoded(stream, name, encoding):
        first, *others = text.split("\n")
        parts.append(first)
        if others:
            last = others.pop()
            complete = ["".join(parts), *others]
            yield from lines_of_text(complete, name, number)
            number += len(complete)
            parts = [last]
    end = "".join(parts)
    if end:
        yield from lines_of_text([end], name, number)


def lines_of_text(lines: Iterable[str], name: str, first: int = 1) -> Iterator[str]:
    """The lines without their ends. Raises DataError for a NUL."""
    for number, line in enumerate(lines, first):
        if "\0" in line:
            raise DataError(f"found a NUL, as in binary files and UTF-16; {_EXPECTED}", name, number)
        yield line.removesuffix("\n").removesuffix("\r")


def _decoded(stream: Readable, name: str, encoding: str) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder(encoding)()
    offset, feeds, more = 0, 0, True
    while more:
        try:
            chunk = stream.read(CHUNK)
        except OSError as error:
            raise DataError(f"can't be read: {error.strerror}", name) from error
        more = bool(chunk)
        try:
            text = decoder.decode(chunk, final=not more)
        except UnicodeDecodeError as error:
            before = error.object[: error.start].decode(error.encoding, "replace")
            place = offset + len(chunk) - len(error.object) + error.start
            byte = error.object[error.start]
            found = f"byte 0x{byte:02X} at offset {place} is not {encoding.removesuffix('-sig')}"
            raise DataError(f"{found}; {_EXPECTED}", name, 1 + feeds + before.count("\n")) from error
        except UnicodeError as error:  # UTF-16 without its mark, say
            raise DataError(f"is not {encoding}: {error}; {_EXPECTED}", name) from error
        offset += len(chunk)
        feeds += text.count("\n")
        yield text
