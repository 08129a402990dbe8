"""Options for reading files with tokens or spans."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from nlp_app.core.errors import SettingsError

TOKEN_PATTERNS: Mapping[str, str] = MappingProxyType(
    # Weibo NER: a character, then its position in the word. One or two U+FFFD stand for an emoji that was lost.
    {"segmented": "(\N{REPLACEMENT CHARACTER}{1,2}|.)[0-9]+"}
)

NO_PATTERN = "none"  # value of `token_pattern` for tokens that are the whole column

DEFAULT_COLUMN = "upos"

CONLLU_COLUMNS = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")


@dataclass(frozen=True)
class ReadOptions:
    """Options for a file whose content does not determine how to read it.

    Attributes:
        encoding: The encoding; None to detect it (see `formats.io.encodings`).
        token_column: Column of the tokens in CoNLL files and datasets, counted from 0, or from the end if negative. In
            datasets, the default of 0 recognizes the column by its name.
        tag_column: Column of the tags, counted in the same way. None is the last column in CoNLL files; in datasets it
            recognizes the column by its name.
        separator: Separator of CoNLL columns, a tab or a space; None to detect it.
        comment_prefix: Beginning of comment lines in CoNLL files, or `none` if there are no comments; None to detect
            comments with `#`.
        tags_file: Name of the file with the tags of parallel files; None if tokens and tags are in one file.
        token_pattern: A regular expression for the whole token column, whose group 1 is the token; or a name in
            `TOKEN_PATTERNS` (`segmented`: a character and its position, as in Weibo NER). None detects `segmented`;
            `none` reads the column as it is.
        column: In CoNLL-U, the column of the tags. In datasets, the column of tags or spans; the default column may be
            missing there.
        labels: For JSON Lines and datasets, True to read labels. If False, labels are ignored, and every object gives a
            record, including objects that the annotator rejected.
        text_key: In JSON, CSV and datasets, the key of the text; empty to find it.
        label_key: In JSON, CSV and datasets, the key of the spans or tags; in WebAnno TSV, the layer. Empty to find it.
        predictions: Read the predictions of a model in examples that nobody annotated (Label Studio, Argilla).
        strict: Raise an error where a reader would otherwise repair or skip something and count it in its log.
    """

    encoding: str | None = None
    token_column: int = 0
    tag_column: int | None = None
    separator: str | None = None
    token_pattern: str | None = None
    comment_prefix: str | None = None
    tags_file: str | None = None
    column: str = DEFAULT_COLUMN
    labels: bool = True
    text_key: str = ""
    label_key: str = ""
    predictions: bool = False
    strict: bool = False

    def __post_init__(self) -> None:
        if self.separator not in (None, " ", "\t"):
            raise SettingsError(f"separator: found {self.separator!r}, expected a tab or a space")
        if self.token_pattern is not None:
            _ = self.token_regex

    def check_column(self) -> None:
        """Check that `column` is a column of CoNLL-U. Not needed for datasets, whose columns may have any name.

        Raises:
            SettingsError: `column` is not a column of CoNLL-U.
        """
        if self.column not in CONLLU_COLUMNS:
            known = ", ".join(CONLLU_COLUMNS)
            raise SettingsError(f"column: found {self.column!r}, expected a CoNLL-U column ({known})")

    @property
    def token_regex(self) -> re.Pattern[str] | None:
        """The compiled `token_pattern`. Raises SettingsError if it is not a valid pattern or has no group."""
        if self.token_pattern in (None, NO_PATTERN):
            return None
        try:
            regex = re.compile(TOKEN_PATTERNS.get(self.token_pattern, self.token_pattern))
        except re.error as error:
            raise SettingsError(f"token_pattern: {self.token_pattern!r} is not a valid pattern: {error}") from error
        if not regex.groups:
            raise SettingsError(f"token_pattern: {self.token_pattern!r} has no group (...) for the token")
        return regex
