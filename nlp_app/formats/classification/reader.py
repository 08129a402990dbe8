"""A file or stream of texts and classes: opened, which settles how it is read, and read, as often as one likes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from nlp_app.core.errors import DataError, SettingsError, read_error_message
from nlp_app.core.types import ClassRecord
from nlp_app.formats.classification import hf_rows, jsonl, label_lines, tables
from nlp_app.formats.classification.detection import detect_format
from nlp_app.formats.classification.options import ClassReadOptions
from nlp_app.formats.classification.read_plan import ReadPlan, ReadRepair, RepairLog, Sample
from nlp_app.formats.io.compression import open_bytes, strip_compression_suffix
from nlp_app.formats.io.encodings import find_encoding
from nlp_app.formats.io.hf_datasets import is_data_set
from nlp_app.formats.io.lines import CHUNK, decode_lines, strip_line_ends

_DEFAULTS = ClassReadOptions()

_Lines = Callable[[], Iterable[str]]


class ClassFile:
    """Texts and classes of a file, streamed each time that it is iterated over.

    `options` are resolved: a sibling file read with them is read alike, its encoding found anew. `plan` reads lines.
    `remarks` say what was recognized and decided, a line each.
    """

    def __init__(self, path: str, plan: ReadPlan, lines: _Lines, remarks: Iterable[str] = ()) -> None:
        self.path = path
        self.options = plan.options
        self.format = plan.options.format or ""
        self.remarks = [*remarks, *plan.remarks]
        self.plan, self._lines = plan, lines
        self._ledger = RepairLog()

    def __iter__(self) -> Iterator[ClassRecord]:
        """Raises DataError, with the line, for what can't be read, and for a file without a record."""
        ledger = self._ledger = RepairLog()
        found = False
        try:
            for record in self.plan.read(self._lines(), ledger):
                found = True
                yield record
        except OSError as error:
            raise read_error_message(self.path, error) from error
        if not found:
            raise DataError("found no text", self.path)

    @property
    def repairs(self) -> list[ReadRepair]:
        """What was put right or left out in the last iteration, as far as it went."""
        return self._ledger.repairs()


def open_classes(path: str | Path, options: ClassReadOptions = _DEFAULTS) -> ClassFile:
    """A file or data set (`hf:NAME`, Parquet, Arrow) of texts and classes; what `options` leave open is found.

    Raises DataError for a file that can't be read or whose format or columns can't be told, SettingsError for options
    that don't fit it.
    """
    name = str(path)
    if options.format == "hub" or (options.format is None and is_data_set(path)):
        return ClassFile(name, hf_rows.plan_reading(name, options), tuple)
    source = Path(path)
    try:
        if source.is_dir():
            raise DataError("is a folder; name a file, or for a folder of data files write hf: before it", path)
        if source.exists() and not source.is_file():
            raise DataError("is no regular file, and is read more than once; write it to a file first", path)
        encoding = find_encoding(source, options.encoding)

        def lines() -> Iterator[str]:
            with open_bytes(source) as stream:
                yield from decode_lines(stream, name, encoding.codec)

        return ClassFile(
            name, _plan(_sample(name, lines), strip_compression_suffix(source).suffix, options), lines, encoding.remarks
        )
    except OSError as error:
        raise read_error_message(path, error) from error


class ClassStream(ClassFile):
    """Texts and classes of a stream, which can be gone through once."""

    def __init__(self, path: str, plan: ReadPlan, lines: Iterable[str]) -> None:
        super().__init__(path, plan, lambda: lines)
        self._records = super().__iter__()

    def __iter__(self) -> Iterator[ClassRecord]:
        return self

    def __next__(self) -> ClassRecord:
        return next(self._records)


def read_class_lines(lines: Iterable[str], name: str, head: str, options: ClassReadOptions = _DEFAULTS) -> ClassStream:
    """The records of lines that are decoded already, with or without their ends, one by one.

    `head` is how they begin: what is settled, is settled from it. `name` stands in messages.

    Raises DataError and SettingsError as `open_classes` does.
    """
    if options.format == "hub":
        raise SettingsError("format: hub names a data set, which can't come as lines")
    first = list(strip_line_ends(head.removeprefix("\ufeff").split("\n"), name))
    whole = len(head.encode(errors="replace")) < CHUNK
    if first and (not first[-1] or (not whole and len(first) > 1)):
        first.pop()
    sample = Sample(name, first, whole, lambda: first, whole)
    return ClassStream(name, _plan(sample, "", options), strip_line_ends(lines, name))


def _sample(name: str, lines: _Lines) -> Sample:
    """The first lines, as many as fill a chunk, and at least one."""
    first: list[str] = []
    size, whole = 0, True
    for line in lines():
        if size > CHUNK:
            whole = False
            break
        first.append(line)
        size += len(line) + 1
    return Sample(name, first, whole, lines)


def _plan(sample: Sample, suffix: str, options: ClassReadOptions) -> ReadPlan:
    if not any(sample.lines):
        raise DataError("is empty: found no text", sample.name)
    format = options.format or detect_format(sample, suffix, options)
    if format in ("csv", "tsv"):
        return tables.plan_reading(sample, options, format)
    if format == "jsonl":
        return jsonl.plan_reading(sample, options)
    return label_lines.plan_reading(sample, options, format)
