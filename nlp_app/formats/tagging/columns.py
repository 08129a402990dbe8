"""Lines of columns: their separator, blank lines, document marks and comments."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from nlp_app.core.errors import DataError

DOCUMENT_START = "-DOCSTART-"

SAMPLE = 1000  # lines from which the layout of a file is detected

SCHEME_TAG = re.compile(r"O|[BIEMSWLU]-.+")

NO_COMMENTS = "none"  # value of `comment_prefix` for files without comments

# `# text`, `#<TAB>source`, `#begin document (...)`, `#id=4`; but not a hashtag such as `#fun`.
_COMMENT = re.compile(r"#[ \t].*|#\w+ ?[=:].*|#(begin|end) document\b.*")

_DOCUMENT_COMMENT = re.compile(r"#(begin|end) document\b.*")  # CoNLL-2012


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
            The columns; their number is not checked. Empty cells at the end of a tab-separated line are kept up to the
            number of columns of the file.
        """
        fields = line.split(self.separator)
        if self.separator == " ":
            return [field for field in fields if field] if "" in fields else fields
        while len(fields) > max(1, self.columns) and not fields[-1].strip(" "):
            fields.pop()
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
            raise DataError(f"found {format_columns(len(fields))}, {expected}{hint}", name, number)
        return fields


@dataclass(frozen=True)
class Comments:
    """The lines of a file that are comments.

    Attributes:
        layout: The layout of the other lines.
        prefix: The beginning of every comment; None for comments with `#`, which differ from tokens by their width.
        of_any_width: If a line that begins with `#` and a separator is a comment although it has as many columns as
            the other lines.
    """

    layout: Layout
    prefix: str | None = None
    of_any_width: bool = False

    @property
    def marker(self) -> str:
        """The first character of every comment; empty if there are none."""
        return "#" if self.prefix is None else "" if self.prefix == NO_COMMENTS else self.prefix[0]

    def contain(self, line: str) -> bool:
        """Return True if a line is a comment.

        Args:
            line: A line that is not blank.

        Returns:
            True for a comment.
        """
        if self.prefix is not None:
            return self.prefix != NO_COMMENTS and line.startswith(self.prefix)
        if not line.startswith("#") or _COMMENT.fullmatch(line) is None:
            return False
        if self.of_any_width and line[1] in " \t":
            return True
        return len(self.layout.split(line)) != self.layout.columns or _DOCUMENT_COMMENT.fullmatch(line) is not None


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


def is_between_sentences(line: str) -> bool:
    """Return True if a line ends a sentence.

    Args:
        line: The line.

    Returns:
        True for a blank line and for one that begins a document.
    """
    return is_blank(line) or is_document_start(line)


def detect_layout(lines: Sequence[str], separator: str | None = None) -> Layout:
    """Detect the separator and number of columns that most token lines have.

    Args:
        lines: The first lines of a file.
        separator: The separator; None to detect it.

    Returns:
        The layout; with 0 columns if there is no token line.
    """
    tokens = [line for line in lines if not is_between_sentences(line)]
    rows = [line for line in tokens if not _COMMENT.fullmatch(line)] or tokens
    if separator is None:
        separator = "\t" if 2 * sum("\t" in line for line in rows) > len(rows) else " "
    counts = Counter(len(Layout(separator, 0).split(line)) for line in rows)
    return Layout(separator, counts.most_common(1)[0][0] if counts else 0)


def detect_comments(lines: Sequence[str], layout: Layout, prefix: str | None = None) -> Comments:
    """Detect which lines of a file are comments.

    A line with `#` and another number of columns than the tokens is a comment. Lines with as many columns are comments
    only if each of them begins a sentence, and their last cells are no tags of other lines and either contain `=`
    (`# id 7 domain=en`) or all differ (`# sent_1`). The token `#` has tags that occur again, or stands within a
    sentence.

    Args:
        lines: The first lines of a file.
        layout: The layout of the tokens.
        prefix: The prefix of comments that the user has named; None to detect comments.

    Returns:
        The comments.
    """
    narrow = Comments(layout, prefix)
    if prefix is not None:
        return narrow
    marked: list[str] = []
    other: set[str] = set()
    is_first = True
    for line in lines:
        if is_between_sentences(line):
            is_first = True
        elif not narrow.contain(line):
            last = layout.split(line)[-1]
            if line[:1] == "#" and line[1:2] in (" ", "\t"):
                if not is_first:
                    return narrow
                marked.append(last)
            else:
                other.add(last)
                is_first = False
    are_distinct = len(marked) > 1 and len(set(marked)) == len(marked)
    are_values = bool(marked) and all("=" in cell[1:] for cell in marked)
    are_tags = bool(other.intersection(marked)) or any(map(SCHEME_TAG.fullmatch, marked))
    if (are_distinct or are_values) and not are_tags:
        return Comments(layout, None, of_any_width=True)
    return narrow


def format_columns(count: int) -> str:
    """Format a number of columns.

    Args:
        count: The number.

    Returns:
        `1 column`, `2 columns`.
    """
    return f"{count} column" if count == 1 else f"{count} columns"
