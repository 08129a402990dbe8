"""The classifier's encoder: texts in, bags of n-grams and sequences of words out; fitted on training data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from nlp_app.features.classification.ngram_bags import BagCounter, BagEncoder, BagOptions
from nlp_app.storage.ragged import RaggedColumns
from nlp_app.text import Tokenizer
from nlp_app.text.vocab import Vocabulary

_MOST_WORDS = 1 << 20  # counted at a time


@dataclass(frozen=True)
class EncodedTexts:
    """Texts as columns; None where the encoder has no such part.

    bags: arrays `rows` and `weights`, a row an n-gram; words: array `words` and, with pretrained vectors, `vectors`, a
    row a word.
    """

    bags: RaggedColumns | None
    words: RaggedColumns | None

    def columns(self) -> dict[str, RaggedColumns]:
        """The parts that there are, by name."""
        parts = {"bags": self.bags, "words": self.words}
        return {name: columns for name, columns in parts.items() if columns is not None}


@dataclass(frozen=True)
class TextEncoder:
    """What a classifier knows of texts: n-grams, words, words that have a pretrained vector.

    forgotten: words whose counts were dropped as it was fitted, to stay within bounds
    """

    tokenizer: Tokenizer
    bags: BagEncoder | None
    words: Vocabulary | None
    vectors: Vocabulary | None = None
    forgotten: int = 0

    @classmethod
    def fit(
        cls,
        chunks: Iterable[Sequence[str]],
        tokenizer: Tokenizer,
        *,
        bags: BagOptions | None,
        word_min_count: int | None,
        vectors: Vocabulary | None = None,
    ) -> TextEncoder:
        """N-grams and words of the training texts, in one pass. bags: None for none; word_min_count: texts' words that
        a word needs to be, None for no words."""
        counter = BagCounter(bags) if bags is not None else None
        words: Counter[str] = Counter()
        forgotten = 0
        for texts in chunks:
            norms = tokenizer.norms(texts)
            if counter is not None:
                counter.add(norms)
            if word_min_count is not None:
                words.update(norms[0])
                if len(words) > _MOST_WORDS:
                    forgotten += len(words) - _MOST_WORDS // 2
                    words = Counter(dict(words.most_common(_MOST_WORDS // 2)))
        return cls(
            tokenizer,
            counter.encoder() if counter is not None else None,
            Vocabulary.build(words, word_min_count) if word_min_count is not None else None,
            vectors,
            forgotten,
        )

    def with_class_weights(self, chunks: Iterable[tuple[Sequence[str], RaggedColumns]], classes: int) -> TextEncoder:
        """The same encoder, with n-grams weighed by what they tell of the classes; as `BagEncoder.weighed`."""
        if self.bags is None:
            return self
        bags = self.bags.with_class_weights(
            ((self.tokenizer.norms(texts), labels) for texts, labels in chunks), classes
        )
        return replace(self, bags=bags)

    @property
    def sizes(self) -> dict[str, int]:
        """Rows of each table that the columns point into; 0 for none."""
        return {
            "ngrams": len(self.bags) if self.bags is not None else 0,
            "words": len(self.words) if self.words is not None else 0,
            "vectors": len(self.vectors) if self.vectors is not None else 0,
        }

    def encode(self, texts: Sequence[str]) -> EncodedTexts:
        """The columns of texts."""
        norms = self.tokenizer.norms(texts)
        words = None
        if self.words is not None:
            arrays = {"words": self.words.rows(norms[0])}
            if self.vectors is not None:
                arrays["vectors"] = self.vectors.rows(norms[0])
            words = RaggedColumns(arrays, np.concatenate(([0], np.cumsum(norms[1], dtype=np.int64))))
        return EncodedTexts(self.bags.encode(norms) if self.bags is not None else None, words)

    def save(self, directory: Path) -> None:
        """The vocabularies as text, the n-grams' keys and frequencies as arrays."""
        if self.bags is not None:
            self.bags.save(directory)
        if self.words is not None:
            self.words.save(directory / "words.txt")
        if self.vectors is not None:
            self.vectors.save(directory / "vectors.txt")


def load_text_encoder(
    directory: Path, tokenizer: Tokenizer, sizes: dict[str, int], bags: BagOptions | None, texts: int
) -> TextEncoder:
    """What `TextEncoder.save` wrote; texts: the training texts that were counted."""
    return TextEncoder(
        tokenizer,
        BagEncoder.load(directory, bags, texts) if bags is not None else None,
        Vocabulary.load(directory / "words.txt") if sizes["words"] else None,
        Vocabulary.load(directory / "vectors.txt") if sizes["vectors"] else None,
    )
