"""The small values that the rooms hand to each other. No behavior beyond what a value needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Span:
    """An entity found in a raw text, for people: `text == raw[start:end]`, offsets in code points, end exclusive.

    `score` is the probability, under the model, that exactly this span carries exactly this label.
    """

    text: str
    label: str
    start: int
    end: int
    score: float


@dataclass(frozen=True, slots=True)
class Label:
    """A class found for a text, for people. `score` is its probability under the model, calibrated on dev data."""

    label: str
    score: float


class CharSpan(NamedTuple):
    """A labeled range of a raw text: code points, end exclusive."""

    start: int
    end: int
    label: str


class TokenSpan(NamedTuple):
    """A labeled range of a sentence's tokens, end exclusive: the one inner form of entities.

    Tags without a scheme (POS) are one span a token.
    """

    start: int
    end: int
    label: str


@dataclass(slots=True)
class Tokens:
    """The tokens of one raw text, as columns: normal forms, and offsets into the untouched text (end exclusive)."""

    norms: list[str]
    starts: list[int]
    ends: list[int]

    def __len__(self) -> int:
        return len(self.norms)


@dataclass(slots=True)
class TokenRecord:
    """One sentence as a reader found it in a pre-tokenized file. `tags` are in the file's own scheme.

    `lines` gives each token's line in the file (from 1). `text` is the raw sentence where the format keeps it, and
    `starts`, one for each token, are then the tokens' offsets in it.
    """

    tokens: list[str]
    tags: list[str] | None
    lines: Sequence[int]
    text: str | None = None
    starts: list[int] | None = None


@dataclass(slots=True)
class TextRecord:
    """One raw text with its labeled spans (None: unlabeled), as a reader found it at `line` (from 1)."""

    text: str
    spans: list[CharSpan] | None
    line: int


Record = TokenRecord | TextRecord


class ClassRecord(NamedTuple):
    """One text with its classes, as a reader found it at `line` (from 1). `labels`: one, or in multi-label data any
    number; None: unlabeled."""

    text: str
    labels: tuple[str, ...] | None
    line: int


@dataclass(slots=True)
class Sentence:
    """One text with its tokens' offsets and gold spans over the tokens (None: unlabeled): what tasks work on.

    `unaligned` holds gold spans that no token span can stand for; they stay part of the gold that is scored.
    `lines` says where in the file the tokens (or, one entry only, the text) stood.
    """

    text: str
    starts: list[int]
    ends: list[int]
    spans: list[TokenSpan] | None
    lines: Sequence[int]
    unaligned: list[CharSpan] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def tokens(self) -> list[str]:
        """The tokens as they stand in the text."""
        text = self.text
        return [text[start:end] for start, end in zip(self.starts, self.ends, strict=True)]
