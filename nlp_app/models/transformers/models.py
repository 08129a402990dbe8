"""Taggers and classifiers on a pretrained transformer, and how they are saved to a model directory.

transformers can load the directory too if the model is a classifier or a tagger with a softmax head. The exception is a
tagger with casing embeddings (`model.casing_embedding`): transformers would ignore `capitals.weight`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from nlp_app.features.subwords.encoder import SubwordEncoder
from nlp_app.labels.class_set import ClassSet
from nlp_app.labels.tag_set import TagSet
from nlp_app.models.classifier import Decision
from nlp_app.models.directory import CONFIG, PIECES
from nlp_app.models.transformers.body import set_labels
from nlp_app.nn.transformer import TransformerClassifier, TransformerDimensions, TransformerTagger
from nlp_app.text import Tokenizer

KIND = "transformer"

N = TypeVar("N", TransformerTagger, TransformerClassifier)


@dataclass(frozen=True)
class TransformerTaggerParts:
    """The parts of a tagger on a pretrained transformer.

    Attributes:
        network: The network, which scores tags.
        encoder: Encodes tokens as windows of subwords.
        tag_set: The tags, their scheme and labels.
        tokenizer: Splits raw texts into tokens.
        files: Contents by name of the files that transformers needs for the tokenizer, and of the model's own code, if
            any.
        about: How the training data was read, and other facts for people and programs, as JSON values.
        card: The text of README.md, or "".
        legal: Whether only tag sequences that are valid in the scheme are predicted. False for imported taggers that
            may have been trained with invalid sequences: their tags are read as the CoNLL scorer reads them.
        task: Always "ner".
    """

    network: TransformerTagger
    encoder: SubwordEncoder
    tag_set: TagSet
    tokenizer: Tokenizer
    files: Mapping[str, bytes]
    about: dict[str, Any]
    card: str = field(default="", compare=False)
    legal: bool = True
    task: ClassVar[Literal["ner"]] = "ner"

    def describe(self) -> dict[str, Any]:
        """Describe the tagger for `nlp_app.json`.

        Returns:
            JSON values.
        """
        dimensions = asdict(self.network.dimensions)
        return {
            "task": self.task,
            "labels": list(self.tag_set.labels),
            "scheme": self.tag_set.scheme,
            "tokenizer": {"name": self.tokenizer.name, "settings": self.tokenizer.settings()},
            "pieces": _describe_subwords(self.encoder),
            "network": {"kind": KIND, "dimensions": dimensions, "legal": self.legal},
            "about": self.about,
        }

    def weights(self) -> Mapping[str, Tensor]:
        """Get the weights of the body, under transformers' names, and of the layers on top.

        Returns:
            Tensors by name.
        """
        return self.network.weights()

    def save_files(self, directory: Path) -> None:
        """Write the configuration and the tokenizer in transformers' format.

        Args:
            directory: The directory of the new model, still empty.
        """
        config = _labeled(self.network.body, self.tag_set.tags)
        _save(directory, config, self.encoder, self.files)


@dataclass(frozen=True)
class TransformerClassifierParts:
    """The parts of a classifier on a pretrained transformer.

    Attributes:
        network: The network, which scores classes.
        encoder: Encodes texts as windows of subwords.
        class_set: The classes.
        decision: Turns scores into labels.
        files: Contents by name of the files that transformers needs for the tokenizer, and of the model's own code, if
            any.
        about: How the training data was read, and other facts for people and programs, as JSON values.
        card: The text of README.md, or "".
        task: Always "cls".
    """

    network: TransformerClassifier
    encoder: SubwordEncoder
    class_set: ClassSet
    decision: Decision
    files: Mapping[str, bytes]
    about: dict[str, Any]
    card: str = field(default="", compare=False)
    task: ClassVar[Literal["cls"]] = "cls"

    def describe(self) -> dict[str, Any]:
        """Describe the classifier for `nlp_app.json`.

        Returns:
            JSON values.
        """
        return {
            "task": self.task,
            "labels": list(self.class_set.labels),
            "multi_label": self.class_set.multi_label,
            "decision": self.decision.describe(),
            "pieces": _describe_subwords(self.encoder),
            "network": {"kind": KIND},
            "about": self.about,
        }

    def weights(self) -> Mapping[str, Tensor]:
        """Get the weights, under transformers' names.

        Returns:
            Tensors by name.
        """
        return self.network.weights()

    def save_files(self, directory: Path) -> None:
        """Write the configuration and the tokenizer in transformers' format.

        Args:
            directory: The directory of the new model, still empty.
        """
        config = _labeled(self.network.body, self.class_set.labels, self.class_set.multi_label)
        _save(directory, config, self.encoder, self.files)


def body_kind(dimensions: TransformerDimensions) -> str:
    """Choose the kind of pretrained network that a tagger needs.

    Args:
        dimensions: The dimensions of the tagger.

    Returns:
        `token`: with transformers' head for token classification. `base`: without a head.
    """
    return "base" if dimensions.lstm else "token"


def _labeled(body: PreTrainedModel, labels: Sequence[str], multi_label: bool | None = None) -> PreTrainedConfig:
    """Copy the body's configuration, with these labels, as transformers would save it."""
    config = copy.deepcopy(body.config)
    config.architectures = [type(body).__name__]
    set_labels(config, labels, multi_label)
    return config


def _save(directory: Path, config: PreTrainedConfig, encoder: SubwordEncoder, files: Mapping[str, bytes]) -> None:
    (directory / CONFIG).write_text(config.to_json_string(use_diff=True), encoding="utf-8")
    (directory / PIECES).write_text(encoder.tokenizer.json(), encoding="utf-8")
    for name, content in files.items():
        (directory / name).write_bytes(content)


def _describe_subwords(encoder: SubwordEncoder) -> dict[str, Any]:
    tokenizer = encoder.tokenizer
    return {
        "window": encoder.window,
        "overlap": encoder.overlap,
        "unknown": tokenizer.unknown,
        "padding": tokenizer.padding,
    }
