"""Load transformer taggers and classifiers from a model directory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer as Backend
from torch import Tensor
from transformers import PreTrainedModel

from nlp_app.core.errors import ModelError, is_panic
from nlp_app.features.subwords.casing import KINDS
from nlp_app.features.subwords.encoder import SubwordEncoder
from nlp_app.features.subwords.tokenizer import SubwordTokenizer, check_ids
from nlp_app.labels.tag_set import TagSet
from nlp_app.models.classifier import read_classes
from nlp_app.models.directory import (
    CONFIG,
    DESCRIPTION,
    PIECES,
    TOKENIZER_FILES,
    WEIGHTS,
    check_tags,
    parse_dimensions,
    read_about,
    read_labels,
    read_or_raise_model_error,
)
from nlp_app.models.transformers.body import build_body, label_names, max_window
from nlp_app.models.transformers.checkpoint import Checkpoint, open_checkpoint
from nlp_app.models.transformers.models import N, TransformerClassifierParts, TransformerTaggerParts, body_kind
from nlp_app.nn.transformer import TransformerClassifier, TransformerDimensions, TransformerTagger
from nlp_app.text import Tokenizer, make_tokenizer


def read_transformer_tagger(
    directory: Path, description: Mapping[str, Any], trust_remote_code: bool
) -> TransformerTaggerParts:
    """Read a transformer tagger from a model directory whose files were checked.

    Args:
        directory: The model's directory.
        description: The contents of `nlp_app.json`.
        trust_remote_code: Whether code in the directory may run.

    Returns:
        The parts of the tagger.

    Raises:
        ModelError: If the description doesn't fit the files.
    """
    place = directory / DESCRIPTION
    tag_set, dimensions, legal = read_or_raise_model_error(place, lambda: _parse_tagging(description))
    tokenizer = read_or_raise_model_error(place, lambda: _tokenizer(description))
    about = read_or_raise_model_error(place, lambda: read_about(description))
    checkpoint = open_checkpoint(directory, trust_remote_code)
    _check_names(checkpoint, tag_set.tags)
    encoder = _encoder(checkpoint, description, capitals=bool(dimensions.capitals))

    def build() -> TransformerTagger:
        body = build_body(checkpoint.config, body_kind(dimensions), trust_remote_code)
        # On the same device as the body, which may be built without memory.
        allowed = torch.from_numpy(tag_set.allowed).to(body.device) if legal else None
        return TransformerTagger(body, len(tag_set.tags), allowed, dimensions)

    network = _network(checkpoint, build)
    _check_window(directory, network.body, encoder)
    check_finite_output(directory, network, encoder)
    files = _extra_files(checkpoint)
    return TransformerTaggerParts(network, encoder, tag_set, tokenizer, files, about, legal=legal)


def read_transformer_classifier(
    directory: Path, description: Mapping[str, Any], trust_remote_code: bool
) -> TransformerClassifierParts:
    """Read a transformer classifier from a model directory whose files were checked.

    Args:
        directory: The model's directory.
        description: The contents of `nlp_app.json`.
        trust_remote_code: Whether code in the directory may run.

    Returns:
        The parts of the classifier.

    Raises:
        ModelError: If the description doesn't fit the files.
    """
    class_set, decision, about = read_or_raise_model_error(directory / DESCRIPTION, lambda: read_classes(description))
    checkpoint = open_checkpoint(directory, trust_remote_code)
    _check_names(checkpoint, list(class_set.labels))
    encoder = _encoder(checkpoint, description)
    network = _network(
        checkpoint,
        lambda: TransformerClassifier(
            build_body(checkpoint.config, "sequence", trust_remote_code), len(class_set.labels)
        ),
    )
    _check_window(directory, network.body, encoder)
    check_finite_output(directory, network, encoder)
    return TransformerClassifierParts(network, encoder, class_set, decision, _extra_files(checkpoint), about)


def _parse_tagging(description: Mapping[str, Any]) -> tuple[TagSet, TransformerDimensions, bool]:
    network = description["network"]
    # Older descriptions have no `capitals`.
    dimensions = parse_dimensions(TransformerDimensions, {"capitals": 0, **network["dimensions"]}, {"dropout": 1})
    if dimensions.capitals not in (0, KINDS):
        raise ValueError(f"capitals: found {dimensions.capitals}, expected 0 or {KINDS}")
    if not isinstance(network["legal"], bool):
        raise ValueError(f"legal: found {network['legal']!r}, expected true or false")
    tag_set = TagSet(read_labels(description), description["scheme"])
    check_tags(tag_set.tags)
    return tag_set, dimensions, network["legal"]


def _tokenizer(description: Mapping[str, Any]) -> Tokenizer:
    return make_tokenizer(description["tokenizer"]["name"], **description["tokenizer"]["settings"])


def _encoder(checkpoint: Checkpoint, description: Mapping[str, Any], capitals: bool = False) -> SubwordEncoder:
    directory, config = checkpoint.directory, checkpoint.config

    def read() -> tuple[SubwordTokenizer, int, int]:
        values = [description["pieces"][name] for name in ("window", "overlap", "padding", "unknown")]
        # A bool is an int too.
        if not all(type(value) is int and 0 <= value < 1 << 31 for value in values[: 3 if values[3] is None else 4]):
            raise ValueError(f"pieces: found {values!r}, expected whole numbers")
        window, overlap, padding, unknown = values
        # The tokenizers library raises plain exceptions for invalid files.
        text = (directory / PIECES).read_text(encoding="utf-8")
        tokenizer = SubwordTokenizer(backend_of(text), unknown, padding)
        if max(padding, unknown or 0) >= config.vocab_size:
            raise ValueError(f"pieces: found {values!r}, but the model's embedding table has {config.vocab_size} rows")
        return tokenizer, window, overlap

    tokenizer, window, overlap = read_or_raise_model_error(directory / PIECES, read)
    checkpoint.check_vocabulary(tokenizer)
    return read_or_raise_model_error(
        directory / DESCRIPTION, lambda: SubwordEncoder(tokenizer, window, overlap, capitals)
    )


def backend_of(text: str) -> Backend:
    """Parse a `tokenizer.json`.

    Args:
        text: The contents of the file.

    Returns:
        The tokenizer of the tokenizers library.

    Raises:
        ValueError: If the text is not a tokenizer.
        ModelError: If its ids are too large for memory.
    """
    check_ids(text)
    try:
        return Backend.from_str(text)
    except BaseException as error:  # the library raises no narrower class
        if not isinstance(error, Exception) and not is_panic(error):
            raise
        raise ValueError(str(error)) from error


def _network(checkpoint: Checkpoint, build: Callable[[], N]) -> N:
    """Build a network and load the checkpoint's weights, in evaluation mode."""

    def read() -> N:
        weights = checkpoint.read_weights()
        with torch.device("meta"):
            _check_shapes(build(), weights)
        network = build()
        network.load_weights(weights)
        return network.eval()

    return read_or_raise_model_error(checkpoint.directory / WEIGHTS, read)


def _check_shapes(skeleton: TransformerTagger | TransformerClassifier, weights: Mapping[str, Tensor]) -> None:
    """Raise ValueError if the weights don't fit, before a network of the full size is built."""
    shapes = {name: tensor.shape for name, tensor in skeleton.weights().items()}
    # Without memory, tied tensors can't be recognized by their storage.
    needed = shapes.keys() - (skeleton.body.all_tied_weights_keys or {}).keys()
    mismatched = sorted(needed - weights.keys()) + [
        name for name, tensor in weights.items() if shapes.get(name) != tensor.shape
    ]
    if mismatched:
        raise ValueError(
            f"found {len(mismatched)} tensors missing, unknown or of another shape, for example {mismatched[0]}"
        )


def _check_names(checkpoint: Checkpoint, names: list[str]) -> None:
    if label_names(checkpoint.config) != names:
        raise ModelError(
            f"{checkpoint.directory / CONFIG}: its labels differ from those in {DESCRIPTION}; copy the model again"
        )


def _check_window(directory: Path, body: PreTrainedModel, encoder: SubwordEncoder) -> None:
    longest = max_window(body)
    if encoder.window > longest:
        raise ModelError(
            f"{directory / DESCRIPTION}: found windows of {encoder.window} subwords, the model takes {longest}; "
            "copy the model again"
        )


@torch.inference_mode()
def check_finite_output(
    directory: Path, network: TransformerTagger | TransformerClassifier, encoder: SubwordEncoder
) -> None:
    """Check that the network computes finite scores, for a text of one subword.

    A damaged configuration may fit the weights and still make all scores NaN or infinite.

    Args:
        directory: The model's directory, for messages.
        network: The network, in evaluation mode.
        encoder: The encoder of the model.

    Raises:
        ModelError: If a score is not finite, or the network fails.
    """
    tokenizer = encoder.tokenizer
    ids = torch.tensor([[*tokenizer.prefix, tokenizer.padding, *tokenizer.suffix]])
    attention = torch.ones_like(ids)

    def check_scores() -> None:
        if isinstance(network, TransformerTagger):
            start = torch.tensor([[len(tokenizer.prefix)]])
            capitals = None if network.capitals is None else torch.zeros_like(ids)
            mask = torch.ones_like(start, dtype=torch.bool)
            scores = network.emissions(mask, ids, attention, start, start + 1, capitals)
        else:
            scores = network.scores(ids, attention)
        if not scores.isfinite().all():
            raise ValueError("its scores for a text are not finite")

    read_or_raise_model_error(directory / CONFIG, check_scores)


def _extra_files(checkpoint: Checkpoint) -> dict[str, bytes]:
    directory = checkpoint.directory
    files = {name: (directory / name).read_bytes() for name in TOKENIZER_FILES if (directory / name).is_file()}
    return files | checkpoint.code_files()
