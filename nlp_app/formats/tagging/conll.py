"""Read and write CoNLL columns: one token per line, and a blank line after each sentence.

A file has one separator, tabs or runs of spaces, which is detected from its first lines. Only these two characters
separate columns, and only they may stand on a blank line: a no-break space or U+3000 is part of a token. `#` is a token
like any other, except in lines that are certainly comments (see `columns`). `-DOCSTART-` lines, which begin documents,
are not tokens; they end a sentence. The format is that of Tjong Kim Sang & De Meulder (2003).

Up to one damaged line in a hundred is skipped and counted, together with its sentence, whose tags may be shifted.
"""

from __future__ import annotations

import itertools
import re
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence

from nlp_app.core.errors import DataError, OtherTaskError
from nlp_app.core.types import Record, TokenRecord
from nlp_app.formats.tagging.column_choice import ColumnChoice, choose_columns
from nlp_app.formats.tagging.columns import (
    SAMPLE,
    Layout,
    detect_comments,
    detect_layout,
    is_blank,
    is_document_start,
)
from nlp_app.formats.tagging.options import ReadOptions
from nlp_app.formats.tagging.read_log import ReadLog

_MIN_TEXT = 15  # characters of a text without spaces, such as Chinese

_EARLY_LIMIT = 20  # damaged lines at the beginning of a file after which reading stops before its end

_OTHER_TASK = (
    "this looks like text classification data (a label and a text): use `train cls`, or give tokens with tags, or "
    "texts with spans"
)


class _DamagedLineError(DataError):
    """A line that can't be read, in a file that may otherwise be sound."""


class _Damage:
    """Counts the damaged lines of a file, and raises the error of the first one if they are too many.

    Args:
        log: Reports the damaged lines; None to raise the first error.
    """

    def __init__(self, log: ReadLog | None) -> None:
        self._log = log
        self._count = 0
        self._first: DataError | None = None
        self.lines = 0  # token lines so far

    def add(self, error: DataError) -> None:
        """Count a damaged line."""
        if self._log is None:
            raise error
        self._first = self._first or error
        self._count += 1
        self._log.repair("damaged lines, skipped with their sentence", error.line or 0)
        self.check(_EARLY_LIMIT)

    def check(self, allowance: int = 0) -> None:
        """Raise the first error if more than 1% of the lines are damaged, not counting `allowance` of them."""
        if self._first is not None and 100 * (self._count - allowance) > self.lines:
            raise self._first


class _Sentence:
    """The rows of a sentence, collected one by one."""

    def __init__(self) -> None:
        self.tokens: list[str] = []
        self.tags: list[str] = []
        self.lines: list[int] = []
        self.is_damaged = False

    def records(self) -> Iterator[TokenRecord]:
        """Yield the record of the complete sentence, or none if a line is damaged."""
        if self.tokens and not self.is_damaged:
            first, last = self.lines[0], self.lines[-1]
            is_contiguous = last - first + 1 == len(self.lines)
            lines = range(first, last + 1) if is_contiguous else self.lines
            yield TokenRecord(self.tokens, self.tags or None, lines)


def extract_token(fields: Sequence[str], column: int, regex: re.Pattern[str] | None, place: tuple[str, int]) -> str:
    """Extract the token from a line's columns.

    Args:
        fields: The columns.
        column: The column of the token.
        regex: A pattern for the whole column, whose group 1 is the token; None if the column is the token.
        place: The file's name and the line number, for messages.

    Returns:
        The token.

    Raises:
        DataError: The token is empty or does not match the pattern.
    """
    token = fields[column]
    if regex is not None:
        match = regex.fullmatch(token)
        if match is None:
            raise DataError(f"the token {token!r} doesn't match {regex.pattern!r}", *place)
        token = match[1]
    if not token:
        raise DataError(f"found an empty token in column {column}", *place)
    return token


def read(lines: Iterable[str], name: str, options: ReadOptions, log: ReadLog | None = None) -> Iterator[Record]:
    """Read sentences from lines of columns. A file with a single column has tokens without tags.

    Args:
        lines: The lines of the file, without line ends.
        name: The file's name, for messages.
        options: Reading options.
        log: Collects the chosen columns, repairs, and the parts that are skipped. Without a log, nothing is repaired.

    Yields:
        A TokenRecord for each sentence.

    Raises:
        DataError: More than one line in a hundred is damaged: it has not as many columns as the first lines, or its
            token or tag is empty. With `options.strict` or without a log, no line may be damaged. A token does not
            match `options.token_pattern`, the columns are ambiguous, or the file is of another kind. Names the line.
        OtherTaskError: The file contains texts with classes.
    """
    remaining = iter(lines)
    sample = list(itertools.islice(remaining, SAMPLE))
    layout = detect_layout(sample, options.separator)
    _reject_other_formats(sample, layout, name)
    comments = detect_comments(sample, layout, options.comment_prefix)
    choice = choose_columns(sample, layout, comments, options, name)
    damage = _Damage(None if options.strict else log)
    log = ReadLog(counting=False) if log is None else log
    choice.report(log)
    log.skip("columns other than token and tag", max(0, layout.columns - 2))
    read_row = _row_reader(layout, choice, name, log)
    marker, header = comments.marker, choice.header
    sentence = _Sentence()
    for number, line in enumerate(itertools.chain(sample, remaining), 1):
        if is_blank(line) or is_document_start(line):
            yield from sentence.records()
            sentence = _Sentence()
            if is_document_start(line):
                log.skip("documents", prefix="the boundaries of ")
        elif line[0] == marker and comments.contain(line):
            log.repair("comment lines, skipped", number)
        elif header is not None and tuple(cell.strip(" ") for cell in layout.split(line)) == header:
            header = None
        else:
            damage.lines += 1
            try:
                token, tag = read_row(line, number)
            except _DamagedLineError as error:
                damage.add(error)
                sentence.is_damaged = True
                continue
            sentence.tokens.append(token)
            sentence.lines.append(number)
            if tag is not None:
                sentence.tags.append(tag)
    yield from sentence.records()
    damage.check()


def _row_reader(
    layout: Layout, choice: ColumnChoice, name: str, log: ReadLog
) -> Callable[[str, int], tuple[str, str | None]]:
    """Return a function that reads the token and tag of a line, which is given with its number."""
    regex = choice.pattern
    token_column, tag_column, columns, separator = choice.token, choice.tag, layout.columns, layout.separator
    is_tabbed = separator == "\t"

    def read_row(line: str, number: int) -> tuple[str, str | None]:
        fields = line.split(separator)
        if len(fields) != columns or "" in fields:  # most lines need no second look
            fields = _check_fields(line, layout, choice, (name, number))
        if is_tabbed and " " in line:
            fields = _strip_cells(fields, (token_column, tag_column), number, log)
        tag = None if tag_column is None else fields[tag_column]
        if regex is None:
            return fields[token_column], tag
        token = extract_token(fields, token_column, regex, (name, number))
        if token != fields[token_column]:
            log.skip_uncounted("the part of the token column that is not matched by the token pattern")
        return token, tag

    return read_row


def _check_fields(line: str, layout: Layout, choice: ColumnChoice, place: tuple[str, int]) -> list[str]:
    """Split a line, and check the number of columns, the token and the tag."""
    try:
        fields = layout.fields(line, *place)
        if not fields[choice.token]:
            raise DataError(f"found an empty token in column {choice.token}", *place)
        if choice.tag is not None and not fields[choice.tag]:
            raise DataError(f"found an empty tag in column {choice.tag} of {fields[choice.token]!r}", *place)
    except DataError as error:
        raise _DamagedLineError(str(error).removeprefix(f"{place[0]}:{place[1]}: "), *place) from error
    return fields


def _strip_cells(fields: list[str], columns: Iterable[int | None], number: int, log: ReadLog) -> list[str]:
    """Remove blanks from the ends of cells, except from a cell that is nothing else."""
    for column in columns:
        if column is not None and (stripped := fields[column].strip(" ")) not in ("", fields[column]):
            log.repair("cells with blanks at their ends, which were removed", number)
            fields[column] = stripped
    return fields


def write(records: Iterable[Record], name: str) -> Iterator[str]:
    """Write sentences as columns: token, tab and tag, or the token alone, and an empty line after each sentence.

    Args:
        records: The sentences.
        name: The file's name, for messages.

    Yields:
        The lines, without line ends.

    Raises:
        DataError: A record cannot be read back: it is raw text or an empty sentence, a token is empty or contains a
            separator or line end, or sentences with and without tags are mixed.
    """
    labeled: bool | None = None
    for number, record in enumerate(records, 1):
        if not isinstance(record, TokenRecord) or not record.tokens:
            raise DataError(f"record {number}: found no tokens, which CoNLL needs; write JSON lines instead", name)
        if labeled is not None and labeled != (record.tags is not None):
            raise DataError(f"record {number}: found sentences with tags and without, expected one kind", name)
        labeled = record.tags is not None
        separators = "\t\n\r\0" if labeled else " \t\n\r\0"
        for field in (*record.tokens, *(record.tags or ())):
            if not field or _is_misread(field) or any(mark in field for mark in separators):
                reason = "is empty, has blanks at its ends, or contains a separator or line end"
                raise DataError(f"record {number}: {field!r} {reason}; write JSON lines instead", name)
        if record.tags is None:
            yield from record.tokens
        else:
            for token, tag in zip(record.tokens, record.tags, strict=True):
                yield f"{token}\t{tag}"
        yield ""


def _is_misread(field: str) -> bool:
    """Return True if a cell would be read as another one: blanks at its ends are removed."""
    return is_document_start(field) or field.strip(" ") not in ("", field)


def has_text_column(rows: Iterable[Sequence[str]]) -> bool:
    """Return True if one column of tab-separated rows contains texts instead of tokens.

    Args:
        rows: The cells of the first rows, also of blank ones.

    Returns:
        True if most cells of a column are texts of several words, or of many non-ASCII characters, and most differ.
    """
    filled = [row for row in rows if any(row)]
    texts: dict[int, set[str]] = {}
    for row in filled:
        for column, field in enumerate(row):
            if " " in field.strip() or (len(field) >= _MIN_TEXT and not field.isascii()):
                texts.setdefault(column, set()).add(field)
    return any(2 * len(distinct) > len(filled) for distinct in texts.values())


def _reject_other_formats(sample: Sequence[str], layout: Layout, name: str) -> None:
    if sample and sample[0].startswith("#FORMAT=WebAnno TSV"):
        raise DataError("found WebAnno TSV, expected CoNLL columns; read it with --format webanno", name, 1)
    if any(map(is_blank, sample)):
        return
    if any(line.startswith("__label__") for line in sample):
        raise OtherTaskError(_OTHER_TASK, name)
    rows = [line.split("\t") for line in sample]
    if layout.separator != "\t" or len(rows) < 2:
        return
    if has_text_column(rows):
        raise OtherTaskError(_OTHER_TASK, name)
    if layout.columns == 2:
        spaced = sum(any(" " in field for field in row) for row in rows)
        length = statistics.median(len(row[0]) for row in rows)
        if 3 * spaced > len(rows) or length >= 10:
            raise OtherTaskError(_OTHER_TASK, name)
