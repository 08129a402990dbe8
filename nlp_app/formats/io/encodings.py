"""The encoding of a file from evidence: all of its bytes, in one or two passes of bounded memory.

UTF-8 if it is valid throughout, UTF-16 by its mark or by where its zero bytes stand. UTF-8 with a mark, or with more
valid sequences than damaged ones, is an error with its line. The rest is GB18030 if that is valid and reads as Chinese
(common characters of GB 2312), else Windows-1252 or Latin-1, unless most letters would be beyond ASCII.
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

_PIECE = 1 << 20

_ASCII = bytes(range(0x80))

_UNDEFINED = set(b"\x81\x8d\x8f\x90\x9d")  # in Windows-1252

# Lead bytes of GB 2312: its symbols and letters, and its first level, the 3,755 most frequent characters.
_COMMON = bytes([*range(0xA1, 0xAA), *range(0xB0, 0xD8)])

_CHINESE = 0.7  # of what isn't ASCII, the share that is common if the text is Chinese

_WESTERN = 0.25  # of all bytes, the share beyond ASCII that no Western European text comes near

_STRAYS = 4  # more bytes than that for each zero byte, if the file is UTF-8; at most 2.5 in UTF-16 of mostly ASCII

_HINT = "name another with data.encoding"


class UnknownEncodingError(DataError):
    """Bytes that no encoding explains."""


class Encoding(NamedTuple):
    """A codec, and what to say of it: nothing for UTF-8. `is_damaged`: some lines of the file cannot be decoded."""

    codec: str
    remarks: list[str]
    is_damaged: bool = False


def find_input_encoding(stream: PeekableStream, name: str, named: str | None) -> Encoding:
    """Find the encoding of a command's input, whose bad lines are records of their own.

    Args:
        stream: The opened input. A regular file without compression is recognized from all of its bytes, any other
            input from its beginning: UTF-16 by its mark, else UTF-8.
        name: The path of a regular file.
        named: An encoding that goes before all evidence.

    Raises:
        DataError: No encoding explains the bytes.
        SettingsError: The name is unknown.
    """
    if stream.size is None or stream.compressed:
        return Encoding(detect_codec(stream.head, named), [])
    try:
        return find_encoding(Path(name), named)
    except UnknownEncodingError:
        if b"\0" not in stream.head:
            raise
    except DataError as error:
        if error.line is None:
            raise
    return Encoding(detect_codec(stream.head, named), [], is_damaged=True)


def find_encoding(path: Path, named: str | None, fallback: str | None = None) -> Encoding:
    """The encoding of a file; `named` goes before all evidence, `fallback` before that on a file that isn't UTF-8.

    Raises DataError for bytes that no encoding explains, SettingsError for an unknown name.
    """
    with open_bytes(path) as stream:
        head = stream.read(CHUNK)
    codec = detect_codec(head, named)
    if named is not None:
        return Encoding(codec, [])
    if codec == "utf-16":
        return Encoding(codec, [f"encoding: UTF-16, by its byte order mark; {_HINT}"])
    if b"\0" in head and not _is_utf8_with_strays(head):
        return Encoding(_utf16_without_mark(head, path), [f"encoding: UTF-16, by its zero bytes; {_HINT}"])
    bad = _first_that_is_not_utf8(path)
    if bad is None:
        return Encoding(codec, [])
    if fallback is not None:
        return Encoding(fallback, [])
    evidence = _weigh(path)
    found = f"byte 0x{bad.byte:02X} at offset {bad.offset} is not UTF-8"
    if evidence.is_damaged_utf8 or head.startswith(codecs.BOM_UTF8):  # its accented letters are valid GB18030 too
        with open_bytes(path) as stream:
            for _ in decode_lines(stream, str(path), codec):
                continue  # raises with the byte's line
    if evidence.is_chinese:
        return Encoding("gb18030", [f"encoding: GB18030, as {found} and the text reads as Chinese; {_HINT}"])
    if evidence.is_western:
        western, said = ("latin-1", "Latin-1") if evidence.is_latin1 else ("cp1252", "Windows-1252")
        return Encoding(western, [f"encoding: {said}, as {found}; {_HINT}"])
    reason = "nor GB18030 that reads as Chinese, and too little of the file is ASCII for Windows-1252"
    raise UnknownEncodingError(f"{found}, {reason}; name its encoding with data.encoding", path, bad.line)


class _Bad(NamedTuple):
    byte: int
    offset: int
    line: int


class _Evidence(NamedTuple):
    is_chinese: bool
    is_damaged_utf8: bool
    is_western: bool
    is_latin1: bool


def _pieces(path: Path) -> Iterator[bytes]:
    """The file in pieces, then an empty one."""
    with open_bytes(path) as stream:
        while piece := stream.read(_PIECE):
            yield piece
    yield b""


def _first_that_is_not_utf8(path: Path) -> _Bad | None:
    decoder = codecs.getincrementaldecoder("utf-8")()
    offset, feeds = 0, 0
    for piece in _pieces(path):
        try:
            decoder.decode(piece, final=not piece)
        except UnicodeDecodeError as error:
            before = offset + len(piece) - len(error.object)  # the decoder kept the start of a character
            line = 1 + feeds + error.object[: error.start].count(b"\n")
            return _Bad(error.object[error.start], before + error.start, line)
        offset += len(piece)
        feeds += piece.count(b"\n")
    return None


def _weigh(path: Path) -> _Evidence:
    utf8 = codecs.getincrementaldecoder("utf-8")("replace")
    gb18030: codecs.IncrementalDecoder | None = codecs.getincrementaldecoder("gb18030")()
    size = beyond = characters = common = sequences = damaged = 0
    controls: set[int] = set()
    for piece in _pieces(path):
        size += len(piece)
        upper = piece.translate(None, _ASCII)
        beyond += len(upper)
        controls.update(upper.translate(None, bytes(range(0xA0, 0x100))))
        text = utf8.decode(piece, final=not piece)
        replaced = text.count("\N{REPLACEMENT CHARACTER}")
        damaged += replaced
        sequences += _count_beyond_ascii(text) - replaced
        if gb18030 is not None:
            try:
                chinese = gb18030.decode(piece, final=not piece)
            except UnicodeDecodeError:
                gb18030 = None
            else:
                characters += _count_beyond_ascii(chinese)
                common += _count_common(chinese)
    return _Evidence(
        gb18030 is not None and common >= _CHINESE * characters,
        sequences > damaged,
        beyond <= _WESTERN * size,
        not controls or not controls.isdisjoint(_UNDEFINED),
    )


def _count_beyond_ascii(text: str) -> int:
    return len(text) - len(text.encode("ascii", "ignore"))


def _count_common(text: str) -> int:
    pairs = text.encode("gb2312", "ignore").translate(None, _ASCII)  # two bytes a character, the first one tells
    leads = pairs[::2]
    return len(leads) - len(leads.translate(None, _COMMON))


def _is_utf8_with_strays(head: bytes) -> bool:
    """Whether a file with zero bytes is UTF-8 all the same, whose reader names their lines: UTF-16 of mostly ASCII has
    them at every other place, and other UTF-16 is no UTF-8."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return _STRAYS * head.count(0) < len(head)


def _utf16_without_mark(head: bytes, path: Path) -> str:
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
        reason = f"found {found}; expected text in UTF-8 or UTF-16; or name its encoding"
        raise UnknownEncodingError(reason, path, 1 + head.count(b"\n", 0, place))
    return codec
