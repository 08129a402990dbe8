"""Compute the scores, probabilities and labels of texts in batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nlp_app.features.classification.encoder import EncodedTexts, TextEncoder
from nlp_app.models import NumpyClassifierParts
from nlp_app.runtime.classifier import ClassifierNetwork

if TYPE_CHECKING:
    from nlp_app.features.subwords.encoder import SubwordTexts
    from nlp_app.models import LoadedClassifierParts


Probabilities = NDArray[np.floating[Any]]

EncodedForClassifier: TypeAlias = "EncodedTexts | SubwordTexts"

MOST_KEPT = 1 << 27  # probabilities held in memory at most: half a gigabyte

_CHUNK_TEXTS = 1000  # encoded together: enough that working on whole columns pays, few enough to hold in memory

_CHUNK_CHARACTERS = 1 << 18


@dataclass(frozen=True)
class Decisions:
    """The predicted labels of texts.

    Attributes:
        labels: The labels of each text.
        best: The highest class probability of each text.
        probabilities: (texts, classes), or None if they are too many to hold in memory.
    """

    labels: list[tuple[str, ...]]
    best: list[float]
    probabilities: Probabilities | None


def decide_chunks(parts: LoadedClassifierParts, chunks: Iterable[Sequence[str]], size: int) -> Decisions:
    """Predict the labels of texts that arrive in chunks.

    Args:
        parts: The classifier.
        chunks: Lists of texts; the texts of a list are encoded together.
        size: The number of texts in all chunks.

    Returns:
        Labels and best probability of each text; all probabilities too, if they are at most `MOST_KEPT` numbers.
    """
    decisions = Decisions([], [], None)
    collected: list[Probabilities] = []
    keep_all = size * len(parts.class_set.labels) <= MOST_KEPT
    for texts in chunks:
        probabilities = to_probabilities(predict_scores(parts, encode_texts(parts, texts)), parts)
        decisions.labels.extend(parts.class_set.decide(probabilities, parts.decision.thresholds))
        decisions.best.extend(probabilities.max(1).tolist())
        if keep_all:
            collected.append(probabilities)
    return replace(decisions, probabilities=np.concatenate(collected)) if collected else decisions


def text_chunks(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Split texts into chunks that are encoded together.

    Args:
        texts: The texts to split.

    Yields:
        Consecutive texts: at most 1,000 texts and 262,144 characters; a longer text is a chunk by itself.
    """
    first = size = 0
    for index, text in enumerate(texts):
        size += len(text)
        if index - first >= _CHUNK_TEXTS or (size > _CHUNK_CHARACTERS and index > first):
            yield texts[first:index]
            first, size = index, len(text)
    if first < len(texts):
        yield texts[first:]


def encode_texts(parts: LoadedClassifierParts, texts: Sequence[str]) -> EncodedForClassifier:
    """Encode texts for the classifier's network.

    Args:
        parts: The classifier.
        texts: Raw texts.

    Returns:
        The encoded texts: subwords for a transformer, otherwise n-grams, words or both.
    """
    encoder = parts.encoder
    return encoder.encode(texts) if isinstance(encoder, TextEncoder) else encoder.encode_texts(texts)


def predict_scores(parts: LoadedClassifierParts, encoded: EncodedForClassifier) -> NDArray[np.float32]:
    """Compute the scores of encoded texts, before softmax or sigmoid.

    The network is used as it is: a torch module should be in evaluation mode, and it stays on its device.

    Args:
        parts: The classifier.
        encoded: Texts from `encode_texts`.

    Returns:
        (texts, classes) scores.
    """
    if isinstance(parts, NumpyClassifierParts):
        if not isinstance(encoded, EncodedTexts):
            raise TypeError(f"found {type(encoded).__name__}, expected texts of the classifier's encoder")
        return _numpy_scores(parts.network, encoded)
    from nlp_app.inference.torch_class_scores import torch_scores  # noqa: PLC0415 - it imports torch

    return torch_scores(parts, encoded)


def _numpy_scores(network: ClassifierNetwork, encoded: EncodedTexts) -> NDArray[np.float32]:
    """Average the scores of all heads."""
    heads: list[NDArray[np.float32]] = []
    if encoded.bags is not None:
        arrays = encoded.bags.arrays
        heads += network.ngram_scores(arrays["rows"], arrays["weights"], encoded.bags.offsets)
    if encoded.words is not None:
        arrays = encoded.words.arrays
        heads += network.word_scores(arrays["words"], arrays.get("vectors"), encoded.words.offsets)
    scores: NDArray[np.float32] = np.stack(heads).mean(0)
    return scores


def to_probabilities(scores: NDArray[np.float32], parts: LoadedClassifierParts) -> Probabilities:
    """Convert scores to probabilities, at the temperature that was fitted on dev.

    Args:
        scores: (n, k) scores of n texts for k classes.
        parts: The classifier.

    Returns:
        (n, k): by softmax, or by a sigmoid for each class if a text may have several labels.
    """
    scaled = scores / np.float32(parts.decision.temperature)
    if parts.class_set.multi_label:
        return (1 + np.tanh(scaled / 2)) / 2
    scaled -= scaled.max(1, keepdims=True)
    np.exp(scaled, out=scaled)
    scaled /= scaled.sum(1, keepdims=True)
    return scaled
