"""A tagger's scores of tags for encoded sentences, batch after batch, whatever its network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nlp_app.features.columns import Columns, collate, length_batches
from nlp_app.features.piece_windows import PieceEncoder, PieceSentences, collate_sentences

if TYPE_CHECKING:
    from nlp_app.modeldir import AnyClassifierParts, AnyTaggerParts

_BATCH_TOKENS = 2048  # padding included: what keeps a CPU's caches full
_BATCH_PIECES, _BATCH_PIECES_OF_ACCELERATOR = 1024, 1 << 14  # of windows, padding included

Encoded = Columns | PieceSentences


class Emissions(NamedTuple):
    """Some sentences' scores. rows: which sentences, each with a token at least; emissions: (B, L, tags); mask: (B, L)
    bool."""

    rows: NDArray[np.int64]
    emissions: Tensor
    mask: Tensor


def padding_of(parts: AnyTaggerParts | AnyClassifierParts) -> int:
    """The padding piece of a model on a pretrained transformer."""
    if not isinstance(parts.encoder, PieceEncoder):
        raise TypeError(f"found {type(parts.encoder).__name__}, expected an encoder of pieces")
    return parts.encoder.tokenizer.padding


def batch_pieces(device: torch.device) -> int:
    """Pieces of a batch of windows, padding included, at which a device is at its best."""
    return _BATCH_PIECES if device.type == "cpu" else _BATCH_PIECES_OF_ACCELERATOR


def emission_batches(parts: AnyTaggerParts, encoded: Encoded) -> Iterator[Emissions]:
    """The scores of all sentences that have tokens, in batches of like length; call it in inference mode.

    The network is used as it stands, in evaluation mode, on the device where it is.
    """
    device = next(parts.network.parameters()).device
    if isinstance(encoded, PieceSentences):
        columns = Columns({"emissions": _of_windows(parts, encoded, device)}, encoded.offsets)
    else:
        columns = encoded
    for rows in length_batches(columns.lengths, _BATCH_TOKENS):
        rows = rows[columns.lengths[rows] > 0]
        if not len(rows):
            continue
        batch = {name: torch.from_numpy(array).to(device) for name, array in collate(columns, rows).items()}
        scores = batch["emissions"] if isinstance(encoded, PieceSentences) else parts.network.emissions(**batch)
        yield Emissions(rows, scores, batch["mask"])


def _of_windows(parts: AnyTaggerParts, encoded: PieceSentences, device: torch.device) -> NDArray[np.float32]:
    """(tokens, tags): the scores of each token by the window that answers for it, sentence after sentence."""
    padding = padding_of(parts)
    found = np.empty((int(encoded.offsets[-1]), len(parts.tag_set.tags)), dtype=np.float32)
    for rows in length_batches(encoded.pieces.lengths, batch_pieces(device)):
        arrays = collate_sentences(encoded, rows, padding)
        batch = {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}
        scores = parts.network.emissions(**batch).cpu().numpy()
        mask = arrays["mask"]
        places = encoded.tokens.offsets[rows][:, None] + np.arange(mask.shape[1])
        found[places[mask]] = scores[mask]
    return found
