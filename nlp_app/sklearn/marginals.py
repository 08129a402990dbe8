"""The probability of each tag at each token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nlp_app.features.columns import collate, length_batches
from nlp_app.modeldir import TaggerParts

_BATCH_TOKENS = 2048  # padding included


@torch.inference_mode()
def tag_marginals(parts: TaggerParts, sentences: Sequence[Sequence[str]]) -> list[NDArray[Any]]:
    """(tokens, tags) marginals of the CRF for each pre-tokenised sentence, in the order of `parts.tag_set.tags`."""
    columns = parts.encoder.encode(sentences)
    found: list[NDArray[Any]] = [np.zeros((0, len(parts.tag_set.tags)))] * len(columns)
    device = parts.network.tags.weight.device
    for rows in length_batches(columns.lengths, _BATCH_TOKENS):
        rows = rows[columns.lengths[rows] > 0]
        if not len(rows):
            continue
        batch = {name: torch.from_numpy(array).to(device) for name, array in collate(columns, rows).items()}
        chances = parts.network.crf.marginals(parts.network.emissions(**batch), batch["mask"]).cpu().numpy()
        for place, row in enumerate(rows.tolist()):
            found[row] = chances[place, : columns.lengths[row]]
    return found
