"""The classifier in a model directory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from nlp_app.core.errors import ModelError
from nlp_app.features.classification.encoder import TextEncoder, load_text_encoder
from nlp_app.features.classification.ngram_bags import WEIGHTINGS, BagOptions
from nlp_app.features.classification.ngrams import NgramRange
from nlp_app.labels.class_set import ClassSet
from nlp_app.models.directory import (
    DESCRIPTION,
    VOCABULARY,
    parse_dimensions,
    read_about,
    read_labels,
    read_network,
    read_or_raise_model_error,
)
from nlp_app.nn.classifier import ClassifierDimensions, ClassifierSizes, TextClassifierNetwork, kernel_sizes
from nlp_app.text import Tokenizer, make_tokenizer

KIND = "text_classifier"

_MOST = dict.fromkeys(("ngram_dropout", "hidden_dropout", "word_dropout", "filter_dropout"), 1)

_MOST |= {"wide": 2, "stacked": 10}


@dataclass(frozen=True)
class Decision:
    """How scores become probabilities and labels: both fitted on dev.

    temperature: what scores are divided by; thresholds: (classes,), of texts with several labels, None for one label.
    """

    temperature: float = 1.0
    thresholds: NDArray[np.float64] | None = None

    def describe(self) -> dict[str, Any]:
        """What `nlp_app.json` says of it."""
        thresholds = None if self.thresholds is None else self.thresholds.tolist()
        return {"temperature": self.temperature, "thresholds": thresholds}


@dataclass(frozen=True)
class ClassifierParts:
    """What a classifier is made of. `about` holds what people and readers may want to know: how the data was read;
    `card` is the text of its README.md, if it has one."""

    network: TextClassifierNetwork
    encoder: TextEncoder
    class_set: ClassSet
    decision: Decision
    about: dict[str, Any]
    card: str = field(default="", compare=False)
    task: ClassVar[Literal["cls"]] = "cls"

    @property
    def tokenizer(self) -> Tokenizer:
        """What cuts texts into words."""
        return self.encoder.tokenizer

    def describe(self) -> dict[str, Any]:
        """What `nlp_app.json` says of it."""
        bags = self.encoder.bags
        return {
            "task": self.task,
            "labels": list(self.class_set.labels),
            "multi_label": self.class_set.multi_label,
            "decision": self.decision.describe(),
            "tokenizer": {"name": self.tokenizer.name, "settings": self.tokenizer.settings()},
            "bags": None if bags is None else asdict(bags.options) | {"texts": bags.texts},
            "network": {"kind": KIND, "sizes": self.encoder.sizes, "dimensions": asdict(self.network.dimensions)},
            "about": self.about,
        }

    def weights(self) -> Mapping[str, Tensor]:
        """The network's."""
        return self.network.state_dict()

    def save_files(self, directory: Path) -> None:
        """Write the encoder's vocabularies."""
        (directory / VOCABULARY).mkdir()
        self.encoder.save(directory / VOCABULARY)


def read_classifier(directory: Path, description: Mapping[str, Any]) -> ClassifierParts:
    """The classifier of a directory whose files are intact. Raises ModelError if the description doesn't fit them."""
    place, vocabulary = directory / DESCRIPTION, directory / VOCABULARY
    class_set, decision, about = read_or_raise_model_error(place, lambda: read_classes(description))
    sizes, dimensions = read_or_raise_model_error(place, lambda: _sizes(description))
    encoder = read_or_raise_model_error(vocabulary, lambda: _encoder(vocabulary, description, sizes))
    if encoder.sizes != asdict(sizes):
        raise ModelError(f"{directory}: the vocabularies don't fit the network's tables; copy the model again")
    network = read_network(directory, lambda: TextClassifierNetwork(len(class_set.labels), sizes, dimensions))
    return ClassifierParts(network, encoder, class_set, decision, about)


def read_classes(description: Mapping[str, Any]) -> tuple[ClassSet, Decision, dict[str, Any]]:
    """The classes, how they are decided on, and what is told of the data."""
    labels, multi_label = read_labels(description), description["multi_label"]
    if not isinstance(multi_label, bool) or list(labels) != sorted(labels):
        raise ValueError("labels: expected them in order, and multi_label as true or false")
    temperature, thresholds = description["decision"]["temperature"], description["decision"]["thresholds"]
    if not isinstance(temperature, float) or not 0.001 <= temperature <= 1000:
        raise ValueError(f"temperature: found {temperature!r}, expected a number from 0.001 to 1000")
    if multi_label != (thresholds is not None):
        raise ValueError("thresholds: expected them for texts with several labels, and for no others")
    found = None if thresholds is None else np.array(thresholds, dtype=np.float64)
    if found is not None and (found.shape != (len(labels),) or not ((found >= 0) & (found <= 1)).all()):
        raise ValueError(f"thresholds: expected {len(labels)} numbers from 0 to 1")
    return ClassSet(labels, multi_label), Decision(temperature, found), read_about(description)


def _sizes(description: Mapping[str, Any]) -> tuple[ClassifierSizes, ClassifierDimensions]:
    network = description["network"]
    if network["kind"] != KIND:
        raise ValueError(f"network: found {network['kind']!r}, expected {KIND!r}")
    dimensions = parse_dimensions(ClassifierDimensions, network["dimensions"], _MOST)
    kernel_sizes(dimensions.kernels)
    if dimensions.mode not in ("sum", "mean", "max"):
        raise ValueError(f"mode: found {dimensions.mode!r}, expected sum, mean or max")
    return parse_dimensions(ClassifierSizes, network["sizes"], {}), dimensions


def _encoder(vocabulary: Path, description: Mapping[str, Any], sizes: ClassifierSizes) -> TextEncoder:
    tokenizer = make_tokenizer(description["tokenizer"]["name"], **description["tokenizer"]["settings"])
    bags, texts = (None, 0) if description["bags"] is None else _bags(description["bags"])
    return load_text_encoder(vocabulary, tokenizer, asdict(sizes), bags, texts)


def _bags(described: Mapping[str, Any]) -> tuple[BagOptions, int]:
    values = dict(described)
    texts = values.pop("texts")
    values["words"], values["characters"] = _orders(values["words"]), _orders(values["characters"])
    options = parse_dimensions(BagOptions, values, {"min_count": 1 << 62, "max_features": 1 << 62})
    if options.weighting not in WEIGHTINGS or not options.character_share > 0:
        raise ValueError(f"bags: found the weighting {options.weighting!r}, characters' {options.character_share!r}")
    if type(texts) is not int or not 0 <= texts < 1 << 62:
        raise ValueError(f"bags: found {texts!r} texts, expected a number")
    return options, texts


def _orders(described: Sequence[Any]) -> NgramRange:
    orders = NgramRange(*described)
    if not all(type(order) is int and 0 <= order < 100 for order in orders):
        raise ValueError(f"bags: found n-grams of {orders.shortest!r} to {orders.longest!r}, expected up to 99")
    return orders
