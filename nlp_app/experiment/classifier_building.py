"""From settings and data to what trains: the untrained classifier, its encoded texts, its batches, its loss."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nlp_app.class_splits import ClassData
from nlp_app.config import ClassifierSettings, ClassLoopSettings, ClassSettings
from nlp_app.errors import SettingsError, did_you_mean
from nlp_app.features.bags import BagOptions
from nlp_app.features.columns import Columns, text_batches
from nlp_app.features.ngrams import Orders
from nlp_app.features.store import ColumnsWriter, StoredColumns
from nlp_app.features.text_encoder import EncodedTexts, TextEncoder
from nlp_app.features.vectors import Vectors
from nlp_app.modeldir import ClassifierParts, Decision
from nlp_app.nn.classifier import ClassifierDimensions, ClassifierSizes, TextClassifier
from nlp_app.nn.losses import Loss, make_loss
from nlp_app.predict.classifier import batch_inputs
from nlp_app.streams import chunks
from nlp_app.tasks.classification import ClassSet
from nlp_app.text import make_tokenizer
from nlp_app.types import ClassRecord

_CHUNK_TEXTS, _CHUNK_CHARACTERS = 5000, 1 << 20  # read and encoded together
_WIDE_WEIGHTS = 1 << 28  # beyond so many (1 GB), the wide part is left out unless it is asked for
# What rates of 0 stand for, of the wide and the deep table: of a loss over all classes, and where each class or label
# adds a loss of its own.
_RATES = {False: (3.0, 1.0), True: (0.3, 0.3)}


@dataclass(frozen=True)
class StoredTexts:
    """The encoded training texts, in files. labels: a row a label of a text, array `labels`."""

    bags: StoredColumns | None
    words: StoredColumns | None
    labels: StoredColumns

    @property
    def texts(self) -> EncodedTexts:
        """What the encoder made of them."""
        return EncodedTexts(self.bags, self.words)

    def release(self) -> None:
        """Let go of the memory that reading took."""
        for columns in (self.bags, self.words, self.labels):
            if columns is not None:
                columns.release()


def record_chunks(records: Iterable[ClassRecord]) -> Iterator[list[ClassRecord]]:
    """Runs of records to be encoded together."""
    return chunks(records, lambda record: len(record.text), _CHUNK_TEXTS, _CHUNK_CHARACTERS)


def make_classifier(settings: ClassSettings, data: ClassData, vectors: Vectors | None) -> ClassifierParts:
    """An untrained classifier: classes, encoder and network as training data and settings want them."""
    model = settings.model
    name = "basic" if settings.data.tokenizer == "auto" else settings.data.tokenizer
    bags = _bag_options(model) if model.kind != "textcnn" else None
    encoder = TextEncoder.fit(
        ([record.text for record in chunk] for chunk in record_chunks(data.train)),
        make_tokenizer(name, do_lower_case=settings.data.lower_case),
        bags=bags,
        word_min_count=model.word_min_count if model.kind != "embedding_bag" else None,
        vectors=vectors.vocabulary if vectors else None,
    )
    if model.class_weighting:
        pairs = (
            ([record.text for record in chunk], label_columns(chunk, data.class_set))
            for chunk in record_chunks(data.train)
        )
        encoder = encoder.weighed(pairs, len(data.class_set.labels))
    sizes = ClassifierSizes(**encoder.sizes)
    dimensions = _dimensions(model, len(data.class_set.labels), sizes, vectors)
    try:
        network = TextClassifier(len(data.class_set.labels), sizes, dimensions)
    except RuntimeError as error:
        if "memory" not in str(error):
            raise
        raise SettingsError("model: the network doesn't fit into memory; give it smaller dimensions") from error
    if vectors is not None:
        network.set_vectors(torch.from_numpy(vectors.matrix), trained=model.train_vectors)
    return ClassifierParts(network, encoder, data.class_set, _undecided(data.class_set), data.about())


def _undecided(class_set: ClassSet) -> Decision:
    return Decision(1.0, np.full(len(class_set.labels), 0.5) if class_set.multi_label else None)


def _bag_options(model: ClassifierSettings) -> BagOptions:
    if not model.words and not model.characters:
        raise SettingsError("model: found neither words nor characters, expected n-grams of one of them, such as 1-3")
    return BagOptions(
        words=_orders("words", model.words),
        characters=_orders("characters", model.characters),
        weighting=model.weighting,
        character_share=model.character_share,
        skip_share=model.skip_share,
        min_count=model.min_count,
        buckets=model.buckets,
        max_features=model.max_ngrams,
    )


def _orders(name: str, text: str) -> Orders:
    if not text:
        return Orders(1, 0)
    shortest, _, longest = text.partition("-")
    orders = Orders(int(shortest), int(longest or shortest))
    if orders.shortest > orders.longest:
        raise SettingsError(f"model.{name}: found {text!r}, expected the shorter n-grams first, such as 1-3")
    return orders


def _dimensions(
    model: ClassifierSettings, classes: int, sizes: ClassifierSizes, vectors: Vectors | None
) -> ClassifierDimensions:
    has_bags, has_words = model.kind != "textcnn", model.kind != "embedding_bag"
    if vectors is not None and not has_words:
        raise SettingsError("model.vectors: the bags have no use for vectors; set model.kind to textcnn or combined")
    wide = has_bags and (model.wide == "yes" or (model.wide == "auto" and sizes.ngrams * classes <= _WIDE_WEIGHTS))
    if has_bags and not wide and not model.hidden:
        raise SettingsError(
            f"model: {sizes.ngrams:,} n-grams and {classes:,} classes are too many for weights of their own, and "
            "model.hidden is 0; set it to 64, or model.wide to yes"
        )
    if has_words and not model.word and vectors is None:
        raise SettingsError("model.word: found 0 and no vectors, expected a width of embeddings such as 128")
    return ClassifierDimensions(
        wide=int(wide),
        hidden=model.hidden if has_bags else 0,
        mode=model.mode,
        word=model.word if has_words else 0,
        vector=vectors.matrix.shape[1] if vectors is not None else 0,
        filters=model.filters if has_words else 0,
        kernels=model.kernels,
        stacked=model.stacked,
        ngram_dropout=model.ngram_dropout,
        hidden_dropout=model.hidden_dropout,
        word_dropout=model.word_dropout,
        filter_dropout=model.filter_dropout,
    )


def store_texts(parts: ClassifierParts, records: Iterable[ClassRecord], directory: Path) -> StoredTexts:
    """The encoded texts and their labels, written into a directory."""
    directory.mkdir(parents=True, exist_ok=True)
    writers = {"labels": ColumnsWriter(directory, "labels")}
    for chunk in record_chunks(records):
        encoded = parts.encoder.encode([record.text for record in chunk])
        for name, columns in encoded.columns().items():
            writers.setdefault(name, ColumnsWriter(directory, name)).append(columns)
        writers["labels"].append(label_columns(chunk, parts.class_set))
    stored = {name: writer.close() for name, writer in writers.items()}
    return StoredTexts(stored.get("bags"), stored.get("words"), stored["labels"])


def label_columns(records: Sequence[ClassRecord], classes: ClassSet) -> Columns:
    """The class ids of records, a row a label, array `labels`."""
    labels = [record.labels or () for record in records]
    numbers = np.fromiter((classes.ids[label] for each in labels for label in each), dtype=np.int32)
    return Columns({"labels": numbers}, np.cumsum([0, *map(len, labels)]))


@dataclass(frozen=True)
class TextBatch:
    """A micro-batch of the training loop."""

    inputs: dict[str, Tensor]
    targets: int
    rows: list[int]


def epoch_batches(train: ClassLoopSettings, stored: StoredTexts, classes: ClassSet, epoch: int) -> Iterator[TextBatch]:
    """The batches of an epoch; they follow from the data, the seed and the epoch alone."""
    lengths = stored.words.lengths if stored.words is not None else None
    drawn = _draw(train, stored, classes, epoch) if train.imbalance == "sampler" else None
    batches = text_batches(
        len(stored.labels),
        train.batch_size,
        seed=train.seed,
        epoch=epoch,
        lengths=lengths if drawn is None or lengths is None else lengths[drawn],
    )
    for places in batches:
        rows = places if drawn is None else drawn[places]
        inputs = batch_inputs(stored.texts, rows)
        inputs["targets"] = torch.from_numpy(targets_of(stored.labels, rows, classes))
        yield TextBatch(inputs, len(rows), rows.tolist())
        # For each row that is read the system maps its neighbours too, 64 KB of each file if they are in its cache: a
        # hundred rows a batch soon come to a lot.
        stored.release()


def targets_of(labels: Columns, rows: NDArray[np.int64], classes: ClassSet) -> NDArray[np.int64] | NDArray[np.float32]:
    """(rows,) class ids, or with several labels a text (rows, classes) of 0 and 1."""
    if not classes.multi_label:
        return labels.arrays["labels"][labels.offsets[rows]].astype(np.int64)
    targets = np.zeros((len(rows), len(classes.labels)), dtype=np.float32)
    for place, row in enumerate(rows.tolist()):
        targets[place, labels.arrays["labels"][labels.offsets[row] : labels.offsets[row + 1]]] = 1
    return targets


def _draw(train: ClassLoopSettings, stored: StoredTexts, classes: ClassSet, epoch: int) -> NDArray[np.int64]:
    """As many texts as there are, drawn so that each class comes equally often; of several labels, the rarest
    counts."""
    labels = stored.labels.arrays["labels"]
    counts = np.bincount(labels, minlength=len(classes.labels))
    lengths = stored.labels.lengths
    chances = np.full(len(lengths), 1 / len(lengths))
    filled = np.flatnonzero(lengths)
    starts = stored.labels.offsets[:-1][filled]
    chances[filled] = np.maximum.reduceat(1 / counts[labels], starts)
    random = np.random.default_rng((train.seed, epoch, 2))
    return random.choice(len(lengths), len(lengths), p=chances / chances.sum())


class TableRates(TypedDict):
    """Rates of the tables of n-grams, as `make_learner` takes them."""

    plain_rate: float
    rate_factors: dict[str, float]


def table_rates(train: ClassLoopSettings, network: TextClassifier, multi_label: bool) -> TableRates:
    """The rates of the tables, whose settings are for one text: an update has the mean gradient of many."""
    each = multi_label or train.loss == "hinge"
    wide, deep = train.wide_rate or _RATES[each][0], train.deep_rate or _RATES[each][1]
    factors = {"deep.bag.": deep / wide} if network.deep is not None else {}
    return {"plain_rate": wide * train.batch_size * train.accumulation, "rate_factors": factors}


def training_loss(train: ClassLoopSettings, classes: ClassSet, counts: Mapping[str, int], texts: int) -> Loss:
    """The loss that the settings name, with the weights of the classes."""
    name: str = train.loss
    if name == "auto":
        plain, focal = ("binary_cross_entropy", "binary_focal") if classes.multi_label else ("cross_entropy", "focal")
        name = focal if train.imbalance == "focal" else plain
    elif train.imbalance == "focal" and "focal" not in name:
        raise SettingsError(f"train.imbalance: found focal, which the loss {name!r} isn't; leave train.loss at auto")
    return make_loss(
        name,
        multi_label=classes.multi_label,
        weights=_class_weights(train, classes, counts, texts),
        gamma=train.gamma if "focal" in name else None,
        smoothing=train.smoothing if name == "cross_entropy" else None,
    )


def _class_weights(
    train: ClassLoopSettings, classes: ClassSet, counts: Mapping[str, int], texts: int
) -> list[float] | None:
    text = train.class_weights.strip()
    if train.imbalance == "weights":
        if text:
            raise SettingsError("train.imbalance: found weights, and class_weights as well; expected one of the two")
        text = "balanced"
    if not text:
        return None
    if text == "balanced":
        if classes.multi_label:  # as many positives as negatives
            return [(texts - counts[label]) / counts[label] for label in classes.labels]
        return [texts / (len(classes.labels) * counts[label]) for label in classes.labels]
    weights = dict.fromkeys(classes.labels, 1.0)
    for pair in text.split(","):
        label, _, weight = (part.strip() for part in pair.rpartition("="))
        if label not in weights:
            hint = did_you_mean(label, weights)
            raise SettingsError(
                f"train.class_weights: found {pair!r}, expected `balanced`, or `LABEL=WEIGHT, ...`{hint}"
            )
        try:
            weights[label] = float(weight)
        except ValueError as error:
            raise SettingsError(
                f"train.class_weights: found {weight!r} for {label!r}, expected a number such as 2.5"
            ) from error
    return list(weights.values())
