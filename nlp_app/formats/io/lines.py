"""Bytes to lines: encodings, byte order marks, and errors that name the byte.

Lines end at a line feed, before which a carriage return is dropped, and nowhere else: U+2028, U+0085 and the like are
characters of the text.
"""

from __future__ import annotations

import codecs
import itertools
import re
from collections.abc import Iterable, Iterator

from nlp_app.core.errors import DataError, SettingsError, read_error_message
from nlp_app.formats.io.compression import Readable

CHUNK = 1 << 16

_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)

_EXPECTED = "expected UTF-8, or UTF-16 with a byte order mark; name the file's encoding (setting data.encoding)"

_SURROGATE = re.compile("[\ud800-\udfff]")

# Codecs whose lines can't be told from each other before they are decoded, or hang together.
_BEFORE_LINES = ("utf-16", "utf-32", "utf-7", "iso2022", "hz", "unicode", "raw", "idna", "punycode")


def detect_codec(head: bytes, named: str | None) -> str:
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


def decode_lines(stream: Readable, name: str, encoding: str) -> Iterator[str]:
    """The lines of an open file, without their ends, read in chunks.

    Raises DataError for bytes that aren't in the encoding, with their offset and line, and for a NUL.
    """
    return strip_line_ends(_lines_of(_decoded(stream, name, encoding)), name)


def decode_lines_or_errors(stream: Readable, name: str, encoding: str) -> Iterator[str | DataError]:
    """`decode_lines`, but in place of a line that can't be read the error that it would have raised.

    Raises DataError only where lines can't be told apart before they are decoded: in UTF-16 cut short, and in rare
    encodings.
    """
    if not _splits_before(encoding):
        yield from _checked(_lines_of(_decoded(stream, name, encoding, "surrogatepass")), name)
        return
    codec = encoding.removesuffix("-sig")
    number, offset = 1, 0
    for block in _blocks(stream, name):
        start = 0
        if not offset and encoding == "utf-8-sig" and block.startswith(codecs.BOM_UTF8):
            start = len(codecs.BOM_UTF8)
        try:
            text = block[start:].decode(codec)
        except UnicodeDecodeError:
            text = "\0"
        if "\0" in text or (codec != "utf-8" and _SURROGATE.search(text)):
            raw = block[start:].split(b"\n")
            if not raw[-1]:
                raw.pop()
            place = offset + start
            for count, line in enumerate(raw):
                yield _line_or_error(line, codec, (name, number + count), place)
                place += len(line) + 1
            number += len(raw)
        else:
            lines = text.split("\n")
            if not lines[-1]:  # what follows the last line feed, or a mark alone
                lines.pop()
            yield from (line.removesuffix("\r") for line in lines)
            number += len(lines)
        offset += len(block)


def count_lines(stream: Readable, name: str, encoding: str) -> int:
    """How many lines `decode_lines_or_errors` gives."""
    if not _splits_before(encoding):
        return sum(1 for _ in _lines_of(_decoded(stream, name, encoding, "surrogatepass")))
    count, last, first = 0, b"\n", True
    while block := _read(stream, name):
        if first and encoding == "utf-8-sig":
            block = block.removeprefix(codecs.BOM_UTF8)
        count += block.count(b"\n")
        last, first = block[-1:] or last, False
    return count + (last != b"\n")


def _splits_before(encoding: str) -> bool:
    """Whether a line feed is its byte, and that byte nothing else, so that each line can be decoded by itself."""
    codec = encoding.removesuffix("-sig")
    return not codec.startswith(_BEFORE_LINES) and "\n\ra".encode(codec) == b"\n\ra"


def _blocks(stream: Readable, name: str) -> Iterator[bytes]:
    """Runs of whole lines; the last one may lack its end."""
    parts: list[bytes] = []
    while piece := _read(stream, name):
        end = piece.rfind(b"\n") + 1
        if end:
            yield b"".join((*parts, piece[:end]))
            parts = []
        if end < len(piece):
            parts.append(piece[end:])
    if parts:
        yield b"".join(parts)


def _read(stream: Readable, name: str) -> bytes:
    try:
        return stream.read(CHUNK)
    except OSError as error:
        raise read_error_message(name, error) from error


def _line_or_error(line: bytes, codec: str, place: tuple[str, int], offset: int) -> str | DataError:
    try:
        text = line.decode(codec)
    except UnicodeDecodeError as error:
        found = f"byte 0x{line[error.start]:02X} at offset {offset + error.start} is not {codec}"
        return DataError(f"{found}; {_EXPECTED}", *place)
    return next(_checked((text,), *place))


def _checked(lines: Iterable[str], name: str, first: int = 1) -> Iterator[str | DataError]:
    """Lines without their ends, those that hold no text replaced by errors."""
    for number, line in enumerate(lines, first):
        if "\0" in line:
            yield DataError(f"found a NUL, as in binary files and UTF-16; {_EXPECTED}", name, number)
        elif not line.isascii() and _SURROGATE.search(line):
            yield DataError("found half of a surrogate pair; expected whole characters", name, number)
        else:
            yield line.removesuffix("\r")


def _lines_of(texts: Iterable[str]) -> Iterator[str]:
    """The lines of a text that comes in pieces."""
    parts: list[str] = []
    for text in texts:
        first, *others = text.split("\n")
        parts.append(first)
        if others:
            yield from itertools.chain(("".join(parts),), others[:-1])
            parts = [others[-1]]
    if end := "".join(parts):
        yield end


def strip_line_ends(lines: Iterable[str], name: str) -> Iterator[str]:
    """The lines without their ends. Raises DataError for a NUL."""
    for number, line in enumerate(lines, 1):
        if "\0" in line:
            raise DataError(f"found a NUL, as in binary files and UTF-16; {_EXPECTED}", name, number)
        yield line.removesuffix("\n").removesuffix("\r")


def _decoded(stream: Readable, name: str, encoding: str, errors: str = "strict") -> Iterator[str]:
    decoder = codecs.getincrementaldecoder(encoding)(errors)
    offset, feeds, more, head = 0, 0, True, b""
    while more:
        chunk = _read(stream, name)
        more = bool(chunk)
        if offset < len(codecs.BOM_UTF8):
            head += chunk
        try:
            text = decoder.decode(chunk, final=not more)
            if not more and encoding == "utf-8-sig" and 0 < offset < len(codecs.BOM_UTF8):
                head.decode()  # the codec takes the beginning of a mark for nothing
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
