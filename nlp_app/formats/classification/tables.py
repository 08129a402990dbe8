"""CSV and TSV: rows of cells, one or several of them text, one label or a column of 0 and 1 for each label."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

from nlp_app.core.errors import DataError
from nlp_app.core.types import ClassRecord
from nlp_app.formats.classification.column_detection import SWITCH, TableColumns, choose_columns
from nlp_app.formats.classification.column_names import TEXT_NAMES, normalize_name
from nlp_app.formats.classification.dialect import Dialect, find_delimiter, parse_rows, sample_rows, usual_width
from nlp_app.formats.classification.options import ClassReadOptions, is_number
from nlp_app.formats.classification.quoting import find_quoting
from nlp_app.formats.classification.read_plan import NO_LABEL, NO_TEXT, ReadPlan, RepairLog, Sample

_MISSING = "rows with a missing cell"

_BLANK = "blank lines, left out"

_LONGER = "rows with more cells, which were added to the text"

_EMPTY_SWITCH = "empty cells among label columns, read as 0"

_Labeller = Callable[[Sequence[str], int], tuple[str, ...] | None]


class TableLayout(NamedTuple):
    """How a table is read: `width` cells a row, more of them only if the text goes on to the row's end."""

    dialect: Dialect
    columns: TableColumns
    width: int
    text_goes_on: bool


def plan_reading(sample: Sample, options: ClassReadOptions, format: str) -> ReadPlan:
    """Settle delimiter, quotes, header and columns. Raises DataError for a table in which they can't be told."""
    delimiter = "\t" if format == "tsv" else find_delimiter(sample.lines, options, sample.whole)
    format = "tsv" if delimiter == "\t" else "csv"
    said = f"format: {format}, cells divided by {_named(delimiter)}" if delimiter else "format: csv, one column"
    quoting = find_quoting(sample, delimiter or ",", options.quoting)
    dialect = quoting.dialect
    rows = sample_rows(sample.lines, dialect, sample.whole)
    if not rows:
        for _ in parse_rows(sample.lines, dialect, sample.name):
            continue  # raises with the line, if a row can't be read
        raise DataError("found no row", sample.name)
    width = _width(rows, options)
    even = [_fitted(row, width, dialect.delimiter) for row in rows]
    columns, remarks = choose_columns(even, options, sample.name)
    text_goes_on = width - 1 in columns.text and not (dialect.quoting and quoting.has_quotes)
    table = TableLayout(dialect, columns, width, text_goes_on)
    resolved = dataclasses.replace(
        options,
        format=format,
        header=columns.header,
        quoting=dialect.quoting if quoting.has_quotes else options.quoting,
        text_columns=_as_options(columns.text, columns),
        label_columns=_as_options(columns.labels, columns) if options.labels else options.label_columns,
    )
    remarks = [said, *([quoting.remark] if quoting.remark else []), *remarks]
    return ReadPlan(resolved, remarks, partial(read, table=table, options=options, name=sample.name))


def read(
    lines: Iterable[str], ledger: RepairLog, *, table: TableLayout, options: ClassReadOptions, name: str
) -> Iterator[ClassRecord]:
    """A record for each row but the header. Raises DataError, with the line, for rows and labels that don't fit."""
    rows = parse_rows(lines, table.dialect, name)
    texts, width = table.columns.text, table.width
    only = texts[0] if len(texts) == 1 else None
    label_of = _labeler(table, options, ledger, name)
    is_header = table.columns.header
    for number, row in rows:
        if len(row) != width:
            if not row:
                ledger.add(_BLANK, number)
                continue
            row = _repaired(row, table, ledger, name, number)
        if is_header:
            is_header = False
            continue
        text = row[only] if only is not None else " ".join([row[column] for column in texts if row[column]])
        if not text:
            ledger.add(NO_TEXT, number)
        yield ClassRecord(text, label_of(row, number), number)


def _labeler(table: TableLayout, options: ClassReadOptions, ledger: RepairLog, name: str) -> _Labeller:
    columns, names = table.columns.labels, [cell.strip() for cell in table.columns.names]
    separator = options.label_separator
    if not options.labels or not columns:
        return lambda row, number: None
    only = columns[0]

    def single(row: Sequence[str], number: int) -> tuple[str, ...] | None:
        label = row[only].strip()
        if separator and separator in label:
            labels = tuple(dict.fromkeys(part.strip() for part in label.split(separator) if part.strip()))
        else:
            labels = (label,) if label else ()
        if not labels:
            ledger.add(NO_LABEL, number)
        return labels or None

    def switched(row: Sequence[str], number: int) -> tuple[str, ...] | None:
        labels = []
        cells = [row[column].strip().lower() for column in columns]
        if not any(cells):
            ledger.add(NO_LABEL, number)
            return None
        for column, cell in zip(columns, cells, strict=True):
            if not cell:
                ledger.add(_EMPTY_SWITCH, number)
            elif cell not in SWITCH:
                found = f"{row[column]!r} in the label column {names[column]!r}"
                raise DataError(f"found {found}, expected 0 or 1, as several label columns have", name, number)
            elif cell in ("1", "1.0", "true"):
                labels.append(names[column])
        return tuple(dict.fromkeys(labels))  # two columns may have one name

    return single if len(columns) == 1 else switched


def _repaired(row: list[str], table: TableLayout, ledger: RepairLog, name: str, number: int) -> list[str]:
    width = table.width
    if len(row) < width:
        ledger.add(_MISSING, number)
    elif any(row[width:]):
        if not table.text_goes_on:
            found = f"found {len(row)} cells, expected {width} as in the other rows"
            raise DataError(f"{found}; put cells that hold {_named(table.dialect.delimiter)} in quotes", name, number)
        ledger.add(_LONGER, number)
    return _fitted(row, width, table.dialect.delimiter)


def _fitted(row: list[str], width: int, delimiter: str) -> list[str]:
    """The row with as many cells as expected: empty ones added or left out, others part of the last."""
    if len(row) <= width:
        return row + [""] * (width - len(row))
    return [*row[: width - 1], delimiter.join(row[width - 1 :]) if any(row[width:]) else row[width - 1]]


def _width(rows: Sequence[Sequence[str]], options: ClassReadOptions) -> int:
    """The number of cells: of the header, or of the usual row, or if rows are of all widths, of the narrowest."""
    width, share = usual_width(rows)
    named = any(not is_number(column) for column in options.columns)  # the first row is names then
    named = named or not {normalize_name(cell) for cell in rows[0]}.isdisjoint(TEXT_NAMES)
    if options.header or (options.header is None and named):
        return len(rows[0])
    return width if share >= 0.9 else min((len(row) for row in rows if len(row) > 1), default=1)


def _as_options(chosen: Sequence[int], columns: TableColumns) -> tuple[str | int, ...]:
    """By name, where names tell the columns apart: in a sibling file they may stand in another order."""
    names = columns.names
    return tuple(
        names[column] if columns.header and names.count(names[column]) == 1 and names[column] else column
        for column in chosen
    )


def _named(delimiter: str | None) -> str:
    return {"\t": "tabs", ",": "commas", ";": "semicolons", "|": "bars"}.get(delimiter or "", "nothing")
