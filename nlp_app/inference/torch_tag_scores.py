"""Compute the tag scores of encoded sentences by torch, batch by batch, for every kind of tagger."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nlp_app.features.subwords.encoder import SubwordEncoder, SubwordSentences, collate_sentences
from nlp_app.inference.token_windows import BATCH_TOKENS, is_long, sentence_windows
from nlp_app.nn.crf.lattice import Lattice, forward_backward
from nlp_app.nn.crf.layer import LinearChainCRF
from nlp_app.nn.crf.viterbi import best_paths
from nlp_app.numerics.segments import Segments
from nlp_app.storage.batching import length_batches
from nlp_app.storage.ragged import RaggedColumns, collate

if TYPE_CHECKING:
    from nlp_app.models import AnyClassifierParts, AnyTaggerParts


_BATCH_SUBWORDS, _BATCH_SUBWORDS_OF_ACCELERATOR = 1024, 1 << 14  # of windows, including padding

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
    for rows in length_batches(columns.lengths, BATCH_TOKENS):
        rows = rows[columns.lengths[rows] > 0]
        if not len(rows):
            continue
        longest = int(columns.lengths[rows[-1]])
        if is_long(longest):
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
    for window in sentence_windows(end - first):
        batch = {
            name: torch.from_numpy(array[first + window.start : first + window.end])[None].to(device)
            for name, array in columns.arrays.items()
        }
        mask = torch.ones((1, window.end - window.start), dtype=torch.bool, device=device)
        scores = parts.network.emissions(mask=mask, **batch)
        used = slice(window.answers_from - window.start, window.answers_to - window.start)
        emissions[0, window.answers_from : window.answers_to] = scores[0, used].cpu()
    return emissions


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


class TorchTagBatch:
    """The paths of a batch of sentences, scored by torch.

    Args:
        crf: The network's CRF.
        batch: The emission scores.
    """

    def __init__(self, crf: LinearChainCRF, batch: EmissionBatch) -> None:
        self.rows, emissions, mask = batch
        with torch.inference_mode():
            self._scores = crf.scores(emissions, mask)
        self._lattice: Lattice | None = None

    @torch.inference_mode()
    def best_paths(self) -> list[list[int]]:
        """Find the best paths; see `TagBatch.best_paths`.

        Returns:
            The tag ids of each sentence.
        """
        return best_paths(self._scores)

    @torch.inference_mode()
    def segment_log_probability(self, segments: Segments) -> NDArray[np.float64]:
        """Compute the log posterior probability of segments; see `TagBatch.segment_log_probability`.

        Args:
            segments: S segments.

        Returns:
            (S,).
        """
        self._lattice = self._lattice or forward_backward(self._scores)
        return self._lattice.segment_log_probability(segments)

    @torch.inference_mode()
    def marginals(self) -> list[NDArray[np.float64]]:
        """Compute the marginal probabilities of all tags; see `TagBatch.marginals`.

        Returns:
            For each sentence (tokens, tags).
        """
        marginals = forward_backward(self._scores).marginals().cpu().numpy()
        return [row[:length] for row, length in zip(marginals, self._scores.lengths.tolist(), strict=True)]


def torch_tag_batches(parts: AnyTaggerParts, encoded: Encoded) -> Iterator[TorchTagBatch]:
    """Score all sentences that have tokens.

    Args:
        parts: The tagger.
        encoded: The sentences, encoded by the tagger's encoder.

    Yields:
        Batches, each sentence with tokens in one of them.
    """
    batches = emission_batches(parts, encoded)
    while True:
        with torch.inference_mode():
            batch = next(batches, None)
        if batch is None:
            return
        yield TorchTagBatch(parts.network.crf, batch)
