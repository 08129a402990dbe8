"""From settings and data to what trains: the untrained tagger, its encoded sentences, its batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nlp_app.config import TaggingSettings
from nlp_app.errors import SettingsError
from nlp_app.features.columns import Columns, collate, training_batches
from nlp_app.features.encoder import TaggingEncoder, hide_singletons
from nlp_app.features.vectors import Vectors
from nlp_app.modeldir import TaggerParts
from nlp_app.nn.tagger import TableSizes, TaggerDimensions, WideBiLstmCrf
from nlp_app.schemes import NONE
from nlp_app.splits import TaggingData
from nlp_app.tasks.tagging import TagSet
from nlp_app.types import Sentence


def make_parts(settings: TaggingSettings, data: TaggingData, vectors: Vectors | None) -> TaggerParts:
    """An untrained tagger: labels, encoder and network as training data and settings want them."""
    model = settings.model
    scheme = NONE if data.train.scheme == NONE else model.scheme
    tag_set = TagSet.of(data.train.sentences, scheme)
    encoder = TaggingEncoder.fit(
        [sentence.tokens for sentence in data.train.sentences],
        data.tokenizer.normalise,
        min_count=model.min_count,
        vectors=vectors.vocabulary if vectors else None,
    )
    dimensions = TaggerDimensions(
        norm=model.norm,
        shape=model.shape,
        part=model.part,
        vector=vectors.matrix.shape[1] if vectors else 0,
        hidden=model.hidden,
        layers=model.layers,
        input_dropout=model.input_dropout,
        hidden_dropout=model.hidden_dropout,
        feature_dropout=model.feature_dropout,
        wide_dropout=model.wide_dropout,
    )
    network = _network(tag_set, TableSizes(**encoder.sizes), dimensions)
    if vectors is not None:
        network.set_vectors(torch.from_numpy(vectors.matrix), trained=model.train_vectors)
    return TaggerParts(network, encoder, tag_set, data.tokenizer, data.about())


def _network(tag_set: TagSet, sizes: TableSizes, dimensions: TaggerDimensions) -> WideBiLstmCrf:
    try:
        return WideBiLstmCrf(len(tag_set.tags), torch.from_numpy(tag_set.allowed), sizes, dimensions)
    except RuntimeError as error:
        if "memory" not in str(error):
            raise
        raise SettingsError("model: the network doesn't fit into memory; give it smaller dimensions") from error


def training_columns(parts: TaggerParts, sentences: list[Sentence]) -> Columns:
    """The encoded sentences with their gold tag ids, `tags`."""
    columns = parts.encoder.encode([sentence.tokens for sentence in sentences])
    return Columns(columns.arrays | {"tags": parts.tag_set.targets(sentences)}, columns.offsets)


def epoch_rows(settings: TaggingSettings, columns: Columns, epoch: int) -> list[NDArray[np.int64]]:
    """The sentences of each batch of an epoch (from 1)."""
    train = settings.train
    return training_batches(columns.lengths, train.batch_tokens, seed=train.seed, epoch=epoch)


@dataclass(frozen=True)
class TaggingBatch:
    """A micro-batch of the training loop."""

    inputs: dict[str, Tensor]
    targets: int
    rows: list[int]


def epoch_batches(settings: TaggingSettings, columns: Columns, epoch: int) -> Iterator[TaggingBatch]:
    """The batches of an epoch; they follow from the data, the seed and the epoch alone."""
    norms = columns.arrays["norms"]
    rare = np.bincount(norms, minlength=int(norms.max(initial=0)) + 1) == 1
    random = np.random.default_rng((settings.train.seed, epoch, 1))
    for rows in epoch_rows(settings, columns, epoch):
        arrays = collate(columns, rows)
        hide_singletons(arrays["norms"], rare, settings.model.unknown_share, random)
        inputs = {name: torch.from_numpy(array) for name, array in arrays.items()}
        yield TaggingBatch(inputs, int(arrays["mask"].sum()), rows.tolist())
