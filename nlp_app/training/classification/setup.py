"""A classifier over n-grams and words from settings and data: untrained, with its encoded texts and their batches."""

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
from nlp_app.nn.classifier import ClassifierDimensions, ClassifierSizes, TextClassifierNetwork
from nlp_app.storage.cache import CacheEntry, CacheEntryWriter, load_or_build_derived
from nlp_app.storage.memory_map import MappedColumns
from nlp_app.text import Tokenizer, make_tokenizer
from nlp_app.text.tokenizer import tokenizer_key
from nlp_app.training.classification.examples import StoredTexts, label_columns, record_chunks, text_columns
from nlp_app.training.examples import LearningRates, PreparedRun
from nlp_app.training.learner_setup import load_vectors
from nlp_app.training.runs.progress import Progress

_ENCODER = "encoder"  # the folder of what was fitted

_WIDE_WEIGHTS = 1 << 28  # beyond so many (1 GB), the wide part is left out unless it is asked for

# What rates of 0 stand for, of the wide and the deep table: of a loss over all classes, and where each class or label
# adds a loss of its own.
_RATES = {False: (3.0, 1.0), True: (0.3, 0.3)}


def prepare_classifier(
    settings: ClassificationSettings, data: ClassData, progress: Progress
) -> PreparedRun[ClassifierParts, StoredTexts]:
    """An untrained classifier and its training texts; these, and what is fitted to them, are found again if they were
    encoded before."""
    vectors = load_vectors(settings.model.vectors, progress.say)
    encoder, columns = _fitted(settings, data, vectors, progress)
    parts = _make_parts(settings, data, vectors, encoder)
    if encoder.bags is not None and encoder.bags.pruned:
        count = encoder.bags.pruned
        progress.say(f"note: {count:,} n-grams of the fewest texts left out, as model.max_ngrams says")
    if encoder.forgotten:
        progress.say(f"note: the counts of {encoder.forgotten:,} rare words were dropped, as there were too many words")
    rates = table_rates(settings.train, parts.network, data.class_set.multi_label)
    files = [Path(settings.model.vectors)] if settings.model.vectors else []
    return PreparedRun(parts, StoredTexts(settings, data, parts, columns), rates, files)


def make_classifier(
    settings: ClassificationSettings,
    data: ClassData,
    vectors: Vectors | None,
    records: Sequence[ClassRecord] | None = None,
) -> ClassifierParts:
    """An untrained classifier: classes, encoder and network as training data and settings want them; or as other
    `records` do."""
    encoder = _fit(settings, data, vectors, data.train if records is None else records)
    return _make_parts(settings, data, vectors, encoder)


def _fitted(
    settings: ClassificationSettings, data: ClassData, vectors: Vectors | None, progress: Progress
) -> tuple[TextEncoder, dict[str, MappedColumns]]:
    """The encoder and the columns of the training texts."""
    model, tokenizer = settings.model, _tokenizer(settings)
    bags = _bag_options(model) if model.kind != "textcnn" else None

    def write(writer: CacheEntryWriter) -> None:
        encoder = _fit(settings, data, vectors, data.train)
        folder = writer.folder / _ENCODER
        folder.mkdir()
        encoder.save(folder)
        writer.facts |= {"sizes": encoder.sizes, "forgotten": encoder.forgotten}
        if encoder.bags is not None:
            writer.facts |= {"texts": encoder.bags.texts, "pruned": encoder.bags.pruned}
        for parts in text_columns(encoder, data.train, data.class_set):
            for name, columns in parts.items():
                writer.append(name, columns)

    def read(entry: CacheEntry) -> tuple[TextEncoder, dict[str, MappedColumns]]:
        facts = entry.facts
        encoder = load_text_encoder(entry.folder / _ENCODER, tokenizer, facts["sizes"], bags, facts.get("texts", 0))
        if encoder.bags is not None:
            encoder.bags.pruned = facts["pruned"]
        return replace(encoder, forgotten=facts["forgotten"]), dict(entry.columns)

    return load_or_build_derived(data.key, ["texts", *_decisive(settings, bags, vectors)], write, read, progress.say)


def _decisive(
    settings: ClassificationSettings, bags: BagOptions | None, vectors: Vectors | None
) -> Iterator[str | NDArray[np.float32]]:
    """All but the texts that decides what is fitted and encoded."""
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
            ([record.text for record in chunk], label_columns(chunk, data.class_set)) for chunk in record_chunks(train)
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
        raise SettingsError("model: the network doesn't fit into memory; give it smaller dimensions") from error
    if vectors is not None:
        network.set_vectors(torch.from_numpy(vectors.matrix), trained=model.train_vectors)
    return ClassifierParts(network, encoder, data.class_set, default_decision_rule(data.class_set), data.about())


def default_decision_rule(class_set: ClassSet) -> Decision:
    """What holds until dev has decided."""
    return Decision(1.0, np.full(len(class_set.labels), 0.5) if class_set.multi_label else None)


def _bag_options(model: ClassifierModelSettings) -> BagOptions:
    if not model.word_ngrams and not model.char_ngrams:
        raise SettingsError("model: found neither words nor characters, expected n-grams of one of them, such as 1-3")
    return BagOptions(
        words=_orders("word_ngrams", model.word_ngrams),
        characters=_orders("char_ngrams", model.char_ngrams),
        weighting=model.ngram_weighting,
        character_share=model.char_ngram_weight,
        skip_share=model.skip_gram_weight,
        min_count=model.min_count,
        buckets=model.hash_buckets,
        max_features=model.max_ngrams,
    )


def _orders(name: str, text: str) -> NgramRange:
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
        raise SettingsError("model.vectors: the bags have no use for vectors; set model.kind to textcnn or combined")
    wide = has_bags and (model.wide == "yes" or (model.wide == "auto" and sizes.ngrams * classes <= _WIDE_WEIGHTS))
    if has_bags and not wide and not model.hidden_size:
        raise SettingsError(
            f"model: {sizes.ngrams:,} n-grams and {classes:,} classes are too many for weights of their own, and "
            "model.hidden_size is 0; set it to 64, or model.wide to yes"
        )
    if has_words and not model.word_dim and vectors is None:
        raise SettingsError("model.word_dim: found 0 and no vectors, expected a width of embeddings such as 128")
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
    """The rates of the tables, whose settings are for one text: an update has the mean gradient of many."""
    each = multi_label or train.loss == "hinge"
    wide, deep = train.wide_learning_rate or _RATES[each][0], train.deep_learning_rate or _RATES[each][1]
    factors = {"deep.bag.": deep / wide} if network.deep is not None else {}
    return {"plain_rate": wide * train.batch_size * train.gradient_accumulation_steps, "rate_factors": factors}
