"""Compute the scores of encoded texts by torch, batch by batch, for every kind of classifier."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nlp_app.features.classification.encoder import EncodedTexts
from nlp_app.features.subwords.encoder import SubwordTexts, collate_texts
from nlp_app.inference.torch_tag_scores import batch_subwords, padding_id
from nlp_app.storage.batching import length_batches
from nlp_app.storage.ragged import collate, gather

if TYPE_CHECKING:
    from nlp_app.models import AnyClassifierParts


_BATCH_NGRAMS = 1 << 17

_BATCH_WORDS = 1 << 13  # padding included


@torch.inference_mode()
def torch_scores(parts: AnyClassifierParts, encoded: EncodedTexts | SubwordTexts) -> NDArray[np.float32]:
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


def _groups(sizes: NDArray[np.int64], budget: int) -> Iterator[NDArray[np.int64]]:
    """Split rows into consecutive groups whose sizes add up to about `budget`."""
    rows = np.arange(len(sizes))
    groups = np.cumsum(sizes) // budget
    yield from np.split(rows, np.flatnonzero(np.diff(groups)) + 1)
