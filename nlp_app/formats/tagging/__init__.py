"""Read and write files of tokens with tags or of texts with labeled spans, and read Hugging Face datasets.

Every reader is a generator that holds one record in memory at a time, except for a JSON file that is one document.

Example:
    >>> for record in read("train.conll"):
    ...     print(record.tokens, record.tags)
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
from nlp_app.formats.tagging import (
    brat,
    conll,
    conllu,
    detection,
    hf_rows,
    jsonl,
    parallel,
    plain_text,
    spacy_docs,
    span_table,
    webanno,
)
from nlp_app.formats.tagging.options import TOKEN_PATTERNS, ReadOptions
from nlp_app.formats.tagging.read_log import ReadLog

__all__ = [
    "FORMATS",
    "TOKEN_PATTERNS",
    "WRITABLE",
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
    """The reader, writer and file suffixes of a format.

    Reader and writer get the file's name, for messages. The suffix of a file determines its format, unless `detection`
    has rules for the format.

    Attributes:
        reader: A generator of records from lines; None for formats that are read from files only (`brat`, `spacy`,
            `parallel` and `hub`).
        writer: A generator of lines from records; None for formats that are read only.
        suffixes: Suffixes of the format's files.
    """

    reader: Callable[[Iterable[str], str, ReadOptions, ReadLog | None], Iterator[Record]] | None
    writer: Callable[[Iterable[Record], str], Iterator[str]] | None
    suffixes: tuple[str, ...]


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        "conll": Format(conll.read, conll.write, (".conll", ".bio", ".bmes", ".tsv", ".txt")),
        "conllu": Format(conllu.read, conllu.write, (".conllu",)),
        "jsonl": Format(jsonl.read, jsonl.write, (".jsonl", ".json", ".ndjson")),
        "span_table": Format(span_table.read, None, (".csv",)),
        "webanno": Format(webanno.read, None, (".tsv",)),
        "brat": Format(None, None, (".ann",)),
        "spacy": Format(None, None, (".spacy",)),
        "parallel": Format(None, None, ()),
        "text": Format(plain_text.read, None, (".txt",)),
        "hub": Format(None, None, (".parquet", ".arrow")),
    }
)

WRITABLE = tuple(name for name, entry in FORMATS.items() if entry.writer is not None)

_DEFAULTS = ReadOptions()


def detect_format(path: str | Path, head: bytes | str | None = None, encoding: str | None = None) -> str:
    """Detect the format of a file, folder or dataset from its suffix and content.

    Args:
        path: The file, folder or dataset.
        head: The beginning of the file; None to read it from the file.
        encoding: The encoding of the file or of `head`. None detects it: for a file from all of its bytes, for
            `head` from the byte order mark.

    Returns:
        A name in `FORMATS`.

    Raises:
        DataError: The file cannot be read, or is of a kind that contains neither tokens nor spans.
    """
    source = Path(path)
    if is_data_set(path):
        return "hub"
    if _is_brat(source):
        return "brat"
    if source.suffix == ".spacy":
        return "spacy"
    if head is None:
        if source.exists() and not source.is_file():
            raise DataError(
                "is not a regular file, so its format can't be detected; save it to a file, or name its format", path
            )
        try:
            with open_bytes(source) as stream:
                head = stream.read(CHUNK)
            encoding = find_encoding(source, encoding).codec
        except OSError as error:
            raise read_error_message(path, error) from error
    return _detect_from_head(strip_compression_suffix(source), head, encoding)


def read(
    path: str | Path, format: str | None = None, options: ReadOptions = _DEFAULTS, log: ReadLog | None = None
) -> Iterator[Record]:
    """Read the records of a file or dataset.

    Args:
        path: The file, folder or dataset.
        format: A name in `FORMATS`; None to detect it.
        options: Reading options.
        log: Cleared, then filled with remarks, repairs and the parts that are skipped.

    Yields:
        The records in the order of the file.

    Raises:
        DataError: The file cannot be read, is invalid (names the line), or contains no record.
        SettingsError: The format or an option is unknown.
    """
    is_empty = True
    if log is not None:
        log.restart()
    try:
        for record in _read_records(path, format, options, log):
            is_empty = False
            yield record
    except OSError as error:
        raise read_error_message(path, error) from error
    if is_empty:
        raise DataError("found no sentence, expected at least one; check the file", path)


def read_lines(lines: Iterable[str], name: str, format: str, options: ReadOptions = _DEFAULTS) -> Iterator[Record]:
    """Read the records of lines that are already decoded.

    Args:
        lines: The lines, with or without line ends.
        name: The source's name, for messages.
        format: A name in `FORMATS`.
        options: Reading options.

    Returns:
        An iterator of the records, in the order of the lines.

    Raises:
        DataError: A line is invalid.
        SettingsError: The format or an option is unknown, or the format can only be read from files.
    """
    reader = _get_format(format).reader
    options.check_column()
    if reader is None:
        raise SettingsError(f"format: {format} can't be read from lines, only from its files")
    return reader(strip_line_ends(lines, name), name, options, None)


def write(records: Iterable[Record], path: str | Path, format: str) -> None:
    """Write records to a file.

    The file is either complete or absent: records go to a temporary file, which replaces the target at the end.

    Args:
        records: The records.
        path: The file.
        format: A name in `FORMATS`.

    Raises:
        DataError: The format cannot hold a record, or the file cannot be written.
        SettingsError: The format is unknown or has no writer.
    """
    writer = _get_format(format).writer
    if writer is None:
        known = ", ".join(name for name, entry in FORMATS.items() if entry.writer is not None)
        raise SettingsError(f"format: {format} can't be written, only {known}")
    with atomic_file(path) as stream:
        for number, line in enumerate(writer(records, str(path))):
            # A reader removes one byte order mark at the beginning; double it, so that the text keeps its own.
            mark = "\ufeff" if number == 0 and line.startswith("\ufeff") else ""
            stream.write(f"{mark}{line}\n")


def _read_records(
    source: str | Path, format: str | None, options: ReadOptions, log: ReadLog | None
) -> Iterator[Record]:
    if format == "hub" or (format is None and is_data_set(source)):
        yield from hf_rows.read(str(source), options, log)
        return
    options.check_column()
    path = Path(source)
    if format == "parallel":
        yield from parallel.read(path, options, log)
        return
    if format == "brat" or (format is None and _is_brat(path)):
        yield from brat.read(path, options, log)
        return
    if format == "spacy" or (format is None and path.suffix == ".spacy"):
        yield from spacy_docs.read(path, options, log)
        return
    with open_bytes(path) as stream:
        head = stream.peek(CHUNK)  # not `read`: a pipe cannot be rewound
        encoding = _detect_encoding(path, head, options, log)
        reader = _get_format(format or _detect_from_head(strip_compression_suffix(path), head, encoding)).reader
        if reader is not None:
            lines = decode_lines(stream, str(path), encoding)
            yield from reader(lines, str(path), options, log)


def _detect_encoding(path: Path, head: bytes, options: ReadOptions, log: ReadLog | None) -> str:
    """Return the codec of a file. A pipe cannot be rewound, so its codec is chosen from its beginning."""
    if not path.is_file():
        return detect_codec(head, options.encoding)
    encoding = find_encoding(path, options.encoding)
    if log is not None:
        for remark in encoding.remarks:
            log.remark(remark)
    return encoding.codec


def _detect_from_head(path: Path, head: bytes | str, encoding: str | None) -> str:
    """Detect the format of a file that begins with `head`.

    Formats for which `detection` has no rules are chosen by suffix.
    """
    suffix = path.suffix.lower()
    for name, entry in FORMATS.items():
        if name not in detection.RULE_BASED and entry.reader is not None and suffix in entry.suffixes:
            return name
    return detection.detect_format(path, head, encoding)


def _is_brat(path: Path) -> bool:
    return path.is_dir() or path.suffix == ".ann" or (path.suffix == ".txt" and path.with_suffix(".ann").exists())


def _get_format(format: str) -> Format:
    entry = FORMATS.get(format)
    if entry is None:
        hint = did_you_mean(format, FORMATS)
        raise SettingsError(f"format: found {format!r}, expected one of {', '.join(FORMATS)}{hint}")
    return entry
