"""Training data of transformer models: texts encoded as windows of subwords, and their batches."""

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
from nlp_app.training.classification.examples import class_targets, encode_labels, record_chunks, sample_balanced
from nlp_app.training.examples import TrainBatch
from nlp_app.training.tagging.long_sentences import window_tag_ids


class _Windows(ABC):
    """Encoded windows; a row of a batch is a window."""

    encoded: SubwordSentences | SubwordTexts

    @abstractmethod
    def _batch_rows(self, epoch: int) -> list[NDArray[np.int64]]:
        """Select the windows of each batch of an epoch."""

    @cached_property
    def _first_epoch(self) -> tuple[int, float]:
        """Number of batches in the first epoch, and the share of padding in them."""
        rows = self._batch_rows(epoch=1)
        return len(rows), padding_share(self.encoded.pieces.lengths, rows)

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

    def _trim(self) -> None:
        if isinstance(self.encoded.pieces, MappedColumns):
            self.encoded.pieces.trim()

    def sources(self, rows: Iterable[int]) -> list[int]:
        """Find the sentences or texts that windows come from.

        Args:
            rows: Rows of batches.

        Returns:
            Indices in the training data.
        """
        windows = np.fromiter(rows, dtype=np.int64)
        sources: list[int] = (np.searchsorted(self.encoded.windows, windows, side="right") - 1).tolist()
        return sources


@dataclass(frozen=True)
class SentenceWindows(_Windows):
    """Training sentences as windows of subwords, with their gold tag ids in `tags`.

    A sentence longer than a window is split: each window is trained like a sentence, on the tokens that it labels.
    Memory therefore stays bounded for sentences of any length.

    Attributes:
        settings: Settings of the run.
        encoded: The encoded sentences.
        padding_id: Id of the padding subword.
    """

    settings: TransformerTaggingSettings
    encoded: SubwordSentences
    padding_id: int

    @classmethod
    def encode(
        cls,
        settings: TransformerTaggingSettings,
        parts: TransformerTaggerParts,
        data: TaggingData,
        say: Callable[[str], None],
    ) -> SentenceWindows:
        """Encode the training sentences, or load them from the cache.

        Args:
            settings: Settings of the run.
            parts: The tagger.
            data: The splits.
            say: Function that logs a line.

        Returns:
            The encoded sentences.
        """

        def build(writer: CacheEntryWriter) -> None:
            writer.facts["cut"] = 0
            for chunk in chunk_sentences(data.train.sentences):
                encoded = parts.encoder.encode(
                    [sentence.tokens for sentence in chunk], [sentence.spans or [] for sentence in chunk]
                )
                tags = window_targets(parts.tag_set, chunk, encoded)
                writer.append("pieces", encoded.pieces)
                writer.append("tokens", RaggedColumns(encoded.tokens.arrays | {"tags": tags}, encoded.tokens.offsets))
                writer.append("offsets", RaggedColumns({}, encoded.offsets))
                writer.append("windows", RaggedColumns({}, encoded.windows))
                writer.facts["cut"] += encoded.cut

        def load(entry: CacheEntry) -> SentenceWindows:
            columns = entry.columns
            offsets, windows = (columns[name].offsets for name in ("offsets", "windows"))
            encoded = SubwordSentences(columns["pieces"], columns["tokens"], offsets, windows, entry.facts["cut"])
            return cls(settings, encoded, parts.encoder.tokenizer.padding)

        tags = repr((parts.tag_set.scheme, parts.tag_set.labels))
        source, rows = cache_source(data.train.sentences)
        key_parts: list[str | NDArray[np.int64]] = ["pieces of sentences", rows, *_cache_key_parts(parts.encoder), tags]
        examples = load_or_build_derived(source, key_parts, build, load, say)
        if count := examples.encoded.cut:
            tokens = "1 token has" if count == 1 else f"{count:,} tokens have"
            say(f"note: {tokens} more subwords than a window; only the first subwords are read")
        return examples

    def _batch_rows(self, epoch: int) -> list[NDArray[np.int64]]:
        train = self.settings.train
        return training_batches(self.encoded.pieces.lengths, train.batch_subwords, seed=train.seed, epoch=epoch)

    def batches(self, epoch: int, share: ProcessShare = WHOLE) -> Iterator[TrainBatch]:
        """Make the batches of an epoch, which depend only on the data, the seed, the epoch and the share.

        Args:
            epoch: The epoch, from 1.
            share: This process's share of each batch, which may be empty.

        Yields:
            Batches in the order of training.
        """
        for batch in self._batch_rows(epoch):
            rows = share.select(batch)
            arrays = collate_sentences(self.encoded, rows, self.padding_id)
            arrays["tags"] = collate(self.encoded.tokens, rows)["tags"]
            self._trim()
            inputs = {name: torch.from_numpy(array) for name, array in arrays.items()}
            yield TrainBatch(inputs, int(arrays["mask"].sum()), rows.tolist())


def window_targets(tag_set: TagSet, sentences: Sequence[Sentence], encoded: SubwordSentences) -> NDArray[np.int64]:
    """Encode the gold spans of sentences; a span across a window boundary becomes one span in each window.

    Args:
        tag_set: Tags of the tagger.
        sentences: Labeled sentences.
        encoded: The same sentences, encoded.

    Returns:
        (tokens,) Tag ids of all tokens, sentence by sentence.
    """
    targets = tag_set.targets(sentences)
    for number in np.flatnonzero(np.diff(encoded.windows) > 1).tolist():
        first, end = (int(offset) for offset in encoded.offsets[number : number + 2])
        boundaries = encoded.tokens.offsets[encoded.windows[number] : encoded.windows[number + 1] + 1] - first
        targets[first:end] = [*window_tag_ids(tag_set, sentences[number].spans or [], boundaries.tolist())]
    return targets


@dataclass(frozen=True)
class TextWindows(_Windows):
    """Training texts as windows of subwords, with the class ids of their texts.

    Attributes:
        settings: Settings of the run.
        encoded: The encoded texts.
        labels: Class ids of each window.
        class_set: The classes.
        padding_id: Id of the padding subword.
    """

    settings: TransformerClassificationSettings
    encoded: SubwordTexts
    labels: RaggedColumns
    class_set: ClassSet
    padding_id: int

    @classmethod
    def encode(
        cls,
        settings: TransformerClassificationSettings,
        parts: TransformerClassifierParts,
        data: ClassData,
        say: Callable[[str], None],
    ) -> TextWindows:
        """Encode the training texts, or load them from the cache.

        Args:
            settings: Settings of the run.
            parts: The classifier.
            data: The splits.
            say: Function that logs a line.

        Returns:
            The encoded texts.
        """

        def build(writer: CacheEntryWriter) -> None:
            for chunk in record_chunks(data.train):
                encoded = parts.encoder.encode_texts([record.text for record in chunk])
                rows = np.repeat(np.arange(len(chunk)), np.diff(encoded.windows))
                writer.append("pieces", encoded.pieces)
                writer.append("windows", RaggedColumns({}, encoded.windows))
                writer.append("labels", RaggedColumns(*gather(encode_labels(chunk, data.class_set), rows)))

        def load(entry: CacheEntry) -> TextWindows:
            columns = entry.columns
            encoded = SubwordTexts(columns["pieces"], columns["windows"].offsets)
            return cls(settings, encoded, columns["labels"], data.class_set, parts.encoder.tokenizer.padding)

        return load_or_build_derived(data.key, ["pieces of texts", *_cache_key_parts(parts.encoder)], build, load, say)

    def _batch_rows(self, epoch: int) -> list[NDArray[np.int64]]:
        train, lengths = self.settings.train, self.encoded.pieces.lengths
        if train.imbalance != "sampler":
            return training_batches(lengths, train.batch_subwords, seed=train.seed, epoch=epoch)
        sample = sample_balanced(train.seed, self.labels, self.class_set, epoch)
        batches = training_batches(lengths[sample], train.batch_subwords, seed=train.seed, epoch=epoch)
        return [sample[indices] for indices in batches]

    def store(self, directory: Path) -> None:
        """Do nothing, as the encoded texts are already stored in the cache.

        Args:
            directory: A directory; not used.
        """

    def release(self) -> None:
        """Do nothing, as memory is released with each batch."""

    def batches(self, epoch: int, share: ProcessShare = WHOLE) -> Iterator[TrainBatch]:
        """Make the batches of an epoch, which depend only on the data, the seed, the epoch and the share.

        Args:
            epoch: The epoch, from 1.
            share: This process's share of each batch, which may be empty.

        Yields:
            Batches in the order of training.
        """
        for batch in self._batch_rows(epoch):
            rows = share.select(batch)
            arrays = collate_texts(self.encoded, rows, self.padding_id)
            arrays["targets"] = class_targets(self.labels, rows, self.class_set)
            self._trim()
            yield TrainBatch(
                {name: torch.from_numpy(array) for name, array in arrays.items()}, len(rows), rows.tolist()
            )


def _cache_key_parts(encoder: SubwordEncoder) -> list[str]:
    """List everything except the texts that affects the windows."""
    tokenizer = encoder.tokenizer
    pieces = (tokenizer.unknown, tokenizer.padding, tokenizer.prefix, tokenizer.suffix)
    return [tokenizer.json(), repr((pieces, encoder.window, encoder.overlap, encoder.capitals))]
