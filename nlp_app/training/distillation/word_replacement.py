"""New sentences out of old ones: some words give way to others, near ones or any (after Tang et al. 2019, "Distilling
task-specific knowledge from BERT into simple neural networks", section 3.2).

What such a sentence means is for a teacher to say. The student sees words that no labeled sentence has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_TOGETHER = 1000  # words compared with all others at a time


class WordReplacement:
    """Words that may stand for each other.

    words: distinct; near: (len(places), k) rows of `words`, those nearest to each word of `places` (word -> row of
    `near`); lower: whether words are in lower case, and what they stand for is not.
    """

    def __init__(self, words: Sequence[str], places: Mapping[str, int], near: NDArray[np.int64], lower: bool) -> None:
        self.words, self.places, self.near, self.lower = list(words), dict(places), near, lower

    @classmethod
    def nearest(
        cls, words: Sequence[str], vectors: NDArray[Any], wanted: Sequence[str], count: int, lower: bool
    ) -> WordReplacement:
        """Of each `wanted` word, which stand among `words`, the `count` nearest by cosine; vectors: (words, width)."""
        row = {word: number for number, word in enumerate(words)}
        unit = vectors - vectors.mean(0)
        unit = (unit / np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-9)).astype(np.float32)
        count = min(count, len(words) - 1)
        rows = np.array([row[word] for word in wanted], dtype=np.int64)
        near = np.empty((len(wanted), count), dtype=np.int64)
        for first in range(0, len(wanted) if count else 0, _TOGETHER):
            chosen = rows[first : first + _TOGETHER]
            likeness = unit[chosen] @ unit.T
            likeness[np.arange(len(chosen)), chosen] = -np.inf
            near[first : first + len(chosen)] = np.argpartition(-likeness, count - 1, axis=1)[:, :count]
        return cls(words, {word: number for number, word in enumerate(wanted)}, near, lower)

    def replace_words(
        self, sentences: Sequence[Sequence[str]], share: float, anywhere: float, random: np.random.Generator
    ) -> Iterator[list[str]]:
        """Each sentence with about `share` of its words replaced, of these `anywhere` by any word and the others by a
        near one; written as the word that gives way: Capitalized, UPPER or lower case."""
        for sentence in sentences:
            draws = random.random((len(sentence), 2))
            yield [
                self._another(token, draw[1] < anywhere, random) if draw[0] < share else token
                for token, draw in zip(sentence, draws, strict=True)
            ]

    def _another(self, token: str, any_word: bool, random: np.random.Generator) -> str:
        place = self.places.get(token.lower() if self.lower else token)
        if place is None:
            return token
        if any_word or not self.near.shape[1]:
            word = self.words[random.integers(len(self.words))]
        else:
            word = self.words[self.near[place, random.integers(self.near.shape[1])]]
        return _written_as(word, token) if self.lower else word


def _written_as(word: str, token: str) -> str:
    if token.isupper() and len(token) > 1:
        return word.upper()
    return word[:1].upper() + word[1:] if token[:1].isupper() else word
