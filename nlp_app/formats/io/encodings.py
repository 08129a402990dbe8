"""Detect the encoding of a file from all of its bytes, in one or two passes with bounded memory.

* UTF-8: every byte sequence is valid.
* UTF-16: the file has a byte order mark, or its zero bytes stand at every other position.
* Damaged UTF-8: the file has a UTF-8 byte order mark, or more valid UTF-8 sequences than invalid ones. This is an error
  that names the line.
* GB18030: the bytes are valid GB18030 and most characters are common ones (those of GB 2312).
* Windows-1252 or Latin-1: everything else, if at most a quarter of the bytes are beyond ASCII; otherwise the encoding
  is unknown, which is an error.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from nlp_app.core.errors import DataError
from nlp_app.formats.io.compression import open_bytes
from nlp_app.formats.io.lines import CHUNK, decode_lines, detect_codec
from nlp_app.formats.io.streams import PeekableStream

_READ_SIZE = 1 << 20

_ASCII = bytes(range(0x80))

_UNDEFINED = set(b"\x81\x8d\x8f\x90\x9d")  # in Windows-1252

# Lead bytes of the common characters of GB 2312: symbols, letters, and level 1, the 3,755 most frequent characters.
_COMMON_LEAD_BYTES = bytes([*range(0xA1, 0xAA), *range(0xB0, 0xD8)])

_MIN_COMMON_SHARE = 0.7  # share of common characters among those beyond ASCII, from which a text is taken for Chinese

_MAX_NON_ASCII_SHARE = 0.25  # share of bytes beyond ASCII; Western European text stays far below it

_MIN_BYTES_PER_ZERO = 4  # UTF-8 has more bytes than this for each zero byte; UTF-16 of mostly ASCII has at most 2.5

_HINT = "name another with data.encoding"


class UnknownEncodingError(DataError):
    """The bytes of a file do not fit any known encoding."""


class Encoding(NamedTuple):
    """A detected encoding.

    Attributes:
        codec: The name of the Python codec.
        remarks: Notes for the user on how the encoding was detected; empty for UTF-8.
        is_damaged: True if some lines of the file cannot be decoded.
    """

    codec: str
    remarks: list[str]
    is_damaged: bool = False


def find_input_encoding(stream: PeekableStream, name: str, encoding: str | None) -> Encoding:
    """Detect the encoding of a command's input, in which lines that cannot be decoded are allowed.

    Args:
        stream: The opened input. All bytes of a regular, uncompressed file are examined. Of any other input only the
            beginning is: UTF-16 if there is a byte order mark, else UTF-8.
        name: The path of a regular file.
        encoding: The encoding set by the user, which is not checked against the bytes; None to detect it.

    Returns:
        The encoding. `is_damaged` is set if some lines are invalid.

    Raises:
        DataError: The bytes do not fit any known encoding.
        SettingsError: The name of the encoding is unknown.
    """
    if stream.size is None or stream.compressed:
        return Encoding(detect_codec(stream.head, encoding), [])
    try:
        return find_encoding(Path(name), encoding)
    except UnknownEncodingError:
        if b"\0" not in stream.head:
            raise
    except DataError as error:
        if error.line is None:
            raise
    return Encoding(detect_codec(stream.head, encoding), [], is_damaged=True)


def find_encoding(path: Path, encoding: str | None, fallback: str | None = None) -> Encoding:
    """Detect the encoding of a file.

    Args:
        path: The file.
        encoding: The encoding set by the user, which is not checked against the bytes; None to detect it.
        fallback: The encoding to assume, without further evidence, for a file that is neither UTF-8 nor UTF-16.

    Returns:
        The encoding and remarks on how it was detected.

    Raises:
        DataError: The bytes do not fit any known encoding, or the file is damaged UTF-8.
        SettingsError: The name of the encoding is unknown.
    """
    with open_bytes(path) as stream:
        head = stream.read(CHUNK)
    codec = detect_codec(head, encoding)
    if encoding is not None:
        return Encoding(codec, [])
    if codec == "utf-16":
        return Encoding(codec, [f"encoding: UTF-16, from its byte order mark; {_HINT}"])
    if b"\0" in head and not _is_utf8_with_zeros(head):
        return Encoding(_detect_utf16_without_mark(head, path), [f"encoding: UTF-16, from its zero bytes; {_HINT}"])
    invalid = _find_invalid_utf8(path)
    if invalid is None:
        return Encoding(codec, [])
    if fallback is not None:
        return Encoding(fallback, [])
    evidence = _gather_evidence(path)
    problem = f"byte 0x{invalid.byte:02X} at offset {invalid.offset} is not UTF-8"
    if evidence.is_damaged_utf8 or head.startswith(codecs.BOM_UTF8):  # damaged UTF-8 can be valid GB18030
        with open_bytes(path) as stream:
            for _ in decode_lines(stream, str(path), codec):
                continue  # raises an error with the line of the invalid byte
    if evidence.is_chinese:
        return Encoding("gb18030", [f"encoding: GB18030, as {problem} and the text reads as Chinese; {_HINT}"])
    if evidence.is_western:
        western, title = ("latin-1", "Latin-1") if evidence.is_latin1 else ("cp1252", "Windows-1252")
        return Encoding(western, [f"encoding: {title}, as {problem}; {_HINT}"])
    reason = "nor GB18030 that reads as Chinese, and too little of the file is ASCII for Windows-1252"
    raise UnknownEncodingError(f"{problem}, {reason}; name its encoding with data.encoding", path, invalid.line)


class _InvalidByte(NamedTuple):
    byte: int
    offset: int
    line: int


class _Evidence(NamedTuple):
    is_chinese: bool
    is_damaged_utf8: bool
    is_western: bool
    is_latin1: bool


def _read_chunks(path: Path) -> Iterator[bytes]:
    """Yield the file in chunks, then an empty one that marks the end."""
    with open_bytes(path) as stream:
        while chunk := stream.read(_READ_SIZE):
            yield chunk
    yield b""


def _find_invalid_utf8(path: Path) -> _InvalidByte | None:
    """Return the first byte of a file that is not valid UTF-8, or None."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    offset, line_feeds = 0, 0
    for chunk in _read_chunks(path):
        try:
            decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            before = offset + len(chunk) - len(error.object)  # the decoder holds back the start of a character
            line = 1 + line_feeds + error.object[: error.start].count(b"\n")
            return _InvalidByte(error.object[error.start], before + error.start, line)
        offset += len(chunk)
        line_feeds += chunk.count(b"\n")
    return None


def _gather_evidence(path: Path) -> _Evidence:
    """Count the evidence for each encoding in one pass over the file."""
    utf8 = codecs.getincrementaldecoder("utf-8")("replace")
    gb18030: codecs.IncrementalDecoder | None = codecs.getincrementaldecoder("gb18030")()
    size = non_ascii = characters = common = sequences = invalid = 0
    controls: set[int] = set()
    for chunk in _read_chunks(path):
        size += len(chunk)
        high_bytes = chunk.translate(None, _ASCII)
        non_ascii += len(high_bytes)
        controls.update(high_bytes.translate(None, bytes(range(0xA0, 0x100))))
        text = utf8.decode(chunk, final=not chunk)
        replaced = text.count("\N{REPLACEMENT CHARACTER}")
        invalid += replaced
        sequences += _count_non_ascii(text) - replaced
        if gb18030 is not None:
            try:
                chinese = gb18030.decode(chunk, final=not chunk)
            except UnicodeDecodeError:
                gb18030 = None
            else:
                characters += _count_non_ascii(chinese)
                common += _count_common(chinese)
    return _Evidence(
        gb18030 is not None and common >= _MIN_COMMON_SHARE * characters,
        sequences > invalid,
        non_ascii <= _MAX_NON_ASCII_SHARE * size,
        not controls or not controls.isdisjoint(_UNDEFINED),
    )


def _count_non_ascii(text: str) -> int:
    return len(text) - len(text.encode("ascii", "ignore"))


def _count_common(text: str) -> int:
    pairs = text.encode("gb2312", "ignore").translate(None, _ASCII)  # two bytes per character
    leads = pairs[::2]
    return len(leads) - len(leads.translate(None, _COMMON_LEAD_BYTES))


def _is_utf8_with_zeros(head: bytes) -> bool:
    """Return True if a file with zero bytes is UTF-8, so that its reader can report the lines with zero bytes.

    UTF-16 of mostly ASCII has a zero at every other position; other UTF-16 is not valid UTF-8.
    """
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return _MIN_BYTES_PER_ZERO * head.count(0) < len(head)


def _detect_utf16_without_mark(head: bytes, path: Path) -> str:
    """Return the codec of UTF-16 without a byte order mark, from the positions of its zero bytes."""
    even, odd = head[::2].count(0), head[1::2].count(0)
    codec = "utf-16-le" if odd > even else "utf-16-be"
    decoder = codecs.getincrementaldecoder(codec)()
    try:
        text = decoder.decode(head)
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text or max(even, odd) < 3 * min(even, odd):
        place = head.index(0)
        found = f"a zero byte at offset {place}, as in binary files"
        reason = f"found {found}; expected text in UTF-8 or UTF-16; or name its encoding with data.encoding"
        raise UnknownEncodingError(reason, path, 1 + head.count(b"\n", 0, place))
    return codec
