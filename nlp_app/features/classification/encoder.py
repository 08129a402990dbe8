"""The encoder of a text classifier: bags of n-grams and word sequences, fitted on the training data."""

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

_MAX_COUNTED_WORDS = 1 << 20  # above it, the rarer half of the counts is dropped


@dataclass(frozen=True)
class EncodedTexts:
    """Texts as columns.

    Attributes:
        bags: Arrays `rows` and `weights`, one element for each distinct n-gram of a text. None: the encoder has no
            n-grams.
        words: Array `words` and, with pretrained vectors, `vectors`: one row number for each word. None: the encoder
            has no words.
    """

    bags: RaggedColumns | None
    words: RaggedColumns | None

    def columns(self) -> dict[str, RaggedColumns]:
        """Return the columns by name.

        Returns:
            The columns of "bags" and "words", without those that are None.
        """
        parts = {"bags": self.bags, "words": self.words}
        return {name: columns for name, columns in parts.items() if columns is not None}


@dataclass(frozen=True)
class TextEncoder:
    """An encoder of texts with the vocabularies of a classifier.

    Attributes:
        tokenizer: Splits texts into words.
        bags: Encoder of n-grams. None: no n-grams.
        words: Vocabulary of words. None: no words.
        vectors: Words that have a pretrained vector. None: no pretrained vectors.
        forgotten: Number of word counts that `fit` dropped to limit its memory.
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
        """Collect the n-grams and words of the training texts, in one pass.

        Args:
            chunks: The training texts, in chunks.
            tokenizer: Splits texts into words.
            bags: Options for n-grams. None: no n-grams.
            word_min_count: Minimum number of occurrences of a word. None: no words.
            vectors: Words that have a pretrained vector.

        Returns:
            The encoder.
        """
        counter = BagCounter(bags) if bags is not None else None
        words: Counter[str] = Counter()
        forgotten = 0
        for texts in chunks:
            norms = tokenizer.norms(texts)
            if counter is not None:
                counter.add(norms)
            if word_min_count is not None:
                words.update(norms[0])
                if len(words) > _MAX_COUNTED_WORDS:
                    forgotten += len(words) - _MAX_COUNTED_WORDS // 2
                    words = Counter(dict(words.most_common(_MAX_COUNTED_WORDS // 2)))
        return cls(
            tokenizer,
            counter.encoder() if counter is not None else None,
            Vocabulary.build(words, word_min_count) if word_min_count is not None else None,
            vectors,
            forgotten,
        )

    def with_class_weights(self, chunks: Iterable[tuple[Sequence[str], RaggedColumns]], classes: int) -> TextEncoder:
        """Return a copy with n-grams weighted by how well they separate the classes.

        Args:
            chunks: The training texts again, in chunks, with their class ids (array "labels", a row for each text).
            classes: Number of classes.

        Returns:
            The encoder with weights; this encoder if it has no n-grams.
        """
        if self.bags is None:
            return self
        bags = self.bags.with_class_weights(
            ((self.tokenizer.norms(texts), labels) for texts, labels in chunks), classes
        )
        return replace(self, bags=bags)

    @property
    def sizes(self) -> dict[str, int]:
        """Number of rows of each table that the columns refer to; 0 if there is no table."""
        return {
            "ngrams": len(self.bags) if self.bags is not None else 0,
            "words": len(self.words) if self.words is not None else 0,
            "vectors": len(self.vectors) if self.vectors is not None else 0,
        }

    def encode(self, texts: Sequence[str]) -> EncodedTexts:
        """Encode texts as columns.

        Args:
            texts: The texts.

        Returns:
            The columns, a row for each text.
        """
        norms = self.tokenizer.norms(texts)
        words = None
        if self.words is not None:
            arrays = {"words": self.words.rows(norms[0])}
            if self.vectors is not None:
                arrays["vectors"] = self.vectors.rows(norms[0])
            words = RaggedColumns(arrays, np.concatenate(([0], np.cumsum(norms[1], dtype=np.int64))))
        return EncodedTexts(self.bags.encode(norms) if self.bags is not None else None, words)

    def save(self, directory: Path) -> None:
        """Save the vocabularies as text, and the keys and frequencies of n-grams as arrays.

        Args:
            directory: Directory to write to.
        """
        if self.bags is not None:
            self.bags.save(directory)
        if self.words is not None:
            self.words.save(directory / "words.txt")
        if self.vectors is not None:
            self.vectors.save(directory / "vectors.txt")


def load_text_encoder(
    directory: Path, tokenizer: Tokenizer, sizes: dict[str, int], bags: BagOptions | None, texts: int
) -> TextEncoder:
    """Load an encoder that `TextEncoder.save` wrote.

    Args:
        directory: Directory to read from.
        tokenizer: The tokenizer that the encoder was fitted with.
        sizes: `TextEncoder.sizes` of the saved encoder.
        bags: Options for n-grams. None: no n-grams.
        texts: Number of training texts.

    Returns:
        The encoder.

    Raises:
        ModelError: A file cannot be read.
        ValueError: The files of n-grams contradict each other.
    """
    return TextEncoder(
        tokenizer,
        BagEncoder.load(directory, bags, texts) if bags is not None else None,
        Vocabulary.load(directory / "words.txt") if sizes["words"] else None,
        Vocabulary.load(directory / "vectors.txt") if sizes["vectors"] else None,
    )
