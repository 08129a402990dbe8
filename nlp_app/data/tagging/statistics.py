"""Statistics of a corpus: size, sentence lengths, labels, duplicates, and overlap with another corpus."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from nlp_app.core.types import Sentence

EXAMPLES = 5  # duplicate or shared sentences whose lines are listed


@dataclass(frozen=True, slots=True)
class Lengths:
    """Sentence lengths in tokens; `p95` is the smallest length that 95% of the sentences do not exceed."""

    min: int
    median: float
    mean: float
    p95: int
    max: int


@dataclass(frozen=True, slots=True)
class Entity:
    """A gold entity.

    Attributes:
        text: Surface form in the text.
        label: Label.
        tokens: Length in tokens; 0 if the entity could not be aligned with tokens.
        line: Line in the file.
    """

    text: str
    label: str
    tokens: int
    line: int


@dataclass(frozen=True, slots=True)
class SharedSentences:
    """Sentences with the same tokens as an earlier sentence, or as a sentence of another file.

    Attributes:
        count: Number of sentences.
        lines: The first few of them: line of the first occurrence, line of the copy.
    """

    count: int
    lines: list[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Statistics:
    """Statistics of one corpus.

    Attributes:
        sentences: Number of sentences.
        tokens: Number of tokens.
        vocabulary: Number of different tokens.
        labels: Number of gold entities of each label, most frequent first; tokens if the tags have no scheme.
        lengths: Sentence lengths; None without sentences.
        duplicates: Sentences that repeat an earlier one.
        longest_entity: The first entity with the most tokens; None without entities.
    """

    sentences: int
    tokens: int
    vocabulary: int
    labels: dict[str, int]
    lengths: Lengths | None
    duplicates: SharedSentences
    longest_entity: Entity | None


@dataclass(frozen=True, slots=True)
class Unseen:
    """Entities that do not occur in the training file.

    Attributes:
        entities: Number of gold entities.
        unseen: Number of gold entities whose surface form is not a gold entity of the training file.
    """

    entities: int
    unseen: int

    @property
    def share(self) -> float:
        """Share of unseen entities, from 0 to 1."""
        return self.unseen / self.entities if self.entities else 0.0


def iter_entities(sentences: Sequence[Sentence]) -> Iterator[Entity]:
    """Iterate over the gold entities.

    Args:
        sentences: The sentences.

    Yields:
        Each gold entity; within a sentence, entities that could not be aligned with tokens come last.
    """
    for sentence in sentences:
        starts, ends, lines = sentence.starts, sentence.ends, sentence.lines
        for span in sentence.spans or ():
            text = sentence.text[starts[span.start] : ends[span.end - 1]]
            line = lines[span.start] if len(lines) == len(starts) else first_line(sentence)
            yield Entity(text, span.label, span.end - span.start, line)
        for gold in sentence.unaligned:
            yield Entity(sentence.text[gold.start : gold.end], gold.label, 0, first_line(sentence))


def first_line(sentence: Sentence) -> int:
    """Return the line on which a sentence begins.

    Args:
        sentence: The sentence.

    Returns:
        The line, from 1; 0 if unknown.
    """
    return sentence.lines[0] if len(sentence.lines) else 0


def compute_statistics(sentences: Sequence[Sentence]) -> Statistics:
    """Compute the statistics of a corpus.

    Args:
        sentences: The sentences of the corpus.

    Returns:
        The statistics.
    """
    lengths = [len(sentence) for sentence in sentences]
    vocabulary: set[str] = set()
    labels: Counter[str] = Counter()
    longest: Entity | None = None
    for sentence in sentences:
        vocabulary.update(sentence.tokens)
    for entity in iter_entities(sentences):
        labels[entity.label] += 1
        if longest is None or entity.tokens > longest.tokens:
            longest = entity
    return Statistics(
        sentences=len(lengths),
        tokens=sum(lengths),
        vocabulary=len(vocabulary),
        labels=dict(labels.most_common()),
        lengths=_summarize(lengths) if lengths else None,
        duplicates=find_duplicates(sentences),
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


def find_duplicates(sentences: Sequence[Sentence]) -> SharedSentences:
    """Find the sentences that repeat the tokens of an earlier sentence; labels are ignored.

    Args:
        sentences: The sentences of the corpus.

    Returns:
        Their number, and the lines of the first few.
    """
    first_lines: dict[tuple[str, ...], int] = {}
    return _shared(sentences, first_lines, remember=True)


def find_shared_sentences(train: Sequence[Sentence], other: Sequence[Sentence]) -> SharedSentences:
    """Find the sentences of a corpus whose tokens also occur as a sentence of the training corpus.

    Args:
        train: Sentences of the training corpus.
        other: Sentences of the other corpus; each copy counts.

    Returns:
        Their number, and the lines of the first few.
    """
    first_lines: dict[tuple[str, ...], int] = {}
    for sentence in train:
        first_lines.setdefault(tuple(sentence.tokens), first_line(sentence))
    return _shared(other, first_lines, remember=False)


def _shared(sentences: Sequence[Sentence], first_lines: dict[tuple[str, ...], int], remember: bool) -> SharedSentences:
    count = 0
    lines: list[tuple[int, int]] = []
    for sentence in sentences:
        tokens = tuple(sentence.tokens)
        if not tokens:
            continue
        if tokens in first_lines:
            count += 1
            if len(lines) < EXAMPLES:
                lines.append((first_lines[tokens], first_line(sentence)))
        elif remember:
            first_lines[tokens] = first_line(sentence)
    return SharedSentences(count, lines)


def count_unseen_entities(train: Sequence[Sentence], other: Sequence[Sentence]) -> Unseen:
    """Count the gold entities of a corpus whose surface form is not a gold entity of the training corpus.

    Args:
        train: Sentences of the training corpus.
        other: Sentences of the other corpus; each occurrence of an entity counts.

    Returns:
        The numbers of all and of unseen entities.
    """
    known = {entity.text for entity in iter_entities(train)}
    is_known = [entity.text in known for entity in iter_entities(other)]
    return Unseen(entities=len(is_known), unseen=is_known.count(False))
