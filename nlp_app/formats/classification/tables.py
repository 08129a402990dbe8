"""Read CSV and TSV.

One or several columns contain text. Either one column contains labels, or there is a column of 0 and 1 for each label.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

from nlp_app.core.errors import DataError
from nlp_app.core.types import ClassRecord
from nlp_app.formats.classification.column_detection import TableColumns, choose_columns
from nlp_app.formats.classification.column_names import TEXT_NAMES, normalize_name
from nlp_app.formats.classification.column_profiles import BINARY_VALUES
from nlp_app.formats.classification.dialect import (
    DELIMITERS,
    blank_declaration,
    find_declared_delimiter,
    find_delimiter,
    sample_rows,
    usual_width,
)
from nlp_app.formats.classification.json_labels import parse_cell
from nlp_app.formats.classification.options import ClassReadOptions, is_number
from nlp_app.formats.classification.quoting import Quoting, find_quoting, find_single_quoting
from nlp_app.formats.classification.read_plan import LISTED, NO_LABEL, NO_TEXT, ReadPlan, RepairLog, Sample, TableNames
from nlp_app.formats.io.table_rows import Dialect, parse_rows

_MISSING = "rows with a missing cell"

_BLANK = "blank lines, skipped"

_EXTRA_CELLS = "rows with extra cells, which were added to the text"

_EMPTY_BINARY = "empty cells among label columns, read as 0"

_Labeler = Callable[[Sequence[str], int], tuple[str, ...] | None]


class TableLayout(NamedTuple):
    """The layout of a table.

    Attributes:
        dialect: The syntax.
        columns: The columns of text and labels.
        width: The number of cells in a row.
        text_takes_extra_cells: True if extra cells at the end of a row belong to the text.
        is_declared: True if the first line declares the delimiter (`sep=,`) and is no row.
    """

    dialect: Dialect
    columns: TableColumns
    width: int
    text_takes_extra_cells: bool
    is_declared: bool = False


def plan_reading(sample: Sample, options: ClassReadOptions, format: str) -> ReadPlan:
    """Detect the delimiter, quoting, header and columns of a table.

    Args:
        sample: The beginning of the source.
        options: Reading options.
        format: `csv` or `tsv`.

    Returns:
        A plan with resolved options.

    Raises:
        DataError: The columns are ambiguous, a named column does not exist, or the first row is invalid.
    """
    declared = find_declared_delimiter(sample.lines[0])
    if declared:
        all_lines = sample.all_lines
        sample = sample._replace(lines=["", *sample.lines[1:]], all_lines=lambda: blank_declaration(all_lines()))
    delimiter, quoting = _find_syntax(sample, options, declared or ("\t" if format == "tsv" else None))
    format = "tsv" if delimiter == "\t" else "csv"
    format_remark = (
        f"format: {format}, cells separated by {_delimiter_name(delimiter)}" if delimiter else "format: csv, one column"
    ) + (", as line 1 says" if declared else "")
    dialect = quoting.dialect
    rows = sample_rows(sample.lines, dialect, sample.whole)
    if not rows:
        for _ in parse_rows(sample.lines, dialect, sample.name):
            continue  # raises an error with the line, if a row is invalid
        raise DataError("found no row", sample.name)
    width = _find_width(rows, options)
    equal_rows = [_fit_to_width(row, width, dialect.delimiter) for row in rows]
    columns, remarks = choose_columns(equal_rows, options, sample.name)
    text_takes_extra_cells = width - 1 in columns.text and not (dialect.quoting and quoting.has_quotes)
    table = TableLayout(dialect, columns, width, text_takes_extra_cells, declared is not None)
    resolved = dataclasses.replace(
        options,
        format=format,
        header=columns.header,
        quoting=dialect.quoting if quoting.has_quotes else options.quoting,
        quote_character=dialect.quote if quoting.has_quotes else options.quote_character,
        text_columns=_to_options(columns.text, columns),
        label_columns=_to_options(columns.labels, columns) if options.labels else options.label_columns,
    )
    remarks = [format_remark, *([quoting.remark] if quoting.remark else []), *remarks]
    return ReadPlan(
        resolved,
        remarks,
        partial(read, table=table, options=options, name=sample.name),
        partial(read_cells, table=table, name=sample.name),
        TableNames(columns.names, columns.header, dialect.delimiter),
    )


def _find_syntax(sample: Sample, options: ClassReadOptions, delimiter: str | None) -> tuple[str | None, Quoting]:
    """Return the delimiter, None for a single column, and the quoting."""
    single = find_single_quoting(sample, (delimiter,) if delimiter else DELIMITERS, options)
    if single is not None:
        return single.dialect.delimiter, single
    delimiter = delimiter or find_delimiter(sample.lines, options, sample.whole)
    return delimiter, find_quoting(sample, delimiter or ",", options.quoting)


def read(
    lines: Iterable[str], repair_log: RepairLog, *, table: TableLayout, options: ClassReadOptions, name: str
) -> Iterator[ClassRecord]:
    """Read a record from each row after the header.

    Args:
        lines: The lines, without line ends.
        repair_log: Counts repairs.
        table: The layout of the table.
        options: Reading options.
        name: The file's name, for messages.

    Yields:
        The records.

    Raises:
        DataError: A row or label is invalid. Names the line.
    """
    rows = parse_rows(blank_declaration(lines) if table.is_declared else lines, table.dialect, name)
    texts, width = table.columns.text, table.width
    only = texts[0] if len(texts) == 1 else None
    label_of = _labeler(table, options, repair_log, name)
    is_header = table.columns.header
    for number, row in rows:
        if len(row) != width:
            if not row:
                if number > 1 or not table.is_declared:
                    repair_log.add(_BLANK, number)
                continue
            row = _repair_row(row, table, repair_log, name, number)
        if is_header:
            is_header = False
            continue
        text = row[only] if only is not None else " ".join([row[column] for column in texts if row[column]])
        if not text:
            repair_log.add(NO_TEXT, number)
        yield ClassRecord(text, label_of(row, number), number)


def read_cells(lines: Iterable[str], *, table: TableLayout, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Read all cells of each row after the header.

    Args:
        lines: The lines, without line ends.
        table: The layout of the table.
        name: The file's name, for messages.

    Yields:
        The line of a row, and its cells by column name. Equal names are numbered; a missing cell is empty.

    Raises:
        DataError: A row is invalid. Names the line.
    """
    names = _distinct(table.columns.names)
    is_header = table.columns.header
    for number, row in parse_rows(blank_declaration(lines) if table.is_declared else lines, table.dialect, name):
        if not row:
            continue
        if is_header:
            is_header = False
            continue
        if len(row) != table.width:
            row = _repair_row(row, table, RepairLog(), name, number)
        yield number, dict(zip(names, row, strict=True))


def _distinct(names: Sequence[str]) -> list[str]:
    """Return the names, with a number after each one that is empty or occurred before."""
    distinct: list[str] = []
    for number, name in enumerate(names):
        distinct.append(f"{name or 'column'} {number}" if not name or name in distinct else name)
    return distinct


def _labeler(table: TableLayout, options: ClassReadOptions, repair_log: RepairLog, name: str) -> _Labeler:
    columns, names = table.columns.labels, [cell.strip() for cell in table.columns.names]
    separator = options.label_separator
    if not options.labels or not columns:
        return lambda row, number: None
    only = columns[0]

    def single(row: Sequence[str], number: int) -> tuple[str, ...] | None:
        label = row[only].strip()
        if (listed := _parse_list(label, names[only], name, number)) is not None:
            repair_log.add(LISTED, number)
            return listed
        if separator and separator in label:
            labels = tuple(dict.fromkeys(part.strip() for part in label.split(separator) if part.strip()))
        else:
            labels = (label,) if label else ()
        if not labels:
            repair_log.add(NO_LABEL, number)
        return labels or None

    def binary(row: Sequence[str], number: int) -> tuple[str, ...] | None:
        labels = []
        cells = [row[column].strip().lower() for column in columns]
        if not any(cells):
            repair_log.add(NO_LABEL, number)
            return None
        for column, cell in zip(columns, cells, strict=True):
            if not cell:
                repair_log.add(_EMPTY_BINARY, number)
            elif cell not in BINARY_VALUES:
                found = f"{row[column]!r} in the label column {names[column]!r}"
                raise DataError(f"found {found}, expected 0 or 1, as there are several label columns", name, number)
            elif cell in ("1", "1.0", "true"):
                labels.append(names[column])
        return tuple(dict.fromkeys(labels))  # two columns may have the same name

    return single if len(columns) == 1 else binary


def _parse_list(cell: str, column: str, name: str, number: int) -> tuple[str, ...] | None:
    try:
        return parse_cell(cell, column)
    except ValueError as error:
        raise DataError(str(error), name, number) from error


def _repair_row(row: list[str], table: TableLayout, repair_log: RepairLog, name: str, number: int) -> list[str]:
    width = table.width
    if len(row) < width:
        repair_log.add(_MISSING, number)
    elif any(row[width:]):
        if not table.text_takes_extra_cells:
            found = f"found {len(row)} cells, expected {width} as in the other rows"
            way_out = f"put cells that contain {_delimiter_name(table.dialect.delimiter)} in quotes"
            if any(cell.startswith("'") for cell in row):
                way_out += ", or set data.quote_character=single if ' encloses cells"
            raise DataError(f"{found}; {way_out}", name, number)
        repair_log.add(_EXTRA_CELLS, number)
    return _fit_to_width(row, width, table.dialect.delimiter)


def _fit_to_width(row: list[str], width: int, delimiter: str) -> list[str]:
    """Return a row with the expected number of cells.

    Missing cells are added, empty extra cells are removed, and other extra cells are joined with the last one.
    """
    if len(row) <= width:
        return row + [""] * (width - len(row))
    return [*row[: width - 1], delimiter.join(row[width - 1 :]) if any(row[width:]) else row[width - 1]]


def _find_width(rows: Sequence[Sequence[str]], options: ClassReadOptions) -> int:
    """Return the number of cells per row.

    It is that of the header, else that of at least 90% of the rows, else that of the narrowest row with several cells.
    """
    width, share = usual_width(rows)
    has_names = any(not is_number(column) for column in options.columns)  # then the first row contains names
    has_names = has_names or not {normalize_name(cell) for cell in rows[0]}.isdisjoint(TEXT_NAMES)
    if options.header or (options.header is None and has_names):
        return len(rows[0])
    return width if share >= 0.9 else min((len(row) for row in rows if len(row) > 1), default=1)


def _to_options(chosen: Sequence[int], columns: TableColumns) -> tuple[str | int, ...]:
    """Convert columns to options: by name if names are unique, as a similar file may have another order of columns."""
    names = columns.names
    return tuple(
        names[column] if columns.header and names.count(names[column]) == 1 and names[column] else column
        for column in chosen
    )


def _delimiter_name(delimiter: str | None) -> str:
    return {"\t": "tabs", ",": "commas", ";": "semicolons", "|": "bars"}.get(delimiter or "", "nothing")
