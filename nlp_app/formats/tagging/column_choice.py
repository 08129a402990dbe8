"""Choose the columns of the token and of the tag from the first lines of a file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from nlp_app.core.errors import DataError
from nlp_app.core.text_table import printable
from nlp_app.formats.tagging.columns import SCHEME_TAG, Comments, Layout, format_columns, is_between_sentences
from nlp_app.formats.tagging.options import TOKEN_PATTERNS, ReadOptions
from nlp_app.formats.tagging.read_log import ReadLog

_BRACKETS = re.compile(r"\(?[\w-]*\*\)?|\([\w-]+\)")  # CoNLL-2012: (GPE*, *, *), (PERSON)

_SHOWN_CELL = 20  # characters of a cell in the example

_MIN_SEGMENTED = 20  # tokens from which their form is recognized as `segmented`

_MIN_SEGMENTED_SHARE = 0.95

# The first row is a header if its cells are of these names.
_TOKEN_NAMES = frozenset(("token", "tokens", "word", "words", "form", "text", "character", "char"))

_TAG_NAMES = frozenset(
    ("tag", "tags", "label", "labels", "ner", "ner_tag", "ner_tags", "entity", "pos", "upos", "pos_tag", "bio")
)

_Sentences = list[list[list[str]]]


@dataclass(frozen=True)
class ColumnChoice:
    """The columns of a file that are read.

    Attributes:
        token: Column of the tokens, from 0.
        tag: Column of the tags; None if tags are not read.
        header: The first row, if it contains the names of the columns; otherwise None.
        pattern: A pattern for the whole token column, whose group 1 is the token; None if the column is the token.
        description: The chosen columns, for the user; empty for a single column.
        example: A row of the file, for the user.
        reasons: Reasons for a choice other than the first and the last column.
        is_segmented: If the pattern `segmented` was recognized, not named.
    """

    token: int
    tag: int | None
    header: tuple[str, ...] | None = None
    pattern: re.Pattern[str] | None = None
    description: str = ""
    example: str = ""
    reasons: tuple[str, ...] = ()
    is_segmented: bool = False

    def report(self, log: ReadLog) -> None:
        """Add the chosen columns to a log.

        Args:
            log: The log of the read.
        """
        if self.description:
            log.remark(self.description, self.example)
        for reason in self.reasons:
            log.remark(reason)
        if self.is_segmented:
            log.detected["token_pattern"] = "segmented"


def choose_columns(
    sample: Iterable[str], layout: Layout, comments: Comments, options: ReadOptions, name: str
) -> ColumnChoice:
    """Choose the columns of tokens and tags.

    By default the token is in the first column and the tag in the last. Other columns are chosen where the first
    column counts the tokens of each sentence, or the last column contains no tags and another one contains nothing
    else.

    Args:
        sample: The first lines of the file.
        layout: The layout of the file.
        comments: The comments of the file.
        options: Reading options. Columns that the user has named are not changed.
        name: The file's name, for messages.

    Returns:
        The columns.

    Raises:
        DataError: A named column does not exist, or the columns cannot be chosen with certainty.
    """
    count = layout.columns
    rows = list(_read_rows(sample, layout, comments))
    token, tag, reasons = _default_columns(rows, count, options, name)
    header: tuple[str, ...] | None = None
    if tag is not None and _has_header(rows, token, tag):
        header = tuple(rows[0].pop(0))
        rows = [sentence for sentence in rows if sentence]
        reasons.append("first row with the names of the columns, skipped")
    if tag is not None and options.labels:
        _reject_brackets(rows, tag, name)
    pattern = options.token_regex
    is_segmented = options.token_pattern is None and _are_segmented([[row[token] for row in each] for each in rows])
    if is_segmented:
        pattern = re.compile(TOKEN_PATTERNS["segmented"])
        reasons.append(
            f"tokens are characters with their position in a word, such as {rows[0][0][token]}, read without it; "
            "--set data.token_pattern=none keeps it"
        )
    if count < 2:
        return ColumnChoice(token, tag, None, pattern, reasons=tuple(reasons), is_segmented=is_segmented)
    chosen = f"token {token}" if tag is None or not options.labels else f"token {token}, tag {tag}"
    description = f"columns: {chosen} of {count}, counted from 0"
    example = _example(rows, tag)
    return ColumnChoice(token, tag, header, pattern, description, example, tuple(reasons), is_segmented)


def _default_columns(
    rows: _Sentences, count: int, options: ReadOptions, name: str
) -> tuple[int, int | None, list[str]]:
    """Return the columns of token and tag, and the reasons for a choice other than first and last."""
    token = _resolve(options.token_column, count, "token_column", name)
    reasons: list[str] = []
    if options.token_column == 0 and _is_numbered(rows, count):
        token = 1
        reasons.append("column 0 counts the tokens of each sentence, so the token is column 1")
    if options.tag_column is None and count <= 1:
        return token, None, reasons
    tag = _resolve(-1 if options.tag_column is None else options.tag_column, count, "tag_column", name)
    if options.tag_column is None and options.labels:
        token, tag, reason = _find_tag_column(rows, count, token, options, name)
        reasons += reason
    if tag == token:
        raise DataError(f"token_column and tag_column are both column {tag} of {format_columns(count)}", name)
    return token, tag, reasons


def _find_tag_column(
    rows: _Sentences, count: int, token: int, options: ReadOptions, name: str
) -> tuple[int, int, list[str]]:
    """Return the columns of token and tag, where the user has not named the tag column."""
    last = count - 1
    values = _column_values(rows, count)
    candidates = [column for column in range(count) if column != token and _has_only_tags(values[column])]
    if last in candidates:
        tag = _outer_level(values, candidates)
        others = [column for column in candidates if column != tag]
        return token, tag, _name_others(tag, others)
    if any(map(SCHEME_TAG.fullmatch, values[last])):
        return token, last, []  # damaged tags, or POS tags such as `O` and `I-PRON`
    if len(candidates) == 1:
        return token, candidates[0], [f"the last column has no tags of a scheme, so the tag is column {candidates[0]}"]
    if candidates:
        listed = ", ".join(map(str, candidates))
        reason = f"found tags in the columns {listed} of {format_columns(count)}, and none in the last"
        raise DataError(f"{reason}; choose one with --set data.tag_column=N", name)
    if token == 0 == options.token_column and _has_only_tags(values[0]):
        if count > 2:
            reason = f"found tags in the first of {format_columns(count)}"
            raise DataError(f"{reason}; name both with --set data.token_column=N --set data.tag_column=0", name)
        return last, 0, ["the first column has only tags of a scheme, so the token is column 1"]
    return token, last, []


def _name_others(tag: int, others: Sequence[int]) -> list[str]:
    if not others:
        return []
    listed = ", ".join(map(str, others))
    noun = "column" if len(others) == 1 else "columns"
    return [f"more tags in {noun} {listed}; --set data.tag_column={others[0]} reads them instead of column {tag}"]


def _outer_level(values: Sequence[set[str]], candidates: Sequence[int]) -> int:
    """Return the first of the last candidates that have the same types: the outer level of nested entities."""
    chosen = candidates[-1]
    types = _types(values[chosen])
    for column in reversed(candidates[:-1]):
        if column != chosen - 1 or not types or not types <= _types(values[column]):
            break
        chosen, types = column, _types(values[column])
    return chosen


def _types(tags: Iterable[str]) -> set[str]:
    return {tag.partition("-")[2] for tag in tags if "-" in tag}


def _has_only_tags(values: set[str]) -> bool:
    """Return True for `O` and tags such as `B-PER`, but not for `O` alone. One other value may be a header."""
    odd = [value for value in values if not SCHEME_TAG.fullmatch(value)]
    return len(values) - len(odd) > len(odd) and len(odd) <= 1 and all(map(_is_tag_name, odd)) and values != {"O"}


def _is_tag_name(value: str) -> bool:
    return value.lower() in _TAG_NAMES


def _has_header(rows: _Sentences, token: int, tag: int) -> bool:
    """Return True if the first row contains names, and their cells do not occur as tags elsewhere."""
    if not rows or (len(rows[0]) < 2 and len(rows) < 2):
        return False
    first, *others = (row for sentence in rows for row in sentence)
    tags = {row[tag] for row in others}
    if first[tag] in tags or not others:
        return False
    has_names = first[token].lower() in _TOKEN_NAMES and _is_tag_name(first[tag])
    is_word = re.fullmatch(r"[^\W\d]+", first[tag]) is not None and first[tag] != "O"
    rest_has_tags = len(others) > 2 and _has_only_tags(tags) and all(map(SCHEME_TAG.fullmatch, tags))
    return has_names or (is_word and len(first[tag]) > 1 and rest_has_tags and first[tag].islower())


def _is_numbered(rows: _Sentences, count: int) -> bool:
    """Return True if the first of several columns counts the tokens of each sentence, from 1 or from 0."""
    if count < 3 or sum(map(len, rows)) < 2:
        return False
    sentences = [[row[0] for row in sentence] for sentence in rows]
    if sentences and sentences[0] and not sentences[0][0].isdecimal():
        sentences[0] = sentences[0][1:]  # a header
    complete = sentences[:-1] if len(sentences) > 1 else sentences
    return any(
        all(numbers == [str(first + index) for index in range(len(numbers))] for numbers in complete)
        for first in (1, 0)
    )


def _are_segmented(sentences: Sequence[Sequence[str]]) -> bool:
    """Return True if nearly all tokens are a character and its position in a word, which counts from 0."""
    segmented = re.compile(TOKEN_PATTERNS["segmented"])
    total = sum(map(len, sentences))
    if total < _MIN_SEGMENTED:
        return False
    fitting = letters = 0
    for tokens in sentences:
        expected = 0
        for match in map(segmented.fullmatch, tokens):
            position = None if match is None else int(match[0][match.end(1) :])
            fitting += position in (0, expected)
            letters += match is not None and not match[1].isdecimal()
            expected = 0 if position is None else position + 1
    return fitting >= _MIN_SEGMENTED_SHARE * total and 2 * letters > total


def _column_values(rows: _Sentences, count: int) -> list[set[str]]:
    return [{row[column] for sentence in rows for row in sentence} for column in range(count)]


def _reject_brackets(rows: _Sentences, tag: int, name: str) -> None:
    values = {row[tag] for sentence in rows for row in sentence}
    if "*" in values and len(values) > 1 and all(map(_BRACKETS.fullmatch, values)):
        example = next(value for value in sorted(values) if value != "*")
        reason = f"found tags in brackets in column {tag}, such as {example} and *, as in CoNLL-2012 and CoNLL-2005"
        raise DataError(f"{reason}; convert them to BIO, or choose another column with --set data.tag_column=N", name)


def _read_rows(sample: Iterable[str], layout: Layout, comments: Comments) -> Iterator[list[list[str]]]:
    """Yield the rows of each sentence of the sample, without those of another width."""
    rows: list[list[str]] = []
    for line in sample:
        if is_between_sentences(line):
            if rows:
                yield rows
            rows = []
        elif not comments.contain(line):
            fields = layout.split(line)
            if len(fields) == layout.columns:
                rows.append([field.strip(" ") or field for field in fields])
    if rows:
        yield rows


def _example(rows: _Sentences, tag: int | None) -> str:
    """Format the first row, or the first row that has a tag other than `O`."""
    all_rows = [row for sentence in rows for row in sentence]
    row = next((row for row in all_rows if tag is not None and row[tag] != "O"), all_rows[0] if all_rows else [])
    cells = (cell if len(cell) <= _SHOWN_CELL else f"{cell[:_SHOWN_CELL]}..." for cell in row)
    return f"`{' | '.join(map(printable, cells))}`" if row else ""


def _resolve(index: int, count: int, setting: str, name: str) -> int:
    if count and not -count <= index < count:
        raise DataError(f"{setting}: found {index}, but the file has {format_columns(count)}, counted from 0", name)
    return index % count if count else 0
