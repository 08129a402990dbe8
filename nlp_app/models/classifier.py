"""Read and write a text classifier's part of a model directory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

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
    read_or_raise_model_error,
)
from nlp_app.models.numpy_weights import read_arrays
from nlp_app.numerics.dimensions import ClassifierDimensions, ClassifierSizes, kernel_sizes
from nlp_app.runtime.classifier import ClassifierNetwork, weight_types
from nlp_app.text import Tokenizer, make_tokenizer

if TYPE_CHECKING:
    from torch import Tensor

    from nlp_app.nn.classifier import TextClassifierNetwork

KIND = "text_classifier"

_LIMITS = dict.fromkeys(("ngram_dropout", "hidden_dropout", "word_dropout", "filter_dropout"), 1)

_LIMITS |= {"wide": 2, "stacked": 10}


@dataclass(frozen=True)
class Decision:
    """Turns scores into probabilities and labels. Both values are fitted on dev data.

    Attributes:
        temperature: Scores are divided by it.
        thresholds: (classes,) the lowest probability of each class, if a text may have several labels; otherwise None.
    """

    temperature: float = 1.0
    thresholds: NDArray[np.float64] | None = None

    def describe(self) -> dict[str, Any]:
        """Describe the decision for `nlp_app.json`.

        Returns:
            JSON values.
        """
        thresholds = None if self.thresholds is None else self.thresholds.tolist()
        return {"temperature": self.temperature, "thresholds": thresholds}


class _Network(Protocol):
    @property
    def dimensions(self) -> ClassifierDimensions:
        """The heads and sizes of the layers."""


@dataclass(frozen=True)
class _AnyClassifierParts:
    """The parts of a text classifier.

    Attributes:
        network: The network, which computes scores.
        encoder: Encodes texts for the network.
        class_set: The classes.
        decision: Turns scores into labels.
        about: How the training data was read, and other facts for people and programs, as JSON values.
        card: The text of README.md, or "".
        task: Always "cls".
    """

    network: _Network
    encoder: TextEncoder
    class_set: ClassSet
    decision: Decision
    about: dict[str, Any]
    card: str = field(default="", compare=False)
    task: ClassVar[Literal["cls"]] = "cls"

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer that splits texts into words."""
        return self.encoder.tokenizer

    def describe(self) -> dict[str, Any]:
        """Describe the classifier for `nlp_app.json`.

        Returns:
            JSON values.
        """
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

    def save_files(self, directory: Path) -> None:
        """Write the encoder's vocabularies.

        Args:
            directory: The directory of the new model, still empty.
        """
        (directory / VOCABULARY).mkdir()
        self.encoder.save(directory / VOCABULARY)


@dataclass(frozen=True)
class ClassifierParts(_AnyClassifierParts):
    """The parts of a text classifier whose network is a torch module.

    Attributes:
        network: The network, which computes scores.
    """

    network: TextClassifierNetwork

    def weights(self) -> Mapping[str, Tensor]:
        """Get the network's weights.

        Returns:
            Tensors by name.
        """
        return self.network.state_dict()


@dataclass(frozen=True)
class NumpyClassifierParts(_AnyClassifierParts):
    """The parts of a text classifier whose network is computed by NumPy.

    Attributes:
        network: The network, which computes scores.
    """

    network: ClassifierNetwork

    def weights(self) -> Mapping[str, NDArray[Any]]:
        """Get the network's weights.

        Returns:
            Arrays by name.
        """
        return self.network.weights


def read_classifier(directory: Path, description: Mapping[str, Any]) -> ClassifierParts:
    """Read a classifier from a model directory whose files were checked.

    Args:
        directory: The model's directory.
        description: The contents of `nlp_app.json`.

    Returns:
        The parts of the classifier.

    Raises:
        ModelError: If the description doesn't fit the files.
    """
    from nlp_app.models.torch_weights import read_network  # noqa: PLC0415 - a model can be used without torch
    from nlp_app.nn.classifier import TextClassifierNetwork  # noqa: PLC0415

    rest, sizes, dimensions = _read_rest(directory, description)
    classes = len(rest.class_set.labels)
    network = read_network(directory, lambda: TextClassifierNetwork(classes, sizes, dimensions))
    return ClassifierParts(network, *rest)


def read_numpy_classifier(directory: Path, description: Mapping[str, Any]) -> NumpyClassifierParts:
    """Read a classifier from a model directory whose files were checked, with its network in NumPy.

    Args:
        directory: The model's directory.
        description: The contents of `nlp_app.json`.

    Returns:
        The parts of the classifier.

    Raises:
        ModelError: If the description doesn't fit the files.
    """
    rest, sizes, dimensions = _read_rest(directory, description)
    weights = read_arrays(directory, weight_types(len(rest.class_set.labels), sizes, dimensions))
    return NumpyClassifierParts(ClassifierNetwork(weights, dimensions), *rest)


def to_torch(parts: NumpyClassifierParts) -> ClassifierParts:
    """Convert a classifier to one whose network is a torch module. Both share the memory of the weights.

    Args:
        parts: The classifier.

    Returns:
        The same classifier in torch.
    """
    from nlp_app.models.torch_weights import share_weights  # noqa: PLC0415 - a model can be used without torch
    from nlp_app.nn.classifier import TextClassifierNetwork  # noqa: PLC0415

    classes, sizes = len(parts.class_set.labels), ClassifierSizes(**parts.encoder.sizes)
    network = share_weights(
        lambda: TextClassifierNetwork(classes, sizes, parts.network.dimensions), parts.network.weights
    )
    return ClassifierParts(network, parts.encoder, parts.class_set, parts.decision, parts.about, parts.card)


class _Rest(NamedTuple):
    """All parts but the network."""

    encoder: TextEncoder
    class_set: ClassSet
    decision: Decision
    about: dict[str, Any]


def _read_rest(directory: Path, description: Mapping[str, Any]) -> tuple[_Rest, ClassifierSizes, ClassifierDimensions]:
    place, vocabulary = directory / DESCRIPTION, directory / VOCABULARY
    class_set, decision, about = read_or_raise_model_error(place, lambda: read_classes(description))
    sizes, dimensions = read_or_raise_model_error(place, lambda: _sizes(description))
    encoder = read_or_raise_model_error(vocabulary, lambda: _encoder(vocabulary, description, sizes))
    if encoder.sizes != asdict(sizes):
        raise ModelError(f"{directory}: the vocabularies don't fit the network's tables; copy the model again")
    return _Rest(encoder, class_set, decision, about), sizes, dimensions


def read_classes(description: Mapping[str, Any]) -> tuple[ClassSet, Decision, dict[str, Any]]:
    """Read the classes, and how labels are decided, from a description.

    Args:
        description: The contents of `nlp_app.json`.

    Returns:
        The classes, the decision, and the facts about the training data.

    Raises:
        ValueError: If a value is invalid.
    """
    labels, multi_label = read_labels(description), description["multi_label"]
    if not isinstance(multi_label, bool) or list(labels) != sorted(labels):
        raise ValueError("labels: expected them sorted, and multi_label as true or false")
    temperature, thresholds = description["decision"]["temperature"], description["decision"]["thresholds"]
    if not isinstance(temperature, float) or not 0.001 <= temperature <= 1000:
        raise ValueError(f"temperature: found {temperature!r}, expected a number from 0.001 to 1000")
    if multi_label != (thresholds is not None):
        raise ValueError("thresholds: expected numbers if multi_label is true, and null if it is false")
    array = None if thresholds is None else np.array(thresholds, dtype=np.float64)
    if array is not None and (array.shape != (len(labels),) or not ((array >= 0) & (array <= 1)).all()):
        raise ValueError(f"thresholds: expected {len(labels)} numbers from 0 to 1")
    return ClassSet(labels, multi_label), Decision(temperature, array), read_about(description)


def _sizes(description: Mapping[str, Any]) -> tuple[ClassifierSizes, ClassifierDimensions]:
    network = description["network"]
    if network["kind"] != KIND:
        raise ValueError(f"network: found {network['kind']!r}, expected {KIND!r}")
    dimensions = parse_dimensions(ClassifierDimensions, network["dimensions"], _LIMITS)
    kernel_sizes(dimensions.kernels)
    if dimensions.mode not in ("sum", "mean", "max"):
        raise ValueError(f"mode: found {dimensions.mode!r}, expected sum, mean or max")
    return parse_dimensions(ClassifierSizes, network["sizes"], {}), dimensions


def _encoder(vocabulary: Path, description: Mapping[str, Any], sizes: ClassifierSizes) -> TextEncoder:
    tokenizer = make_tokenizer(description["tokenizer"]["name"], **description["tokenizer"]["settings"])
    bags, texts = (None, 0) if description["bags"] is None else _bags(description["bags"])
    return load_text_encoder(vocabulary, tokenizer, asdict(sizes), bags, texts)


def _bags(description: Mapping[str, Any]) -> tuple[BagOptions, int]:
    values = dict(description)
    texts = values.pop("texts")
    values["words"], values["characters"] = _orders(values["words"]), _orders(values["characters"])
    options = parse_dimensions(BagOptions, values, {"min_count": 1 << 62, "max_features": 1 << 62})
    if options.weighting not in WEIGHTINGS or not options.character_share > 0:
        raise ValueError(f"bags: found weighting {options.weighting!r} and character_share {options.character_share!r}")
    if type(texts) is not int or not 0 <= texts < 1 << 62:
        raise ValueError(f"bags: found {texts!r} texts, expected a whole number")
    return options, texts


def _orders(description: Sequence[Any]) -> NgramRange:
    orders = NgramRange(*description)
    if not all(type(order) is int and 0 <= order < 100 for order in orders):
        raise ValueError(f"bags: found n-grams of {orders.shortest!r} to {orders.longest!r}, expected up to 99")
    return orders
