"""Read brat standoff: a `.txt` file with the text and an `.ann` file with its annotations.

Text-bound lines (`T1<TAB>Type 0 5<TAB>text`) are read, including the triggers of events. Events, relations, attributes
and notes are skipped. Offsets count characters, including line ends. A document is one record. The format is described
at brat.nlplab.org/standoff.html.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from nlp_app.core.errors import DataError
from nlp_app.core.types import CharSpan, TextRecord
from nlp_app.formats.io.encodings import Encoding, find_encoding
from nlp_app.formats.tagging.options import ReadOptions
from nlp_app.formats.tagging.read_log import ReadLog


def read(path: Path, options: ReadOptions, log: ReadLog | None = None) -> Iterator[TextRecord]:
    """Read a document, or all documents of a folder and its subfolders in the order of their paths.

    Args:
        path: An `.ann` file, its `.txt` file, or a folder.
        options: Reading options; only the encoding is used.
        log: Collects remarks and the number of skipped annotations.

    Yields:
        A record for each document.

    Raises:
        DataError: One file of a pair is missing, a span consists of several parts, or offsets don't fit the text.
    """
    annotations = sorted(path.rglob("*.ann")) if path.is_dir() else [path.with_suffix(".ann")]
    if not annotations:
        raise DataError("found a folder without .ann files, expected brat's .txt and .ann pairs, or a file", path)
    if log is not None and path.is_dir():
        log.skip("documents", len(annotations), prefix="the names of ")
    remarks: dict[str, list[str]] = {}
    for annotation in annotations:
        source = annotation.with_suffix(".txt")
        text, encoding = _read_text(source, options)
        if encoding.remarks:
            remarks.setdefault(encoding.codec, []).append(f"{source.name}: {encoding.remarks[0]}")
        lines = _read_text(annotation, options, encoding.codec)[0].split("\n")
        spans = [
            _parse_span(line.removesuffix("\r"), text, annotation, number)
            for number, line in enumerate(lines, 1)
            if line.startswith("T")
        ]
        if log is not None:
            skipped = sum(bool(line.strip()) and not line.startswith("T") for line in lines)
            log.skip("annotations that aren't spans (events, relations, notes)", skipped)
        yield TextRecord(text, spans, 1)
    if log is not None:
        for first, *rest in remarks.values():
            log.remark(f"{first} (and {len(rest):,} more files)" if rest else first)


def _read_text(path: Path, options: ReadOptions, text_codec: str = "utf-8-sig") -> tuple[str, Encoding]:
    """Return the text of a file and its encoding.

    An annotation file that is not UTF-8 gets the encoding of its text file, which contains more evidence.
    """
    fallback = None if text_codec.startswith("utf") else text_codec
    try:
        encoding = find_encoding(path, options.encoding, fallback)
        return path.read_bytes().decode(encoding.codec), encoding
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        found = f"byte 0x{byte:02X} at offset {error.start} is not {error.encoding}"
        raise DataError(f"{found}; name the file's encoding (setting data.encoding)", path) from error
    except OSError as error:
        raise DataError(f"{error.strerror}: brat needs a .txt and a .ann of the same name", path) from error


def _parse_span(line: str, text: str, path: Path, number: int) -> CharSpan:
    fields = line.split("\t")
    label, _, offsets = fields[1].partition(" ") if len(fields) == 3 else ("", "", "")
    if ";" in offsets:
        raise DataError(f"found a span in several parts ({offsets}), expected one part", path, number)
    ends = offsets.split(" ")
    if not label or len(ends) != 2 or not all(end.isascii() and end.isdecimal() for end in ends):
        raise DataError(f"found {line!r}, expected `T1<TAB>Type start end<TAB>text`", path, number)
    start, end = int(ends[0]), int(ends[1])
    if not 0 <= start < end <= len(text):
        raise DataError(f"found a span {start}..{end}, expected it within 0..{len(text)}", path, number)
    if text[start:end].replace("\n", " ") != fields[2].replace("\n", " "):
        raise DataError(f"the span {start}..{end} holds {text[start:end]!r}, not {fields[2]!r}", path, number)
    return CharSpan(start, end, label)
