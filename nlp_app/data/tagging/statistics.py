"""What a corpus holds, counted: sizes, lengths, labels, repetitions, and what two corpora share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from nlp_app.core.types import Sentence

EXAMPLES = 5  # of repeated or shared sentences that are named by their lines


@dataclass(frozen=True, slots=True)
class Lengths:
    """Sentence lengths in tokens. `p95`: the smallest length that 95 % of the sentences do not exceed."""

    min: int
    median: float
    mean: float
    p95: int
    max: int


@dataclass(frozen=True, slots=True)
class Entity:
    """A gold entity with its surface form as it stands in the text; `tokens` is 0 where no token span stands
    for it."""

    text: str
    label: str
    tokens: int
    line: int


@dataclass(frozen=True, slots=True)
class SharedSentences:
    """`count` sentences whose tokens are those of an earlier sentence or of one in another file.

    `lines` names the first few as (line of the first occurrence, line of the repetition).
    """

    count: int
    lines: list[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Statistics:
    """The figures of one corpus. `labels` counts gold entities (without a scheme: tokens), most frequent
    first."""

    sentences: int
    tokens: int
    vocabulary: int
    labels: dict[str, int]
    lengths: Lengths | None
    duplicates: SharedSentences
    longest_entity: Entity | None


@dataclass(frozen=True, slots=True)
class Unseen:
    """Of `entities` gold entities, `unseen` have a surface form that is no gold entity of the training
    file."""

    entities: int
    unseen: int

    @property
    def share(self) -> float:
        return self.unseen / self.entities if self.entities else 0.0


def entities(sentences: Sequence[Sentence]) -> Iterator[Entity]:
    """Every gold entity, the unaligned ones too."""
    for sentence in sentences:
        starts, ends, lines = sentence.starts, sentence.ends, sentence.lines
        for span in sentence.spans or ():
            text = sentence.text[starts[span.start] : ends[span.end - 1]]
            line = lines[span.start] if len(lines) == len(starts) else first_line(sentence)
            yield Entity(text, span.label, span.end - span.start, line)
        for gold in sentence.unaligned:
            yield Entity(sentence.text[gold.start : gold.end], gold.label, 0, first_line(sentence))


def first_line(sentence: Sentence) -> int:
    """The line of the file on which the sentence begins (0: none is known)."""
    return sentence.lines[0] if len(sentence.lines) else 0


def describe(sentences: Sequence[Sentence]) -> Statistics:
    """The figures of one corpus, in one go over its sentences."""
    lengths = [len(sentence) for sentence in sentences]
    vocabulary: set[str] = set()
    labels: Counter[str] = Counter()
    longest: Entity | None = None
    for sentence in sentences:
        vocabulary.update(sentence.tokens)
    for entity in entities(sentences):
        labels[entity.label] += 1
        if longest is None or entity.tokens > longest.tokens:
            longest = entity
    return Statistics(
        sentences=len(lengths),
        tokens=sum(lengths),
        vocabulary=len(vocabulary),
        labels=dict(labels.most_common()),
        lengths=_summarize(lengths) if lengths else None,
        duplicates=duplicates(sentences),
        longest_entity=longest,
    )


def _summarize(lengths: list[int]) -> Lengths:
    values = np.asarray(lengths)
    return Lengths(
        min=int(values.min()),
        median=float(np.median(values)),
        mean=float(values.mean()),
        p95=int(np.percentile(values, 95, method="inverted_cdf")),
        max=int(values.max()),
    )


def duplicates(sentences: Sequence[Sentence]) -> SharedSentences:
    """The sentences of a corpus that repeat an earlier one, token for token, whatever their labels."""
    first_lines: dict[tuple[str, ...], int] = {}
    return _shared(sentences, first_lines, remember=True)


def shared_sentences(train: Sequence[Sentence], other: Sequence[Sentence]) -> SharedSentences:
    """The sentences of `other` that also stand in `train`, token for token; an occurrence each."""
    first_lines: dict[tuple[str, ...], int] = {}
    for sentence in train:
        first_lines.setdefault(tuple(sentence.tokens), first_line(sentence))
    return _shared(other, first_lines, remember=False)


def _shared(sentences: Sequence[Sentence], first_lines: dict[tuple[str, ...], int], remember: bool) -> SharedSentences:
    count = 0
    lines: list[tuple[int, int]] = []
    for sentence in sentences:
        tokens = tuple(sentence.tokens)
        if not tokens:  # a text without a token has nothing to share
            continue
        if tokens in first_lines:
            count += 1
            if len(lines) < EXAMPLES:
                lines.append((first_lines[tokens], first_line(sentence)))
        elif remember:
            first_lines[tokens] = first_line(sentence)
    return SharedSentences(count, lines)


def unseen_entities(train: Sequence[Sentence], other: Sequence[Sentence]) -> Unseen:
    """How many gold entities of `other`, an occurrence each, have a surface form that `train` never
    labels."""
    known = {entity.text for entity in entities(train)}
    found = [entity.text in known for entity in entities(other)]
    return Unseen(entities=len(found), unseen=found.count(False))
