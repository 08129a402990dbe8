"""Make an untrained BiLSTM-CRF tagger from settings and data, and encode its training sentences."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from numpy.typing import NDArray

from nlp_app.config import TaggingSettings
from nlp_app.core.errors import SettingsError
from nlp_app.data.tagging.remarks import collect_labels
from nlp_app.data.tagging.splits import TaggingData
from nlp_app.features.lexicon.lexicon import Lexicon
from nlp_app.features.lexicon.token_keys import simplified_characters
from nlp_app.features.lexicon.word_lists import find_word_list
from nlp_app.features.pretrained_vectors import Vectors, VectorWords
from nlp_app.features.tagging.encoder import TaggingEncoder
from nlp_app.features.tagging.vector_clusters import are_word_vectors, cluster_vectors
from nlp_app.labels.tag_set import TagSet
from nlp_app.models import AnyTaggerParts, TaggerParts
from nlp_app.nn.tagger import WideBiLstmCrf
from nlp_app.numerics.dimensions import TableSizes, TaggerDimensions
from nlp_app.storage.cache import CacheEntry, CacheEntryWriter, load_or_build_derived
from nlp_app.storage.sentences import SentenceTokens, cache_source
from nlp_app.text.tokenizer import tokenizer_key
from nlp_app.training.examples import LearningRates, PreparedRun
from nlp_app.training.learner_setup import load_lexicon, load_vectors
from nlp_app.training.runs.progress import Progress
from nlp_app.training.tagging.examples import EncodedSentences, write_sentences
from nlp_app.training.tagging.initial_model import (
    describe_initial_model,
    extend_labels,
    extend_vocabulary,
    initial_model_files,
)
from nlp_app.training.tagging.long_sentences import MAX_TOKENS

_ENCODER_FOLDER = "encoder"  # in a cache entry


def prepare_tagger(
    settings: TaggingSettings, data: TaggingData, progress: Progress, initial_model: AnyTaggerParts | None = None
) -> PreparedRun[TaggerParts, EncodedSentences]:
    """Make an untrained tagger, or extend an initial model, and encode the training sentences.

    The fitted encoder and the encoded sentences of a new tagger are cached.

    Args:
        settings: Settings of the run.
        data: The splits.
        progress: Log of the run.
        initial_model: Tagger to continue training from; None for a new tagger.

    Returns:
        The tagger, its training sentences and learning rates.

    Raises:
        SettingsError: The settings do not fit together or not to the data, or the network does not fit into memory.
    """
    model, train = settings.model, settings.train
    if isinstance(initial_model, TaggerParts):
        parts = extend_vocabulary(settings, extend_labels(initial_model, data, model.initial_model), data)
        progress.say(describe_initial_model(model.initial_model, initial_model, parts), "")
        files = initial_model_files(Path(model.initial_model))
        examples = EncodedSentences.encode(settings, parts, data.train.sentences)
    else:
        resources = load_resources(settings, data, progress)
        tag_set = _tag_set(settings, data)
        fitted = _load_or_fit(settings, data, resources, tag_set, progress)
        parts = _make_parts(settings, data, resources, tag_set, fitted.encoder)
        parts = _with_coverage(parts, data, fitted.coverage, progress)
        files = [*([Path(model.vectors)] if model.vectors else []), *map(find_word_list, model.lexicon)]
        examples = fitted.examples
    rates: LearningRates = {
        "rate_factors": {"crf.": train.crf_learning_rate / train.learning_rate},
        "sparse_rate": train.sparse_learning_rate,
    }
    return PreparedRun(parts, examples, rates, files)


class Resources(NamedTuple):
    """Knowledge of words from outside the training data.

    Attributes:
        vectors: Pretrained vectors.
        lexicon: Listed words.
        lists: Name, number of words and checksum of each list, as JSON values.
    """

    vectors: Vectors | None = None
    lexicon: Lexicon | None = None
    lists: tuple[dict[str, Any], ...] = ()


def load_resources(settings: TaggingSettings, data: TaggingData, progress: Progress) -> Resources:
    """Load the pretrained vectors and the lexicon that the settings name.

    Args:
        settings: Settings of the run.
        data: The splits, with the tokenizer.
        progress: Log of the run.

    Returns:
        The resources.

    Raises:
        SettingsError: A list of words cannot be found.
        DataError: A file cannot be read.
    """
    vectors = load_vectors(settings.model.vectors, progress.say)
    return Resources(vectors, *load_lexicon(settings.model.lexicon, data.tokenizer, progress.say))


def make_parts(
    settings: TaggingSettings,
    data: TaggingData,
    resources: Resources | None = None,
    tag_set: TagSet | None = None,
    sentences: Collection[Sequence[str]] | None = None,
) -> TaggerParts:
    """Make an untrained tagger from the training data and settings.

    Args:
        settings: Settings of the run.
        data: The splits.
        resources: Pretrained vectors and lexicon, if there are any.
        tag_set: Tags; None for the labels of the training data.
        sentences: Tokens of the sentences that the encoder is fitted to; None for the training sentences.

    Returns:
        The tagger.

    Raises:
        SettingsError: The network does not fit into memory.
    """
    resources = resources or Resources()
    encoder = _fit(settings, data, resources, SentenceTokens(data.train.sentences) if sentences is None else sentences)
    return _make_parts(settings, data, resources, tag_set or _tag_set(settings, data), encoder)


def _tag_set(settings: TaggingSettings, data: TaggingData) -> TagSet:
    return TagSet(tuple(sorted(collect_labels(data.train.sentences))), data.scheme_of(settings.model.scheme))


def _fit(
    settings: TaggingSettings, data: TaggingData, resources: Resources, sentences: Collection[Sequence[str]]
) -> TaggingEncoder:
    return TaggingEncoder.fit(
        sentences,
        data.tokenizer.normalize,
        min_count=settings.model.min_count,
        joint_min_count=settings.model.joint_min_count,
        vectors=_vector_words(resources.vectors, settings) if resources.vectors else None,
        lexicon=resources.lexicon,
    )


@dataclass(frozen=True)
class _FittedEncoder:
    """Encoder, encoded training sentences, and the share of their tokens that have a vector."""

    encoder: TaggingEncoder
    examples: EncodedSentences
    coverage: float


def _load_or_fit(
    settings: TaggingSettings, data: TaggingData, resources: Resources, tag_set: TagSet, progress: Progress
) -> _FittedEncoder:
    sentences = data.train.sentences

    def build(writer: CacheEntryWriter) -> None:
        encoder = _fit(settings, data, resources, SentenceTokens(sentences))
        encoder.save(writer.folder / _ENCODER_FOLDER)
        writer.facts["coverage"] = encoder.coverage(SentenceTokens(sentences)) if resources.vectors else 0.0
        write_sentences(writer, encoder, tag_set, sentences)

    def load(entry: CacheEntry) -> _FittedEncoder:
        encoder = TaggingEncoder.load(
            entry.folder / _ENCODER_FOLDER, data.tokenizer.normalize, vectors=resources.vectors is not None
        )
        return _FittedEncoder(encoder, EncodedSentences.from_cache(settings, entry), entry.facts["coverage"])

    source, rows = cache_source(sentences)
    key_parts = ["tagger", rows, *_cache_key_parts(settings, data, resources, tag_set)]
    return load_or_build_derived(source, key_parts, build, load, progress.say)


def _cache_key_parts(
    settings: TaggingSettings, data: TaggingData, resources: Resources, tag_set: TagSet
) -> Iterator[str | NDArray[Any]]:
    """Iterate over everything except the sentences that affects the fitted encoder and the encoded sentences."""
    model = settings.model
    yield repr((tag_set.scheme, tag_set.labels, model.min_count, model.joint_min_count, MAX_TOKENS))
    yield tokenizer_key(data.tokenizer)
    vectors, lexicon = resources.vectors, resources.lexicon
    if vectors is not None:
        yield "\0".join(vectors.vocabulary.symbols)
        yield vectors.matrix
        yield repr((model.clusters, settings.train.seed))
    if lexicon is not None:
        yield "\0".join(lexicon.class_names.symbols)
        yield repr(simplified_characters())
        yield from (lexicon.index.keys, lexicon.classes, lexicon.costs)


def _make_parts(
    settings: TaggingSettings, data: TaggingData, resources: Resources, tag_set: TagSet, encoder: TaggingEncoder
) -> TaggerParts:
    model, vectors = settings.model, resources.vectors
    dimensions = TaggerDimensions(
        norm=model.word_dim,
        shape=model.shape_dim,
        part=model.affix_dim,
        vector=vectors.matrix.shape[1] if vectors else 0,
        hidden=model.hidden_size,
        layers=model.num_layers,
        input_dropout=model.input_dropout,
        hidden_dropout=model.hidden_dropout,
        feature_dropout=model.feature_dropout,
        wide_dropout=model.wide_dropout,
    )
    network = _network(tag_set, TableSizes(**encoder.sizes), dimensions)
    about = data.about() | ({"lexicon": list(resources.lists)} if resources.lists else {})
    if vectors is not None:
        network.set_vectors(torch.from_numpy(vectors.matrix), trained=model.train_vectors)
    return TaggerParts(network, encoder, tag_set, data.tokenizer, about)


def _vector_words(vectors: Vectors, settings: TaggingSettings) -> VectorWords:
    use_clusters = settings.model.clusters == "yes" or (settings.model.clusters == "auto" and are_word_vectors(vectors))
    return VectorWords(vectors.vocabulary, cluster_vectors(vectors, settings.train.seed) if use_clusters else None)


def _with_coverage(parts: TaggerParts, data: TaggingData, train_coverage: float, progress: Progress) -> TaggerParts:
    """Record the share of tokens that have a pretrained vector, if there are vectors."""
    if parts.encoder.vectors is None:
        return parts
    coverage = {
        name: round(train_coverage if name == "train" else parts.encoder.coverage(SentenceTokens(corpus.sentences)), 4)
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
        raise SettingsError("model: the network doesn't fit into memory; reduce its dimensions") from error
