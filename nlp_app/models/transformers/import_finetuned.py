"""Import models that were fine-tuned with transformers, for token or sequence classification.

Labels come from `id2label` in the configuration. The names of a tagger's labels show how they are read:

    B-PER I-PER O, or only I-PER and O     as the CoNLL scorer reads them, which covers BIO and IOB1
    S-PER B-PER E-PER ... O                in their scheme, and only sequences that are valid in it
    B I O, without a type                  the same, with the label ""
    PER LOC O                              an entity is a run of tokens with one label
    NOUN VERB, LABEL_0 LABEL_1             a label for each token
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from nlp_app.core.errors import ModelError
from nlp_app.features.subwords.encoder import SubwordEncoder
from nlp_app.labels.class_set import THRESHOLD, ClassSet
from nlp_app.labels.schemes import NONE, OUTSIDE, SCHEMES
from nlp_app.labels.tag_set import TagSet
from nlp_app.models.classifier import Decision
from nlp_app.models.directory import CONFIG
from nlp_app.models.transformers.body import label_names, label_rows, load_body, max_window, set_labels
from nlp_app.models.transformers.checkpoint import Checkpoint, open_checkpoint
from nlp_app.models.transformers.loading import check_finite_output
from nlp_app.models.transformers.models import TransformerClassifierParts, TransformerTaggerParts
from nlp_app.nn.transformer import TransformerClassifier, TransformerDimensions, TransformerTagger
from nlp_app.text import BasicTokenizer

OVERLAP = 64  # tokens that neighboring windows share

_NEVER = -10_000.0  # score of a tag that the model doesn't have: its probability is 0, and it is finite in 16 bits

_KINDS = {"ForTokenClassification": "token", "ForSequenceClassification": "sequence"}

_TYPED = re.compile(r"([BIESLUMW])-(.+)")

# Names of rows for ignored or special subwords: they are not labels.
_NO_LABELS = frozenset(("X", "PAD", "[PAD]", "<pad>", "[CLS]", "[SEP]", "<s>", "</s>"))


class LabelReading(NamedTuple):
    """The labels of a tagger, converted to our schemes.

    Attributes:
        names: The tag of each row of the head, None for rows that are ignored.
        tag_set: The tags.
        legal: Whether only sequences that are valid in the scheme are predicted.
    """

    names: list[str | None]
    tag_set: TagSet
    legal: bool


def import_finetuned(
    directory: Path, trust_remote_code: bool = False
) -> TransformerTaggerParts | TransformerClassifierParts:
    """Import a model from a directory that transformers saved.

    Args:
        directory: The model's directory.
        trust_remote_code: Whether code in the directory may run.

    Returns:
        The parts of a tagger or a classifier.

    Raises:
        ModelError: If the model can't be used as a tagger or a classifier.
    """
    checkpoint = open_checkpoint(directory, trust_remote_code)
    config = checkpoint.config
    kind = _kind(directory, config)
    tokenizer, files = checkpoint.read_tokenizer()
    names = label_names(config)
    if len(set(names)) != len(names):
        raise ModelError(f"{directory / CONFIG}: found a label twice in id2label ({', '.join(names[:20])})")
    about: dict[str, Any] = {"data": {"agreement": {}}, "settings": {}}
    if kind == "token":
        reading = read_labels(names, directory)
        body = _body(checkpoint, (reading.names, reading.tag_set.tags))
        allowed = torch.from_numpy(reading.tag_set.allowed) if reading.legal else None
        tagger = TransformerTagger(body, len(reading.tag_set.tags), allowed, TransformerDimensions()).eval()
        encoder = SubwordEncoder(tokenizer, max_window(body), OVERLAP)
        check_finite_output(directory, tagger, encoder)
        word_tokenizer = BasicTokenizer(do_lower_case=False)
        return TransformerTaggerParts(
            tagger, encoder, reading.tag_set, word_tokenizer, files, about, legal=reading.legal
        )
    multi_label = config.problem_type == "multi_label_classification"
    if (len(names) < 2 and not multi_label) or config.problem_type == "regression":
        raise ModelError(f"{directory / CONFIG}: it predicts a number, not classes (regression); expected a classifier")
    class_set = ClassSet.of(names, multi_label)
    body = _body(checkpoint, (names, class_set.labels))
    thresholds = np.full(len(names), THRESHOLD) if multi_label else None
    classifier = TransformerClassifier(body, len(names)).eval()
    encoder = SubwordEncoder(tokenizer, max_window(body), OVERLAP)
    check_finite_output(directory, classifier, encoder)
    about = {"data": {"agreement": {}, "format": "auto"}, "settings": {"text_column": "", "label_column": ""}}
    return TransformerClassifierParts(classifier, encoder, class_set, Decision(1.0, thresholds), files, about)


def read_labels(names: Sequence[str], directory: Path) -> LabelReading:
    """Detect the scheme of a tagger's labels from their names.

    Args:
        names: The names of the head's rows.
        directory: The model's directory, for messages.

    Returns:
        The tags and how they are read.

    Raises:
        ModelError: If the names mix labels with and without a scheme, or are in no known scheme.
    """
    kept = [name for name in names if name not in _NO_LABELS] if OUTSIDE in names else list(names)
    inside = [name for name in kept if name != OUTSIDE]
    typed = [_TYPED.fullmatch(name) for name in inside]
    if inside and all(typed):
        pairs = [(match[1], match[2]) for match in typed if match]
    elif len(inside) > 1 and OUTSIDE in kept and all(re.fullmatch("[BIESLUMW]", name) for name in inside):
        pairs = [(name, "") for name in inside]
    elif OUTSIDE in kept and inside and not any(match and match[1] in "BI" for match in typed):
        pairs = [("I", name) for name in inside]
    elif not any(typed) or OUTSIDE not in kept:
        return LabelReading(list(names), TagSet(tuple(names), NONE), legal=True)
    else:
        raise ModelError(
            f"{directory / CONFIG}: found labels with and without a scheme ({', '.join(inside[:10])}); "
            "correct the names in id2label"
        )
    scheme = _scheme({letter for letter, _ in pairs}, directory)
    tag_set = TagSet(tuple(sorted({label for _, label in pairs})), scheme)
    tags = {name: f"{letter}-{label}" if label else letter for name, (letter, label) in zip(inside, pairs, strict=True)}
    return LabelReading([OUTSIDE if name == OUTSIDE else tags.get(name) for name in names], tag_set, scheme != "BIO")


def _scheme(letters: set[str], directory: Path) -> str:
    if letters <= {"B", "I"}:
        return "BIO"
    found = next((name for name, scheme in SCHEMES.items() if letters <= set(scheme.letters)), None)
    if found is None:
        raise ModelError(
            f"{directory / CONFIG}: found the prefixes {', '.join(sorted(letters))} together, which no known scheme "
            "has; correct the names in id2label"
        )
    return found


def _kind(directory: Path, config: PreTrainedConfig) -> str:
    architectures = config.architectures
    architecture = str(architectures[0]) if isinstance(architectures, list) and architectures else ""
    kind = next((kind for ending, kind in _KINDS.items() if architecture.endswith(ending)), None)
    if kind is None:
        raise ModelError(
            f"{directory / CONFIG}: {architecture or 'a model'} neither tags nor classifies; fine-tune it first, with "
            f"`train ner` or `train cls` and --set model.pretrained={directory}"
        )
    return kind


def _body(checkpoint: Checkpoint, labels: tuple[Sequence[str | None], Sequence[str]]) -> PreTrainedModel:
    """Load the network, with the rows of its head reordered from the first of `labels` to the second."""
    names, tags = labels
    directory, config = checkpoint.directory, checkpoint.config
    kind = _kind(directory, config)
    weights = checkpoint.read_weights()
    heads = label_rows(config, kind, checkpoint.trust_remote_code) & weights.keys()
    for head in heads:
        if len(weights[head]) != len(names):
            raise ModelError(
                f"{directory}: id2label has {len(names)} labels, {head} {len(weights[head])} rows; "
                "copy both from one model"
            )
        weights[head] = _rows(weights[head], [names.index(name) if name in names else None for name in tags])
    if heads and set(tags) - set(names) and not any(weights[head].dim() == 1 for head in heads):
        raise ModelError(f"{directory}: its head has no bias, but it needs one to keep missing tags out of predictions")
    set_labels(config, tags, None if kind == "token" else config.problem_type == "multi_label_classification")
    loaded = load_body(config, kind, weights, checkpoint.trust_remote_code)
    if loaded.missing:
        raise ModelError(
            f"{directory}: missing {len(loaded.missing)} of its weights, for example {loaded.missing[0]}; "
            "copy the model again"
        )
    return loaded.body


def _rows(tensor: Tensor, indices: Sequence[int | None]) -> Tensor:
    """Select rows in a new order. New rows are zeros, but so low in a bias that they are never predicted."""
    missing = torch.full_like(tensor[0], _NEVER if tensor.dim() == 1 else 0.0)
    return torch.stack([missing if index is None else tensor[index] for index in indices])
