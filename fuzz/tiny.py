"""Tiny models with random weights, as the files of their directories: what the fuzzer then changes."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import nn
from transformers import BertConfig, BertForTokenClassification, BertTokenizer

from nlp_app.core.types import Tokens
from nlp_app.features.classification.encoder import TextEncoder
from nlp_app.features.classification.ngram_bags import BagOptions
from nlp_app.features.classification.ngrams import NgramRange
from nlp_app.features.tagging.encoder import TaggingEncoder
from nlp_app.labels.class_set import ClassSet
from nlp_app.labels.tag_set import TagSet
from nlp_app.models import ClassifierParts, Decision, TaggerParts, read_model, write_model
from nlp_app.models.quantization import quantize
from nlp_app.nn.classifier import TextClassifierNetwork
from nlp_app.nn.tagger import WideBiLstmCrf
from nlp_app.numerics.dimensions import ClassifierDimensions, ClassifierSizes, TableSizes, TaggerDimensions
from nlp_app.storage.ragged import RaggedColumns
from nlp_app.text import BasicTokenizer, make_tokenizer

Files = Mapping[str, bytes]
TEXTS = ("Anna met Bob in Rome", "王磊在北京大学", "a 2nd text, with é and 😀")
_ABOUT = {"data": {"format": "conll"}, "settings": {}, "splits": {}}
_ABOUT_CLASSES = {"data": {"format": "csv"}, "settings": {"text_column": "", "label_column": ""}, "splits": {}}
_TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")


@cache
def tagger() -> Files:
    """A tagger with every part but pretrained vectors."""
    tokenizer = BasicTokenizer()
    sentences = [
        [text[a:b] for a, b in zip(found.starts, found.ends, strict=True)] for text, found in _tokens(tokenizer)
    ]
    encoder = TaggingEncoder.fit(sentences * 2, tokenizer.normalize)
    tag_set = TagSet(("LOC", "PER"), "BIOES")
    dimensions = TaggerDimensions(norm=3, shape=2, part=3, hidden=4)
    sizes = TableSizes(**encoder.sizes)
    network = WideBiLstmCrf(len(tag_set.tags), torch.from_numpy(tag_set.allowed), sizes, dimensions)
    _randomise(network)
    return _files(quantize(TaggerParts(network, encoder, tag_set, tokenizer, _ABOUT)))


@cache
def classifier() -> Files:
    """A classifier of texts with several labels, with every head but pretrained vectors."""
    encoder = TextEncoder.fit(
        [TEXTS],
        make_tokenizer("basic"),
        bags=BagOptions(NgramRange(1, 2), NgramRange(2, 3), skip_share=0.5),
        word_min_count=1,
    )
    labels = RaggedColumns({"labels": np.zeros(len(TEXTS), dtype=np.int32)}, np.arange(len(TEXTS) + 1))
    encoder = encoder.with_class_weights([(TEXTS, labels)], 2)
    dimensions = ClassifierDimensions(hidden=3, word=3, filters=2)
    network = TextClassifierNetwork(2, ClassifierSizes(**encoder.sizes), dimensions)
    _randomise(network)
    decision = Decision(1.5, np.array([0.5, 0.3]))
    return _files(ClassifierParts(network, encoder, ClassSet(("bad", "good"), True), decision, _ABOUT_CLASSES))


@cache
def foreign() -> Files:
    """A BERT for tokens as transformers saves it."""
    characters = [chr(code) for code in range(33, 127)] + sorted(set("".join(TEXTS[1:])) - {" "})
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *characters, *(f"##{one}" for one in characters)]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        max_position_embeddings=24,
        id2label=dict(enumerate(_TAGS)),
        label2id={tag: number for number, tag in enumerate(_TAGS)},
    )
    with torch.random.fork_rng(), tempfile.TemporaryDirectory() as aside:
        torch.manual_seed(0)
        BertForTokenClassification(config).save_pretrained(aside)
        BertTokenizer(vocab=vocabulary, do_lower_case=False, model_max_length=24).save_pretrained(aside)
        return _read(Path(aside))


@cache
def transformer() -> Files:
    """The same BERT as a tagger of ours."""
    with tempfile.TemporaryDirectory() as aside:
        for name, content in foreign().items():
            (Path(aside) / name).write_bytes(content)
        return _files(read_model(Path(aside)))


def write(files: Files, directory: Path) -> Path:
    """Put the files into an empty directory."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_bytes(content)
    return directory


def _tokens(tokenizer: BasicTokenizer) -> list[tuple[str, Tokens]]:
    return list(zip(TEXTS, tokenizer.batch(TEXTS), strict=True))


def _randomise(network: nn.Module) -> None:
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        nn.init.normal_(parameter, generator=generator)


def _files(parts: object) -> Files:
    with tempfile.TemporaryDirectory() as aside:
        write_model(parts, Path(aside))  # type: ignore[arg-type]
        return _read(Path(aside))


def _read(directory: Path) -> Files:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }
