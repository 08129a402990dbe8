"""A tagger's scores of tags for encoded sentences, batch after batch, whatever its network."""

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


_BATCH_TOKENS = 2048  # padding included: what keeps a CPU's caches full

_BATCH_PIECES, _BATCH_PIECES_OF_ACCELERATOR = 1024, 1 << 14  # of windows, padding included

# A longer sentence is read in windows of so many tokens, neighbors sharing `_SHARED_TOKENS`: each token is answered
# for by the window where it has most context, so with half of those before and after it at least.
LONGEST_SENTENCE = 1 << 13

_SHARED_TOKENS = 1 << 10

Encoded = RaggedColumns | SubwordSentences


class EmissionBatch(NamedTuple):
    """Some sentences' scores. rows: which sentences, each with a token at least; emissions: (B, L, tags); mask: (B, L)
    bool."""

    rows: NDArray[np.int64]
    emissions: Tensor
    mask: Tensor


class TokenWindow(NamedTuple):
    """Positions `start` to `end` of a row, read together, of which those from `answers_from` to `answers_to` count."""

    start: int
    end: int
    answers_from: int
    answers_to: int


def padding_id(parts: AnyTaggerParts | AnyClassifierParts) -> int:
    """The padding piece of a model on a pretrained transformer."""
    if not isinstance(parts.encoder, SubwordEncoder):
        raise TypeError(f"found {type(parts.encoder).__name__}, expected an encoder of pieces")
    return parts.encoder.tokenizer.padding


def batch_subwords(device: torch.device) -> int:
    """Pieces of a batch of windows, padding included, at which a device is at its best."""
    return _BATCH_PIECES if device.type == "cpu" else _BATCH_PIECES_OF_ACCELERATOR


def emission_batches(parts: AnyTaggerParts, encoded: Encoded) -> Iterator[EmissionBatch]:
    """The scores of all sentences that have tokens, in batches of like length; call it in inference mode.

    The network is used as it stands, in evaluation mode, on the device where it is. A sentence of more than
    LONGEST_SENTENCE tokens is a batch of its own, and what takes memory for its length is on the CPU.
    """
    device = next(parts.network.parameters()).device
    if isinstance(encoded, SubwordSentences):
        columns = RaggedColumns({"emissions": _of_windows(parts, encoded, device)}, encoded.offsets)
    else:
        columns = encoded
    for rows in length_batches(columns.lengths, _BATCH_TOKENS):
        rows = rows[columns.lengths[rows] > 0]
        if not len(rows):
            continue
        longest = int(columns.lengths[rows[-1]])
        if longest > LONGEST_SENTENCE:
            yield EmissionBatch(
                rows, _of_long(parts, columns, int(rows[0]), device), torch.ones((1, longest), dtype=torch.bool)
            )
            continue
        batch = {name: torch.from_numpy(array).to(device) for name, array in collate(columns, rows).items()}
        scores = batch["emissions"] if isinstance(encoded, SubwordSentences) else parts.network.emissions(**batch)
        yield EmissionBatch(rows, scores, batch["mask"])


def _of_long(parts: AnyTaggerParts, columns: RaggedColumns, row: int, device: torch.device) -> Tensor:
    """(1, L, tags), on the CPU: the scores of one long sentence, which are known already or come of windows."""
    first, end = columns.offsets[row : row + 2].tolist()
    if "emissions" in columns.arrays:
        return torch.from_numpy(columns.arrays["emissions"][first:end])[None]
    found = torch.empty((1, end - first, len(parts.tag_set.tags)))
    for window in windows(end - first, LONGEST_SENTENCE, _SHARED_TOKENS):
        batch = {
            name: torch.from_numpy(array[first + window.start : first + window.end])[None].to(device)
            for name, array in columns.arrays.items()
        }
        mask = torch.ones((1, window.end - window.start), dtype=torch.bool, device=device)
        scores = parts.network.emissions(mask=mask, **batch)
        answered = slice(window.answers_from - window.start, window.answers_to - window.start)
        found[0, window.answers_from : window.answers_to] = scores[0, answered].cpu()
    return found


def windows(length: int, size: int, shared: int) -> Iterator[TokenWindow]:
    """Windows of `size` positions over `length`, more than `size` of them; neighbors share `shared`, below `size`, or
    at the end more. Together they answer for each position once."""
    step = size - shared
    starts = [*range(0, length - size, step), length - size]
    seams = [0, *((start + before + size) // 2 for before, start in pairwise(starts)), length]
    for start, (answers_from, answers_to) in zip(starts, pairwise(seams), strict=True):
        yield TokenWindow(start, start + size, answers_from, answers_to)


def _of_windows(parts: AnyTaggerParts, encoded: SubwordSentences, device: torch.device) -> NDArray[np.float32]:
    """(tokens, tags): the scores of each token by the window that answers for it, sentence after sentence."""
    padding = padding_id(parts)
    found = np.empty((int(encoded.offsets[-1]), len(parts.tag_set.tags)), dtype=np.float32)
    for rows in length_batches(encoded.pieces.lengths, batch_subwords(device)):
        arrays = collate_sentences(encoded, rows, padding)
        batch = {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}
        scores = parts.network.emissions(**batch).cpu().numpy()
        mask = arrays["mask"]
        places = encoded.tokens.offsets[rows][:, None] + np.arange(mask.shape[1])
        found[places[mask]] = scores[mask]
    return found


@torch.inference_mode()
def tag_marginals(parts: AnyTaggerParts, sentences: Sequence[Sequence[str]]) -> list[NDArray[Any]]:
    """(tokens, tags) marginals of the CRF for each pre-tokenized sentence, in the order of `parts.tag_set.tags`."""
    found: list[NDArray[Any]] = [np.zeros((0, len(parts.tag_set.tags)))] * len(sentences)
    for rows, emissions, mask in emission_batches(parts, parts.encoder.encode(sentences)):
        chances, lengths = parts.network.crf.marginals(emissions, mask).cpu().numpy(), mask.sum(1).tolist()
        for place, row in enumerate(rows.tolist()):
            found[row] = chances[place, : lengths[place]]
    return found
