"""Encoded training texts of classifiers on n-grams and words, their batches and targets."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from nlp_app.config import ClassificationSettings
from nlp_app.core.chunking import chunk_by_size
from nlp_app.core.types import ClassRecord
from nlp_app.data.classification.splits import ClassData
from nlp_app.features.classification.encoder import EncodedTexts, TextEncoder
from nlp_app.inference.torch_class_scores import batch_inputs
from nlp_app.labels.class_set import ClassSet
from nlp_app.models import ClassifierParts
from nlp_app.storage.batching import WHOLE, ProcessShare, text_batches
from nlp_app.storage.memory_map import ColumnsWriter, MappedColumns
from nlp_app.storage.ragged import RaggedColumns
from nlp_app.training.examples import TrainBatch

_CHUNK_TEXTS, _CHUNK_CHARACTERS = 5000, 1 << 20  # limits of a chunk that is read and encoded together

Targets = NDArray[np.int64] | NDArray[np.float32]


def record_chunks(records: Iterable[ClassRecord]) -> Iterator[list[ClassRecord]]:
    """Split records into chunks that are encoded together.

    Args:
        records: The records.

    Returns:
        An iterator over chunks.
    """
    return chunk_by_size(records, lambda record: len(record.text), _CHUNK_TEXTS, _CHUNK_CHARACTERS)


def encode_text_columns(
    encoder: TextEncoder, records: Iterable[ClassRecord], classes: ClassSet | None = None
) -> Iterator[dict[str, RaggedColumns]]:
    """Encode texts in chunks.

    Args:
        encoder: The encoder.
        records: Records with the texts.
        classes: Classes of the records' labels; None to leave labels out.

    Yields:
        Columns of a chunk by name; with classes also "labels", as from `encode_labels`.
    """
    for chunk in record_chunks(records):
        columns = encoder.encode([record.text for record in chunk]).columns()
        yield columns if classes is None else columns | {"labels": encode_labels(chunk, classes)}


class _TrainingTexts(ABC):
    """Training texts as columns in files; a row of a batch is a text.

    If `columns` is empty, `store` has to be called before all other methods except `batch_count`.
    """

    settings: ClassificationSettings
    parts: ClassifierParts
    columns: dict[str, MappedColumns]

    @abstractmethod
    def _num_texts(self) -> int:
        """Return the number of texts."""

    @abstractmethod
    def _encode(self) -> Iterator[dict[str, RaggedColumns]]:
        """Encode the texts in chunks."""

    @abstractmethod
    def _batch_targets(self, rows: NDArray[np.int64]) -> Targets:
        """Return the targets of texts."""

    def _sample(self, epoch: int) -> NDArray[np.int64] | None:
        """Sample the texts of an epoch; None for all texts once."""
        return None

    def store(self, directory: Path) -> None:
        """Encode the texts into a directory, unless they are already stored.

        Args:
            directory: The directory; created if it does not exist.
        """
        if self.columns:
            return
        directory.mkdir(parents=True, exist_ok=True)
        writers: dict[str, ColumnsWriter] = {}
        for parts in self._encode():
            for name, columns in parts.items():
                if name not in writers:
                    writers[name] = ColumnsWriter(directory, name)
                writers[name].append(columns)
        self.columns = {name: writer.close() for name, writer in writers.items()}

    def release(self) -> None:
        """Release pages of memory-mapped data."""
        for columns in self.columns.values():
            columns.release()

    def batch_count(self) -> int:
        """Return the number of batches in an epoch.

        Returns:
            The number of batches.
        """
        return -(-self._num_texts() // self.settings.train.batch_size)

    def padding(self) -> float:
        """Return the share of padding in the batches, which is not measured for texts.

        Returns:
            0.0
        """
        return 0.0

    def batches(self, epoch: int, share: ProcessShare = WHOLE) -> Iterator[TrainBatch]:
        """Make the batches of an epoch, which depend only on the data, the seed, the epoch and the share.

        Args:
            epoch: The epoch, from 1.
            share: This process's share of each batch, which may be empty.

        Yields:
            Batches in the order of training.
        """
        train, words = self.settings.train, self.columns.get("words")
        texts = EncodedTexts(self.columns.get("bags"), words)
        sample, lengths = self._sample(epoch), words.lengths if words is not None else None
        if sample is not None and lengths is not None:
            lengths = lengths[sample]
        for indices in text_batches(self._num_texts(), train.batch_size, seed=train.seed, epoch=epoch, lengths=lengths):
            rows = share.select(indices if sample is None else sample[indices])
            inputs = batch_inputs(texts, rows)
            inputs["targets"] = torch.from_numpy(self._batch_targets(rows))
            yield TrainBatch(inputs, len(rows), rows.tolist())
            for columns in self.columns.values():
                columns.trim()


@dataclass
class StoredTexts(_TrainingTexts):
    """Texts of a training file, with their class ids in the columns "labels".

    Attributes:
        settings: Settings of the run.
        data: The splits.
        parts: The classifier.
        columns: Encoded texts; empty before `store`, if they are not cached.
    """

    settings: ClassificationSettings
    data: ClassData
    parts: ClassifierParts
    columns: dict[str, MappedColumns] = field(default_factory=dict)

    def _num_texts(self) -> int:
        return self.data.train_size

    def _encode(self) -> Iterator[dict[str, RaggedColumns]]:
        return encode_text_columns(self.parts.encoder, self.data.train, self.data.class_set)

    def _batch_targets(self, rows: NDArray[np.int64]) -> Targets:
        return class_targets(self.columns["labels"], rows, self.data.class_set)

    def _sample(self, epoch: int) -> NDArray[np.int64] | None:
        train = self.settings.train
        if train.imbalance != "sampler":
            return None
        return sample_balanced(train.seed, self.columns["labels"], self.data.class_set, epoch)

    def sources(self, rows: Iterable[int]) -> list[int]:
        """Find the training texts that rows come from.

        Args:
            rows: Rows of batches.

        Returns:
            Indices of texts in the training data.
        """
        return list(rows)


@dataclass
class DistilledTexts(_TrainingTexts):
    """Texts with the class probabilities of a teacher as targets.

    Attributes:
        settings: Settings of the run.
        parts: The classifier.
        records: The texts.
        probabilities: (texts, classes) Target probabilities.
        num_labeled: Number of texts from the training file, which come first.
        columns: Encoded texts; empty before `store`.
    """

    settings: ClassificationSettings
    parts: ClassifierParts
    records: Sequence[ClassRecord]
    probabilities: NDArray[np.float32]
    num_labeled: int
    columns: dict[str, MappedColumns] = field(default_factory=dict)

    def _num_texts(self) -> int:
        return len(self.records)

    def _encode(self) -> Iterator[dict[str, RaggedColumns]]:
        return encode_text_columns(self.parts.encoder, self.records)

    def _batch_targets(self, rows: NDArray[np.int64]) -> Targets:
        targets: NDArray[np.float32] = self.probabilities[rows]
        return targets

    def sources(self, rows: Iterable[int]) -> list[int]:
        """Find the training texts that rows come from.

        Args:
            rows: Rows of batches.

        Returns:
            Indices of texts in the training data; rows that are not from the training file are left out.
        """
        return [row for row in rows if row < self.num_labeled]


def encode_labels(records: Sequence[ClassRecord], classes: ClassSet) -> RaggedColumns:
    """Encode the labels of records as class ids.

    Args:
        records: Labeled records.
        classes: The classes.

    Returns:
        The ids of each record, in the array "labels".
    """
    labels = [record.labels or () for record in records]
    ids = np.fromiter((classes.ids[label] for each in labels for label in each), dtype=np.int32)
    return RaggedColumns({"labels": ids}, np.cumsum([0, *map(len, labels)]))


def class_targets(labels: RaggedColumns, rows: NDArray[np.int64], classes: ClassSet) -> Targets:
    """Make the targets of a batch.

    Args:
        labels: Class ids of each text, as from `encode_labels`.
        rows: Rows of the batch.
        classes: The classes.

    Returns:
        (rows,) class ids; for a multi-label classifier (rows, classes) of 0 and 1.
    """
    if not classes.multi_label:
        return labels.arrays["labels"][labels.offsets[rows]].astype(np.int64)
    targets = np.zeros((len(rows), len(classes.labels)), dtype=np.float32)
    for index, row in enumerate(rows.tolist()):
        targets[index, labels.arrays["labels"][labels.offsets[row] : labels.offsets[row + 1]]] = 1
    return targets


def sample_balanced(seed: int, labels: RaggedColumns, classes: ClassSet, epoch: int) -> NDArray[np.int64]:
    """Sample rows with replacement so that each class is drawn equally often.

    A row with several labels is drawn as often as a row with its rarest label.

    Args:
        seed: Seed of the run.
        labels: Class ids of each row, as from `encode_labels`.
        classes: The classes.
        epoch: The epoch, from 1.

    Returns:
        As many rows as there are in `labels`.
    """
    ids = labels.arrays["labels"]
    counts = np.bincount(ids, minlength=len(classes.labels))
    lengths = labels.lengths
    weights = np.full(len(lengths), 1 / len(lengths))
    labeled = np.flatnonzero(lengths)
    starts = labels.offsets[:-1][labeled]
    weights[labeled] = np.maximum.reduceat(1 / counts[ids], starts)
    random = np.random.default_rng((seed, epoch, 2))
    return random.choice(len(lengths), len(lengths), p=weights / weights.sum())
