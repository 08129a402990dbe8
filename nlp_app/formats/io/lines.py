"""Decode bytes into lines, with errors that name the invalid byte.

Lines end at a line feed only; a carriage return before it is removed. U+2028, U+0085 and similar characters are part
of the text.
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

# Codecs whose bytes cannot be split into lines before decoding, or whose state carries over from line to line.
_NOT_SPLITTABLE = ("utf-16", "utf-32", "utf-7", "iso2022", "hz", "unicode", "raw", "idna", "punycode")


def detect_codec(head: bytes, encoding: str | None) -> str:
    """Choose the codec for a file from its first bytes.

    Args:
        head: The first bytes of the file.
        encoding: The encoding set by the user; None to choose by the byte order mark.

    Returns:
        The name of a Python codec: UTF-16 if there is its byte order mark, else UTF-8 with or without a mark.

    Raises:
        SettingsError: The name of the encoding is unknown.
    """
    if encoding is None:
        return "utf-16" if head.startswith(_UTF16_MARKS) else "utf-8-sig"
    try:
        codec = codecs.lookup(encoding).name
        codecs.getincrementaldecoder(codec)
        b"a".decode(codec, "replace")  # not an empty string: every codec decodes that
    except (LookupError, ValueError) as error:
        raise SettingsError(
            f"encoding: found {encoding!r}, expected a text encoding such as utf-8 or gb18030"
        ) from error
    return "utf-8-sig" if codec == "utf-8" else codec


def decode_lines(stream: Readable, name: str, encoding: str) -> Iterator[str]:
    """Decode an open file into lines, reading it in chunks.

    Args:
        stream: The open file.
        name: The file's name, for messages.
        encoding: The codec.

    Yields:
        The lines without line ends.

    Raises:
        DataError: A byte is invalid in the encoding (names its offset and line), or a line contains a NUL character.
    """
    return strip_line_ends(_split_lines(_decode_chunks(stream, name, encoding)), name)


def decode_lines_or_errors(stream: Readable, name: str, encoding: str) -> Iterator[str | DataError]:
    """Decode an open file like `decode_lines`, but yield an error in place of each line that cannot be decoded.

    Args:
        stream: The open file.
        name: The file's name, for messages.
        encoding: The codec.

    Yields:
        A line without its line end, or the error that `decode_lines` would have raised for it.

    Raises:
        DataError: Some bytes are invalid, and the encoding has to be decoded before lines can be split: truncated
            UTF-16 and a few rare encodings.
    """
    if not _can_split_bytes(encoding):
        yield from _check_lines(_split_lines(_decode_chunks(stream, name, encoding, "surrogatepass")), name)
        return
    codec = encoding.removesuffix("-sig")
    number, offset = 1, 0
    for block in _read_line_blocks(stream, name):
        start = 0
        if not offset and encoding == "utf-8-sig" and block.startswith(codecs.BOM_UTF8):
            start = len(codecs.BOM_UTF8)
        try:
            text = block[start:].decode(codec)
        except UnicodeDecodeError:
            text = "\0"
        if "\0" in text or (codec != "utf-8" and _SURROGATE.search(text)):
            raw_lines = block[start:].split(b"\n")
            if not raw_lines[-1]:
                raw_lines.pop()
            line_offset = offset + start
            for index, line in enumerate(raw_lines):
                yield _decode_line_or_error(line, codec, (name, number + index), line_offset)
                line_offset += len(line) + 1
            number += len(raw_lines)
        else:
            lines = text.split("\n")
            if not lines[-1]:  # empty after the last line feed, or in a file of a byte order mark alone
                lines.pop()
            yield from (line.removesuffix("\r") for line in lines)
            number += len(lines)
        offset += len(block)


def count_lines(stream: Readable, name: str, encoding: str) -> int:
    """Count the lines that `decode_lines_or_errors` yields.

    Args:
        stream: The open file.
        name: The file's name, for messages.
        encoding: The codec.

    Returns:
        The number of lines.

    Raises:
        DataError: As in `decode_lines_or_errors`.
    """
    if not _can_split_bytes(encoding):
        return sum(1 for _ in _split_lines(_decode_chunks(stream, name, encoding, "surrogatepass")))
    count, last, first = 0, b"\n", True
    while block := _read_chunk(stream, name):
        if first and encoding == "utf-8-sig":
            block = block.removeprefix(codecs.BOM_UTF8)
        count += block.count(b"\n")
        last, first = block[-1:] or last, False
    return count + (last != b"\n")


def _can_split_bytes(encoding: str) -> bool:
    """Return True if a line feed is always the byte 0x0A and nothing else is, so that bytes can be split into lines."""
    codec = encoding.removesuffix("-sig")
    return not codec.startswith(_NOT_SPLITTABLE) and "\n\ra".encode(codec) == b"\n\ra"


def _read_line_blocks(stream: Readable, name: str) -> Iterator[bytes]:
    """Yield blocks of whole lines; the last line of the file may lack its line feed."""
    parts: list[bytes] = []
    while chunk := _read_chunk(stream, name):
        end = chunk.rfind(b"\n") + 1
        if end:
            yield b"".join((*parts, chunk[:end]))
            parts = []
        if end < len(chunk):
            parts.append(chunk[end:])
    if parts:
        yield b"".join(parts)


def _read_chunk(stream: Readable, name: str) -> bytes:
    """Read the next chunk; turn an OSError into a DataError."""
    try:
        return stream.read(CHUNK)
    except OSError as error:
        raise read_error_message(name, error) from error


def _decode_line_or_error(line: bytes, codec: str, place: tuple[str, int], offset: int) -> str | DataError:
    try:
        text = line.decode(codec)
    except UnicodeDecodeError as error:
        problem = f"byte 0x{line[error.start]:02X} at offset {offset + error.start} is not {codec}"
        return DataError(f"{problem}; {_EXPECTED}", *place)
    return next(_check_lines((text,), *place))


def _check_lines(lines: Iterable[str], name: str, first: int = 1) -> Iterator[str | DataError]:
    """Remove line ends, and replace lines with a NUL character or half of a surrogate pair by errors."""
    for number, line in enumerate(lines, first):
        if "\0" in line:
            yield DataError(f"found a NUL, as in binary files and UTF-16; {_EXPECTED}", name, number)
        elif not line.isascii() and _SURROGATE.search(line):
            yield DataError("found half of a surrogate pair; expected whole characters", name, number)
        else:
            yield line.removesuffix("\r")


def _split_lines(texts: Iterable[str]) -> Iterator[str]:
    """Yield the lines of a text that comes in chunks."""
    parts: list[str] = []
    for text in texts:
        first, *rest = text.split("\n")
        parts.append(first)
        if rest:
            yield from itertools.chain(("".join(parts),), rest[:-1])
            parts = [rest[-1]]
    if end := "".join(parts):
        yield end


def strip_line_ends(lines: Iterable[str], name: str) -> Iterator[str]:
    r"""Remove line ends.

    Args:
        lines: The lines, with or without line ends.
        name: The file's name, for messages.

    Yields:
        The lines without `\n` and `\r\n`.

    Raises:
        DataError: A line contains a NUL character.
    """
    for number, line in enumerate(lines, 1):
        if "\0" in line:
            raise DataError(f"found a NUL, as in binary files and UTF-16; {_EXPECTED}", name, number)
        yield line.removesuffix("\n").removesuffix("\r")


def _decode_chunks(stream: Readable, name: str, encoding: str, errors: str = "strict") -> Iterator[str]:
    decoder = codecs.getincrementaldecoder(encoding)(errors)
    offset, line_feeds, more, head = 0, 0, True, b""
    while more:
        chunk = _read_chunk(stream, name)
        more = bool(chunk)
        if offset < len(codecs.BOM_UTF8):
            head += chunk
        try:
            text = decoder.decode(chunk, final=not more)
            if not more and encoding == "utf-8-sig" and 0 < offset < len(codecs.BOM_UTF8):
                head.decode()  # the codec silently accepts a truncated byte order mark
        except UnicodeDecodeError as error:
            before = error.object[: error.start].decode(error.encoding, "replace")
            byte_offset = offset + len(chunk) - len(error.object) + error.start
            byte = error.object[error.start]
            problem = f"byte 0x{byte:02X} at offset {byte_offset} is not {encoding.removesuffix('-sig')}"
            raise DataError(f"{problem}; {_EXPECTED}", name, 1 + line_feeds + before.count("\n")) from error
        except UnicodeError as error:  # for example, UTF-16 without its byte order mark
            raise DataError(f"is not {encoding}: {error}; {_EXPECTED}", name) from error
        offset += len(chunk)
        line_feeds += text.count("\n")
        yield text
