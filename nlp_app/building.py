"""From settings and data to what trains: the untrained tagger, its encoded sentences, the learner, the batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nlp_app import training
from nlp_app.config import Settings
from nlp_app.errors import SettingsError
from nlp_app.features.columns import Columns, collate, training_batches
from nlp_app.features.encoder import TaggingEncoder, hide_singletons
from nlp_app.features.vectors import Vectors, read_vectors
from nlp_app.modeldir import TaggerParts
from nlp_app.nn.tagger import TableSizes, TaggerDimensions, WideBiLstmCrf
from nlp_app.progress import Progress
from nlp_app.schemes import NONE
from nlp_app.splits import TaggingData
from nlp_app.tasks.tagging import TagSet
from nlp_app.types import Sentence

# What `train.epochs = 0` stands for: small data need more passes, large data fewer.
_UPDATES, _FEWEST_EPOCHS, _MOST_EPOCHS = 700, 4, 30


def load_vectors(settings: Settings, progress: Progress) -> Vectors | None:
    """The pretrained vectors that the settings name."""
    if not settings.model.vectors:
        return None
    vectors = read_vectors(Path(settings.model.vectors))
    rows, width = vectors.matrix.shape
    progress.say(f"vectors: {rows:,} of {width} dimensions; {vectors.untrained} untrained rows left out")
    return vectors


def make_parts(settings: Settings, data: TaggingData, vectors: Vectors | None) -> TaggerParts:
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


def make_learner(settings: Settings, parts: TaggerParts, columns: Columns) -> training.Learner:
    """What trains the tagger's network: device and precision, optimizers, schedule, average."""
    train = settings.train
    accelerator = training.make_accelerator(train.precision)
    network = training.place_model(parts.network, accelerator)
    optimizers = training.make_optimizers(
        network,
        training.OptimizerOptions(
            name=train.optimizer,
            lr=train.rate,
            weight_decay=train.weight_decay,
            momentum=train.momentum,
            sparse_lr=train.sparse_rate,
            rate_factors={"crf.": train.crf_rate / train.rate},
        ),
    )
    windows = updates_an_epoch(settings, columns)
    schedule = training.Schedule(
        training.ScheduleOptions(
            total_steps=windows * train.epochs,
            name=train.schedule,
            warmup=train.warmup,
            every=windows * train.step_epochs,
            factor=train.factor,
        )
    )
    average = training.WeightAverage(parts.network, train.ema) if train.ema else None
    return training.Learner(network, optimizers, schedule, accelerator, train.seed, average)


def updates_an_epoch(settings: Settings, columns: Columns) -> int:
    """Optimizer updates in an epoch."""
    return -(-len(epoch_rows(settings, columns, epoch=1)) // settings.train.accumulation)


def with_epochs(settings: Settings, columns: Columns) -> Settings:
    """The settings with a number of epochs, where they leave it to the size of the data."""
    if settings.train.epochs:
        return settings
    wanted = round(_UPDATES / updates_an_epoch(settings, columns))
    epochs = min(max(wanted, _FEWEST_EPOCHS), _MOST_EPOCHS)
    return settings.model_copy(update={"train": settings.train.model_copy(update={"epochs": epochs})})


def epoch_rows(settings: Settings, columns: Columns, epoch: int) -> list[NDArray[np.int64]]:
    """The sentences of each batch of an epoch (from 1)."""
    train = settings.train
    return training_batches(columns.lengths, train.batch_tokens, seed=train.seed, epoch=epoch)


@dataclass(frozen=True)
class TaggingBatch:
    """A micro-batch of the training loop."""

    inputs: dict[str, Tensor]
    targets: int
    rows: list[int]


def epoch_batches(settings: Settings, columns: Columns, epoch: int) -> Iterator[TaggingBatch]:
    """The batches of an epoch; they follow from the data, the seed and the epoch alone."""
    norms = columns.arrays["norms"]
    rare = np.bincount(norms, minlength=int(norms.max(initial=0)) + 1) == 1
    random = np.random.default_rng((settings.train.seed, epoch, 1))
    for rows in epoch_rows(settings, columns, epoch):
        arrays = collate(columns, rows)
        hide_singletons(arrays["norms"], rare, settings.model.unknown_share, random)
        inputs = {name: torch.from_numpy(array) for name, array in arrays.items()}
        yield TaggingBatch(inputs, int(arrays["mask"].sum()), rows.tolist())
