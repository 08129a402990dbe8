"""Bags of n-grams: which n-grams a model knows, and what each weighs in a text.

A text's weight for an n-gram that stands in it c times is (1 + ln c) * idf, or c, or 1, scaled so that each kind of
n-gram (of words, of characters) has a Euclidean length of its own share: a word's many character n-grams would drown
it otherwise. idf = 1 + ln((1 + n) / (1 + d)) for an n-gram that d of n training texts have (Salton & Buckley 1988, as
scikit-learn smooths it).

An n-gram that stands in texts of all classes alike tells nothing of them. So its weight is multiplied by the square
root of 1 - H / ln k, where H is the entropy of the k classes among its texts, one text more added in equal shares.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nlp_app.features.classification.ngrams import (
    Found,
    NgramRange,
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

_STEPS = 1 << 16  # of the scale that tellings are kept on

_MERGED = 1 << 20  # counts that are merged at a time


@dataclass(frozen=True)
class BagOptions:
    """`words`, `characters`: the orders of n-grams, (shortest, longest). `weighting`: one of WEIGHTINGS.

    `character_share`, `skip_share`: the lengths of the parts of a text's weights that n-grams of characters and pairs
    of words around a third have; the words' is 1, and 0 leaves such pairs out. `min_count`: training texts that an
    n-gram needs to get a row. `buckets`: 0, or the rows that all n-grams are hashed into, known or not.
    `max_features`: n-grams kept at most, those of most texts.
    """

    words: NgramRange
    characters: NgramRange
    weighting: str = "tfidf"
    character_share: float = 1.0
    skip_share: float = 0.0
    min_count: int = 1
    buckets: int = 0
    max_features: int = 1 << 22


Norms = tuple[Sequence[str], Sequence[int]]  # the words of many texts, and how many each text has


class BagCounter:
    """The document frequencies of n-grams, a chunk of texts at a time, in bounded memory."""

    def __init__(self, options: BagOptions) -> None:
        self.options = options
        self.texts = 0
        self.pruned = 0  # n-grams dropped to stay within bounds
        self._keys = [np.zeros(0, dtype=np.uint64) for _ in KINDS]
        self._counts = [np.zeros(0, dtype=np.int64) for _ in KINDS]
        self._pending: list[list[tuple[Keys, NDArray[np.int64]]]] = [[] for _ in KINDS]

    def add(self, norms: Norms) -> None:
        """Count the n-grams of some more texts."""
        self.texts += len(norms[1])
        for kind, (keys, texts) in enumerate(_found(norms, self.options)):
            if self.options.buckets:
                keys = _bucket(keys, self.options.buckets).astype(np.uint64)
            self._pending[kind].append(_document_frequencies(keys, texts))
            if sum(len(keys) for keys, _ in self._pending[kind]) > max(_MERGED, len(self._keys[kind])):
                self._merge(kind)

    def _merge(self, kind: int) -> None:
        """Add what is pending to what was counted before."""
        parts = [(self._keys[kind], self._counts[kind]), *self._pending[kind]]
        self._pending[kind].clear()
        both, places = np.unique(np.concatenate([keys for keys, _ in parts]), return_inverse=True)
        total = np.bincount(places, np.concatenate([counts for _, counts in parts]), len(both)).astype(np.int64)
        # Lossy counting (Manku & Motwani 2002) in its simplest form: the rarest go when there are too many.
        kept = _most_frequent(total, 4 * self.options.max_features)
        self.pruned += int((~kept).sum())
        both, total = both[kept], total[kept]
        self._keys[kind], self._counts[kind] = both, total

    def encoder(self) -> BagEncoder:
        """An encoder that knows what was counted."""
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
        indexes = [FeatureIndex(keys[kept]) for keys, kept in zip(self._keys, chosen, strict=True)]
        encoder = BagEncoder(self.options, indexes, counts[known], self.texts)
        encoder.pruned = self.pruned
        return encoder


class BagEncoder:
    """Columns of texts' n-grams, a row an n-gram of a text, each n-gram once:

    rows     (n-grams,)  rows of a table, from 1
    weights  (n-grams,)  float32
    """

    def __init__(
        self,
        options: BagOptions,
        indexes: list[FeatureIndex],
        frequencies: NDArray[np.int64],
        texts: int,
        tellings: NDArray[np.float64] | None = None,
    ) -> None:
        """frequencies: (n-grams,) training texts that have each; tellings: (n-grams,) how much each tells of the
        classes, 0 to 1."""
        self.options, self.indexes, self.frequencies, self.texts = options, indexes, frequencies, texts
        self.pruned = 0  # n-grams of the training texts that there was no room for
        self.tellings = np.ones(len(frequencies)) if tellings is None else tellings
        self._factors = np.zeros(len(frequencies) + 1, dtype=np.float32)
        self._factors[1:] = self.tellings
        if options.weighting == "tfidf":
            self._factors[1:] *= 1 + np.log((1 + texts) / (1 + frequencies))
        self._first = [0, *np.cumsum([len(index) - 1 for index in indexes]).tolist()]

    def __len__(self) -> int:
        """Rows of the table, row 0 included."""
        return len(self.frequencies) + 1

    def encode(self, norms: Norms) -> RaggedColumns:
        """The bags of texts."""
        size = len(norms[1])
        texts, rows, kinds, counts = self._entries(norms)
        weights = self._factors[rows]
        if self.options.weighting == "tfidf":
            weights *= 1 + np.log(counts)
        elif self.options.weighting == "count":
            weights *= counts
        place = texts * len(KINDS) + kinds
        lengths = np.sqrt(np.bincount(place, weights.astype(np.float64) ** 2, size * len(KINDS)))
        for kind, share in enumerate((1.0, self.options.character_share, self.options.skip_share)):
            if share:
                lengths[kind :: len(KINDS)] /= share
        lengths[lengths == 0] = 1  # nothing known, or only n-grams that tell nothing of the classes
        weights /= lengths[place]
        offsets = np.concatenate(([0], np.cumsum(np.bincount(texts, minlength=size))))
        return RaggedColumns({"rows": rows.astype(np.int32), "weights": weights.astype(np.float32)}, offsets)

    def with_class_weights(self, chunks: Iterable[tuple[Norms, RaggedColumns]], classes: int) -> BagEncoder:
        """The same encoder, with n-grams weighed by what they tell of the classes. chunks: the training texts again,
        with their class ids, a row a label of a text."""
        counts = _ClassCounts(len(self), classes)
        for norms, labels in chunks:
            texts, rows, _, _ = self._entries(norms)
            counts.add(rows, texts, labels)
        encoder = BagEncoder(self.options, self.indexes, self.frequencies, self.texts, counts.tellings()[1:])
        encoder.pruned = self.pruned
        return encoder

    def _entries(self, norms: Norms) -> tuple[NDArray[np.int64], ...]:
        """Each known n-gram of each text once: text, row, kind, and how often it stands there."""
        parts = []
        for kind, (keys, texts) in enumerate(_found(norms, self.options)):
            rows = self._rows(kind, keys)
            known = rows > 0
            parts.append((texts[known] << 34) + (rows[known] << 2) + kind)
        entries, counts = _counted(np.concatenate(parts))
        return entries >> 34, (entries >> 2) & 0xFFFFFFFF, entries & 3, counts

    def _rows(self, kind: int, keys: Keys) -> NDArray[np.int64]:
        if self.options.buckets:
            return _bucket(keys, self.options.buckets) + 1
        rows = self.indexes[kind].rows(keys).astype(np.int64)
        rows[rows > 0] += self._first[kind]
        return rows

    def save(self, directory: Path) -> None:
        """The keys of known n-grams, and how many training texts have each."""
        directory.mkdir(exist_ok=True)
        for kind, index in zip(KINDS, self.indexes, strict=False):
            np.save(directory / f"{kind}-ngrams.npy", index.keys, allow_pickle=False)
        np.save(directory / "frequencies.npy", self.frequencies, allow_pickle=False)
        np.save(directory / "tellings.npy", (self.tellings * _STEPS).astype(np.int64), allow_pickle=False)

    @classmethod
    def load(cls, directory: Path, options: BagOptions, texts: int) -> BagEncoder:
        """What `save` wrote."""
        keys = [] if options.buckets else [load_array(directory / f"{kind}-ngrams.npy") for kind in KINDS]
        frequencies = load_array(directory / "frequencies.npy").astype(np.int64)
        tellings = load_array(directory / "tellings.npy") / _STEPS
        indexes = [FeatureIndex(known.astype(np.uint64)) for known in keys]
        rows = options.buckets or sum(len(index.keys) for index in indexes)
        if not len(tellings) == len(frequencies) == rows:
            raise ValueError(f"found {len(frequencies)} frequencies and {len(tellings)} tellings of {rows} n-grams")
        if frequencies.min(initial=0) < 0 or any((index.keys[1:] <= index.keys[:-1]).any() for index in indexes):
            raise ValueError("found n-grams that are not in order, or frequencies below 0")
        return cls(options, indexes, frequencies, texts, tellings)


class _ClassCounts:
    """How many texts of each class have each n-gram, added up in pieces."""

    def __init__(self, rows: int, classes: int) -> None:
        self._rows, self._classes = rows, classes
        self._cells = np.zeros(0, dtype=np.int64)  # row * classes + class, sorted
        self._counts = np.zeros(0, dtype=np.int64)
        self._pending: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []

    def add(self, rows: NDArray[np.int64], texts: NDArray[np.int64], labels: RaggedColumns) -> None:
        lengths = labels.lengths[texts]
        starts = np.repeat(labels.offsets[texts] - np.cumsum(lengths) + lengths, lengths)
        classes = labels.arrays["labels"][starts + np.arange(len(starts))]
        self._pending.append(_counted(np.repeat(rows, lengths) * self._classes + classes))
        if sum(len(cells) for cells, _ in self._pending) > max(_MERGED, len(self._cells)):
            self._merge()

    def _merge(self) -> None:
        parts = [(self._cells, self._counts), *self._pending]
        self._pending.clear()
        self._cells, places = np.unique(np.concatenate([cells for cells, _ in parts]), return_inverse=True)
        self._counts = np.bincount(places, np.concatenate([counts for _, counts in parts])).astype(np.int64)

    def tellings(self) -> NDArray[np.float64]:
        """(rows,) the square root of 1 - H / ln k."""
        self._merge()
        rows, k = self._cells // self._classes, self._classes
        totals = np.bincount(rows, self._counts, self._rows) + 1
        present = np.bincount(rows, minlength=self._rows)
        shares = (self._counts + 1 / k) / totals[rows]
        rest = 1 / k / totals  # of each class that none of the texts has
        entropy = np.bincount(rows, -shares * np.log(shares), self._rows) - (k - present) * rest * np.log(rest)
        if k == 1:
            return np.ones(self._rows)
        # On the scale that is saved, so that a model weighs alike before and after.
        tellings: NDArray[np.float64] = np.sqrt(np.clip(1 - entropy / np.log(k), 0, 1))
        return np.round(tellings * _STEPS) / _STEPS


def _found(norms: Norms, options: BagOptions) -> Sequence[Found]:
    """The n-grams of each kind."""
    words = word_characters(*norms)
    ends = mark_text_ends(words, norms[1])
    found = [word_keys(ends, options.words), character_keys(words, options.characters)]
    return [*found, skip_gram_keys(ends)] if options.skip_share else found


def _bucket(keys: Keys, buckets: int) -> NDArray[np.int64]:
    return (mix_bits(keys) % np.uint64(buckets)).astype(np.int64)


def _counted(entries: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Distinct entries in order, and how often each occurs."""
    entries = np.sort(entries)
    new = np.ones(len(entries), dtype=bool)
    np.not_equal(entries[1:], entries[:-1], out=new[1:])
    firsts = new.nonzero()[0]
    return entries[firsts], np.diff(firsts, append=len(entries))


def _most_frequent(counts: NDArray[np.int64], most: int) -> NDArray[np.bool_]:
    """Which are the `most` largest; of equal ones the first."""
    if len(counts) <= most:
        return np.ones(len(counts), dtype=bool)
    least = np.partition(counts, len(counts) - most)[-most]
    chosen: NDArray[np.bool_] = counts > least
    chosen[np.flatnonzero(counts == least)[: most - int(chosen.sum())]] = True
    return chosen


def _document_frequencies(keys: Keys, texts: NDArray[np.intp]) -> tuple[Keys, NDArray[np.int64]]:
    """The distinct keys, and how many texts each occurs in."""
    distinct, places = np.unique(keys, return_inverse=True)
    entries, _ = _counted((places << 32) + texts)
    return distinct, np.bincount(entries >> 32, minlength=len(distinct)).astype(np.int64)
