"""Read brat standoff: a `.txt` file with the text and an `.ann` file with its annotations.

Text-bound lines (`T1<TAB>Type 0 5<TAB>text`) are read, including the triggers of events. Events, relations, attributes
and notes are skipped. Offsets count characters, including line ends. A document is one record. A span over a line end
is written in several parts; it is one span if only white space divides its parts. The format is described at
brat.nlplab.org/standoff.html.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from nlp_app.core.errors import DataError
from nlp_app.core.types import TextRecord
from nlp_app.formats.io.encodings import Encoding, find_encoding
from nlp_app.formats.tagging.options import ReadOptions
from nlp_app.formats.tagging.read_log import ReadLog
from nlp_app.formats.tagging.span_reader import RawSpan, SpanReader

_OFFSETS = re.compile(r"([0-9]{1,15}) ([0-9]{1,15})")

_WITHOUT_ANNOTATIONS = "texts without an .ann file, skipped"


def read(path: Path, options: ReadOptions, log: ReadLog | None = None) -> Iterator[TextRecord]:
    """Read a document, or all documents of a folder and its subfolders in the order of their paths.

    Args:
        path: An `.ann` file, its `.txt` file, or a folder.
        options: Reading options; `encoding` and `strict` are used.
        log: Collects remarks, and the number of skipped annotations and documents.

    Yields:
        A record for each document.

    Raises:
        DataError: One file of a pair is missing, or most spans don't fit their text.
    """
    log = log or ReadLog(counting=False)
    annotations = sorted(path.rglob("*.ann")) if path.is_dir() else [path.with_suffix(".ann")]
    if not annotations:
        raise DataError("found a folder without .ann files, expected brat's .txt and .ann pairs, or a file", path)
    if path.is_dir():
        log.skip("documents", len(annotations), prefix="the names of ")
        _count_unannotated(path, options, log)
    spans = SpanReader(str(path), log, strict=options.strict)
    remarks: dict[str, list[str]] = {}
    for annotation in annotations:
        source = annotation.with_suffix(".txt")
        text, encoding = _read_text(source, options)
        if encoding.remarks:
            remarks.setdefault(encoding.codec, []).append(f"{source.name}: {encoding.remarks[0]}")
        lines = _read_text(annotation, options, encoding.codec)[0].split("\n")
        yield _make_record(text, lines, annotation, spans)
        skipped = sum(bool(line.strip()) and not line.startswith("T") for line in lines)
        log.skip("annotations that aren't spans (events, relations, notes)", skipped)
    spans.finish()
    for first, *rest in remarks.values():
        log.remark(f"{first} (and {len(rest):,} more files)" if rest else first)


def _count_unannotated(folder: Path, options: ReadOptions, log: ReadLog) -> None:
    """Count the texts of a folder that have no annotations."""
    for source in sorted(folder.rglob("*.txt")):
        if source.with_suffix(".ann").exists():
            continue
        if options.strict:
            raise DataError("found a text without an .ann file; add an empty .ann file if it has no span", source)
        log.repair(_WITHOUT_ANNOTATIONS, source.name)


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


def _make_record(text: str, lines: Sequence[str], path: Path, spans: SpanReader) -> TextRecord:
    found = []
    for number, line in enumerate(lines, 1):
        if line.startswith("T"):
            span = spans.read_one(text, _parse_span(line.removesuffix("\r"), text), "", number, path)
            found += [span] if span is not None else []
    spans.end_text()
    return TextRecord(text, found, 1)


def _parse_span(line: str, text: str) -> RawSpan:
    fields = line.split("\t")
    label, _, offsets = fields[1].partition(" ") if len(fields) == 3 else ("", "", "")
    parts = [_OFFSETS.fullmatch(part) for part in offsets.split(";")]
    ends = [(int(part[1]), int(part[2])) for part in parts if part is not None]
    if not label or len(ends) != len(parts):
        return RawSpan(0, 0, "", problem=f"found {line!r}, expected `T1<TAB>Type start end<TAB>text`")
    start, end = ends[0][0], ends[-1][1]
    gaps = [(left[1], right[0]) for left, right in itertools.pairwise(ends)]
    if any(end > start or text[end:start].strip() for end, start in gaps):
        problem = f"found a span in several parts ({offsets}), expected one part"
        return RawSpan(0, 0, "", problem=problem, kind="spans in several parts with text between them")
    if not 0 <= start < end <= len(text):
        return RawSpan(start, end, label)
    surface = " ".join(text[first:last] for first, last in ends)
    quoted = text[start:end] if surface.replace("\n", " ") == fields[2].replace("\n", " ") else fields[2]
    return RawSpan(start, end, label, quoted)
