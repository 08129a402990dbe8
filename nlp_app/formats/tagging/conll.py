"""Read and write CoNLL columns: one token per line, and a blank line after each sentence.

A file has one separator, tabs or runs of spaces, which is detected from its first lines. Only these two characters
separate columns, and only they may stand on a blank line: a no-break space or U+3000 is part of a token. `#` is a token
like any other. `-DOCSTART-` lines, which begin documents, are not tokens; they end a sentence. The format is that of
Tjong Kim Sang & De Meulder (2003).
"""

from __future__ import annotations

import itertools
import re
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from nlp_app.core.errors import DataError, OtherTaskError
from nlp_app.core.types import Record, TokenRecord
from nlp_app.formats.tagging.options import ReadOptions
from nlp_app.formats.tagging.read_log import ReadLog

DOCUMENT_START = "-DOCSTART-"

SAMPLE = 1000  # lines from which the separator and the number of columns are detected

_MIN_TEXT = 15  # characters of a text without spaces, such as Chinese

_OTHER_TASK = (
    "this looks like text classification data (a label and a text): use `train cls`, or give tokens with tags, or "
    "texts with spans"
)


@dataclass(frozen=True)
class Layout:
    """The column separator of a file and its number of columns.

    Attributes:
        separator: A tab, or a space for runs of spaces.
        columns: The number of columns.
    """

    separator: str
    columns: int

    def split(self, line: str) -> list[str]:
        """Split a line into its columns.

        Args:
            line: The line.

        Returns:
            The columns; their number is not checked.
        """
        fields = line.split(self.separator)
        if self.separator == " " and "" in fields:
            return [field for field in fields if field]
        return fields

    def fields(self, line: str, name: str, number: int) -> list[str]:
        """Split a line into its columns and check their number.

        Args:
            line: The line.
            name: The file's name, for messages.
            number: The line number (from 1), for messages.

        Returns:
            The columns.

        Raises:
            DataError: The number of columns is not the same as in the file's first lines.
        """
        fields = self.split(line)
        if len(fields) != self.columns:
            kind = "tab" if self.separator == "\t" else "space"
            expected = f"expected {self.columns} as in the first lines ({kind}-separated)"
            hint = "; is the tag missing?" if len(fields) < self.columns else ""
            raise DataError(f"found {_format_columns(len(fields))}, {expected}{hint}", name, number)
        return fields


def is_blank(line: str) -> bool:
    """Return True if a line is blank, which ends a sentence.

    Args:
        line: The line.

    Returns:
        True if the line contains nothing but tabs and spaces.
    """
    return not line or not line.strip(" \t")


def is_document_start(line: str) -> bool:
    """Return True if a line begins a document instead of holding a token.

    Args:
        line: The line.

    Returns:
        True for a `-DOCSTART-` line.
    """
    return line.startswith(DOCUMENT_START) and (line + " ")[len(DOCUMENT_START)] in " \t"


def detect_layout(lines: Sequence[str], separator: str | None = None) -> Layout:
    """Detect the separator and number of columns that most token lines have.

    Args:
        lines: The first lines of a file.
        separator: The separator; None to detect it.

    Returns:
        The layout; with 0 columns if there is no token line.
    """
    tokens = [line for line in lines if not is_blank(line) and not is_document_start(line)]
    if separator is None:
        separator = "\t" if 2 * sum("\t" in line for line in tokens) > len(tokens) else " "
    counts = Counter(len(Layout(separator, 0).split(line)) for line in tokens)
    return Layout(separator, counts.most_common(1)[0][0] if counts else 0)


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
        log: Collects the parts that are skipped.

    Yields:
        A TokenRecord for each sentence.

    Raises:
        DataError: A line has not as many columns as the first lines, a token or tag is empty, a token does not match
            `options.token_pattern`, or the file is of another kind. Names the line.
        OtherTaskError: The file contains texts with classes.
    """
    remaining = iter(lines)
    sample = list(itertools.islice(remaining, SAMPLE))
    layout = detect_layout(sample, options.separator)
    _reject_other_formats(sample, layout, name)
    token_column, tag_column = _choose_columns(layout.columns, options, name)
    regex = options.token_regex
    if log is not None:
        log.skip("columns other than token and tag", max(0, layout.columns - 2))
    tokens: list[str] = []
    tags: list[str] = []
    number = 0
    for number, line in enumerate(itertools.chain(sample, remaining), 1):
        if is_blank(line) or is_document_start(line):
            if tokens:
                yield _make_record(tokens, tags, number)
                tokens, tags = [], []
            if log is not None and is_document_start(line):
                log.skip("documents", prefix="the boundaries of ")
            continue
        fields = layout.fields(line, name, number)
        token = extract_token(fields, token_column, regex, (name, number))
        tokens.append(token)
        if log is not None and token != fields[token_column]:
            log.skip_uncounted("the part of the token column that is not matched by the token pattern")
        if tag_column is not None:
            if not fields[tag_column]:
                raise DataError(f"found an empty tag in column {tag_column} of {token!r}", name, number)
            tags.append(fields[tag_column])
    if tokens:
        yield _make_record(tokens, tags, number + 1)


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
            if not field or is_document_start(field) or any(mark in field for mark in separators):
                reason = "is empty, or contains a separator or line end"
                raise DataError(f"record {number}: {field!r} {reason}; write JSON lines instead", name)
        if record.tags is None:
            yield from record.tokens
        else:
            for token, tag in zip(record.tokens, record.tags, strict=True):
                yield f"{token}\t{tag}"
        yield ""


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


def _make_record(tokens: list[str], tags: list[str], end: int) -> TokenRecord:
    """Return the sentence whose last token is on the line before `end`."""
    return TokenRecord(tokens, tags or None, range(end - len(tokens), end))


def _choose_columns(count: int, options: ReadOptions, name: str) -> tuple[int, int | None]:
    token = _resolve_column(options.token_column, count, "token_column", name)
    if options.tag_column is None and count <= 1:
        return token, None
    tag = _resolve_column(-1 if options.tag_column is None else options.tag_column, count, "tag_column", name)
    if tag == token:
        raise DataError(f"token_column and tag_column are both column {tag} of {_format_columns(count)}", name)
    return token, tag


def _resolve_column(index: int, count: int, setting: str, name: str) -> int:
    if count and not -count <= index < count:
        raise DataError(f"{setting}: found {index}, but the file has {_format_columns(count)}, counted from 0", name)
    return index % count if count else 0


def _format_columns(count: int) -> str:
    return f"{count} column" if count == 1 else f"{count} columns"


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
