"""The labels of a tagger and their tag scheme: spans to tag ids for a network, and its paths back to spans."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from nlp_app.core.types import Sentence, TokenSpan
from nlp_app.labels import schemes
from nlp_app.labels.transitions import allowed_transitions, segment_boundaries


@dataclass(frozen=True)
class TagSet:
    """The labels of a task and the scheme in which the network's tags spell them."""

    labels: tuple[str, ...]
    scheme: str

    @classmethod
    def of(cls, sentences: Iterable[Sentence], scheme: str) -> TagSet:
        """The labels that the sentences' gold spans carry."""
        return cls(tuple(sorted({span.label for sentence in sentences for span in sentence.spans or ()})), scheme)

    @property
    def written_scheme(self) -> str:
        """The scheme of tags that leave the program, for people and scorers: BIO, or none."""
        return schemes.NONE if self.scheme == schemes.NONE else "BIO"

    @cached_property
    def tags(self) -> list[str]:
        """The tags, in the order of their ids."""
        return schemes.tag_names(self.labels, self.scheme)

    @cached_property
    def ids(self) -> dict[str, int]:
        """Each tag's id."""
        return {tag: number for number, tag in enumerate(self.tags)}

    @cached_property
    def allowed(self) -> NDArray[np.bool_]:
        """Which tag may follow which: (tags + 2, tags + 2), start and end last."""
        return allowed_transitions(self.tags, self.scheme)

    @cached_property
    def boundaries(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which neighboring tags open a span, (tags + 1, tags), and close one, (tags, tags + 1)."""
        return segment_boundaries(self.tags, self.scheme)

    def targets(self, sentences: Iterable[Sentence]) -> NDArray[np.int64]:
        """The gold tag ids of all tokens, one sentence after the other."""
        ids = self.ids
        return np.fromiter(
            (
                ids[tag]
                for sentence in sentences
                for tag in schemes.encode(sentence.spans or (), len(sentence), self.scheme)
            ),
            dtype=np.int64,
        )

    def spans(self, path: Sequence[int]) -> list[TokenSpan]:
        """The spans that a path of tag ids spells."""
        tags = self.tags
        return schemes.decode([tags[number] for number in path], self.scheme)[0]

    def written(self, path: Sequence[int]) -> list[str]:
        """The tags in `written_scheme` of the spans that a path of tag ids spells."""
        table = self._written
        return [table[before][tag] for before, tag in zip((len(self.tags), *path), path, strict=False)]

    @cached_property
    def _written(self) -> list[list[str]]:
        """What is written for the column's tag if it stands after the row's, or (the last row) first."""
        if self.scheme == schemes.NONE:
            return [self.tags] * (len(self.tags) + 1)
        labels = [None if tag == schemes.OUTSIDE else tag.partition("-")[2] for tag in self.tags]
        pairs = [schemes.encode([] if label is None else [TokenSpan(0, 2, label)], 2, "BIO") for label in labels]
        firsts, others = np.array(pairs, dtype=object).reshape(-1, 2).T
        opens, _ = self.boundaries
        table: list[list[str]] = np.where(opens, firsts, others).tolist()
        return table
