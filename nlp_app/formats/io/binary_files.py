"""Recognize files that are not text by their first bytes, so that they are refused by name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from nlp_app.core.errors import DataError


class _Kind(NamedTuple):
    """A kind of file: the pattern of its first bytes, its name, and what the user can do."""

    magic: re.Pattern[bytes]
    name: str
    advice: str


_SHEET = "save the sheet as CSV (UTF-8)"

_DATA_SET = "give the file the suffix {suffix}, with which it is read as a data set"

_KINDS = (
    _Kind(re.compile(rb"PK\x03\x04|PK\x05\x06"), "a ZIP archive", "unpack it"),
    _Kind(
        re.compile(rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"), "an old Office file (.xls, .doc)", "save it as CSV or text"
    ),
    _Kind(re.compile(rb"%PDF-[0-9]"), "a PDF file", "extract its text"),
    _Kind(re.compile(rb"PAR1[\x00-\x08\x0e-\x1f]"), "a Parquet file", _DATA_SET.format(suffix=".parquet")),
    _Kind(re.compile(rb"ARROW1\0\0"), "an Arrow file", _DATA_SET.format(suffix=".arrow")),
    _Kind(re.compile(rb"SQLite format 3\0"), "an SQLite database", "export the table as CSV"),
    _Kind(re.compile(rb"\x89PNG|\xff\xd8\xff|GIF8[79]a|II\*\0|MM\0\*"), "a picture", "give a file of text"),
    _Kind(re.compile(rb"7z\xbc\xaf\x27\x1c|Rar!\x1a\x07|BZh[1-9]1AY|\xfd7zXZ\0"), "an archive", "unpack it"),
    _Kind(re.compile(rb"\x80[\x02-\x05][\x80-\xff(}\]cX]"), "a pickle file", "export its content as JSON lines or CSV"),
    _Kind(re.compile(rb"\x93NUMPY"), "a NumPy array", "export its content as JSON lines or CSV"),
    _Kind(re.compile(rb"\x89HDF\r\n"), "an HDF5 file", "export its content as JSON lines or CSV"),
    _Kind(re.compile(rb"\x7fELF|MZ\x90"), "a program", "give a file of text"),
    _Kind(re.compile(rb"\{\\rtf"), "an RTF document", "save it as plain text"),
)

_MEMBERS = (
    (b"word/", "a Word document", "save it as plain text"),
    (b"xl/", "an Excel file", _SHEET),
    (b"ppt/", "a PowerPoint file", "save it as plain text"),
    (b"mimetypeapplication/vnd.oasis", "an OpenDocument file", "save it as CSV or text"),
)


def reject_binary(head: bytes, name: str | Path) -> None:
    """Raise an error for a file that is not text.

    Args:
        head: The first bytes of the file, decompressed.
        name: The file's name, for messages.

    Raises:
        DataError: The bytes begin a file of a known binary kind.
    """
    for kind in _KINDS:
        if kind.magic.match(head):
            found, advice = kind.name, kind.advice
            if head.startswith(b"PK"):
                found, advice = next(((n, a) for member, n, a in _MEMBERS if member in head), (found, advice))
            raise DataError(f"is {found}, expected text; {advice}", name)
