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

_COUNTED = 1 << 20  # tokens at a time


@dataclass(frozen=True)
class EncodedSentences:
    """Training sentences as columns, their gold tag ids (`tags`) among them. A row of a batch is a sentence, or a
    window of a long one.

    labeled: sentences that stand in the training data, the first ones; None: all. windows: (sentences + 1,) rows;
    None: each sentence is one.
    """

    settings: TaggingSettings
    columns: RaggedColumns
    labeled: int | None = None
    windows: NDArray[np.int64] | None = None

    @classmethod
    def of(cls, settings: TaggingSettings, parts: TaggerParts, sentences: Sequence[Sentence]) -> EncodedSentences:
        """The encoded sentences."""
        return load_or_build(
            None,
            lambda writer: _write(writer, parts.encoder, parts.tag_set, sentences),
            lambda entry: cls.read(settings, entry),
        )

    @classmethod
    def read(cls, settings: TaggingSettings, entry: CacheEntry) -> EncodedSentences:
        """Those of an entry."""
        return cls(settings, entry.columns["sentences"], windows=entry.columns["windows"].offsets)

    @cached_property
    def _first(self) -> tuple[int, float]:
        """Of the first epoch: batches, and the share of them that is padding."""
        rows = self._rows(epoch=1)
        return len(rows), padding_share(self.columns.lengths, rows)

    def _rows(self, epoch: int) -> list[NDArray[np.int64]]:
        train = self.settings.train
        return training_batches(self.columns.lengths, train.batch_tokens, seed=train.seed, epoch=epoch)

    @cached_property
    def _rare(self) -> NDArray[np.bool_]:
        norms = self.columns.arrays["norms"]
        counts = np.zeros(0, dtype=np.int64)
        for start in range(0, len(norms), _COUNTED):
            more = np.bincount(norms[start : start + _COUNTED], minlength=len(counts))
            more[: len(counts)] += counts
            counts = more
        self._trim()
        rare: NDArray[np.bool_] = counts == 1
        return rare

    def _trim(self) -> None:
        if isinstance(self.columns, MappedColumns):
            self.columns.trim()

    def batch_count(self) -> int:
        return self._first[0]

    def padding(self) -> float:
        return self._first[1]

    def sources(self, rows: Iterable[int]) -> list[int]:
        places = np.fromiter(rows, dtype=np.int64)
        if self.windows is not None:
            places = np.searchsorted(self.windows, places, side="right") - 1
        found: list[int] = places[places < (len(self.columns) if self.labeled is None else self.labeled)].tolist()
        return found

    def batches(self, epoch: int, share: ProcessShare = WHOLE) -> Iterator[TrainBatch]:
        random = np.random.default_rng((self.settings.train.seed, epoch, 1, share.rank))
        for batch in self._rows(epoch):
            rows = share.select(batch)
            arrays = collate(self.columns, rows)
            hide_singletons(arrays["norms"], self._rare, self.settings.model.singleton_dropout, random)
            inputs = {name: torch.from_numpy(array) for name, array in arrays.items()}
            yield TrainBatch(inputs, int(arrays["mask"].sum()), rows.tolist())
            self._trim()


def _write(writer: CacheEntryWriter, encoder: TaggingEncoder, tag_set: TagSet, sentences: Iterable[Sentence]) -> None:
    """Sentences as columns, some at a time; those that are too long, as their windows."""
    for chunk in chunk_sentences(sentences):
        columns = encoder.encode([sentence.tokens for sentence in chunk])
        places = [window_boundaries(sentence) for sentence in chunk]
        spans = (sentence.spans or [] for sentence in chunk)
        tags = (tag for each, where in zip(spans, places, strict=True) for tag in window_tag_ids(tag_set, each, where))
        lengths = [end - start for where in places for start, end in pairwise(where)]
        arrays = columns.arrays | {"tags": np.fromiter(tags, dtype=np.int64, count=sum(lengths))}
        writer.append("sentences", RaggedColumns(arrays, np.cumsum([0, *lengths], dtype=np.int64)))
        windows = np.cumsum([0, *(len(where) - 1 for where in places)], dtype=np.int64)
        writer.append("windows", RaggedColumns({}, windows))
