"""Scores of texts and the classes that follow from them, in batches."""

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

MOST_KEPT = 1 << 27  # probabilities kept in memory, half a gigabyte of them

_CHUNK_TEXTS = 1000  # encoded together: enough for whole columns to pay, few enough to hold

_CHUNK_CHARACTERS = 1 << 18

_BATCH_NGRAMS = 1 << 17

_BATCH_WORDS = 1 << 13  # padding included


@dataclass(frozen=True)
class Decisions:
    """What was found in texts: labels and the score of the best one, for each; all probabilities, (texts, classes),
    unless they are too many to be kept."""

    labels: list[tuple[str, ...]]
    best: list[float]
    probabilities: Probabilities | None


def decide_chunks(parts: AnyClassifierParts, chunks: Iterable[Sequence[str]], size: int) -> Decisions:
    """The labels of `size` texts, which come in chunks."""
    found = Decisions([], [], None)
    kept: list[Probabilities] = []
    keep = size * len(parts.class_set.labels) <= MOST_KEPT
    for texts in chunks:
        probabilities = to_probabilities(predict_scores(parts, encode_texts(parts, texts)), parts)
        found.labels.extend(parts.class_set.decide(probabilities, parts.decision.thresholds))
        found.best.extend(probabilities.max(1).tolist())
        if keep:
            kept.append(probabilities)
    return replace(found, probabilities=np.concatenate(kept)) if kept else found


def text_chunks(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Runs of texts to be encoded together."""
    first = size = 0
    for place, text in enumerate(texts):
        size += len(text)
        if place - first >= _CHUNK_TEXTS or (size > _CHUNK_CHARACTERS and place > first):
            yield texts[first:place]
            first, size = place, len(text)
    if first < len(texts):
        yield texts[first:]


def encode_texts(parts: AnyClassifierParts, texts: Sequence[str]) -> EncodedForClassifier:
    """Texts as the classifier's network takes them."""
    encoder = parts.encoder
    return encoder.encode_texts(texts) if isinstance(encoder, SubwordEncoder) else encoder.encode(texts)


@torch.inference_mode()
def predict_scores(parts: AnyClassifierParts, encoded: EncodedForClassifier) -> NDArray[np.float32]:
    """(texts, classes) scores of encoded texts, before softmax or sigmoid.

    The network is used as it stands, in evaluation mode, on the device where it is.
    """
    device = next(parts.network.parameters()).device
    if isinstance(encoded, SubwordTexts):
        return _scores_of_windows(parts, encoded, device)
    sizes = np.zeros(0, dtype=np.int64)
    if encoded.bags is not None:
        sizes = encoded.bags.lengths
        groups = list(_runs(sizes, _BATCH_NGRAMS))
    if encoded.words is not None:
        sizes = encoded.words.lengths
        groups = length_batches(sizes, _BATCH_WORDS)
    found = np.empty((len(sizes), len(parts.class_set.labels)), dtype=np.float32)
    for rows in groups:
        inputs = {name: value.to(device) for name, value in batch_inputs(encoded, rows).items()}
        found[rows] = parts.network.scores(**inputs).float().cpu().numpy()
    return found


def _scores_of_windows(parts: AnyClassifierParts, encoded: SubwordTexts, device: torch.device) -> NDArray[np.float32]:
    """(texts, classes): a text's scores are the mean of its windows'."""
    sizes = encoded.pieces.lengths
    found = np.empty((len(sizes), len(parts.class_set.labels)), dtype=np.float32)
    for rows in length_batches(sizes, batch_subwords(device)):
        arrays = collate_texts(encoded, rows, padding_id(parts))
        inputs = {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}
        found[rows] = parts.network.scores(**inputs).float().cpu().numpy()
    windows = np.diff(encoded.windows)
    if not len(windows):
        return found
    means: NDArray[np.float32] = np.add.reduceat(found, encoded.windows[:-1], axis=0)
    means /= windows[:, None]
    return means


def batch_inputs(encoded: EncodedTexts, rows: NDArray[np.int64]) -> dict[str, Tensor]:
    """The texts `rows` as the network takes them."""
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
    """Probabilities of scores (n, k): of a softmax, or with several labels a text of a sigmoid for each."""
    cooled = scores / np.float32(parts.decision.temperature)
    if parts.class_set.multi_label:
        return (1 + np.tanh(cooled / 2)) / 2
    cooled -= cooled.max(1, keepdims=True)
    np.exp(cooled, out=cooled)
    cooled /= cooled.sum(1, keepdims=True)
    return cooled


def _runs(sizes: NDArray[np.int64], budget: int) -> Iterator[NDArray[np.int64]]:
    """Consecutive rows of about `budget` in all."""
    numbers = np.arange(len(sizes))
    place = np.cumsum(sizes) // budget
    yield from np.split(numbers, np.flatnonzero(np.diff(place)) + 1)
