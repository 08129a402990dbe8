"""A BiLSTM-CRF tagger from settings and data: untrained, with its encoded sentences and their batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from nlp_app.config import TaggingSettings
from nlp_app.errors import SettingsError
from nlp_app.experiment.fitting import load_vectors
from nlp_app.experiment.prepared import Prepared, Rates, TrainBatch
from nlp_app.experiment.starting import files_of_start, taken, with_labels, with_words
from nlp_app.features.clusters import are_words, clusters_of
from nlp_app.features.columns import WHOLE, Columns, Share, collate, padding_share, training_batches
from nlp_app.features.encoder import TaggingEncoder, hide_singletons
from nlp_app.features.vectors import Vectors, VectorWords
from nlp_app.modeldir import AnyTaggerParts, TaggerParts
from nlp_app.nn.tagger import TableSizes, TaggerDimensions, WideBiLstmCrf
from nlp_app.progress import Progress
from nlp_app.schemes import NONE
from nlp_app.splits import TaggingData
from nlp_app.tasks.tagging import TagSet
from nlp_app.types import Sentence


def prepare_tagger(
    settings: TaggingSettings, data: TaggingData, progress: Progress, start: AnyTaggerParts | None = None
) -> Prepared[TaggerParts, EncodedSentences]:
    """An untrained tagger, or one with what `start` has learned, and its training sentences."""
    model, train = settings.model, settings.train
    if isinstance(start, TaggerParts):
        parts = with_words(settings, with_labels(start, data, model.start), data)
        progress.say(taken(model.start, start, parts), "")
        files = files_of_start(Path(model.start))
    else:
        parts = _with_coverage(make_parts(settings, data, load_vectors(model.vectors, progress)), data, progress)
        files = [Path(model.vectors)] if model.vectors else []
    rates: Rates = {"rate_factors": {"crf.": train.crf_rate / train.rate}, "sparse_rate": train.sparse_rate}
    return Prepared(parts, EncodedSentences.of(settings, parts, data.train.sentences), rates, files)


def make_parts(
    settings: TaggingSettings,
    data: TaggingData,
    vectors: Vectors | None,
    tag_set: TagSet | None = None,
    sentences: Sequence[Sequence[str]] | None = None,
) -> TaggerParts:
    """An untrained tagger: labels, encoder and network as training data and settings want them; or as `tag_set` and the
    tokens of other `sentences` do."""
    model = settings.model
    if tag_set is None:
        tag_set = TagSet.of(data.train.sentences, NONE if data.train.scheme == NONE else model.scheme)
    encoder = TaggingEncoder.fit(
        [sentence.tokens for sentence in data.train.sentences] if sentences is None else sentences,
        data.tokenizer.normalise,
        min_count=model.min_count,
        joint_min_count=model.joint_min_count,
        vectors=_words(vectors, settings) if vectors else None,
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


def _words(vectors: Vectors, settings: TaggingSettings) -> VectorWords:
    wanted = settings.model.clusters == "yes" or (settings.model.clusters == "auto" and are_words(vectors))
    return VectorWords(vectors.vocabulary, clusters_of(vectors, settings.train.seed) if wanted else None)


def _with_coverage(parts: TaggerParts, data: TaggingData, progress: Progress) -> TaggerParts:
    """The parts, with a note of how many of the tokens have a pretrained vector, if there are vectors."""
    if parts.encoder.vectors is None:
        return parts
    coverage = {
        name: round(parts.encoder.coverage(sentence.tokens for sentence in corpus.sentences), 4)
        for name, corpus in data.corpora()
    }
    clustered = "" if parts.encoder.vectors.clusters is None else "; their clusters are window features"
    shares = ", ".join(f"{share:.1%} of {name}" for name, share in coverage.items())
    progress.say(f"tokens that have a vector: {shares}{clustered}", "")
    return replace(parts, about=parts.about | {"vector_coverage": coverage})


def _network(tag_set: TagSet, sizes: TableSizes, dimensions: TaggerDimensions) -> WideBiLstmCrf:
    try:
        return WideBiLstmCrf(len(tag_set.tags), torch.from_numpy(tag_set.allowed), sizes, dimensions)
    except RuntimeError as error:
        if "memory" not in str(error):
            raise
        raise SettingsError("model: the network doesn't fit into memory; give it smaller dimensions") from error


@dataclass(frozen=True)
class EncodedSentences:
    """Training sentences as columns, their gold tag ids (`tags`) among them. A row of a batch is a sentence."""

    settings: TaggingSettings
    columns: Columns
    labelled: int | None = None  # sentences that stand in the training data, the first ones; None: all

    @classmethod
    def of(cls, settings: TaggingSettings, parts: TaggerParts, sentences: list[Sentence]) -> EncodedSentences:
        """The encoded sentences."""
        columns = parts.encoder.encode([sentence.tokens for sentence in sentences])
        return cls(settings, Columns(columns.arrays | {"tags": parts.tag_set.targets(sentences)}, columns.offsets))

    @cached_property
    def _first(self) -> list[NDArray[np.int64]]:
        return self._rows(epoch=1)

    def _rows(self, epoch: int) -> list[NDArray[np.int64]]:
        train = self.settings.train
        return training_batches(self.columns.lengths, train.batch_tokens, seed=train.seed, epoch=epoch)

    @cached_property
    def _rare(self) -> NDArray[np.bool_]:
        norms = self.columns.arrays["norms"]
        rare: NDArray[np.bool_] = np.bincount(norms, minlength=int(norms.max(initial=0)) + 1) == 1
        return rare

    def batch_count(self) -> int:
        return len(self._first)

    def padding(self) -> float:
        return padding_share(self.columns.lengths, self._first)

    def sources(self, rows: Iterable[int]) -> list[int]:
        return [row for row in rows if self.labelled is None or row < self.labelled]

    def batches(self, epoch: int, share: Share = WHOLE) -> Iterator[TrainBatch]:
        random = np.random.default_rng((self.settings.train.seed, epoch, 1, share.rank))
        for batch in self._rows(epoch):
            rows = share.of(batch)
            arrays = collate(self.columns, rows)
            hide_singletons(arrays["norms"], self._rare, self.settings.model.unknown_share, random)
            inputs = {name: torch.from_numpy(array) for name, array in arrays.items()}
            yield TrainBatch(inputs, int(arrays["mask"].sum()), rows.tolist())
