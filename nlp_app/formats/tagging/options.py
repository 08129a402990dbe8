"""What a reader may be told about a file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from nlp_app.core.errors import SettingsError

TOKEN_PATTERNS: Mapping[str, str] = MappingProxyType(
    # Weibo NER: a character, then its position in its word; U+FFFD, up to two, stands for a lost emoji.
    {"segmented": "(\N{REPLACEMENT CHARACTER}{1,2}|.)[0-9]+"}
)

DEFAULT_COLUMN = "upos"

CONLLU_COLUMNS = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")


@dataclass(frozen=True)
class ReadOptions:
    """What the content of a file doesn't say by itself.

    `encoding`: a codec; None is found by evidence (`formats.io.encodings`).
    `token_column`, `tag_column`: of CoNLL columns, counted from 0, or from the end if negative; None is the last. Of
    data sets likewise, where 0 and None are known by their names. `separator`: of CoNLL columns, a tab or a space;
    None finds it. `token_pattern`: a regular expression for the whole of a token's column, whose group 1 is the token,
    or a name in `TOKEN_PATTERNS` ("segmented": a character and its position, as in Weibo NER). `column`: of CoNLL-U,
    the column that is the tag; of data sets, the column of tags or spans, where the default need not be there.
    `labels`: of JSON lines and data sets, whether labels are wanted. If not, they are not looked at, and no record is
    left out for what its annotator thought of it: a record for each object.
    """

    encoding: str | None = None
    token_column: int = 0
    tag_column: int | None = None
    separator: str | None = None
    token_pattern: str | None = None
    column: str = DEFAULT_COLUMN
    labels: bool = True

    def __post_init__(self) -> None:
        if self.separator not in (None, " ", "\t"):
            raise SettingsError(f"separator: found {self.separator!r}, expected a tab or a space")
        if self.token_pattern is not None:
            _ = self.token_regex

    def check_column(self) -> None:
        """Raises SettingsError if `column` is no column of CoNLL-U; a data set's may have any name."""
        if self.column not in CONLLU_COLUMNS:
            known = ", ".join(CONLLU_COLUMNS)
            raise SettingsError(f"column: found {self.column!r}, expected a CoNLL-U column ({known})")

    @property
    def token_regex(self) -> re.Pattern[str] | None:
        """`token_pattern`, compiled. Raises SettingsError if it is no pattern, or has no group."""
        if self.token_pattern is None:
            return None
        try:
            regex = re.compile(TOKEN_PATTERNS.get(self.token_pattern, self.token_pattern))
        except re.error as error:
            raise SettingsError(f"token_pattern: {self.token_pattern!r} is no pattern: {error}") from error
        if not regex.groups:
            raise SettingsError(f"token_pattern: {self.token_pattern!r} has no group (...) for the token")
        return regex
