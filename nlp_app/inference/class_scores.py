"""Compute the scores, probabilities and labels of texts in batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nlp_app.features.classification.encoder import EncodedTexts
from nlp_app.features.subwords.encoder import SubwordEncoder, SubwordTexts, collate_texts
from nlp_app.inference.tag_scores import batch_subwords, padding_id
from nlp_app.storage.batching import length_batches
from nlp_app.storage.ragged import collate, gather

if TYPE_CHECKING:
    from nlp_app.models import AnyClassifierParts


Probabilities = NDArray[np.floating[Any]]

EncodedForClassifier = EncodedTexts | SubwordTexts

MOST_KEPT = 1 << 27  # probabilities held in memory at most: half a gigabyte

_CHUNK_TEXTS = 1000  # encoded together: enough that working on whole columns pays, few enough to hold in memory

_CHUNK_CHARACTERS = 1 << 18

_BATCH_NGRAMS = 1 << 17

_BATCH_WORDS = 1 << 13  # padding included


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


def decide_chunks(parts: AnyClassifierParts, chunks: Iterable[Sequence[str]], size: int) -> Decisions:
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


def encode_texts(parts: AnyClassifierParts, texts: Sequence[str]) -> EncodedForClassifier:
    """Encode texts for the classifier's network.

    Args:
        parts: The classifier.
        texts: Raw texts.

    Returns:
        The encoded texts: subwords for a transformer, otherwise n-grams, words or both.
    """
    encoder = parts.encoder
    return encoder.encode_texts(texts) if isinstance(encoder, SubwordEncoder) else encoder.encode(texts)


@torch.inference_mode()
def predict_scores(parts: AnyClassifierParts, encoded: EncodedForClassifier) -> NDArray[np.float32]:
    """Compute the scores of encoded texts, before softmax or sigmoid.

    The network is used as it is: it should be in evaluation mode, and it stays on its device.

    Args:
        parts: The classifier.
        encoded: Texts from `encode_texts`.

    Returns:
        (texts, classes) scores.
    """
    device = next(parts.network.parameters()).device
    if isinstance(encoded, SubwordTexts):
        return _mean_window_scores(parts, encoded, device)
    sizes = np.zeros(0, dtype=np.int64)
    if encoded.bags is not None:
        sizes = encoded.bags.lengths
        groups = list(_groups(sizes, _BATCH_NGRAMS))
    if encoded.words is not None:
        sizes = encoded.words.lengths
        groups = length_batches(sizes, _BATCH_WORDS)
    scores = np.empty((len(sizes), len(parts.class_set.labels)), dtype=np.float32)
    for rows in groups:
        inputs = {name: value.to(device) for name, value in batch_inputs(encoded, rows).items()}
        scores[rows] = parts.network.scores(**inputs).float().cpu().numpy()
    return scores


def _mean_window_scores(parts: AnyClassifierParts, encoded: SubwordTexts, device: torch.device) -> NDArray[np.float32]:
    """Average the scores of each text's windows: (texts, classes)."""
    sizes = encoded.pieces.lengths
    scores = np.empty((len(sizes), len(parts.class_set.labels)), dtype=np.float32)
    for rows in length_batches(sizes, batch_subwords(device)):
        arrays = collate_texts(encoded, rows, padding_id(parts))
        inputs = {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}
        scores[rows] = parts.network.scores(**inputs).float().cpu().numpy()
    windows = np.diff(encoded.windows)
    if not len(windows):
        return scores
    means: NDArray[np.float32] = np.add.reduceat(scores, encoded.windows[:-1], axis=0)
    means /= windows[:, None]
    return means


def batch_inputs(encoded: EncodedTexts, rows: NDArray[np.int64]) -> dict[str, Tensor]:
    """Collate encoded texts into a batch of network inputs.

    Args:
        encoded: Texts of a network that is not a transformer.
        rows: Indices of the batch's texts.

    Returns:
        Tensors by the names of the network's parameters.
    """
    inputs: dict[str, Tensor] = {}
    if encoded.bags is not None:
        arrays, offsets = gather(encoded.bags, rows)
        inputs["ngrams"] = torch.from_numpy(arrays["rows"])
        inputs["weights"] = torch.from_numpy(arrays["weights"])
        inputs["offsets"] = torch.from_numpy(offsets.astype(np.int32))
    if encoded.words is not None:
        inputs |= {name: torch.from_numpy(array) for name, array in collate(encoded.words, rows).items()}
    return inputs


def to_probabilities(scores: NDArray[np.float32], parts: AnyClassifierParts) -> Probabilities:
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


def _groups(sizes: NDArray[np.int64], budget: int) -> Iterator[NDArray[np.int64]]:
    """Split rows into consecutive groups whose sizes add up to about `budget`."""
    rows = np.arange(len(sizes))
    groups = np.cumsum(sizes) // budget
    yield from np.split(rows, np.flatnonzero(np.diff(groups)) + 1)
