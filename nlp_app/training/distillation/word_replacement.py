"""Make new sentences by replacing words with similar or random ones.

After Tang et al. 2019, "Distilling task-specific knowledge from BERT into simple neural networks", section 3.2. The
teacher labels the new sentences, and the student sees words that no labeled sentence has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_CHUNK = 1000  # words compared with all other words at a time


class WordReplacement:
    """Replacement of words in sentences by similar or random words.

    Args:
        words: Distinct words that replace others.
        row_of: Row in `neighbors` of each word that can be replaced.
        neighbors: (replaceable words, neighbors) Indices in `words` of the most similar words.
        lower_case: True if `words` are in lower case and tokens of sentences are not.
    """

    def __init__(
        self, words: Sequence[str], row_of: Mapping[str, int], neighbors: NDArray[np.int64], lower_case: bool
    ) -> None:
        self.words, self.row_of, self.neighbors, self.lower_case = list(words), dict(row_of), neighbors, lower_case

    @classmethod
    def from_vectors(
        cls, words: Sequence[str], vectors: NDArray[Any], queries: Sequence[str], count: int, lower_case: bool
    ) -> WordReplacement:
        """Find the most similar words by the cosine of their centered vectors.

        Args:
            words: Distinct words.
            vectors: (words, dimensions) Vectors of the words.
            queries: Words that can be replaced, all of them in `words`.
            count: Number of neighbors of each query.
            lower_case: True if `words` are in lower case and tokens of sentences are not.

        Returns:
            The replacement.
        """
        index = {word: number for number, word in enumerate(words)}
        unit = vectors - vectors.mean(0)
        unit = (unit / np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-9)).astype(np.float32)
        count = min(count, len(words) - 1)
        rows = np.array([index[word] for word in queries], dtype=np.int64)
        neighbors = np.empty((len(queries), count), dtype=np.int64)
        for first in range(0, len(queries) if count else 0, _CHUNK):
            chosen = rows[first : first + _CHUNK]
            similarity = unit[chosen] @ unit.T
            similarity[np.arange(len(chosen)), chosen] = -np.inf
            neighbors[first : first + len(chosen)] = np.argpartition(-similarity, count - 1, axis=1)[:, :count]
        return cls(words, {word: number for number, word in enumerate(queries)}, neighbors, lower_case)

    def replace_words(
        self, sentences: Sequence[Sequence[str]], rate: float, random_rate: float, random: np.random.Generator
    ) -> Iterator[list[str]]:
        """Replace words of sentences.

        A new word is written like the word that it replaces: Capitalized, UPPER or lower case.

        Args:
            sentences: Tokens of each sentence.
            rate: Share of words that are replaced, on average.
            random_rate: Share of the replaced words that are replaced by a random word instead of a similar one.
            random: Random number generator.

        Yields:
            Tokens of each sentence after replacement.
        """
        for sentence in sentences:
            draws = random.random((len(sentence), 2))
            yield [
                self._replace(token, draw[1] < random_rate, random) if draw[0] < rate else token
                for token, draw in zip(sentence, draws, strict=True)
            ]

    def _replace(self, token: str, any_word: bool, random: np.random.Generator) -> str:
        row = self.row_of.get(token.lower() if self.lower_case else token)
        if row is None:
            return token
        if any_word or not self.neighbors.shape[1]:
            word = self.words[random.integers(len(self.words))]
        else:
            word = self.words[self.neighbors[row, random.integers(self.neighbors.shape[1])]]
        return _copy_case(word, token) if self.lower_case else word


def _copy_case(word: str, token: str) -> str:
    if token.isupper() and len(token) > 1:
        return word.upper()
    return word[:1].upper() + word[1:] if token[:1].isupper() else word
