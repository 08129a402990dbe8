"""Value types that are shared by all modules: spans, labels, tokens and records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple


@dataclass(frozen=True, slots=True)
class Span:
    """A predicted entity in a raw text, with `text == raw[start:end]`.

    Attributes:
        text: The text of the span.
        label: The label.
        start: Offset of the first character, in code points.
        end: Offset after the last character, in code points.
        score: Probability, according to the model, that exactly this span has exactly this label.
    """

    text: str
    label: str
    start: int
    end: int
    score: float


@dataclass(frozen=True, slots=True)
class Label:
    """A predicted class of a text.

    Attributes:
        label: The class.
        score: Probability of the class according to the model, calibrated on dev data.
    """

    label: str
    score: float


class CharSpan(NamedTuple):
    """A labeled range of a raw text.

    Attributes:
        start: Offset of the first character, in code points.
        end: Offset after the last character, in code points.
        label: The label.
    """

    start: int
    end: int
    label: str


class TokenSpan(NamedTuple):
    """A labeled range of a sentence's tokens: the form in which all modules exchange entities.

    Tags without a scheme (POS) are represented by one span per token.

    Attributes:
        start: Index of the first token.
        end: Index after the last token.
        label: The label.
    """

    start: int
    end: int
    label: str


@dataclass(slots=True)
class Tokens:
    """The tokens of a raw text, as three lists of the same length.

    Attributes:
        norms: Normal form of each token.
        starts: Offset of the first character of each token in the raw text, in code points.
        ends: Offset after the last character of each token.
    """

    norms: list[str]
    starts: list[int]
    ends: list[int]

    def __len__(self) -> int:
        return len(self.norms)


@dataclass(slots=True)
class TokenRecord:
    """A sentence of a pre-tokenized file, as its reader returns it.

    Attributes:
        tokens: The tokens.
        tags: The tag of each token, in the scheme of the file; None if the file has no tags.
        lines: Line of each token in the file (from 1).
        text: The raw sentence if the format contains it, otherwise None.
        starts: Offset of each token in `text`; None without `text`.
    """

    tokens: list[str]
    tags: list[str] | None
    lines: Sequence[int]
    text: str | None = None
    starts: list[int] | None = None


@dataclass(slots=True)
class TextRecord:
    """A raw text with labeled spans, as its reader returns it.

    Attributes:
        text: The text.
        spans: The labeled spans; None if the text is unlabeled.
        line: Line of the text in the file (from 1).
    """

    text: str
    spans: list[CharSpan] | None
    line: int


Record = TokenRecord | TextRecord


class ClassRecord(NamedTuple):
    """A text with its classes, as its reader returns it.

    Attributes:
        text: The text.
        labels: One class, or any number of classes in multi-label data; None if the text is unlabeled.
        line: Line of the text in the file (from 1).
    """

    text: str
    labels: tuple[str, ...] | None
    line: int


class ScoredSpan(NamedTuple):
    """A labeled range of a raw text, by a person or by a model.

    Attributes:
        start: Offset of the first character, in code points.
        end: Offset after the last character, in code points.
        label: The label.
        score: Probability according to a model; None for an annotation by a person.
    """

    start: int
    end: int
    label: str
    score: float | None = None


class ScoredLabel(NamedTuple):
    """A class of a text, by a person or by a model.

    Attributes:
        label: The class.
        score: Probability according to a model; None for an annotation by a person.
    """

    label: str
    score: float | None = None


@dataclass(frozen=True, slots=True)
class AnnotatedText:
    """A text with its annotations, as they are written for annotation tools.

    Attributes:
        text: The text.
        spans: The labeled spans; None for texts with classes.
        labels: The classes of the text; None for texts with spans.
        tokens: Start and end of each token, in code points; None if the text was not tokenized.
        metadata: Values that came with the text, by name, such as an id. They can be written as JSON.
        predicted: True if the annotations are the predictions of a model.
    """

    text: str
    spans: Sequence[ScoredSpan] | None = None
    labels: Sequence[ScoredLabel] | None = None
    tokens: Sequence[tuple[int, int]] | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    predicted: bool = False


@dataclass(slots=True)
class Sentence:
    """A text with the offsets of its tokens and its gold spans: the input of training and evaluation.

    Attributes:
        text: The text.
        starts: Offset of the first character of each token, in code points.
        ends: Offset after the last character of each token.
        spans: The gold spans over the tokens; None if the text is unlabeled.
        lines: Line in the file (from 1) of each token, or a single entry with the line of the text.
        unaligned: Gold spans that do not match token boundaries. Evaluation counts them as gold spans too.
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
        """The tokens as written in the text."""
        text = self.text
        return [text[start:end] for start, end in zip(self.starts, self.ends, strict=True)]
