"""Compute the tag scores of encoded sentences, batch by batch, for every kind of tagger."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nlp_app.features.subwords.encoder import SubwordEncoder, SubwordSentences, collate_sentences
from nlp_app.storage.batching import length_batches
from nlp_app.storage.ragged import RaggedColumns, collate

if TYPE_CHECKING:
    from nlp_app.models import AnyClassifierParts, AnyTaggerParts


_BATCH_TOKENS = 2048  # including padding; fills a CPU's caches

_BATCH_SUBWORDS, _BATCH_SUBWORDS_OF_ACCELERATOR = 1024, 1 << 14  # of windows, including padding

# A longer sentence is split into windows of so many tokens; neighboring windows share `_SHARED_TOKENS`. A token's
# scores come from the window where it has most context: at least half of the shared tokens on either side.
LONGEST_SENTENCE = 1 << 13

_SHARED_TOKENS = 1 << 10

Encoded = RaggedColumns | SubwordSentences


class EmissionBatch(NamedTuple):
    """The tag scores of a batch of sentences.

    Attributes:
        rows: (B,) indices of the sentences, each with at least one token.
        emissions: (B, L, tags) scores.
        mask: (B, L) bool, True for tokens, False for padding.
    """

    rows: NDArray[np.int64]
    emissions: Tensor
    mask: Tensor


class TokenWindow(NamedTuple):
    """Part of a long sentence that is read at once.

    Attributes:
        start: First position of the window.
        end: End of the window, exclusive.
        answers_from: First position whose scores are used.
        answers_to: End of the positions whose scores are used, exclusive.
    """

    start: int
    end: int
    answers_from: int
    answers_to: int


def padding_id(parts: AnyTaggerParts | AnyClassifierParts) -> int:
    """Get the id of the padding subword.

    Args:
        parts: A model on a pretrained transformer.

    Returns:
        The id that fills up batches.

    Raises:
        TypeError: If the model is not a transformer.
    """
    if not isinstance(parts.encoder, SubwordEncoder):
        raise TypeError(f"found {type(parts.encoder).__name__}, expected a SubwordEncoder")
    return parts.encoder.tokenizer.padding


def batch_subwords(device: torch.device) -> int:
    """Choose a batch size for windows of subwords.

    Args:
        device: The network's device.

    Returns:
        The number of subwords in a batch, including padding, with which the device is fastest.
    """
    return _BATCH_SUBWORDS if device.type == "cpu" else _BATCH_SUBWORDS_OF_ACCELERATOR


def emission_batches(parts: AnyTaggerParts, encoded: Encoded) -> Iterator[EmissionBatch]:
    """Compute the tag scores of all sentences that have tokens. Call it in inference mode.

    The network is used as it is: it should be in evaluation mode, and it stays on its device. Sentences of similar
    length share a batch. A sentence of more than LONGEST_SENTENCE tokens is a batch by itself, and its scores are on
    the CPU, because their size grows with its length.

    Args:
        parts: The tagger.
        encoded: The sentences, encoded by the tagger's encoder.

    Yields:
        Batches of scores, each sentence with tokens in one of them.
    """
    device = next(parts.network.parameters()).device
    if isinstance(encoded, SubwordSentences):
        columns = RaggedColumns({"emissions": _token_emissions(parts, encoded, device)}, encoded.offsets)
    else:
        columns = encoded
    for rows in length_batches(columns.lengths, _BATCH_TOKENS):
        rows = rows[columns.lengths[rows] > 0]
        if not len(rows):
            continue
        longest = int(columns.lengths[rows[-1]])
        if longest > LONGEST_SENTENCE:
            yield EmissionBatch(
                rows, _long_emissions(parts, columns, int(rows[0]), device), torch.ones((1, longest), dtype=torch.bool)
            )
            continue
        batch = {name: torch.from_numpy(array).to(device) for name, array in collate(columns, rows).items()}
        scores = batch["emissions"] if isinstance(encoded, SubwordSentences) else parts.network.emissions(**batch)
        yield EmissionBatch(rows, scores, batch["mask"])


def _long_emissions(parts: AnyTaggerParts, columns: RaggedColumns, row: int, device: torch.device) -> Tensor:
    """Compute the scores of one long sentence, or look them up if they are known: (1, L, tags), on the CPU."""
    first, end = columns.offsets[row : row + 2].tolist()
    if "emissions" in columns.arrays:
        return torch.from_numpy(columns.arrays["emissions"][first:end])[None]
    emissions = torch.empty((1, end - first, len(parts.tag_set.tags)))
    for window in windows(end - first, LONGEST_SENTENCE, _SHARED_TOKENS):
        batch = {
            name: torch.from_numpy(array[first + window.start : first + window.end])[None].to(device)
            for name, array in columns.arrays.items()
        }
        mask = torch.ones((1, window.end - window.start), dtype=torch.bool, device=device)
        scores = parts.network.emissions(mask=mask, **batch)
        used = slice(window.answers_from - window.start, window.answers_to - window.start)
        emissions[0, window.answers_from : window.answers_to] = scores[0, used].cpu()
    return emissions


def windows(length: int, size: int, shared: int) -> Iterator[TokenWindow]:
    """Split a long sentence into overlapping windows. Each position is used in exactly one of them.

    Args:
        length: The number of positions, more than `size`.
        size: The number of positions in a window.
        shared: The number of positions that neighboring windows share, below `size`. The last two may share more.

    Yields:
        The windows in order.
    """
    step = size - shared
    starts = [*range(0, length - size, step), length - size]
    boundaries = [0, *((start + previous + size) // 2 for previous, start in pairwise(starts)), length]
    for start, (answers_from, answers_to) in zip(starts, pairwise(boundaries), strict=True):
        yield TokenWindow(start, start + size, answers_from, answers_to)


def _token_emissions(parts: AnyTaggerParts, encoded: SubwordSentences, device: torch.device) -> NDArray[np.float32]:
    """Compute each token's scores in the window where they are used: (tokens, tags), sentence after sentence."""
    padding = padding_id(parts)
    emissions = np.empty((int(encoded.offsets[-1]), len(parts.tag_set.tags)), dtype=np.float32)
    for rows in length_batches(encoded.pieces.lengths, batch_subwords(device)):
        arrays = collate_sentences(encoded, rows, padding)
        batch = {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}
        scores = parts.network.emissions(**batch).cpu().numpy()
        mask = arrays["mask"]
        positions = encoded.tokens.offsets[rows][:, None] + np.arange(mask.shape[1])
        emissions[positions[mask]] = scores[mask]
    return emissions


@torch.inference_mode()
def tag_marginals(parts: AnyTaggerParts, sentences: Sequence[Sequence[str]]) -> list[NDArray[Any]]:
    """Compute the marginal probabilities of all tags.

    Args:
        parts: The tagger.
        sentences: Pre-tokenized sentences.

    Returns:
        For each sentence (tokens, tags) probabilities under the CRF, in the order of `parts.tag_set.tags`.
    """
    marginals: list[NDArray[Any]] = [np.zeros((0, len(parts.tag_set.tags)))] * len(sentences)
    for rows, emissions, mask in emission_batches(parts, parts.encoder.encode(sentences)):
        probabilities, lengths = parts.network.crf.marginals(emissions, mask).cpu().numpy(), mask.sum(1).tolist()
        for index, row in enumerate(rows.tolist()):
            marginals[row] = probabilities[index, : lengths[index]]
    return marginals
