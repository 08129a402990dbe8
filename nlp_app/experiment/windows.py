"""Encoded training data of models on transformers: windows of pieces, and batches of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from nlp_app import __version__, schemes
from nlp_app.class_splits import ClassData
from nlp_app.config import TransformerClassSettings, TransformerTaggingSettings
from nlp_app.errors import TrainingError
from nlp_app.experiment.classifier_building import draw, label_columns, record_chunks, targets_of
from nlp_app.experiment.prepared import TrainBatch
from nlp_app.features.columns import WHOLE, Columns, Share, collate, gather, padding_share, training_batches
from nlp_app.features.encoded import cached_columns, encoding_key
from nlp_app.features.piece_windows import (
    PieceEncoder,
    PieceSentences,
    PieceTexts,
    collate_sentences,
    collate_texts,
)
from nlp_app.modeldir.transformer import TransformerClassifierParts, TransformerTaggerParts
from nlp_app.output import checksum
from nlp_app.progress import Progress
from nlp_app.resources import cache_directory
from nlp_app.splits import TaggingData
from nlp_app.tasks.classification import ClassSet
from nlp_app.tasks.tagging import TagSet
from nlp_app.types import Sentence, TokenSpan


class _Windows(ABC):
    """Encoded windows, of which batches are made; a row of a batch is a window."""

    encoded: PieceSentences | PieceTexts

    @abstractmethod
    def _rows(self, epoch: int) -> list[NDArray[np.int64]]:
        """The windows of each batch of an epoch."""

    @cached_property
    def _first(self) -> list[NDArray[np.int64]]:
        return self._rows(epoch=1)

    def batch_count(self) -> int:
        return len(self._first)

    def padding(self) -> float:
        return padding_share(self.encoded.pieces.lengths, self._first)

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
    encoded: PieceSentences
    padding_id: int

    @classmethod
    def of(
        cls, settings: TransformerTaggingSettings, parts: TransformerTaggerParts, data: TaggingData, progress: Progress
    ) -> SentenceWindows:
        """The encoded sentences, found again if they were encoded before."""
        sentences = data.train.sentences

        def encode() -> dict[str, Columns]:
            found = parts.encoder.encode(
                [sentence.tokens for sentence in sentences], [sentence.spans or [] for sentence in sentences]
            )
            offsets = {"offsets": Columns({}, found.offsets), "windows": Columns({}, found.windows)}
            return {"pieces": found.pieces, "tokens": found.tokens} | offsets

        kept = _kept(encode, parts.encoder, data, settings, progress)
        encoded = PieceSentences(kept["pieces"], kept["tokens"], kept["offsets"].offsets, kept["windows"].offsets)
        arrays = encoded.tokens.arrays | {"tags": window_targets(parts.tag_set, sentences, encoded)}
        tokens = Columns(arrays, encoded.tokens.offsets)
        return cls(settings, replace(encoded, tokens=tokens), parts.encoder.tokenizer.padding)

    def _rows(self, epoch: int) -> list[NDArray[np.int64]]:
        train = self.settings.train
        return training_batches(self.encoded.pieces.lengths, train.batch_pieces, seed=train.seed, epoch=epoch)

    def batches(self, epoch: int, share: Share = WHOLE) -> Iterator[TrainBatch]:
        for batch in self._rows(epoch):
            rows = share.of(batch)
            arrays = collate_sentences(self.encoded, rows, self.padding_id)
            arrays["tags"] = collate(self.encoded.tokens, rows)["tags"]
            inputs = {name: torch.from_numpy(array) for name, array in arrays.items()}
            yield TrainBatch(inputs, int(arrays["mask"].sum()), rows.tolist())


def window_targets(tag_set: TagSet, sentences: list[Sentence], encoded: PieceSentences) -> NDArray[np.int64]:
    """The gold tag ids of all tokens, window after window; a span that a seam cuts is one on either side of it."""
    targets = tag_set.targets(sentences)
    for number in np.flatnonzero(np.diff(encoded.windows) > 1).tolist():
        first = int(encoded.offsets[number])
        for window in range(encoded.windows[number], encoded.windows[number + 1]):
            start, end = (int(place) - first for place in encoded.tokens.offsets[window : window + 2])
            spans = [
                TokenSpan(max(span.start, start) - start, min(span.end, end) - start, span.label)
                for span in sentences[number].spans or ()
                if span.start < end and span.end > start
            ]
            tags = schemes.encode(spans, end - start, tag_set.scheme)
            targets[first + start : first + end] = [tag_set.ids[tag] for tag in tags]
    return targets


@dataclass(frozen=True)
class TextWindows(_Windows):
    """Training texts as windows of pieces, with the class ids of their texts."""

    settings: TransformerClassSettings
    encoded: PieceTexts
    labels: Columns
    class_set: ClassSet
    padding_id: int

    @classmethod
    def of(
        cls, settings: TransformerClassSettings, parts: TransformerClassifierParts, data: ClassData, progress: Progress
    ) -> TextWindows:
        """The encoded texts, found again if they were encoded before."""

        def encode() -> dict[str, Columns]:
            pieces, counts, labels = [], [], []
            for chunk in record_chunks(data.train):
                encoded = parts.encoder.encode_texts([record.text for record in chunk])
                windows = np.diff(encoded.windows)
                rows = np.repeat(np.arange(len(chunk)), windows)
                pieces.append(encoded.pieces)
                counts.append(windows)
                labels.append(Columns(*gather(label_columns(chunk, data.class_set), rows)))
            offsets = np.concatenate(([0], np.cumsum(np.concatenate(counts))))
            return {"pieces": joined(pieces), "labels": joined(labels), "windows": Columns({}, offsets)}

        kept = _kept(encode, parts.encoder, data, settings, progress)
        encoded = PieceTexts(kept["pieces"], kept["windows"].offsets)
        return cls(settings, encoded, kept["labels"], data.class_set, parts.encoder.tokenizer.padding)

    def _rows(self, epoch: int) -> list[NDArray[np.int64]]:
        train, lengths = self.settings.train, self.encoded.pieces.lengths
        if train.imbalance != "sampler":
            return training_batches(lengths, train.batch_pieces, seed=train.seed, epoch=epoch)
        drawn = draw(train.seed, self.labels, self.class_set, epoch)
        batches = training_batches(lengths[drawn], train.batch_pieces, seed=train.seed, epoch=epoch)
        return [drawn[places] for places in batches]

    def store(self, directory: Path) -> None:
        """Nothing is left to do."""

    def release(self) -> None:
        """Nothing is held that could be read again."""

    def batches(self, epoch: int, share: Share = WHOLE) -> Iterator[TrainBatch]:
        for batch in self._rows(epoch):
            rows = share.of(batch)
            arrays = collate_texts(self.encoded, rows, self.padding_id)
            arrays["targets"] = targets_of(self.labels, rows, self.class_set)
            yield TrainBatch(
                {name: torch.from_numpy(array) for name, array in arrays.items()}, len(rows), rows.tolist()
            )


def joined(columns: list[Columns]) -> Columns:
    """Columns one after the other; at least one."""
    arrays = {name: np.concatenate([each.arrays[name] for each in columns]) for name in columns[0].arrays}
    return Columns(arrays, np.concatenate(([0], np.cumsum(np.concatenate([each.lengths for each in columns])))))


def _kept(
    encode: Callable[[], Mapping[str, Columns]],
    encoder: PieceEncoder,
    data: TaggingData | ClassData,
    settings: TransformerTaggingSettings | TransformerClassSettings,
    progress: Progress,
) -> Mapping[str, Columns]:
    """What `encode` gives, or gave when it was called for the same data and settings before.

    Data without files, as those of the Hub are, are encoded anew.
    """
    files = data.files()
    if not files:
        return encode()
    key = encoding_key(
        __version__,
        encoder.tokenizer.json(),
        f"{encoder.window} {encoder.overlap} {encoder.capitals} {settings.train.seed}",
        settings.data.model_dump_json(),
        *(checksum(path) for path in files),
    )
    try:
        return cached_columns(cache_directory(), key, encode)
    except TrainingError as error:
        progress.say(f"note: {error}; encoded for this run alone")
        return encode()
