"""Open and read a file or stream of texts with classes.

Opening determines how the source is read. A file can be read any number of times, a stream once.
"""

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
    """Texts with classes of a file, read anew for each iteration.

    Example:
        >>> for record in open_classes("train.csv"):
        ...     print(record.text, record.labels)

    Attributes:
        path: The file.
        options: The options, with detected values filled in. Use them to read another file of the same form; its
            encoding is detected anew.
        format: A name in CLASS_FORMATS.
        remarks: Notes for the user on what was detected, one line each.
        plan: Reads records from lines.
    """

    def __init__(self, path: str, plan: ReadPlan, lines: _Lines, remarks: Iterable[str] = ()) -> None:
        self.path = path
        self.options = plan.options
        self.format = plan.options.format or ""
        self.remarks = [*remarks, *plan.remarks]
        self.plan, self._lines = plan, lines
        self._repair_log = RepairLog()

    def __iter__(self) -> Iterator[ClassRecord]:
        """Yield the records. Raises DataError for invalid content (names the line) and for a file without a record."""
        repair_log = self._repair_log = RepairLog()
        is_empty = True
        try:
            for record in self.plan.read(self._lines(), repair_log):
                is_empty = False
                yield record
        except OSError as error:
            raise read_error_message(self.path, error) from error
        if is_empty:
            raise DataError("found no text", self.path)

    @property
    def repairs(self) -> list[ReadRepair]:
        """The repairs and skipped parts of the last iteration, up to where it stopped."""
        return self._repair_log.repairs()


def open_classes(path: str | Path, options: ClassReadOptions = _DEFAULTS) -> ClassFile:
    """Open a file or dataset (`hf:NAME`, Parquet, Arrow) of texts with classes.

    Args:
        path: The file or dataset.
        options: Reading options; everything not set is detected.

    Returns:
        An iterable of the records.

    Raises:
        DataError: The file cannot be read, or its format or columns are ambiguous.
        SettingsError: The options do not fit the file.

    Example:
        >>> file = open_classes("reviews.csv", ClassReadOptions(text_columns=("review",)))
        >>> file.format
        'csv'
    """
    name = str(path)
    if options.format == "hub" or (options.format is None and is_data_set(path)):
        return ClassFile(name, hf_rows.plan_reading(name, options), tuple)
    source = Path(path)
    try:
        if source.is_dir():
            raise DataError("is a folder; name a file, or put hf: before the name of a folder of data files", path)
        if source.exists() and not source.is_file():
            raise DataError("is not a regular file, but has to be read more than once; save it to a file first", path)
        encoding = find_encoding(source, options.encoding)

        def lines() -> Iterator[str]:
            with open_bytes(source) as stream:
                yield from decode_lines(stream, name, encoding.codec)

        return ClassFile(
            name,
            _plan_reading(_take_sample(name, lines), strip_compression_suffix(source).suffix, options),
            lines,
            encoding.remarks,
        )
    except OSError as error:
        raise read_error_message(path, error) from error


class ClassStream(ClassFile):
    """Texts with classes of a stream, which can be iterated once."""

    def __init__(self, path: str, plan: ReadPlan, lines: Iterable[str]) -> None:
        super().__init__(path, plan, lambda: lines)
        self._records = super().__iter__()

    def __iter__(self) -> Iterator[ClassRecord]:
        return self

    def __next__(self) -> ClassRecord:
        return next(self._records)


def read_class_lines(lines: Iterable[str], name: str, head: str, options: ClassReadOptions = _DEFAULTS) -> ClassStream:
    """Read the records of lines that are already decoded.

    Args:
        lines: The lines, with or without line ends.
        name: The source's name, for messages.
        head: The beginning of the lines; format and columns are detected from it.
        options: Reading options; everything not set is detected.

    Returns:
        An iterator of the records.

    Raises:
        DataError: The format or the columns are ambiguous, or a line is invalid.
        SettingsError: The options do not fit the lines.
    """
    if options.format == "hub":
        raise SettingsError("format: hub is for datasets, which can't be read from lines")
    first = list(strip_line_ends(head.removeprefix("\ufeff").split("\n"), name))
    whole = len(head.encode(errors="replace")) < CHUNK
    if first and (not first[-1] or (not whole and len(first) > 1)):
        first.pop()
    sample = Sample(name, first, whole, lambda: first, whole)
    return ClassStream(name, _plan_reading(sample, "", options), strip_line_ends(lines, name))


def _take_sample(name: str, lines: _Lines) -> Sample:
    """Return the first lines: as many as fill a chunk, and at least one."""
    first: list[str] = []
    size, whole = 0, True
    for line in lines():
        if size > CHUNK:
            whole = False
            break
        first.append(line)
        size += len(line) + 1
    return Sample(name, first, whole, lines)


def _plan_reading(sample: Sample, suffix: str, options: ClassReadOptions) -> ReadPlan:
    if not any(sample.lines):
        raise DataError("is empty: found no text", sample.name)
    format = options.format or detect_format(sample, suffix, options)
    if format in ("csv", "tsv"):
        return tables.plan_reading(sample, options, format)
    if format == "jsonl":
        return jsonl.plan_reading(sample, options)
    return label_lines.plan_reading(sample, options, format)
