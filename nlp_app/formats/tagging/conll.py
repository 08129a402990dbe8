"""CoNLL columns: a token a line, a blank line after each sentence (Tjong Kim Sang & De Meulder 2003).

A file has one separator, tabs or runs of spaces, found in its first lines. Only these two characters separate
and only they make a line blank: a no-break space or U+3000 belongs to its token. `#` is a token like any
other. `-DOCSTART-` lines, which open documents, are no tokens; they end a sentence.
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

SAMPLE = 1000  # lines that settle separator and number of columns

_CLASSES = (
    "this looks like text classification data (a label and a text): use `train cls`, or give tokens with tags, or "
    "texts with spans"
)


@dataclass(frozen=True)
class Layout:
    """How a file's columns are separated, and how many there are."""

    separator: str
    columns: int

    def split(self, line: str) -> list[str]:
        """The line's columns, however many."""
        fields = line.split(self.separator)
        if self.separator == " " and "" in fields:
            return [field for field in fields if field]
        return fields

    def fields(self, line: str, name: str, number: int) -> list[str]:
        """The line's columns. Raises DataError if they aren't as many as in the file's first lines."""
        fields = self.split(line)
        if len(fields) != self.columns:
            kind = "tab" if self.separator == "\t" else "space"
            expected = f"expected {self.columns} as in the first lines ({kind}-separated)"
            hint = "; is the tag missing?" if len(fields) < self.columns else ""
            raise DataError(f"found {_columns(len(fields))}, {expected}{hint}", name, number)
        return fields


def is_blank(line: str) -> bool:
    """Whether the line ends a sentence: nothing on it but tabs and spaces."""
    return not line or not line.strip(" \t")


def is_document_start(line: str) -> bool:
    """Whether the line opens a document instead of holding a token."""
    return line.startswith(DOCUMENT_START) and (line + " ")[len(DOCUMENT_START)] in " \t"


def detect_layout(lines: Sequence[str], separator: str | None = None) -> Layout:
    """The layout of a file that begins with these lines: what most of its token lines have."""
    tokens = [line for line in lines if not is_blank(line) and not is_document_start(line)]
    if separator is None:
        separator = "\t" if 2 * sum("\t" in line for line in tokens) > len(tokens) else " "
    counts = Counter(len(Layout(separator, 0).split(line)) for line in tokens)
    return Layout(separator, counts.most_common(1)[0][0] if counts else 0)


def extract_token(fields: Sequence[str], column: int, regex: re.Pattern[str] | None, place: tuple[str, int]) -> str:
    """The token in a line's column, or what `regex` finds in it. Raises DataError, at `place`, where there is none."""
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
    """A TokenRecord a sentence. A file of one column has tokens without tags.

    Raises DataError, with the line, for another number of columns than the first lines have, an empty token
    or tag, a token that `options.token_pattern` doesn't match, and data of another kind.
    """
    remaining = iter(lines)
    sample = list(itertools.islice(remaining, SAMPLE))
    layout = detect_layout(sample, options.separator)
    _refuse_other_kinds(sample, layout, name)
    token_column, tag_column = _choose_columns(layout.columns, options, name)
    regex = options.token_regex
    if log is not None:
        log.skip("columns besides token and tag", max(0, layout.columns - 2))
    tokens: list[str] = []
    tags: list[str] = []
    number = 0
    for number, line in enumerate(itertools.chain(sample, remaining), 1):
        if is_blank(line) or is_document_start(line):
            if tokens:
                yield _record(tokens, tags, number)
                tokens, tags = [], []
            if log is not None and is_document_start(line):
                log.skip("documents", before="the bounds of ")
            continue
        fields = layout.fields(line, name, number)
        token = extract_token(fields, token_column, regex, (name, number))
        tokens.append(token)
        if log is not None and token != fields[token_column]:
            log.skip_uncounted("what stands in the tokens' column besides what the token pattern takes")
        if tag_column is not None:
            if not fields[tag_column]:
                raise DataError(f"found an empty tag in column {tag_column} of {token!r}", name, number)
            tags.append(fields[tag_column])
    if tokens:
        yield _record(tokens, tags, number + 1)


def write(records: Iterable[Record], name: str) -> Iterator[str]:
    """The lines of a file: token, tab, tag (or a token alone), and an empty line after each sentence.

    Raises DataError for what the reader wouldn't read back: raw text, an empty token or sentence, a token
    that holds a separator or a line's end, and labeled among unlabeled sentences.
    """
    labeled: bool | None = None
    for number, record in enumerate(records, 1):
        if not isinstance(record, TokenRecord) or not record.tokens:
            raise DataError(f"record {number}: found no tokens, which columns need; write JSON lines instead", name)
        if labeled is not None and labeled != (record.tags is not None):
            raise DataError(f"record {number}: found sentences with tags and without, expected one kind", name)
        labeled = record.tags is not None
        separators = "\t\n\r\0" if labeled else " \t\n\r\0"
        for field in (*record.tokens, *(record.tags or ())):
            if not field or is_document_start(field) or any(mark in field for mark in separators):
                reason = "is empty, or holds a separator or a line's end"
                raise DataError(f"record {number}: {field!r} {reason}; write JSON lines instead", name)
        if record.tags is None:
            yield from record.tokens
        else:
            for token, tag in zip(record.tokens, record.tags, strict=True):
                yield f"{token}\t{tag}"
        yield ""


def _record(tokens: list[str], tags: list[str], end: int) -> TokenRecord:
    """The sentence whose last token stands on the line before `end`."""
    return TokenRecord(tokens, tags or None, range(end - len(tokens), end))


def _choose_columns(count: int, options: ReadOptions, name: str) -> tuple[int, int | None]:
    token = _column(options.token_column, count, "token_column", name)
    if options.tag_column is None and count <= 1:
        return token, None
    tag = _column(-1 if options.tag_column is None else options.tag_column, count, "tag_column", name)
    if tag == token:
        raise DataError(f"token_column and tag_column are both column {tag} of {_columns(count)}", name)
    return token, tag


def _column(index: int, count: int, setting: str, name: str) -> int:
    if count and not -count <= index < count:
        raise DataError(f"{setting}: found {index}, but the file has {_columns(count)}, counted from 0", name)
    return index % count if count else 0


def _columns(count: int) -> str:
    return f"{count} column" if count == 1 else f"{count} columns"


def _refuse_other_kinds(sample: Sequence[str], layout: Layout, name: str) -> None:
    if sample and sample[0].startswith("#FORMAT=WebAnno TSV"):
        reason = "WebAnno TSV counts offsets in UTF-16 units and stacks spans"
        raise DataError(f"{reason}: not read; export CoNLL 2002 instead", name, 1)
    if any(map(is_blank, sample)):
        return
    if any(line.startswith("__label__") for line in sample):
        raise OtherTaskError(_CLASSES, name)
    if layout.separator == "\t" and layout.columns == 2 and len(sample) > 1:
        rows = [line.split("\t") for line in sample]
        spaced = sum(any(" " in field for field in row) for row in rows)
        length = statistics.median(len(row[0]) for row in rows)
        if 3 * spaced > len(rows) or length >= 10:
            raise OtherTaskError(_CLASSES, name)
