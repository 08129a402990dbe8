"""Taggers and classifiers on tiny transformers, with random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from tiny_transformers import TINY

from nlp_app.features.subwords.encoder import SubwordEncoder
from nlp_app.labels.class_set import ClassSet
from nlp_app.labels.tag_set import TagSet
from nlp_app.models import Decision
from nlp_app.models.transformers.models import TransformerClassifierParts, TransformerTaggerParts
from nlp_app.models.transformers.pretrained import make_body, max_window_of_body, read_pretrained
from nlp_app.nn.transformer import TransformerClassifier, TransformerDimensions, TransformerTagger
from nlp_app.text import CharTokenizer

WORDS = ("Anna", "lives", "in", "Rome", "北京")
ABOUT: dict[str, Any] = {"data": {"agreement": {"basic": 1.0}}, "settings": {}}
SHAPES = {
    "softmax": TransformerDimensions(),
    "crf": TransformerDimensions(pooling="last", head="crf"),
    "lstm": TransformerDimensions(pooling="mean", lstm=6),
    "lstm-crf": TransformerDimensions(head="crf", lstm=6, dropout=0.0),
}


def some_tagger(directory: Path, family: str = "bert", shape: str = "softmax") -> TransformerTaggerParts:
    """A tagger on a tiny body, with weights of its own throughout."""
    torch.manual_seed(1)
    pretrained = read_pretrained(str(TINY[family](directory / f"tiny-{family}", WORDS)))
    tag_set, dimensions = TagSet(("LOC", "PER"), "BIOES"), SHAPES[shape]
    body, _ = make_body(pretrained, "base" if dimensions.lstm else "token", tag_set.tags)
    network = TransformerTagger(body, len(tag_set.tags), torch.from_numpy(tag_set.allowed), dimensions)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    encoder = SubwordEncoder(pretrained.tokenizer, max_window_of_body(pretrained), 5)
    return TransformerTaggerParts(network.eval(), encoder, tag_set, CharTokenizer(), pretrained.files, ABOUT)


def some_classifier(directory: Path, family: str = "bert", multi_label: bool = False) -> TransformerClassifierParts:
    torch.manual_seed(2)
    pretrained = read_pretrained(str(TINY[family](directory / f"tiny-{family}", WORDS)))
    class_set = ClassSet(("bad", "good", "so-so"), multi_label)
    body, _ = make_body(pretrained, "sequence", class_set.labels, multi_label)
    for parameter in body.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    encoder = SubwordEncoder(pretrained.tokenizer, 40, 5)
    decision = Decision(1.5, np.array([0.2, 0.5, 0.7]) if multi_label else None)
    network = TransformerClassifier(body, 3).eval()
    return TransformerClassifierParts(network, encoder, class_set, decision, pretrained.files, ABOUT)
