"""Classifiers of a few texts, with random weights: enough for what doesn't ask how good they are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from nlp_app.features.classification.encoder import TextEncoder
from nlp_app.features.classification.ngram_bags import BagOptions
from nlp_app.features.classification.ngrams import NgramRange
from nlp_app.labels.class_set import ClassSet
from nlp_app.models import ClassifierParts, Decision
from nlp_app.nn.classifier import TextClassifierNetwork
from nlp_app.numerics.dimensions import ClassifierDimensions, ClassifierSizes
from nlp_app.storage.ragged import RaggedColumns
from nlp_app.text import make_tokenizer
from nlp_app.text.vocab import Vocabulary

TEXTS = [f"{word} phone number {number}" for number in range(5) for word in ("good", "bad", "old")]
TEXTS += ["手机很好用", "退货太慢了！", "a", "", "😀 é"]
LABELS = ("bad", "good", "old", "中文")
ABOUT = {"data": {"format": "csv"}, "settings": {"dev_share": 0.1}, "splits": {}}
BAGS = BagOptions(NgramRange(1, 2), NgramRange(2, 3), skip_share=0.5)

WIDE: dict[str, Any] = {"hidden": 0}
DEEP: dict[str, Any] = {"wide": 0, "hidden": 5}
WORDS: dict[str, Any] = {"wide": 0, "hidden": 0, "word": 6, "filters": 4}
ALL: dict[str, Any] = {"hidden": 5, "word": 6, "vector": 3, "filters": 4}
SHAPES: dict[str, dict[str, Any]] = {
    "wide": WIDE,
    "deep": DEEP,
    "hashed": WIDE | {"buckets": 50},
    "max": DEEP | {"mode": "max"},
    "convolution": WORDS,
    "stacked": WORDS | {"stacked": 2},
    "all": ALL,
}


def classifier_parts(
    shape: str = "all", multi_label: bool = False, seed: int = 0, scale: float = 1.0
) -> ClassifierParts:
    """A classifier with random weights."""
    chosen = dict(SHAPES[shape])
    buckets = chosen.pop("buckets", 0)
    dimensions = ClassifierDimensions(**chosen)
    has_bags = bool(dimensions.wide or dimensions.hidden)
    encoder = TextEncoder.fit(
        [TEXTS[:7], TEXTS[7:]],
        make_tokenizer("basic"),
        bags=replace(BAGS, buckets=buckets) if has_bags else None,
        word_min_count=1 if dimensions.filters else None,
        vectors=Vocabulary(["phone", "手", "never"]) if dimensions.vector else None,
    )
    ids = np.arange(len(TEXTS), dtype=np.int32) % len(LABELS)
    encoder = encoder.with_class_weights(
        [(TEXTS, RaggedColumns({"labels": ids}, np.arange(len(TEXTS) + 1)))], len(LABELS)
    )
    torch.manual_seed(seed)
    network = TextClassifierNetwork(len(LABELS), ClassifierSizes(**encoder.sizes), dimensions)
    for parameter in network.parameters():
        nn.init.normal_(parameter)
    decision = Decision(1.5, np.array([0.5, 0.3, 0.7, 0.0]) if multi_label else None)
    return ClassifierParts(network, encoder, ClassSet(LABELS, multi_label), decision, ABOUT)
