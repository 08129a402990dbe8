"""Read and write CoNLL-U: ten tab-separated columns, and comments with `#` (universaldependencies.org/format.html).

Lines with ids such as `3-4` (a multi-word token) and `8.1` (an empty node) are not words. The raw text is the comment
`# text`, or is rebuilt from the forms and `SpaceAfter=No`.
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
    """The lines of a sentence, collected one by one."""

    text: str | None = None
    text_line: int = 0
    forms: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    surface: list[str] = field(default_factory=list)  # words and multi-word tokens, with their spaces
    covered: int = 0  # id of the last word in the current multi-word token

    def record(self, column: str, log: ReadLog | None) -> TokenRecord:
        """Build the record of the complete sentence.

        A column that is `_` throughout counts as not annotated, except for `feats`, where `_` is a valid value.
        """
        tags = None if column != "feats" and set(self.tags) == {"_"} else self.tags
        text, starts = self._align_text()
        if log is not None and self.text is not None and text != self.text:
            log.skip("raw texts that don't contain their tokens")
        if log is not None and self.text is not None and not self._has_words_of_text():
            log.repair("sentences whose `# text` differs from their words, read without it", self.text_line)
        first, last = self.lines[0], self.lines[-1]
        contiguous = last - first + 1 == len(self.lines)
        lines = range(first, last + 1) if contiguous else self.lines
        return TokenRecord(self.forms, tags, lines, text, starts)

    def add_surface(self, form: str, misc: str) -> None:
        """Add a form as it appears in the raw text: a multi-word token, or a word outside of one."""
        has_no_space_after = "SpaceAfter=No" in misc and "SpaceAfter=No" in misc.split("|")
        self.surface.append(form if has_no_space_after else form + " ")

    def _has_words_of_text(self) -> bool:
        """Return True if the raw text consists of the words and multi-word tokens, apart from white space."""
        return "".join((self.text or "").split()) == "".join("".join(self.surface).split())

    def _align_text(self) -> tuple[str | None, list[int] | None]:
        """Return the raw text and the tokens' offsets in it; None for both if the tokens don't fit it."""
        if self.text is not None:
            starts = align(self.forms, self.text)
            if starts is not None:
                return self.text, starts
        text = "".join(self.surface).removesuffix(" ")
        starts = align(self.forms, text)
        return (None, None) if starts is None else (text, starts)


def align(tokens: Sequence[str], text: str) -> list[int] | None:
    """Find the start offset of each token in a text.

    Args:
        tokens: The tokens, in order.
        text: The text.

    Returns:
        The offset of each token, in code points. None if a token is not in the text, or anything but white space stands
        between or around the tokens.
    """
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
    """Read sentences from CoNLL-U.

    `text` and `starts` of a record are None if the words are not literally in the text, as with the French `du`, which
    stands for the words `de` and `le`.

    Args:
        lines: The lines of the file, without line ends.
        name: The file's name, for messages.
        options: Reading options; `column` is the column of the tags.
        log: Collects the parts that are skipped.

    Yields:
        A TokenRecord for each sentence; without tags if the column is `_` throughout.

    Raises:
        DataError: A line has not ten columns, or an id is out of order. Names the line.
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
                sentence.text, sentence.text_line = match[1], number
            elif line.startswith("# global.columns"):
                raise DataError("found CoNLL-U Plus, expected the ten columns of CoNLL-U", name, number)
            elif log is not None:
                log.skip("comments")
        else:
            fields = line.split("\t")
            if len(fields) != len(CONLLU_COLUMNS):
                raise DataError(f"found {len(fields)} columns, expected 10 with tabs between", name, number)
            _add_token(sentence, fields, column, name, number)
            if log is not None and log.counting:
                _log_skipped(fields, column, log)
    if sentence.forms:
        yield sentence.record(options.column, log)


def _log_skipped(fields: list[str], column: int, log: ReadLog) -> None:
    """Count the parts of a line that its record does not hold. `SpaceAfter=No` is kept in the raw text."""
    if not fields[0].isdecimal():
        log.skip("multi-word tokens" if "-" in fields[0] else "empty nodes")
        return
    for index in range(2, len(fields)):
        if index != column and fields[index] not in ("_", "SpaceAfter=No"):
            log.skip(f"values of the column {CONLLU_COLUMNS[index]}")


def _add_token(sentence: _Sentence, fields: list[str], column: int, name: str, number: int) -> None:
    token_id, form = fields[0], fields[1]
    next_id = len(sentence.forms) + 1
    if not form or not fields[column]:
        raise DataError("found an empty column, expected a value or `_`", name, number)
    if token_id == str(next_id):
        if next_id > sentence.covered:
            sentence.add_surface(form, fields[9])
        sentence.forms.append(form)
        sentence.tags.append(fields[column])
        sentence.lines.append(number)
        return
    multiword = _RANGE.fullmatch(token_id)
    if multiword is not None and int(multiword[1]) == next_id <= int(multiword[2]):
        sentence.covered = int(multiword[2])
        sentence.add_surface(form, fields[9])
    elif not _EMPTY_NODE.fullmatch(token_id):
        expected = f"{next_id}, {next_id}-{next_id + 1} or {next_id - 1}.1"
        raise DataError(f"found the id {token_id!r}, expected {expected}; is a line missing?", name, number)


def write(records: Iterable[Record], name: str) -> Iterator[str]:
    """Write sentences as CoNLL-U: the tag as UPOS, `# text` if the raw text is known, and `_` in all other columns.

    Args:
        records: The sentences.
        name: The file's name, for messages.

    Yields:
        The lines, without line ends.

    Raises:
        DataError: A record is raw text, or a token is empty or contains a tab or line end.
    """
    for number, record in enumerate(records, 1):
        if not isinstance(record, TokenRecord) or not record.tokens:
            raise DataError(f"record {number}: found no tokens, which CoNLL-U needs; write JSON lines instead", name)
        tags = record.tags if record.tags is not None else ["_"] * len(record.tokens)
        for value in (*record.tokens, *tags):
            if not value or any(mark in value for mark in "\t\n\r\0"):
                reason = "is empty, or contains a tab or line end"
                raise DataError(f"record {number}: {value!r} {reason}; write JSON lines instead", name)
        text, starts = record.text, record.starts
        if text is not None and not any(mark in text for mark in "\n\r\0"):
            yield f"# text = {text}"
        next_starts = [*starts[1:], None] if starts is not None else [None] * len(tags)
        for index, (token, tag) in enumerate(zip(record.tokens, tags, strict=True)):
            has_no_space_after = starts is not None and next_starts[index] == starts[index] + len(token)
            misc = "SpaceAfter=No" if has_no_space_after else "_"
            yield "\t".join((str(index + 1), token, "_", tag, *["_"] * 5, misc))
        yield ""
