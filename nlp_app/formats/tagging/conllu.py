"""CoNLL-U: ten tab-separated columns, comments with `#` (universaldependencies.org/format.html).

Lines with the ids `3-4` (a multi-word token) and `8.1` (an empty node) are no words. The raw text is `#
text`, or is rebuilt from the forms and `SpaceAfter=No`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from nlp_app.core.errors import DataError
from nlp_app.core.types import Record, TokenRecord
from nlp_app.formats.tagging.options import CONLLU_COLUMNS, ReadOptions
from nlp_app.formats.tagging.read_log import ReadLog

_RANGE = re.compile(r"([0-9]+)-([0-9]+)")

_EMPTY_NODE = re.compile(r"[0-9]+\.[0-9]+")

_TEXT = re.compile(r"#\s*text\s*=\s?(.*)")


@dataclass
class _Sentence:
    """The lines of a sentence as they come."""

    text: str | None = None
    forms: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    surface: list[str] = field(default_factory=list)  # words and multi-word tokens, with their spaces
    covered: int = 0  # the last word that a multi-word token stands for

    def record(self, column: str, log: ReadLog | None) -> TokenRecord:
        """The finished sentence. All `_` is a column without annotation (but `feats` may be empty)."""
        tags = None if column != "feats" and set(self.tags) == {"_"} else self.tags
        text, starts = self._aligned()
        if log is not None and self.text is not None and text != self.text:
            log.skip("raw texts that don't hold their tokens")
        first, last = self.lines[0], self.lines[-1]
        contiguous = last - first + 1 == len(self.lines)
        lines = range(first, last + 1) if contiguous else self.lines
        return TokenRecord(self.forms, tags, lines, text, starts)

    def add_surface(self, form: str, misc: str) -> None:
        """A word of its own, or a multi-word token: what the raw text shows."""
        glued = "SpaceAfter=No" in misc and "SpaceAfter=No" in misc.split("|")
        self.surface.append(form if glued else form + " ")

    def _aligned(self) -> tuple[str | None, list[int] | None]:
        if self.text is not None:
            starts = align(self.forms, self.text)
            if starts is not None:
                return self.text, starts
        text = "".join(self.surface).removesuffix(" ")
        starts = align(self.forms, text)
        return (None, None) if starts is None else (text, starts)


def align(tokens: Sequence[str], text: str) -> list[int] | None:
    """Where each token starts in the text, if nothing but white space is between and around them."""
    starts: list[int] = []
    end = 0
    for token in tokens:
        while not text.startswith(token, end):
            if end >= len(text) or not text[end].isspace():
                return None
            end += 1
        starts.append(end)
        end += len(token)
    return None if text[end:].strip() else starts


def read(lines: Iterable[str], name: str, options: ReadOptions, log: ReadLog | None = None) -> Iterator[Record]:
    """A TokenRecord a sentence, tagged with `options.column`; no tags where that column is `_` throughout.

    `text` and `starts` are None where the words aren't literally in the text (`du` as `de` `le`).
    Raises DataError, with the line, for a line that has not ten columns or an id out of order.
    """
    column = CONLLU_COLUMNS.index(options.column)
    sentence = _Sentence()
    for number, line in enumerate(lines, 1):
        if not line.strip(" \t"):
            if sentence.forms:
                yield sentence.record(options.column, log)
            sentence = _Sentence()
        elif line.startswith("#"):
            match = _TEXT.fullmatch(line)
            if match is not None:
                sentence.text = match[1]
            elif line.startswith("# global.columns"):
                raise DataError("found CoNLL-U Plus, expected the ten columns of CoNLL-U", name, number)
            elif log is not None:
                log.skip("comments")
        else:
            fields = line.split("\t")
            if len(fields) != len(CONLLU_COLUMNS):
                raise DataError(f"found {len(fields)} columns, expected 10 with tabs between", name, number)
            _add(sentence, fields, column, name, number)
            if log is not None:
                _log_skipped(fields, column, log)
    if sentence.forms:
        yield sentence.record(options.column, log)


def _log_skipped(fields: list[str], column: int, log: ReadLog) -> None:
    """Count the parts of a line that its record does not hold; `SpaceAfter=No` stands in the raw text."""
    if not fields[0].isdecimal():
        log.skip("multi-word tokens" if "-" in fields[0] else "empty nodes")
        return
    for place in range(2, len(fields)):
        if place != column and fields[place] not in ("_", "SpaceAfter=No"):
            log.skip(f"values of the column {CONLLU_COLUMNS[place]}")


def _add(sentence: _Sentence, fields: list[str], column: int, name: str, number: int) -> None:
    identity, form = fields[0], fields[1]
    following = len(sentence.forms) + 1
    if not form or not fields[column]:
        raise DataError("found an empty column, expected a value or `_`", name, number)
    if identity == str(following):
        if following > sentence.covered:
            sentence.add_surface(form, fields[9])
        sentence.forms.append(form)
        sentence.tags.append(fields[column])
        sentence.lines.append(number)
        return
    multiword = _RANGE.fullmatch(identity)
    if multiword is not None and int(multiword[1]) == following <= int(multiword[2]):
        sentence.covered = int(multiword[2])
        sentence.add_surface(form, fields[9])
    elif not _EMPTY_NODE.fullmatch(identity):
        expected = f"{following}, {following}-{following + 1} or {following - 1}.1"
        raise DataError(f"found the id {identity!r}, expected {expected}; is a line missing?", name, number)


def write(records: Iterable[Record], name: str) -> Iterator[str]:
    """The lines of a file: the tag as UPOS, `# text` where the raw text is known, `_` in all other columns.

    Raises DataError for raw text, and for an empty token or one that holds a tab or a line's end.
    """
    for number, record in enumerate(records, 1):
        if not isinstance(record, TokenRecord) or not record.tokens:
            raise DataError(f"record {number}: found no tokens, which CoNLL-U needs; write JSON lines instead", name)
        tags = record.tags if record.tags is not None else ["_"] * len(record.tokens)
        for value in (*record.tokens, *tags):
            if not value or any(mark in value for mark in "\t\n\r\0"):
                reason = "is empty, or holds a tab or a line's end"
                raise DataError(f"record {number}: {value!r} {reason}; write JSON lines instead", name)
        text, starts = record.text, record.starts
        if text is not None and not any(mark in text for mark in "\n\r\0"):
            yield f"# text = {text}"
        following = [*starts[1:], None] if starts is not None else [None] * len(tags)
        for index, (token, tag) in enumerate(zip(record.tokens, tags, strict=True)):
            glued = starts is not None and following[index] == starts[index] + len(token)
            misc = "SpaceAfter=No" if glued else "_"
            yield "\t".join((str(index + 1), token, "_", tag, *["_"] * 5, misc))
        yield ""
