"""Bags of n-grams: select the n-grams of a model, and compute their weights in a text.

The weight of an n-gram that occurs c times in a text is (1 + ln c) * idf, or c, or 1. The weights of each kind of
n-gram (words, characters) are scaled to a Euclidean length that is set for the kind; otherwise the many character
n-grams of a text would dominate its words. idf = 1 + ln((1 + n) / (1 + d)) for an n-gram that occurs in d of n training
texts (Salton & Buckley 1988, smoothed as in scikit-learn).

An n-gram that is equally frequent in the texts of all classes doesn't help to separate them. Its weight is therefore
multiplied by the square root of 1 - H / ln k: H is the entropy of the k classes among the training texts with this
n-gram, plus one text that is shared equally by all classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nlp_app.features.classification.ngrams import (
    NgramRange,
    Ngrams,
    character_keys,
    mark_text_ends,
    skip_gram_keys,
    word_characters,
    word_keys,
)
from nlp_app.features.feature_index import FeatureIndex, Keys, load_array, mix_bits
from nlp_app.storage.ragged import RaggedColumns

KINDS = ("word", "character", "skip")

WEIGHTINGS = ("tfidf", "count", "binary")

_WEIGHT_STEPS = 1 << 16  # class weights are rounded to multiples of 1 / 65,536

_MERGE_SIZE = 1 << 20  # minimum number of pending counts before they are merged


@dataclass(frozen=True)
class BagOptions:
    """Options of n-gram features.

    Attributes:
        words: Lengths of word n-grams, in words.
        characters: Lengths of character n-grams within words, in characters.
        weighting: One of WEIGHTINGS.
        character_share: Euclidean length of a text's weights of character n-grams; that of word n-grams is 1.
        skip_share: The same for pairs of words with one word between them. 0: don't use these pairs.
        min_count: Minimum number of training texts that contain an n-gram.
        buckets: Number of rows that all n-grams are hashed to, known or not. 0: a row for each known n-gram.
        max_features: Maximum number of n-grams; the most frequent ones are selected.
    """

    words: NgramRange
    characters: NgramRange
    weighting: str = "tfidf"
    character_share: float = 1.0
    skip_share: float = 0.0
    min_count: int = 1
    buckets: int = 0
    max_features: int = 1 << 22


Norms = tuple[Sequence[str], Sequence[int]]  # words of many texts, concatenated, and the number of words of each text


class BagCounter:
    """A counter of the texts that contain each n-gram, with bounded memory.

    Attributes:
        options: Options of the n-grams.
        texts: Number of texts so far.
        pruned: Number of n-grams that were dropped to limit the memory.
    """

    def __init__(self, options: BagOptions) -> None:
        self.options = options
        self.texts = 0
        self.pruned = 0
        self._keys = [np.zeros(0, dtype=np.uint64) for _ in KINDS]
        self._counts = [np.zeros(0, dtype=np.int64) for _ in KINDS]
        self._pending: list[list[tuple[Keys, NDArray[np.int64]]]] = [[] for _ in KINDS]

    def add(self, norms: Norms) -> None:
        """Count the n-grams of more texts.

        Args:
            norms: Words of the texts, concatenated, and the number of words of each text.
        """
        self.texts += len(norms[1])
        for kind, (keys, texts) in enumerate(_ngrams_by_kind(norms, self.options)):
            if self.options.buckets:
                keys = _bucket(keys, self.options.buckets).astype(np.uint64)
            self._pending[kind].append(_document_frequencies(keys, texts))
            if sum(len(keys) for keys, _ in self._pending[kind]) > max(_MERGE_SIZE, len(self._keys[kind])):
                self._merge(kind)

    def _merge(self, kind: int) -> None:
        """Add the pending counts to the previous ones."""
        parts = [(self._keys[kind], self._counts[kind]), *self._pending[kind]]
        self._pending[kind].clear()
        distinct, places = np.unique(np.concatenate([keys for keys, _ in parts]), return_inverse=True)
        totals = np.bincount(places, np.concatenate([counts for _, counts in parts]), len(distinct)).astype(np.int64)
        # Lossy counting (Manku & Motwani 2002) in its simplest form: drop the rarest n-grams if there are too many.
        selected = _most_frequent(totals, 4 * self.options.max_features)
        self.pruned += int((~selected).sum())
        distinct, totals = distinct[selected], totals[selected]
        self._keys[kind], self._counts[kind] = distinct, totals

    def encoder(self) -> BagEncoder:
        """Create an encoder from the counts.

        Returns:
            An encoder for the n-grams that are frequent enough.
        """
        for kind in range(len(KINDS)):
            self._merge(kind)
        if self.options.buckets:
            table = np.zeros(self.options.buckets, dtype=np.int64)
            for keys, counts in zip(self._keys, self._counts, strict=True):
                table[keys.astype(np.int64)] += counts
            return BagEncoder(self.options, [], table, self.texts)
        counts = np.concatenate(self._counts)
        frequent = counts >= self.options.min_count
        known = frequent & _most_frequent(counts, self.options.max_features)
        self.pruned += int((frequent & ~known).sum())
        chosen = np.split(known, np.cumsum([len(counts) for counts in self._counts])[:-1])
        indexes = [FeatureIndex(keys[mask]) for keys, mask in zip(self._keys, chosen, strict=True)]
        encoder = BagEncoder(self.options, indexes, counts[known], self.texts)
        encoder.pruned = self.pruned
        return encoder


class BagEncoder:
    """An encoder of texts as bags of n-grams: columns with one element for each distinct n-gram of a text.

        rows     (n-grams,)  table rows, from 1
        weights  (n-grams,)  float32

    Args:
        options: Options of the n-grams.
        indexes: Known n-grams of each kind; empty with buckets.
        frequencies: (n-grams,) number of training texts that contain each n-gram (with buckets: (buckets,)).
        texts: Number of training texts.
        class_weights: (n-grams,) how well each n-gram separates the classes, 0 to 1. None: 1 for all.

    Attributes:
        pruned: Number of n-grams that were dropped because of `BagOptions.max_features`.
    """

    def __init__(
        self,
        options: BagOptions,
        indexes: list[FeatureIndex],
        frequencies: NDArray[np.int64],
        texts: int,
        class_weights: NDArray[np.float64] | None = None,
    ) -> None:
        self.options, self.indexes, self.frequencies, self.texts = options, indexes, frequencies, texts
        self.pruned = 0
        self.class_weights = np.ones(len(frequencies)) if class_weights is None else class_weights
        self._factors = np.zeros(len(frequencies) + 1, dtype=np.float32)
        self._factors[1:] = self.class_weights
        if options.weighting == "tfidf":
            self._factors[1:] *= 1 + np.log((1 + texts) / (1 + frequencies))
        self._first = [0, *np.cumsum([len(index) - 1 for index in indexes]).tolist()]

    def __len__(self) -> int:
        """Return the number of table rows, including row 0."""
        return len(self.frequencies) + 1

    def encode(self, norms: Norms) -> RaggedColumns:
        """Encode texts as bags of n-grams.

        Args:
            norms: Words of the texts, concatenated, and the number of words of each text.

        Returns:
            The columns, a row for each text.
        """
        size = len(norms[1])
        texts, rows, kinds, counts = self._entries(norms)
        weights = self._factors[rows]
        if self.options.weighting == "tfidf":
            weights *= 1 + np.log(counts)
        elif self.options.weighting == "count":
            weights *= counts
        parts = texts * len(KINDS) + kinds  # a number for each text and kind
        lengths = np.sqrt(np.bincount(parts, weights.astype(np.float64) ** 2, size * len(KINDS)))
        for kind, share in enumerate((1.0, self.options.character_share, self.options.skip_share)):
            if share:
                lengths[kind :: len(KINDS)] /= share
        lengths[lengths == 0] = 1  # no known n-grams, or only n-grams with class weight 0
        weights /= lengths[parts]
        offsets = np.concatenate(([0], np.cumsum(np.bincount(texts, minlength=size))))
        return RaggedColumns({"rows": rows.astype(np.int32), "weights": weights.astype(np.float32)}, offsets)

    def with_class_weights(self, chunks: Iterable[tuple[Norms, RaggedColumns]], classes: int) -> BagEncoder:
        """Return a copy with n-grams weighted by how well they separate the classes (see the module docstring).

        Args:
            chunks: The training texts again, in chunks: their words, and their class ids (array "labels", a row for
                each text).
            classes: Number of classes.

        Returns:
            The encoder with weights.
        """
        counts = _ClassCounts(len(self), classes)
        for norms, labels in chunks:
            texts, rows, _, _ = self._entries(norms)
            counts.add(rows, texts, labels)
        encoder = BagEncoder(self.options, self.indexes, self.frequencies, self.texts, counts.class_weights()[1:])
        encoder.pruned = self.pruned
        return encoder

    def _entries(self, norms: Norms) -> tuple[NDArray[np.int64], ...]:
        """Return the known n-grams of each text without duplicates: text, row, kind, and number of occurrences."""
        parts = []
        for kind, (keys, texts) in enumerate(_ngrams_by_kind(norms, self.options)):
            rows = self._rows(kind, keys)
            known = rows > 0
            parts.append((texts[known] << 34) + (rows[known] << 2) + kind)
        entries, counts = _count_distinct(np.concatenate(parts))
        return entries >> 34, (entries >> 2) & 0xFFFFFFFF, entries & 3, counts

    def _rows(self, kind: int, keys: Keys) -> NDArray[np.int64]:
        if self.options.buckets:
            return _bucket(keys, self.options.buckets) + 1
        rows = self.indexes[kind].rows(keys).astype(np.int64)
        rows[rows > 0] += self._first[kind]
        return rows

    def save(self, directory: Path) -> None:
        """Save the keys of the known n-grams, their frequencies and their class weights as arrays.

        Args:
            directory: Directory to write to; created if it doesn't exist.
        """
        directory.mkdir(exist_ok=True)
        for kind, index in zip(KINDS, self.indexes, strict=False):
            np.save(directory / f"{kind}-ngrams.npy", index.keys, allow_pickle=False)
        np.save(directory / "frequencies.npy", self.frequencies, allow_pickle=False)
        np.save(directory / "tellings.npy", (self.class_weights * _WEIGHT_STEPS).astype(np.int64), allow_pickle=False)

    @classmethod
    def load(cls, directory: Path, options: BagOptions, texts: int) -> BagEncoder:
        """Load an encoder that `save` wrote.

        Args:
            directory: Directory to read from.
            options: Options of the n-grams.
            texts: Number of training texts.

        Returns:
            The encoder.

        Raises:
            ModelError: A file cannot be read.
            ValueError: The files contradict each other.
        """
        keys = [] if options.buckets else [load_array(directory / f"{kind}-ngrams.npy") for kind in KINDS]
        frequencies = load_array(directory / "frequencies.npy").astype(np.int64)
        class_weights = load_array(directory / "tellings.npy") / _WEIGHT_STEPS
        indexes = [FeatureIndex(known.astype(np.uint64)) for known in keys]
        rows = options.buckets or sum(len(index.keys) for index in indexes)
        if not len(class_weights) == len(frequencies) == rows:
            raise ValueError(
                f"found {len(frequencies)} frequencies and {len(class_weights)} class weights for {rows} n-grams"
            )
        if frequencies.min(initial=0) < 0 or any((index.keys[1:] <= index.keys[:-1]).any() for index in indexes):
            raise ValueError("found n-grams that are not sorted, or frequencies below 0")
        return cls(options, indexes, frequencies, texts, class_weights)


class _ClassCounts:
    """The number of texts of each class that contain each n-gram, counted in chunks."""

    def __init__(self, rows: int, classes: int) -> None:
        self._rows, self._classes = rows, classes
        self._cells = np.zeros(0, dtype=np.int64)  # row * classes + class, sorted
        self._counts = np.zeros(0, dtype=np.int64)
        self._pending: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []

    def add(self, rows: NDArray[np.int64], texts: NDArray[np.int64], labels: RaggedColumns) -> None:
        lengths = labels.lengths[texts]
        starts = np.repeat(labels.offsets[texts] - np.cumsum(lengths) + lengths, lengths)
        classes = labels.arrays["labels"][starts + np.arange(len(starts))]
        self._pending.append(_count_distinct(np.repeat(rows, lengths) * self._classes + classes))
        if sum(len(cells) for cells, _ in self._pending) > max(_MERGE_SIZE, len(self._cells)):
            self._merge()

    def _merge(self) -> None:
        parts = [(self._cells, self._counts), *self._pending]
        self._pending.clear()
        self._cells, places = np.unique(np.concatenate([cells for cells, _ in parts]), return_inverse=True)
        self._counts = np.bincount(places, np.concatenate([counts for _, counts in parts])).astype(np.int64)

    def class_weights(self) -> NDArray[np.float64]:
        """Compute (rows,) the square root of 1 - H / ln k."""
        self._merge()
        rows, k = self._cells // self._classes, self._classes
        totals = np.bincount(rows, self._counts, self._rows) + 1
        present = np.bincount(rows, minlength=self._rows)
        shares = (self._counts + 1 / k) / totals[rows]
        rest = 1 / k / totals  # share of each class that no text with the n-gram has
        entropy = np.bincount(rows, -shares * np.log(shares), self._rows) - (k - present) * rest * np.log(rest)
        if k == 1:
            return np.ones(self._rows)
        # Round like `save`, so that a model has the same weights before and after it is saved.
        class_weights: NDArray[np.float64] = np.sqrt(np.clip(1 - entropy / np.log(k), 0, 1))
        return np.round(class_weights * _WEIGHT_STEPS) / _WEIGHT_STEPS


def _ngrams_by_kind(norms: Norms, options: BagOptions) -> Sequence[Ngrams]:
    """Compute the n-grams of each kind."""
    words = word_characters(*norms)
    ends = mark_text_ends(words, norms[1])
    ngrams = [word_keys(ends, options.words), character_keys(words, options.characters)]
    return [*ngrams, skip_gram_keys(ends)] if options.skip_share else ngrams


def _bucket(keys: Keys, buckets: int) -> NDArray[np.int64]:
    return (mix_bits(keys) % np.uint64(buckets)).astype(np.int64)


def _count_distinct(entries: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the distinct entries, sorted, and the number of occurrences of each."""
    entries = np.sort(entries)
    new = np.ones(len(entries), dtype=bool)
    np.not_equal(entries[1:], entries[:-1], out=new[1:])
    firsts = new.nonzero()[0]
    return entries[firsts], np.diff(firsts, append=len(entries))


def _most_frequent(counts: NDArray[np.int64], limit: int) -> NDArray[np.bool_]:
    """Return a mask of the `limit` largest counts; among equal ones, the first are selected."""
    if len(counts) <= limit:
        return np.ones(len(counts), dtype=bool)
    smallest = np.partition(counts, len(counts) - limit)[-limit]
    chosen: NDArray[np.bool_] = counts > smallest
    chosen[np.flatnonzero(counts == smallest)[: limit - int(chosen.sum())]] = True
    return chosen


def _document_frequencies(keys: Keys, texts: NDArray[np.intp]) -> tuple[Keys, NDArray[np.int64]]:
    """Return the distinct keys, and the number of texts that contain each."""
    distinct, places = np.unique(keys, return_inverse=True)
    entries, _ = _count_distinct((places << 32) + texts)
    return distinct, np.bincount(entries >> 32, minlength=len(distinct)).astype(np.int64)
