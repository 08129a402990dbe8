"""Encoded training texts of classifiers on n-grams and words, and batches of them; the class ids of any texts."""

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
from nlp_app.inference.class_scores import batch_inputs
from nlp_app.labels.class_set import ClassSet
from nlp_app.models import ClassifierParts
from nlp_app.storage.batching import WHOLE, ProcessShare, text_batches
from nlp_app.storage.memory_map import ColumnsWriter, MappedColumns
from nlp_app.storage.ragged import RaggedColumns
from nlp_app.training.examples import TrainBatch

_CHUNK_TEXTS, _CHUNK_CHARACTERS = 5000, 1 << 20  # read and encoded together

Targets = NDArray[np.int64] | NDArray[np.float32]


def record_chunks(records: Iterable[ClassRecord]) -> Iterator[list[ClassRecord]]:
    """Runs of records to be encoded together."""
    return chunk_by_size(records, lambda record: len(record.text), _CHUNK_TEXTS, _CHUNK_CHARACTERS)


def text_columns(
    encoder: TextEncoder, records: Iterable[ClassRecord], classes: ClassSet | None = None
) -> Iterator[dict[str, RaggedColumns]]:
    """What the encoder makes of texts, some at a time, by name; with classes also "labels", as `label_columns`."""
    for chunk in record_chunks(records):
        columns = encoder.encode([record.text for record in chunk]).columns()
        yield columns if classes is None else columns | {"labels": label_columns(chunk, classes)}


class _Texts(ABC):
    """Training texts as columns in files, of which batches are made; a row of a batch is a text.

    Without columns `store` comes first, but for `batch_count`.
    """

    settings: ClassificationSettings
    parts: ClassifierParts
    columns: dict[str, MappedColumns]

    @abstractmethod
    def _count(self) -> int:
        """How many texts there are."""

    @abstractmethod
    def _encoded(self) -> Iterator[dict[str, RaggedColumns]]:
        """The columns of the texts, some at a time."""

    @abstractmethod
    def _targets(self, rows: NDArray[np.int64]) -> Targets:
        """What is to be learned of these texts."""

    def _drawn(self, epoch: int) -> NDArray[np.int64] | None:
        """The texts of an epoch, if they aren't all, once."""
        return None

    def store(self, directory: Path) -> None:
        """Encode the texts into a directory, if they aren't in another one."""
        if self.columns:
            return
        directory.mkdir(parents=True, exist_ok=True)
        writers: dict[str, ColumnsWriter] = {}
        for parts in self._encoded():
            for name, columns in parts.items():
                if name not in writers:
                    writers[name] = ColumnsWriter(directory, name)
                writers[name].append(columns)
        self.columns = {name: writer.close() for name, writer in writers.items()}

    def release(self) -> None:
        """Let go of the memory that reading took."""
        for columns in self.columns.values():
            columns.release()

    def batch_count(self) -> int:
        return -(-self._count() // self.settings.train.batch_size)

    def padding(self) -> float:
        return 0.0

    def batches(self, epoch: int, share: ProcessShare = WHOLE) -> Iterator[TrainBatch]:
        train, words = self.settings.train, self.columns.get("words")
        texts = EncodedTexts(self.columns.get("bags"), words)
        drawn, lengths = self._drawn(epoch), words.lengths if words is not None else None
        if drawn is not None and lengths is not None:
            lengths = lengths[drawn]
        for places in text_batches(self._count(), train.batch_size, seed=train.seed, epoch=epoch, lengths=lengths):
            rows = share.select(places if drawn is None else drawn[places])
            inputs = batch_inputs(texts, rows)
            inputs["targets"] = torch.from_numpy(self._targets(rows))
            yield TrainBatch(inputs, len(rows), rows.tolist())
            for columns in self.columns.values():
                columns.trim()


@dataclass
class StoredTexts(_Texts):
    """The texts of a training file, with their class ids: columns "labels"."""

    settings: ClassificationSettings
    data: ClassData
    parts: ClassifierParts
    columns: dict[str, MappedColumns] = field(default_factory=dict)

    def _count(self) -> int:
        return self.data.train_size

    def _encoded(self) -> Iterator[dict[str, RaggedColumns]]:
        return text_columns(self.parts.encoder, self.data.train, self.data.class_set)

    def _targets(self, rows: NDArray[np.int64]) -> Targets:
        return targets_of(self.columns["labels"], rows, self.data.class_set)

    def _drawn(self, epoch: int) -> NDArray[np.int64] | None:
        train = self.settings.train
        if train.imbalance != "sampler":
            return None
        return draw_balanced(train.seed, self.columns["labels"], self.data.class_set, epoch)

    def sources(self, rows: Iterable[int]) -> list[int]:
        return list(rows)


@dataclass
class DistilledTexts(_Texts):
    """Texts with the probabilities (texts, classes) that are to be learned; the first ones are `labeled`, and stand in
    the training file."""

    settings: ClassificationSettings
    parts: ClassifierParts
    records: Sequence[ClassRecord]
    probabilities: NDArray[np.float32]
    labeled: int
    columns: dict[str, MappedColumns] = field(default_factory=dict)

    def _count(self) -> int:
        return len(self.records)

    def _encoded(self) -> Iterator[dict[str, RaggedColumns]]:
        return text_columns(self.parts.encoder, self.records)

    def _targets(self, rows: NDArray[np.int64]) -> Targets:
        found: NDArray[np.float32] = self.probabilities[rows]
        return found

    def sources(self, rows: Iterable[int]) -> list[int]:
        return [row for row in rows if row < self.labeled]


def label_columns(records: Sequence[ClassRecord], classes: ClassSet) -> RaggedColumns:
    """The class ids of records, a row a label, array `labels`."""
    labels = [record.labels or () for record in records]
    numbers = np.fromiter((classes.ids[label] for each in labels for label in each), dtype=np.int32)
    return RaggedColumns({"labels": numbers}, np.cumsum([0, *map(len, labels)]))


def targets_of(labels: RaggedColumns, rows: NDArray[np.int64], classes: ClassSet) -> Targets:
    """(rows,) class ids, or with several labels a text (rows, classes) of 0 and 1."""
    if not classes.multi_label:
        return labels.arrays["labels"][labels.offsets[rows]].astype(np.int64)
    targets = np.zeros((len(rows), len(classes.labels)), dtype=np.float32)
    for place, row in enumerate(rows.tolist()):
        targets[place, labels.arrays["labels"][labels.offsets[row] : labels.offsets[row + 1]]] = 1
    return targets


def draw_balanced(seed: int, stored: RaggedColumns, classes: ClassSet, epoch: int) -> NDArray[np.int64]:
    """As many rows as there are, drawn so that each class comes equally often; of several labels, the rarest counts.

    stored: the labels of each row.
    """
    labels = stored.arrays["labels"]
    counts = np.bincount(labels, minlength=len(classes.labels))
    lengths = stored.lengths
    chances = np.full(len(lengths), 1 / len(lengths))
    filled = np.flatnonzero(lengths)
    starts = stored.offsets[:-1][filled]
    chances[filled] = np.maximum.reduceat(1 / counts[labels], starts)
    random = np.random.default_rng((seed, epoch, 2))
    return random.choice(len(lengths), len(lengths), p=chances / chances.sum())
