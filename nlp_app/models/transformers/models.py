"""Taggers and classifiers on a pretrained transformer, in a model directory.

With a tagger's softmax head, and with every classifier, the directory is one of transformers too; but not where the
tagger embeds capitals (`model.casing_embedding`): transformers would ignore `capitals.weight`.
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
    """What a tagger is made of. `files` are those by which transformers knows the tokenizer, and the model's own code
    if it has any; `about` and `card` are as for other taggers.

    legal: whether only paths that the scheme can write are found. Where the tags come from elsewhere, how strictly they
    were written isn't known: without, they are read as the CoNLL scorer reads them.
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
        """What `nlp_app.json` says of it."""
        dimensions = asdict(self.network.dimensions)
        return {
            "task": self.task,
            "labels": list(self.tag_set.labels),
            "scheme": self.tag_set.scheme,
            "tokenizer": {"name": self.tokenizer.name, "settings": self.tokenizer.settings()},
            "pieces": _described_pieces(self.encoder),
            "network": {"kind": KIND, "dimensions": dimensions, "legal": self.legal},
            "about": self.about,
        }

    def weights(self) -> Mapping[str, Tensor]:
        """The body's by transformers' names, and those of what stands on it."""
        return self.network.weights()

    def save_files(self, directory: Path) -> None:
        """Write the configuration and the tokenizer as transformers does."""
        config = _labeled(self.network.body, self.tag_set.tags)
        _save(directory, config, self.encoder, self.files)


@dataclass(frozen=True)
class TransformerClassifierParts:
    """What a classifier is made of; `files`, `about` and `card` are as for a tagger."""

    network: TransformerClassifier
    encoder: SubwordEncoder
    class_set: ClassSet
    decision: Decision
    files: Mapping[str, bytes]
    about: dict[str, Any]
    card: str = field(default="", compare=False)
    task: ClassVar[Literal["cls"]] = "cls"

    def describe(self) -> dict[str, Any]:
        """What `nlp_app.json` says of it."""
        return {
            "task": self.task,
            "labels": list(self.class_set.labels),
            "multi_label": self.class_set.multi_label,
            "decision": self.decision.describe(),
            "pieces": _described_pieces(self.encoder),
            "network": {"kind": KIND},
            "about": self.about,
        }

    def weights(self) -> Mapping[str, Tensor]:
        """The body's by transformers' names."""
        return self.network.weights()

    def save_files(self, directory: Path) -> None:
        """Write the configuration and the tokenizer as transformers does."""
        config = _labeled(self.network.body, self.class_set.labels, self.class_set.multi_label)
        _save(directory, config, self.encoder, self.files)


def body_kind(dimensions: TransformerDimensions) -> str:
    """The kind of body that such a tagger stands on: with transformers' head (`token`) or without one (`base`)."""
    return "base" if dimensions.lstm else "token"


def _labeled(body: PreTrainedModel, labels: Sequence[str], multi_label: bool | None = None) -> PreTrainedConfig:
    """The body's configuration as transformers would save it with these labels."""
    config = copy.deepcopy(body.config)
    config.architectures = [type(body).__name__]
    set_labels(config, labels, multi_label)
    return config


def _save(directory: Path, config: PreTrainedConfig, encoder: SubwordEncoder, files: Mapping[str, bytes]) -> None:
    (directory / CONFIG).write_text(config.to_json_string(use_diff=True), encoding="utf-8")
    (directory / PIECES).write_text(encoder.tokenizer.json(), encoding="utf-8")
    for name, content in files.items():
        (directory / name).write_bytes(content)


def _described_pieces(encoder: SubwordEncoder) -> dict[str, Any]:
    tokenizer = encoder.tokenizer
    return {
        "window": encoder.window,
        "overlap": encoder.overlap,
        "unknown": tokenizer.unknown,
        "padding": tokenizer.padding,
    }
