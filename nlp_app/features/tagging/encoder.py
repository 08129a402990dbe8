"""The encoder of a tagger: token forms to integer columns, fitted on the training data and saved with the model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence, Sized
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from nlp_app.core.chunking import chunk_by_size
from nlp_app.core.errors import ModelError
from nlp_app.features.feature_index import FeatureIndex, KeyCounter, Keys, Rows, load_array
from nlp_app.features.lexicon.lexicon import Lexicon
from nlp_app.features.lexicon.lexicon_features import LEXICON_WINDOWS, LexiconRows, lexicon_keys
from nlp_app.features.lexicon.token_keys import WIDTH as LEXICON_WIDTH
from nlp_app.features.lexicon.token_keys import describe_forms
from nlp_app.features.pretrained_vectors import VectorWords
from nlp_app.features.tagging.context_features import CLUSTER_WINDOWS, FORM_WINDOWS, OUTSIDE_IDS
from nlp_app.features.tagging.word_shapes import CLUSTER_LEVELS, CLUSTERS, NORM, SHAPE, Forms, FormTable
from nlp_app.storage.ragged import RaggedColumns
from nlp_app.text.vocab import PADDING, UNKNOWN, Vocabulary

_CLUSTERS = "clusters.npy"  # in the directory of vectors.txt, if clusters are used

_EMBEDDED_MIN_COUNT = 2  # an embedding needs more examples than the weights of a window feature, one number per tag

_CHUNK_TOKENS = 1 << 14  # tokens whose features are counted or looked up together

S = TypeVar("S", bound=Sized)


class TaggingEncoder:
    """An encoder of sentences as the input columns of a tagger.

    The columns have one row for each token:

        norms    (tokens,)       rows of the table of normal forms
        shapes   (tokens,)       rows of the table of shapes
        parts    (tokens, E)     rows of the embedded features (affixes, pairs with a neighbor); 0: none
        features (tokens, F)     rows of the window features; 0: none
        vectors  (tokens,)       rows of the pretrained vectors, if the model has them

    With a lexicon, `parts` and `features` have more columns, for the features of listed words.

    Args:
        forms: Vocabularies of forms.
        index: Rows of the known window features.
        part_rows: Rows of the window features that also get an embedding, in the order of their embeddings.
        vectors: Words that have a pretrained vector. None: no pretrained vectors.
        lexicon: Listed words. None: no features of listed words.
    """

    def __init__(
        self,
        forms: Forms,
        index: FeatureIndex,
        part_rows: Rows,
        vectors: VectorWords | None = None,
        lexicon: Lexicon | None = None,
    ) -> None:
        self.forms, self.index, self.vectors, self.lexicon = forms, index, vectors, lexicon
        self.windows = FORM_WINDOWS if vectors is None or vectors.clusters is None else CLUSTER_WINDOWS
        self.part_rows = part_rows
        self._part_of = np.zeros(len(index), dtype=np.int32)
        self._part_of[part_rows] = np.arange(1, len(part_rows) + 1)
        self._lexicon_rows = None if lexicon is None else LexiconRows(lexicon, index)
        # For each form that has occurred: its ids, the rows of its features with one part, its columns for the lexicon
        # if there is one, and the row of its vector.
        self._table = FormTable(self._describe, self._table_rows([""], OUTSIDE_IDS[None], np.array([PADDING]))[0])

    @classmethod
    def fit(
        cls,
        sentences: Collection[Sequence[str]],
        normalize: Callable[[str], str],
        *,
        min_count: int = 1,
        joint_min_count: int = 2,
        vectors: VectorWords | None = None,
        lexicon: Lexicon | None = None,
    ) -> TaggingEncoder:
        """Collect the vocabularies and features of the training sentences, in two passes.

        Args:
            sentences: The training sentences, as token forms; read in chunks.
            normalize: Returns the normal form of a token.
            min_count: Minimum number of occurrences of a vocabulary entry or a feature.
            joint_min_count: Minimum number of occurrences of a feature of several tokens.
            vectors: Words that have a pretrained vector.
            lexicon: Listed words.

        Returns:
            The encoder.
        """
        nothing = FeatureIndex(np.zeros(0, dtype=np.uint64))
        empty = cls(Forms.empty(normalize), nothing, np.zeros(0, dtype=np.int32), vectors, lexicon)
        return empty.extended(sentences, min_count, joint_min_count)

    def extended(
        self, sentences: Collection[Sequence[str]], min_count: int = 1, joint_min_count: int = 2
    ) -> TaggingEncoder:
        """Return a copy with the vocabularies and features of more sentences, which are read in two passes.

        Known entries keep their meaning, but their rows may change (see `map_rows`). The pretrained vectors and the
        lexicon stay the same.

        Args:
            sentences: The new sentences, as token forms.
            min_count: Minimum number of occurrences of a new entry or feature.
            joint_min_count: Minimum number of occurrences of a new feature of several tokens.

        Returns:
            The extended encoder.
        """
        occurrences: Counter[str] = Counter()
        for sentence in sentences:
            occurrences.update(sentence)
        known = self.forms.extended(occurrences, min_count)
        distinct = list(occurrences)
        vectors = self._vector_rows(distinct)
        ids = self._with_clusters(known.lookup(distinct), vectors)
        counters = self._count(sentences, {form: number for number, form in enumerate(distinct)}, ids)
        min_counts = {True: min_count, False: max(min_count, joint_min_count)}  # by "has one part"
        frequent = [counter.frequent(min_counts[is_single]) for (is_single, _), counter in counters.items()]
        index = self.index.with_keys(np.concatenate(frequent))
        embedded_keys = [
            counter.frequent(_EMBEDDED_MIN_COUNT) for (_, embedded), counter in counters.items() if embedded
        ]
        parts = index.rows(np.concatenate([*embedded_keys, self._part_keys]))
        extended = TaggingEncoder(known, index, np.unique(parts[parts > 0]), self.vectors, self.lexicon)
        extended._table.add(distinct, extended._table_rows(distinct, ids, vectors))
        return extended

    def _count(
        self, sentences: Iterable[Sequence[str]], number_of: Mapping[str, int], ids: Rows
    ) -> dict[tuple[bool, bool], KeyCounter]:
        """Count the window features of sentences, in groups by number of parts (one, several) and by embedding."""
        windows = self.windows
        groups = {
            (is_single, embedded): np.array([n for n in numbers.tolist() if (n in windows.embedded) == embedded])
            for is_single, numbers in ((True, windows.single), (False, windows.joint))
            for embedded in (True, False)
        }
        counters = {group: KeyCounter() for group in groups}
        listed = self._lexicon_columns(list(number_of))
        for chunk in chunk_sentences(sentences):
            forms, lengths = _flatten(chunk)
            places = [number_of[form] for form in forms]
            keys = windows.keys(ids[places], lengths)
            for group, numbers in groups.items():
                counters[group].add(keys[:, numbers])
            if self.lexicon is not None:  # features of several tokens, by their number of occurrences
                keys = lexicon_keys(self.lexicon, listed[places], lengths)
                counters[False, True].add(keys[:, LEXICON_WINDOWS.embedded])
                counters[False, False].add(np.delete(keys, LEXICON_WINDOWS.embedded, axis=1))
        return counters

    @property
    def _part_keys(self) -> Keys:
        return self.index.keys[self.part_rows - 1]

    def map_rows(self, previous: TaggingEncoder) -> dict[str, Rows]:
        """Map the table rows of an encoder that this one extends to the rows of this encoder.

        Args:
            previous: The encoder before it was extended.

        Returns:
            For each column, the present row of each previous row.
        """
        features, parts = self.index.rows(previous.index.keys), self._part_of[self.index.rows(previous._part_keys)]
        return {
            "norms": np.arange(len(previous.forms.vocabularies["norms"]), dtype=np.int32),
            "shapes": np.arange(len(previous.forms.vocabularies["shapes"]), dtype=np.int32),
            "parts": np.concatenate(([0], parts), dtype=np.int32),
            "features": np.concatenate(([0], features), dtype=np.int32),
        }

    @property
    def sizes(self) -> dict[str, int]:
        """Number of rows of each table that the columns refer to."""
        sizes = {
            "norms": len(self.forms.vocabularies["norms"]),
            "shapes": len(self.forms.vocabularies["shapes"]),
            "parts": len(self.part_rows) + 1,
            "features": len(self.index),
        }
        return sizes | ({"vectors": len(self.vectors.vocabulary)} if self.vectors is not None else {})

    def encode(self, sentences: Iterable[Sequence[str]]) -> RaggedColumns:
        """Encode sentences as columns.

        Args:
            sentences: The sentences, as token forms.

        Returns:
            The columns; the class docstring lists them.
        """
        forms, lengths = _flatten(sentences)
        numbers, table = self._table.lookup(forms)
        features = self.windows.rows(self.index, table, numbers, lengths)
        embedded = features.take(self.windows.embedded, axis=1)
        if self._lexicon_rows is not None:
            listed = table[numbers, -1 - LEXICON_WIDTH : -1]
            rows = self._lexicon_rows.rows(listed, lengths)
            features = np.hstack((features, rows))
            embedded = np.hstack((embedded, rows.take(LEXICON_WINDOWS.embedded, axis=1)))
        arrays = {
            "norms": table[numbers, NORM],
            "shapes": table[numbers, SHAPE],
            "parts": self._part_of.take(embedded),
            "features": features,
        }
        if self.vectors is not None:
            arrays["vectors"] = table[numbers, -1]
        return RaggedColumns(arrays, np.concatenate(([0], np.cumsum(lengths, dtype=np.int64))))

    def _describe(self, forms: Sequence[str]) -> Rows:
        vectors = self._vector_rows(forms)
        return self._table_rows(forms, self._with_clusters(self.forms.lookup(forms), vectors), vectors)

    def _table_rows(self, forms: Sequence[str], ids: Rows, vectors: Rows) -> Rows:
        single = self.index.rows(self.windows.single_keys(ids))
        return np.column_stack((ids, single, self._lexicon_columns(forms), vectors)).astype(np.int32)

    def _lexicon_columns(self, forms: Sequence[str]) -> Rows:
        if self.lexicon is None:
            return np.zeros((len(forms), 0), dtype=np.int32)
        return describe_forms(forms, [self.forms.normalize(form) for form in forms])

    def _with_clusters(self, ids: Rows, vectors: Rows) -> Rows:
        if self.vectors is not None and self.vectors.clusters is not None:
            ids[:, CLUSTERS] = self.vectors.clusters[vectors]
        return ids

    def _vector_rows(self, forms: Sequence[str]) -> Rows:
        if self.vectors is None:
            return np.zeros(len(forms), dtype=np.int32)
        return self.vectors.rows(forms, self.forms.normalize)

    def coverage(self, sentences: Iterable[Sequence[str]]) -> float:
        """Compute the share of tokens that have a pretrained vector.

        Args:
            sentences: The sentences, as token forms.

        Returns:
            The share, 0 to 1; 0 if there are no tokens.
        """
        counts: Counter[str] = Counter()
        for sentence in sentences:
            counts.update(sentence)
        known = self._vector_rows(list(counts)) > UNKNOWN
        return float(known @ np.fromiter(counts.values(), np.int64)) / max(counts.total(), 1)

    def save(self, directory: Path) -> None:
        """Save the vocabularies as text and the keys of the features as arrays.

        Args:
            directory: Directory to write to; created if it doesn't exist.
        """
        self.forms.save(directory)
        np.save(directory / "features.npy", self.index.keys, allow_pickle=False)
        np.save(directory / "parts.npy", self.part_rows, allow_pickle=False)
        if self.vectors is not None:
            self.vectors.vocabulary.save(directory / "vectors.txt")
            if self.vectors.clusters is not None:
                np.save(directory / _CLUSTERS, self.vectors.clusters.ravel(), allow_pickle=False)
        if self.lexicon is not None:
            self.lexicon.save(directory)

    @classmethod
    def load(cls, directory: Path, normalize: Callable[[str], str], *, vectors: bool = False) -> TaggingEncoder:
        """Load an encoder that `save` wrote.

        Args:
            directory: Directory to read from.
            normalize: Returns the normal form of a token; the same function as at training.
            vectors: True if the encoder has pretrained vectors.

        Returns:
            The encoder.

        Raises:
            ModelError: A file cannot be read, or does not match the others.
        """
        forms = Forms.load(directory, normalize)
        return cls(
            forms,
            FeatureIndex(load_array(directory / "features.npy").astype(np.uint64)),
            load_array(directory / "parts.npy").astype(np.int32),
            _load_vectors(directory) if vectors else None,
            Lexicon.load(directory),
        )


def _load_vectors(directory: Path) -> VectorWords:
    vocabulary, path = Vocabulary.load(directory / "vectors.txt"), directory / _CLUSTERS
    clusters = load_array(path).astype(np.int32) if path.is_file() else None
    if clusters is not None and (len(clusters) != CLUSTER_LEVELS * len(vocabulary) or clusters.min(initial=0) < 0):
        raise ModelError(
            f"{path}: found {len(clusters)} clusters that do not match {len(vocabulary)} vectors; copy the model again"
        )
    return VectorWords(vocabulary, None if clusters is None else clusters.reshape(-1, CLUSTER_LEVELS))


def chunk_sentences(sentences: Iterable[S]) -> Iterator[list[S]]:
    """Group sentences into chunks that are encoded together.

    Args:
        sentences: The sentences.

    Yields:
        Chunks of consecutive sentences; a chunk ends when it has 16,384 tokens or more.
    """
    return chunk_by_size(sentences, len, _CHUNK_TOKENS, _CHUNK_TOKENS)


def _flatten(sentences: Iterable[Sequence[str]]) -> tuple[list[str], list[int]]:
    forms: list[str] = []
    lengths: list[int] = []
    for sentence in sentences:
        forms.extend(sentence)
        lengths.append(len(sentence))
    return forms, lengths


def hide_singletons(norms: Rows, rare: NDArray[np.bool_], share: float, random: np.random.Generator) -> None:
    """Replace a share of the normal forms that occur once in training by the unknown one, in place.

    The embedding of unknown words is trained on them.

    Args:
        norms: Rows of the normal forms, of any shape; changed in place.
        rare: (rows of the table,) True for the forms that occur once.
        share: Share of the occurrences of rare forms to replace, 0 to 1.
        random: Source of random numbers.
    """
    hidden = rare[norms] & (random.random(norms.shape) < share)
    norms[hidden] = UNKNOWN
