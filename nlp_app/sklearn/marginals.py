"""The probability of each tag at each token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from nlp_app.predict.emissions import emission_batches

if TYPE_CHECKING:
    from nlp_app.modeldir import AnyTaggerParts


@torch.inference_mode()
def tag_marginals(parts: AnyTaggerParts, sentences: Sequence[Sequence[str]]) -> list[NDArray[Any]]:
    """(tokens, tags) marginals of the CRF for each pre-tokenised sentence, in the order of `parts.tag_set.tags`."""
    found: list[NDArray[Any]] = [np.zeros((0, len(parts.tag_set.tags)))] * len(sentences)
    for rows, emissions, mask in emission_batches(parts, parts.encoder.encode(sentences)):
        chances, lengths = parts.network.crf.marginals(emissions, mask).cpu().numpy(), mask.sum(1).tolist()
        for place, row in enumerate(rows.tolist()):
            found[row] = chances[place, : lengths[place]]
    return found
