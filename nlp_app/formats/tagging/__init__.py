"""Readers and writers: files of tokens with tags, or of texts with labeled spans, to records and back; data sets too.

Every reader is a generator that keeps one record in memory at a time, except for JSON that is one document.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from nlp_app.core.errors import DataError, SettingsError, did_you_mean, read_error_message
from nlp_app.core.files import atomic_file
from nlp_app.core.types import Record
from nlp_app.formats.io.compression import open_bytes, strip_compression_suffix
from nlp_app.formats.io.encodings import find_encoding
from nlp_app.formats.io.hf_datasets import is_data_set
from nlp_app.formats.io.lines import CHUNK, decode_lines, detect_codec, strip_line_ends
from nlp_app.formats.tagging import brat, conll, conllu, detection, hf_rows, jsonl, plain_text
from nlp_app.formats.tagging.options import TOKEN_PATTERNS, ReadOptions
from nlp_app.formats.tagging.read_log import ReadLog

__all__ = [
    "FORMATS",
    "TOKEN_PATTERNS",
    "Format",
    "ReadLog",
    "ReadOptions",
    "detect_format",
    "is_data_set",
    "read",
    "read_lines",
    "write",
]


class Format(NamedTuple):
    """How a format is read from lines (None: only from files, `brat` and `hub`) and written (None: it is only read).

    Both get a name to put in front of messages. A file is recognized by the suffixes, unless `detection` has rules for
    its format.
    """

    reader: Callable[[Iterable[str], str, ReadOptions, ReadLog | None], Iterator[Record]] | None
    writer: Callable[[Iterable[Record], str], Iterator[str]] | None
    suffixes: tuple[str, ...]


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        "conll": Format(conll.read, conll.write, (".conll", ".bio", ".bmes", ".tsv", ".txt")),
        "conllu": Format(conllu.read, conllu.write, (".conllu",)),
        "jsonl": Format(jsonl.read, jsonl.write, (".jsonl", ".json", ".ndjson")),
        "brat": Format(None, None, (".ann",)),
        "text": Format(plain_text.read, None, (".txt",)),
        "hub": Format(None, None, (".parquet", ".arrow")),
    }
)

_DEFAULTS = ReadOptions()


def detect_format(path: str | Path, head: bytes | str | None = None, encoding: str | None = None) -> str:
    """The name in `FORMATS` of a file, folder or data set, by suffix and content; `head` is how the file begins.

    `encoding`: of the file, or of `head`; None finds it, of a `head` by its mark.

    Raises DataError for a kind of file that holds neither tokens nor spans.
    """
    source = Path(path)
    if is_data_set(path):
        return "hub"
    if _is_brat(source):
        return "brat"
    if head is None:
        if source.exists() and not source.is_file():
            raise DataError(
                "is no regular file, and can't be looked at first; write it to a file, or name its format", path
            )
        try:
            with open_bytes(source) as stream:
                head = stream.read(CHUNK)
            encoding = find_encoding(source, encoding).codec
        except OSError as error:
            raise read_error_message(path, error) from error
    return _recognized(strip_compression_suffix(source), head, encoding)


def read(
    path: str | Path, format: str | None = None, options: ReadOptions = _DEFAULTS, log: ReadLog | None = None
) -> Iterator[Record]:
    """The records of a file or data set, one by one; `format` None recognizes it; `log` collects what is skipped.

    Raises DataError for a file that can't be read, isn't what it should be (with the line), or holds no
    record.
    """
    found = False
    try:
        for record in _records(path, format, options, log):
            found = True
            yield record
    except OSError as error:
        raise read_error_message(path, error) from error
    if not found:
        raise DataError("found no sentence, expected one at least; check the file", path)


def read_lines(lines: Iterable[str], name: str, format: str, options: ReadOptions = _DEFAULTS) -> Iterator[Record]:
    """The records of lines that are decoded already, with or without line ends; `name` stands in messages."""
    reader = _named(format).reader
    options.check_column()
    if reader is None:
        raise SettingsError(f"format: {format} can't be read from lines, only from its files")
    return reader(strip_line_ends(lines, name), name, options, None)


def write(records: Iterable[Record], path: str | Path, format: str) -> None:
    """Write a file that is complete or absent: it is written aside, stored, and moved into place.

    Raises DataError for a record that the format can't hold or a file that can't be written.
    """
    writer = _named(format).writer
    if writer is None:
        known = ", ".join(name for name, entry in FORMATS.items() if entry.writer is not None)
        raise SettingsError(f"format: {format} can't be written, only {known}")
    with atomic_file(path) as stream:
        for number, line in enumerate(writer(records, str(path))):
            # A reader takes one mark at the beginning for the encoding's; this one belongs to the text.
            mark = "\ufeff" if number == 0 and line.startswith("\ufeff") else ""
            stream.write(f"{mark}{line}\n")


def _records(source: str | Path, format: str | None, options: ReadOptions, log: ReadLog | None) -> Iterator[Record]:
    if format == "hub" or (format is None and is_data_set(source)):
        yield from hf_rows.read(str(source), options, log)
        return
    options.check_column()
    path = Path(source)
    if format == "brat" or (format is None and _is_brat(path)):
        yield from brat.read(path, options, log)
        return
    with open_bytes(path) as stream:
        head = stream.peek(CHUNK)  # not `read`: a pipe has no way back
        encoding = _encoding_of(path, head, options, log)
        reader = _named(format or _recognized(strip_compression_suffix(path), head, encoding)).reader
        if reader is not None:
            lines = decode_lines(stream, str(path), encoding)
            yield from reader(lines, str(path), options, log if log is not None and log.counting else None)


def _encoding_of(path: Path, head: bytes, options: ReadOptions, log: ReadLog | None) -> str:
    """The codec of a file; a pipe, which has no way back, is known by its beginning."""
    if not path.is_file():
        return detect_codec(head, options.encoding)
    encoding = find_encoding(path, options.encoding)
    if log is not None:
        for remark in encoding.remarks:
            log.remark(remark)
    return encoding.codec


def _recognized(path: Path, head: bytes | str, encoding: str | None) -> str:
    """The format of a file that begins with `head`: detection has no rules for formats added after the first ones, and
    their suffix decides."""
    suffix = path.suffix.lower()
    for name, entry in FORMATS.items():
        if name not in detection.RULED and entry.reader is not None and suffix in entry.suffixes:
            return name
    return detection.detect_format(path, head, encoding)


def _is_brat(path: Path) -> bool:
    return path.is_dir() or path.suffix == ".ann" or (path.suffix == ".txt" and path.with_suffix(".ann").exists())


def _named(format: str) -> Format:
    entry = FORMATS.get(format)
    if entry is None:
        hint = did_you_mean(format, FORMATS)
        raise SettingsError(f"format: found {format!r}, expected one of {', '.join(FORMATS)}{hint}")
    return entry
