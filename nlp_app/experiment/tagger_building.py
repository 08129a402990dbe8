"""A BiLSTM-CRF tagger from settings and data: untrained, with its encoded sentences and their batches."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from nlp_app.config import TaggingSettings
from nlp_app.errors import SettingsError
from nlp_app.experiment.fitting import load_vectors
from nlp_app.experiment.prepared import Prepared, Rates, TrainBatch
from nlp_app.experiment.seams import LONGEST, cut_targets, seams
from nlp_app.experiment.starting import files_of_start, taken, with_labels, with_words
from nlp_app.features.clusters import are_words, clusters_of
from nlp_app.features.columns import WHOLE, Columns, Share, collate, padding_share, training_batches
from nlp_app.features.encoded import Entry, EntryWriter, kept, kept_from, tokenizer_key
from nlp_app.features.encoder import TaggingEncoder, hide_singletons, token_chunks
from nlp_app.features.sentences import TokensOf, origin
from nlp_app.features.store import StoredColumns
from nlp_app.features.vectors import Vectors, VectorWords
from nlp_app.modeldir import AnyTaggerParts, TaggerParts
from nlp_app.nn.tagger import TableSizes, TaggerDimensions, WideBiLstmCrf
from nlp_app.progress import Progress
from nlp_app.splits import TaggingData, labels_of
from nlp_app.tasks.tagging import TagSet
from nlp_app.types import Sentence

_ENCODER = "encoder"  # the folder of what was fitted
_COUNTED = 1 << 20  # tokens at a time


def prepare_tagger(
    settings: TaggingSettings, data: TaggingData, progress: Progress, start: AnyTaggerParts | None = None
) -> Prepared[TaggerParts, EncodedSentences]:
    """An untrained tagger, or one with what `start` has learned, and its training sentences; these, and what is fitted
    to them, are found again if they were encoded before."""
    model, train = settings.model, settings.train
    if isinstance(start, TaggerParts):
        parts = with_words(settings, with_labels(start, data, model.start), data)
        progress.say(taken(model.start, start, parts), "")
        files = files_of_start(Path(model.start))
        examples = EncodedSentences.of(settings, parts, data.train.sentences)
    else:
        vectors = load_vectors(model.vectors, progress)
        tag_set = _tag_set(settings, data)
        fitted = _fitted(settings, data, vectors, tag_set, progress)
        parts = _make_parts(settings, data, vectors, tag_set, fitted.encoder)
        parts = _with_coverage(parts, data, fitted.coverage, progress)
        files = [Path(model.vectors)] if model.vectors else []
        examples = fitted.examples
    rates: Rates = {"rate_factors": {"crf.": train.crf_rate / train.rate}, "sparse_rate": train.sparse_rate}
    return Prepared(parts, examples, rates, files)


def make_parts(
    settings: TaggingSettings,
    data: TaggingData,
    vectors: Vectors | None,
    tag_set: TagSet | None = None,
    sentences: Collection[Sequence[str]] | None = None,
) -> TaggerParts:
    """An untrained tagger: labels, encoder and network as training data and settings want them; or as `tag_set` and the
    tokens of other `sentences` do."""
    encoder = _fit(settings, data, vectors, TokensOf(data.train.sentences) if sentences is None else sentences)
    return _make_parts(settings, data, vectors, tag_set or _tag_set(settings, data), encoder)


def _tag_set(settings: TaggingSettings, data: TaggingData) -> TagSet:
    return TagSet(tuple(sorted(labels_of(data.train.sentences))), data.scheme_of(settings.model.scheme))


def _fit(
    settings: TaggingSettings, data: TaggingData, vectors: Vectors | None, sentences: Collection[Sequence[str]]
) -> TaggingEncoder:
    return TaggingEncoder.fit(
        sentences,
        data.tokenizer.normalise,
        min_count=settings.model.min_count,
        joint_min_count=settings.model.joint_min_count,
        vectors=_words(vectors, settings) if vectors else None,
    )


@dataclass(frozen=True)
class _Fitted:
    """What comes of the training sentences; coverage: the share of their tokens that have a vector."""

    encoder: TaggingEncoder
    examples: EncodedSentences
    coverage: float


def _fitted(
    settings: TaggingSettings, data: TaggingData, vectors: Vectors | None, tag_set: TagSet, progress: Progress
) -> _Fitted:
    sentences = data.train.sentences

    def write(writer: EntryWriter) -> None:
        encoder = _fit(settings, data, vectors, TokensOf(sentences))
        encoder.save(writer.folder / _ENCODER)
        writer.facts["coverage"] = encoder.coverage(TokensOf(sentences)) if vectors else 0.0
        _write(writer, encoder, tag_set, sentences)

    def read(entry: Entry) -> _Fitted:
        encoder = TaggingEncoder.load(entry.folder / _ENCODER, data.tokenizer.normalise, vectors=vectors is not None)
        return _Fitted(encoder, EncodedSentences.read(settings, entry), entry.facts["coverage"])

    source, rows = origin(sentences)
    decisive = ["tagger", rows, *_decisive(settings, data, vectors, tag_set)]
    return kept_from(source, decisive, write, read, progress.say)


def _decisive(
    settings: TaggingSettings, data: TaggingData, vectors: Vectors | None, tag_set: TagSet
) -> Iterator[str | NDArray[np.float32]]:
    """All but the sentences that decides what is fitted and encoded."""
    model = settings.model
    yield repr((tag_set.scheme, tag_set.labels, model.min_count, model.joint_min_count, LONGEST))
    yield tokenizer_key(data.tokenizer)
    if vectors is not None:
        yield "\0".join(vectors.vocabulary.symbols)
        yield vectors.matrix
        yield repr((model.clusters, settings.train.seed))


def _make_parts(
    settings: TaggingSettings, data: TaggingData, vectors: Vectors | None, tag_set: TagSet, encoder: TaggingEncoder
) -> TaggerParts:
    model = settings.model
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


def _with_coverage(parts: TaggerParts, data: TaggingData, of_train: float, progress: Progress) -> TaggerParts:
    """The parts, with a note of how many of the tokens have a pretrained vector, if there are vectors."""
    if parts.encoder.vectors is None:
        return parts
    coverage = {
        name: round(of_train if name == "train" else parts.encoder.coverage(TokensOf(corpus.sentences)), 4)
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
    """Training sentences as columns, their gold tag ids (`tags`) among them. A row of a batch is a sentence, or a
    window of a long one.

    labelled: sentences that stand in the training data, the first ones; None: all. windows: (sentences + 1,) rows;
    None: each sentence is one.
    """

    settings: TaggingSettings
    columns: Columns
    labelled: int | None = None
    windows: NDArray[np.int64] | None = None

    @classmethod
    def of(cls, settings: TaggingSettings, parts: TaggerParts, sentences: Sequence[Sentence]) -> EncodedSentences:
        """The encoded sentences."""
        return kept(
            None,
            lambda writer: _write(writer, parts.encoder, parts.tag_set, sentences),
            lambda entry: cls.read(settings, entry),
        )

    @classmethod
    def read(cls, settings: TaggingSettings, entry: Entry) -> EncodedSentences:
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
        if isinstance(self.columns, StoredColumns):
            self.columns.trim()

    def batch_count(self) -> int:
        return self._first[0]

    def padding(self) -> float:
        return self._first[1]

    def sources(self, rows: Iterable[int]) -> list[int]:
        places = np.fromiter(rows, dtype=np.int64)
        if self.windows is not None:
            places = np.searchsorted(self.windows, places, side="right") - 1
        found: list[int] = places[places < (len(self.columns) if self.labelled is None else self.labelled)].tolist()
        return found

    def batches(self, epoch: int, share: Share = WHOLE) -> Iterator[TrainBatch]:
        random = np.random.default_rng((self.settings.train.seed, epoch, 1, share.rank))
        for batch in self._rows(epoch):
            rows = share.of(batch)
            arrays = collate(self.columns, rows)
            hide_singletons(arrays["norms"], self._rare, self.settings.model.unknown_share, random)
            inputs = {name: torch.from_numpy(array) for name, array in arrays.items()}
            yield TrainBatch(inputs, int(arrays["mask"].sum()), rows.tolist())
            self._trim()


def _write(writer: EntryWriter, encoder: TaggingEncoder, tag_set: TagSet, sentences: Iterable[Sentence]) -> None:
    """Sentences as columns, some at a time; those that are too long, as their windows."""
    for chunk in token_chunks(sentences):
        columns = encoder.encode([sentence.tokens for sentence in chunk])
        places = [seams(sentence) for sentence in chunk]
        spans = (sentence.spans or [] for sentence in chunk)
        tags = (tag for each, where in zip(spans, places, strict=True) for tag in cut_targets(tag_set, each, where))
        lengths = [end - start for where in places for start, end in pairwise(where)]
        arrays = columns.arrays | {"tags": np.fromiter(tags, dtype=np.int64, count=sum(lengths))}
        writer.append("sentences", Columns(arrays, np.cumsum([0, *lengths], dtype=np.int64)))
        windows = np.cumsum([0, *(len(where) - 1 for where in places)], dtype=np.int64)
        writer.append("windows", Columns({}, windows))
