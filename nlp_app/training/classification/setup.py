"""Make an untrained classifier on n-grams and words from settings and data, and encode its training texts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from nlp_app.config import ClassificationSettings, ClassificationTrainSettings, ClassifierModelSettings
from nlp_app.core.errors import SettingsError
from nlp_app.core.types import ClassRecord
from nlp_app.data.classification.splits import ClassData
from nlp_app.features.classification.encoder import TextEncoder, load_text_encoder
from nlp_app.features.classification.ngram_bags import BagOptions
from nlp_app.features.classification.ngrams import NgramRange
from nlp_app.features.pretrained_vectors import Vectors
from nlp_app.labels.class_set import ClassSet
from nlp_app.models import ClassifierParts, Decision
from nlp_app.nn.classifier import TextClassifierNetwork
from nlp_app.numerics.dimensions import ClassifierDimensions, ClassifierSizes
from nlp_app.storage.cache import CacheEntry, CacheEntryWriter, load_or_build_derived
from nlp_app.storage.memory_map import MappedColumns
from nlp_app.text import Tokenizer, make_tokenizer
from nlp_app.text.tokenizer import tokenizer_key
from nlp_app.training.classification.examples import StoredTexts, encode_labels, encode_text_columns, record_chunks
from nlp_app.training.examples import LearningRates, PreparedRun
from nlp_app.training.learner_setup import load_vectors
from nlp_app.training.runs.progress import Progress

_ENCODER_FOLDER = "encoder"  # in a cache entry

_MAX_WIDE_WEIGHTS = 1 << 28  # 1 GB; a larger wide part is only made if model.wide is "yes"

# Learning rates of the wide and the deep table if the settings have 0. Key: True if each class adds a loss of its own,
# which is the case for several labels per text and for the hinge loss.
_DEFAULT_RATES = {False: (3.0, 1.0), True: (0.3, 0.3)}


def prepare_classifier(
    settings: ClassificationSettings, data: ClassData, progress: Progress
) -> PreparedRun[ClassifierParts, StoredTexts]:
    """Make an untrained classifier, and encode the training texts.

    The fitted encoder and the encoded texts are cached.

    Args:
        settings: Settings of the run.
        data: The splits.
        progress: Log of the run.

    Returns:
        The classifier, its training texts and learning rates.

    Raises:
        SettingsError: The settings do not fit together or not to the data, or the network does not fit into memory.
    """
    vectors = load_vectors(settings.model.vectors, progress.say)
    encoder, columns = _load_or_fit(settings, data, vectors, progress)
    parts = _make_parts(settings, data, vectors, encoder)
    if encoder.bags is not None and encoder.bags.pruned:
        count = encoder.bags.pruned
        progress.say(f"note: the {count:,} rarest n-grams were left out because of model.max_ngrams")
    if encoder.forgotten:
        progress.say(
            f"note: the counts of {encoder.forgotten:,} rare words were dropped, as there were too many different words"
        )
    rates = table_rates(settings.train, parts.network, data.class_set.multi_label)
    files = [Path(settings.model.vectors)] if settings.model.vectors else []
    return PreparedRun(parts, StoredTexts(settings, data, parts, columns), rates, files)


def make_classifier(
    settings: ClassificationSettings,
    data: ClassData,
    vectors: Vectors | None,
    records: Sequence[ClassRecord] | None = None,
) -> ClassifierParts:
    """Make an untrained classifier from the training data and settings.

    Args:
        settings: Settings of the run.
        data: The splits.
        vectors: Pretrained vectors, if there are any.
        records: Texts that the encoder is fitted to; None for the training texts.

    Returns:
        The classifier.

    Raises:
        SettingsError: The settings do not fit together, or the network does not fit into memory.
    """
    encoder = _fit(settings, data, vectors, data.train if records is None else records)
    return _make_parts(settings, data, vectors, encoder)


def _load_or_fit(
    settings: ClassificationSettings, data: ClassData, vectors: Vectors | None, progress: Progress
) -> tuple[TextEncoder, dict[str, MappedColumns]]:
    """Load the encoder and the columns of the training texts from the cache, or make them."""
    model, tokenizer = settings.model, _tokenizer(settings)
    bags = _bag_options(model) if model.kind != "textcnn" else None

    def build(writer: CacheEntryWriter) -> None:
        encoder = _fit(settings, data, vectors, data.train)
        folder = writer.folder / _ENCODER_FOLDER
        folder.mkdir()
        encoder.save(folder)
        writer.facts |= {"sizes": encoder.sizes, "forgotten": encoder.forgotten}
        if encoder.bags is not None:
            writer.facts |= {"texts": encoder.bags.texts, "pruned": encoder.bags.pruned}
        for parts in encode_text_columns(encoder, data.train, data.class_set):
            for name, columns in parts.items():
                writer.append(name, columns)

    def load(entry: CacheEntry) -> tuple[TextEncoder, dict[str, MappedColumns]]:
        facts = entry.facts
        encoder = load_text_encoder(
            entry.folder / _ENCODER_FOLDER, tokenizer, facts["sizes"], bags, facts.get("texts", 0)
        )
        if encoder.bags is not None:
            encoder.bags.pruned = facts["pruned"]
        return replace(encoder, forgotten=facts["forgotten"]), dict(entry.columns)

    return load_or_build_derived(
        data.key, ["texts", *_cache_key_parts(settings, bags, vectors)], build, load, progress.say
    )


def _cache_key_parts(
    settings: ClassificationSettings, bags: BagOptions | None, vectors: Vectors | None
) -> Iterator[str | NDArray[np.float32]]:
    """Iterate over everything except the texts that affects the fitted encoder and the encoded texts."""
    model, tokenizer = settings.model, _tokenizer(settings)
    yield tokenizer_key(tokenizer)
    yield repr((model.kind, bags, model.word_min_count, model.ngram_class_weighting))
    if vectors is not None:
        yield "\0".join(vectors.vocabulary.symbols)


def _tokenizer(settings: ClassificationSettings) -> Tokenizer:
    name = "basic" if settings.data.tokenizer == "auto" else settings.data.tokenizer
    return make_tokenizer(name, do_lower_case=settings.data.lower_case)


def _fit(
    settings: ClassificationSettings, data: ClassData, vectors: Vectors | None, train: Iterable[ClassRecord]
) -> TextEncoder:
    model = settings.model
    encoder = TextEncoder.fit(
        ([record.text for record in chunk] for chunk in record_chunks(train)),
        _tokenizer(settings),
        bags=_bag_options(model) if model.kind != "textcnn" else None,
        word_min_count=model.word_min_count if model.kind != "embedding_bag" else None,
        vectors=vectors.vocabulary if vectors else None,
    )
    if model.ngram_class_weighting:
        pairs = (
            ([record.text for record in chunk], encode_labels(chunk, data.class_set)) for chunk in record_chunks(train)
        )
        encoder = encoder.with_class_weights(pairs, len(data.class_set.labels))
    return encoder


def _make_parts(
    settings: ClassificationSettings, data: ClassData, vectors: Vectors | None, encoder: TextEncoder
) -> ClassifierParts:
    model = settings.model
    sizes = ClassifierSizes(**encoder.sizes)
    dimensions = _dimensions(model, len(data.class_set.labels), sizes, vectors)
    try:
        network = TextClassifierNetwork(len(data.class_set.labels), sizes, dimensions)
    except RuntimeError as error:
        if "memory" not in str(error):
            raise
        raise SettingsError("model: the network doesn't fit into memory; reduce its dimensions") from error
    if vectors is not None:
        network.set_vectors(torch.from_numpy(vectors.matrix), trained=model.train_vectors)
    return ClassifierParts(network, encoder, data.class_set, default_decision_rule(data.class_set), data.about())


def default_decision_rule(class_set: ClassSet) -> Decision:
    """Make the decision rule of a classifier that is not calibrated.

    Args:
        class_set: The classes.

    Returns:
        Temperature 1 and, for a multi-label classifier, thresholds of 0.5.
    """
    return Decision(1.0, np.full(len(class_set.labels), 0.5) if class_set.multi_label else None)


def _bag_options(model: ClassifierModelSettings) -> BagOptions:
    if not model.word_ngrams and not model.char_ngrams:
        raise SettingsError(
            "model: found neither words nor characters; set model.word_ngrams or model.char_ngrams, such as 1-3"
        )
    return BagOptions(
        words=_ngram_range("word_ngrams", model.word_ngrams),
        characters=_ngram_range("char_ngrams", model.char_ngrams),
        weighting=model.ngram_weighting,
        character_share=model.char_ngram_weight,
        skip_share=model.skip_gram_weight,
        min_count=model.min_count,
        buckets=model.hash_buckets,
        max_features=model.max_ngrams,
    )


def _ngram_range(name: str, text: str) -> NgramRange:
    if not text:
        return NgramRange(1, 0)
    shortest, _, longest = text.partition("-")
    orders = NgramRange(int(shortest), int(longest or shortest))
    if orders.shortest > orders.longest:
        raise SettingsError(f"model.{name}: found {text!r}, expected the shorter n-grams first, such as 1-3")
    return orders


def _dimensions(
    model: ClassifierModelSettings, classes: int, sizes: ClassifierSizes, vectors: Vectors | None
) -> ClassifierDimensions:
    has_bags, has_words = model.kind != "textcnn", model.kind != "embedding_bag"
    if vectors is not None and not has_words:
        raise SettingsError(
            "model.vectors: not supported by model.kind embedding_bag; set model.kind to textcnn or combined"
        )
    wide = has_bags and (model.wide == "yes" or (model.wide == "auto" and sizes.ngrams * classes <= _MAX_WIDE_WEIGHTS))
    if has_bags and not wide and not model.hidden_size:
        raise SettingsError(
            f"model: {sizes.ngrams:,} n-grams and {classes:,} classes need too many weights for the wide part, and "
            "model.hidden_size is 0; set model.hidden_size to 64, or model.wide to yes"
        )
    if has_words and not model.word_dim and vectors is None:
        raise SettingsError("model.word_dim: found 0 and no vectors; set the size of word embeddings, such as 128")
    return ClassifierDimensions(
        wide=int(wide),
        hidden=model.hidden_size if has_bags else 0,
        mode=model.mode,
        word=model.word_dim if has_words else 0,
        vector=vectors.matrix.shape[1] if vectors is not None else 0,
        filters=model.num_filters if has_words else 0,
        kernels=model.kernel_sizes,
        stacked=model.stacked_layers,
        ngram_dropout=model.ngram_dropout,
        hidden_dropout=model.hidden_dropout,
        word_dropout=model.word_dropout,
        filter_dropout=model.filter_dropout,
    )


def table_rates(train: ClassificationTrainSettings, network: TextClassifierNetwork, multi_label: bool) -> LearningRates:
    """Compute the learning rates of the wide and deep tables.

    The settings are for a step on one text. A step has the mean gradient of many texts, so the rate of plain SGD is
    multiplied by their number.

    Args:
        train: Settings of the run.
        network: The network.
        multi_label: True if texts have several labels.

    Returns:
        Rate of plain SGD, and factors on the rates.
    """
    separate_losses = multi_label or train.loss == "hinge"
    wide, deep = (
        train.wide_learning_rate or _DEFAULT_RATES[separate_losses][0],
        train.deep_learning_rate or _DEFAULT_RATES[separate_losses][1],
    )
    factors = {"deep.bag.": deep / wide} if network.deep is not None else {}
    return {"plain_rate": wide * train.batch_size * train.gradient_accumulation_steps, "rate_factors": factors}
