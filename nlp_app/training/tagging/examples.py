"""Encoded training sentences of a tagger."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from nlp_app.config import TaggingSettings
from nlp_app.core.types import Sentence
from nlp_app.features.tagging.encoder import TaggingEncoder, chunk_sentences, hide_singletons
from nlp_app.labels.tag_set import TagSet
from nlp_app.models import TaggerParts
from nlp_app.storage.batching import WHOLE, ProcessShare, padding_share, training_batches
from nlp_app.storage.cache import CacheEntry, CacheEntryWriter, load_or_build
from nlp_app.storage.memory_map import MappedColumns
from nlp_app.storage.ragged import RaggedColumns, collate
from nlp_app.training.examples import TrainBatch
from nlp_app.training.tagging.long_sentences import window_boundaries, window_tag_ids

_COUNT_CHUNK = 1 << 20  # tokens counted at a time


@dataclass(frozen=True)
class EncodedSentences:
    """Encoded training sentences. A row of a batch is a sentence, or a window of a long sentence.

    Attributes:
        settings: Settings of the run.
        columns: The encoded sentences, with their gold tag ids in `tags`.
        num_labeled: Number of sentences from the training file, which come first; None for all.
        windows: (sentences + 1,) First row of each sentence; None if each sentence is one row.
    """

    settings: TaggingSettings
    columns: RaggedColumns
    num_labeled: int | None = None
    windows: NDArray[np.int64] | None = None

    @classmethod
    def encode(cls, settings: TaggingSettings, parts: TaggerParts, sentences: Sequence[Sentence]) -> EncodedSentences:
        """Encode labeled sentences for a tagger, without caching the result.

        Args:
            settings: Settings of the run.
            parts: The tagger.
            sentences: The sentences.

        Returns:
            The encoded sentences.
        """
        return load_or_build(
            None,
            lambda writer: write_sentences(writer, parts.encoder, parts.tag_set, sentences),
            lambda entry: cls.from_cache(settings, entry),
        )

    @classmethod
    def from_cache(cls, settings: TaggingSettings, entry: CacheEntry) -> EncodedSentences:
        """Open encoded sentences of a cache entry.

        Args:
            settings: Settings of the run.
            entry: A cache entry written by `write_sentences`.

        Returns:
            The encoded sentences.
        """
        return cls(settings, entry.columns["sentences"], windows=entry.columns["windows"].offsets)

    @cached_property
    def _first_epoch(self) -> tuple[int, float]:
        """Number of batches in the first epoch, and the share of padding in them."""
        rows = self._batch_rows(epoch=1)
        return len(rows), padding_share(self.columns.lengths, rows)

    def _batch_rows(self, epoch: int) -> list[NDArray[np.int64]]:
        train = self.settings.train
        return training_batches(self.columns.lengths, train.batch_tokens, seed=train.seed, epoch=epoch)

    @cached_property
    def _singletons(self) -> NDArray[np.bool_]:
        """(normal forms,) True for a normal form that occurs once in the training data."""
        norms = self.columns.arrays["norms"]
        counts = np.zeros(0, dtype=np.int64)
        for start in range(0, len(norms), _COUNT_CHUNK):
            chunk_counts = np.bincount(norms[start : start + _COUNT_CHUNK], minlength=len(counts))
            chunk_counts[: len(counts)] += counts
            counts = chunk_counts
        self._trim()
        singletons: NDArray[np.bool_] = counts == 1
        return singletons

    def _trim(self) -> None:
        if isinstance(self.columns, MappedColumns):
            self.columns.trim()

    def batch_count(self) -> int:
        """Return the number of batches in the first epoch.

        Returns:
            The number of batches.
        """
        return self._first_epoch[0]

    def padding(self) -> float:
        """Return the share of padding in the batches of the first epoch.

        Returns:
            The share, 0 to 1.
        """
        return self._first_epoch[1]

    def sources(self, rows: Iterable[int]) -> list[int]:
        """Find the training sentences that rows come from.

        Args:
            rows: Rows of batches.

        Returns:
            Indices of sentences in the training data; rows that are not from the training file are left out.
        """
        indices = np.fromiter(rows, dtype=np.int64)
        if self.windows is not None:
            indices = np.searchsorted(self.windows, indices, side="right") - 1
        limit = len(self.columns) if self.num_labeled is None else self.num_labeled
        sources: list[int] = indices[indices < limit].tolist()
        return sources

    def batches(self, epoch: int, share: ProcessShare = WHOLE) -> Iterator[TrainBatch]:
        """Make the batches of an epoch, which depend only on the data, the seed, the epoch and the share.

        Args:
            epoch: The epoch, from 1.
            share: This process's share of each batch, which may be empty.

        Yields:
            Batches in the order of training.
        """
        random = np.random.default_rng((self.settings.train.seed, epoch, 1, share.rank))
        for batch in self._batch_rows(epoch):
            rows = share.select(batch)
            arrays = collate(self.columns, rows)
            hide_singletons(arrays["norms"], self._singletons, self.settings.model.singleton_dropout, random)
            inputs = {name: torch.from_numpy(array) for name, array in arrays.items()}
            yield TrainBatch(inputs, int(arrays["mask"].sum()), rows.tolist())
            self._trim()


def write_sentences(
    writer: CacheEntryWriter, encoder: TaggingEncoder, tag_set: TagSet, sentences: Iterable[Sentence]
) -> None:
    """Encode labeled sentences in chunks and write them to a cache entry; long sentences are split into windows.

    Args:
        writer: Writer of the cache entry.
        encoder: Encoder of the tagger.
        tag_set: Tags of the tagger.
        sentences: The sentences.
    """
    for chunk in chunk_sentences(sentences):
        columns = encoder.encode([sentence.tokens for sentence in chunk])
        boundaries = [window_boundaries(sentence) for sentence in chunk]
        spans = (sentence.spans or [] for sentence in chunk)
        tags = (
            tag for each, bounds in zip(spans, boundaries, strict=True) for tag in window_tag_ids(tag_set, each, bounds)
        )
        lengths = [end - start for bounds in boundaries for start, end in pairwise(bounds)]
        arrays = columns.arrays | {"tags": np.fromiter(tags, dtype=np.int64, count=sum(lengths))}
        writer.append("sentences", RaggedColumns(arrays, np.cumsum([0, *lengths], dtype=np.int64)))
        windows = np.cumsum([0, *(len(bounds) - 1 for bounds in boundaries)], dtype=np.int64)
        writer.append("windows", RaggedColumns({}, windows))
