"""Tag set of a tagger: encode spans as tag ids and decode paths of tag ids to spans."""

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
    """The span labels of a tagging task and the tag scheme of the network.

    Attributes:
        labels: The span labels, sorted.
        scheme: Name of the scheme in which the network tags tokens, one of `schemes.SCHEMES`.

    Example:
        >>> tag_set = TagSet(("LOC", "PER"), "BIO")
        >>> tag_set.tags
        ['O', 'B-LOC', 'I-LOC', 'B-PER', 'I-PER']
        >>> tag_set.spans([3, 4, 0, 1])
        [TokenSpan(start=0, end=2, label='PER'), TokenSpan(start=3, end=4, label='LOC')]
    """

    labels: tuple[str, ...]
    scheme: str

    @classmethod
    def of(cls, sentences: Iterable[Sentence], scheme: str) -> TagSet:
        """Collect the labels of all gold spans.

        Args:
            sentences: Sentences with gold spans.
            scheme: Name of the network's tag scheme.

        Returns:
            The tag set, its labels sorted.
        """
        return cls(tuple(sorted({span.label for sentence in sentences for span in sentence.spans or ()})), scheme)

    @property
    def written_scheme(self) -> str:
        """The scheme of tags in output files and scores: "BIO", or "none" for tags without a scheme."""
        return schemes.NONE if self.scheme == schemes.NONE else "BIO"

    @cached_property
    def tags(self) -> list[str]:
        """The network's tags in the order of their ids."""
        return schemes.tag_names(self.labels, self.scheme)

    @cached_property
    def ids(self) -> dict[str, int]:
        """Tag ids by tag."""
        return {tag: number for number, tag in enumerate(self.tags)}

    @cached_property
    def allowed(self) -> NDArray[np.bool_]:
        """Allowed transitions, (tags + 2, tags + 2), as `allowed_transitions` returns them."""
        return allowed_transitions(self.tags, self.scheme)

    @cached_property
    def boundaries(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Span starts, (tags + 1, tags), and span ends, (tags, tags + 1), as `segment_boundaries` returns them."""
        return segment_boundaries(self.tags, self.scheme)

    def targets(self, sentences: Iterable[Sentence]) -> NDArray[np.int64]:
        """Encode the gold spans of sentences as tag ids.

        Args:
            sentences: Sentences with gold spans; without spans, all tokens are outside.

        Returns:
            Tag ids of all tokens, (tokens,), sentence after sentence.

        Raises:
            KeyError: If a span has a label that is not in the tag set.
        """
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
        """Decode the spans of one sentence.

        Args:
            path: The tag id of each token.

        Returns:
            The spans in order.
        """
        tags = self.tags
        return schemes.decode([tags[number] for number in path], self.scheme)[0]

    def written(self, path: Sequence[int]) -> list[str]:
        """Convert a path of tag ids to tags in `written_scheme`.

        The tags encode the same spans as `spans` returns.

        Args:
            path: The tag id of each token.

        Returns:
            One tag per token.
        """
        table = self._written
        return [table[before][tag] for before, tag in zip((len(self.tags), *path), path, strict=False)]

    @cached_property
    def _written(self) -> list[list[str]]:
        """Output tags by the previous token's tag id (last row: the start of the sentence) and the token's tag id."""
        if self.scheme == schemes.NONE:
            return [self.tags] * (len(self.tags) + 1)
        labels = [None if tag == schemes.OUTSIDE else tag.partition("-")[2] for tag in self.tags]
        pairs = [schemes.encode([] if label is None else [TokenSpan(0, 2, label)], 2, "BIO") for label in labels]
        firsts, others = np.array(pairs, dtype=object).reshape(-1, 2).T
        opens, _ = self.boundaries
        table: list[list[str]] = np.where(opens, firsts, others).tolist()
        return table
