"""Encoded training data of models on transformers: windows of pieces, and batches of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from nlp_app.config import TransformerClassificationSettings, TransformerTaggingSettings
from nlp_app.core.types import Sentence
from nlp_app.data.classification.splits import ClassData
from nlp_app.data.tagging.splits import TaggingData
from nlp_app.features.subwords.encoder import (
    SubwordEncoder,
    SubwordSentences,
    SubwordTexts,
    collate_sentences,
    collate_texts,
)
from nlp_app.features.tagging.encoder import chunk_sentences
from nlp_app.labels.class_set import ClassSet
from nlp_app.labels.tag_set import TagSet
from nlp_app.models.transformers.models import TransformerClassifierParts, TransformerTaggerParts
from nlp_app.storage.batching import WHOLE, ProcessShare, padding_share, training_batches
from nlp_app.storage.cache import CacheEntry, CacheEntryWriter, load_or_build_derived
from nlp_app.storage.memory_map import MappedColumns
from nlp_app.storage.ragged import RaggedColumns, collate, gather
from nlp_app.storage.sentences import cache_source
from nlp_app.training.classification.examples import draw_balanced, label_columns, record_chunks, targets_of
from nlp_app.training.examples import TrainBatch
from nlp_app.training.tagging.long_sentences import window_tag_ids


class _Windows(ABC):
    """Encoded windows, of which batches are made; a row of a batch is a window."""

    encoded: SubwordSentences | SubwordTexts

    @abstractmethod
    def _rows(self, epoch: int) -> list[NDArray[np.int64]]:
        """The windows of each batch of an epoch."""

    @cached_property
    def _first(self) -> tuple[int, float]:
        """Of the first epoch: batches, and the share of them that is padding."""
        rows = self._rows(epoch=1)
        return len(rows), padding_share(self.encoded.pieces.lengths, rows)

    def batch_count(self) -> int:
        return self._first[0]

    def padding(self) -> float:
        return self._first[1]

    def _trim(self) -> None:
        if isinstance(self.encoded.pieces, MappedColumns):
            self.encoded.pieces.trim()

    def sources(self, rows: Iterable[int]) -> list[int]:
        windows = np.fromiter(rows, dtype=np.int64)
        found: list[int] = (np.searchsorted(self.encoded.windows, windows, side="right") - 1).tolist()
        return found


@dataclass(frozen=True)
class SentenceWindows(_Windows):
    """Training sentences as windows of pieces, with their gold tag ids (`tags`).

    A sentence longer than a window is trained a window at a time, each on the tokens that it answers for, as if they
    were a sentence: so memory stays bounded however long a text is.
    """

    settings: TransformerTaggingSettings
    encoded: SubwordSentences
    padding_id: int

    @classmethod
    def of(
        cls,
        settings: TransformerTaggingSettings,
        parts: TransformerTaggerParts,
        data: TaggingData,
        say: Callable[[str], None],
    ) -> SentenceWindows:
        """The encoded sentences, found again if they were encoded before."""

        def write(writer: CacheEntryWriter) -> None:
            writer.facts["cut"] = 0
            for chunk in chunk_sentences(data.train.sentences):
                found = parts.encoder.encode(
                    [sentence.tokens for sentence in chunk], [sentence.spans or [] for sentence in chunk]
                )
                tags = window_targets(parts.tag_set, chunk, found)
                writer.append("pieces", found.pieces)
                writer.append("tokens", RaggedColumns(found.tokens.arrays | {"tags": tags}, found.tokens.offsets))
                writer.append("offsets", RaggedColumns({}, found.offsets))
                writer.append("windows", RaggedColumns({}, found.windows))
                writer.facts["cut"] += found.cut

        def read(entry: CacheEntry) -> SentenceWindows:
            columns = entry.columns
            offsets, windows = (columns[name].offsets for name in ("offsets", "windows"))
            encoded = SubwordSentences(columns["pieces"], columns["tokens"], offsets, windows, entry.facts["cut"])
            return cls(settings, encoded, parts.encoder.tokenizer.padding)

        tags = repr((parts.tag_set.scheme, parts.tag_set.labels))
        source, rows = cache_source(data.train.sentences)
        decisive: list[str | NDArray[np.int64]] = ["pieces of sentences", rows, *_decisive(parts.encoder), tags]
        found = load_or_build_derived(source, decisive, write, read, say)
        if found.encoded.cut:
            say(f"note: of {found.encoded.cut:,} tokens only the first pieces are read, as many as a window holds")
        return found

    def _rows(self, epoch: int) -> list[NDArray[np.int64]]:
        train = self.settings.train
        return training_batches(self.encoded.pieces.lengths, train.batch_subwords, seed=train.seed, epoch=epoch)

    def batches(self, epoch: int, share: ProcessShare = WHOLE) -> Iterator[TrainBatch]:
        for batch in self._rows(epoch):
            rows = share.select(batch)
            arrays = collate_sentences(self.encoded, rows, self.padding_id)
            arrays["tags"] = collate(self.encoded.tokens, rows)["tags"]
            self._trim()
            inputs = {name: torch.from_numpy(array) for name, array in arrays.items()}
            yield TrainBatch(inputs, int(arrays["mask"].sum()), rows.tolist())


def window_targets(tag_set: TagSet, sentences: Sequence[Sentence], encoded: SubwordSentences) -> NDArray[np.int64]:
    """The gold tag ids of all tokens, window after window; a span that a seam cuts is one on either side of it."""
    targets = tag_set.targets(sentences)
    for number in np.flatnonzero(np.diff(encoded.windows) > 1).tolist():
        first, end = (int(place) for place in encoded.offsets[number : number + 2])
        places = encoded.tokens.offsets[encoded.windows[number] : encoded.windows[number + 1] + 1] - first
        targets[first:end] = [*window_tag_ids(tag_set, sentences[number].spans or [], places.tolist())]
    return targets


@dataclass(frozen=True)
class TextWindows(_Windows):
    """Training texts as windows of pieces, with the class ids of their texts."""

    settings: TransformerClassificationSettings
    encoded: SubwordTexts
    labels: RaggedColumns
    class_set: ClassSet
    padding_id: int

    @classmethod
    def of(
        cls,
        settings: TransformerClassificationSettings,
        parts: TransformerClassifierParts,
        data: ClassData,
        say: Callable[[str], None],
    ) -> TextWindows:
        """The encoded texts, found again if they were encoded before."""

        def write(writer: CacheEntryWriter) -> None:
            for chunk in record_chunks(data.train):
                encoded = parts.encoder.encode_texts([record.text for record in chunk])
                rows = np.repeat(np.arange(len(chunk)), np.diff(encoded.windows))
                writer.append("pieces", encoded.pieces)
                writer.append("windows", RaggedColumns({}, encoded.windows))
                writer.append("labels", RaggedColumns(*gather(label_columns(chunk, data.class_set), rows)))

        def read(entry: CacheEntry) -> TextWindows:
            columns = entry.columns
            encoded = SubwordTexts(columns["pieces"], columns["windows"].offsets)
            return cls(settings, encoded, columns["labels"], data.class_set, parts.encoder.tokenizer.padding)

        return load_or_build_derived(data.key, ["pieces of texts", *_decisive(parts.encoder)], write, read, say)

    def _rows(self, epoch: int) -> list[NDArray[np.int64]]:
        train, lengths = self.settings.train, self.encoded.pieces.lengths
        if train.imbalance != "sampler":
            return training_batches(lengths, train.batch_subwords, seed=train.seed, epoch=epoch)
        drawn = draw_balanced(train.seed, self.labels, self.class_set, epoch)
        batches = training_batches(lengths[drawn], train.batch_subwords, seed=train.seed, epoch=epoch)
        return [drawn[places] for places in batches]

    def store(self, directory: Path) -> None:
        """Nothing is left to do."""

    def release(self) -> None:
        """Nothing is held that could be read again."""

    def batches(self, epoch: int, share: ProcessShare = WHOLE) -> Iterator[TrainBatch]:
        for batch in self._rows(epoch):
            rows = share.select(batch)
            arrays = collate_texts(self.encoded, rows, self.padding_id)
            arrays["targets"] = targets_of(self.labels, rows, self.class_set)
            self._trim()
            yield TrainBatch(
                {name: torch.from_numpy(array) for name, array in arrays.items()}, len(rows), rows.tolist()
            )


def _decisive(encoder: SubwordEncoder) -> list[str]:
    """All but the texts that decides which windows come of them."""
    tokenizer = encoder.tokenizer
    pieces = (tokenizer.unknown, tokenizer.padding, tokenizer.prefix, tokenizer.suffix)
    return [tokenizer.json(), repr((pieces, encoder.window, encoder.overlap, encoder.capitals))]
