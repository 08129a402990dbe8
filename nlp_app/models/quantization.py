"""Make a trained tagger small: round its tables to numbers that fit in a byte or half a byte.

The saved model computes with the rounded numbers (see `packed_tensors`), so evaluate a tagger after this, not before.
The weights of a window feature are parts of a log-probability, in nats, for any data; so they are rounded to a fixed
step in nats. Features whose weights all become zero are dropped.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from nlp_app.core.errors import ModelError
from nlp_app.features.feature_index import FeatureIndex
from nlp_app.features.tagging.encoder import TaggingEncoder
from nlp_app.models.packed_tensors import BITS, LOWEST, finest_exponents, powers_of_two
from nlp_app.models.tagger import TaggerParts

STEP_EXPONENT = -6

STEP = 2.0**STEP_EXPONENT  # nats; weights of window features are rounded to multiples of it

Floats = NDArray[np.float32]


def quantize(parts: TaggerParts) -> TaggerParts:
    """Copy a tagger and round its tables so that they are small when saved. Predictions may change a little.

    A window feature's weights change by half a STEP at most, or by a 128th of the largest of them if that is more; the
    values of an embedding change by a 128th of its largest at most. A tagger that was quantized is not changed again.

    Args:
        parts: The tagger.

    Returns:
        The quantized tagger.

    Raises:
        ModelError: If a weight is not finite.
    """
    if not all(torch.isfinite(weight).all() for weight in parts.network.parameters()):
        raise ModelError(
            "compact: found weights that are not finite; train the tagger again, with a lower train.learning_rate"
        )
    encoder, network = parts.encoder, copy.deepcopy(parts.network)
    wide = network.wide.weight
    table = round_rows(wide.detach().cpu().numpy(), STEP_EXPONENT)
    kept = np.asarray(table.any(axis=1))
    kept[0] = kept[encoder.part_rows] = True  # embedded features keep their rows, even with zero weights
    network.wide.weight = nn.Parameter(torch.from_numpy(table[kept]).to(wide.device), requires_grad=wide.requires_grad)
    embeddings = [network.norms.weight, network.shapes.weight, network.parts.weight]
    with torch.no_grad():
        for weight in embeddings if network.vectors is None else [*embeddings, network.vectors.weight]:
            weight.copy_(torch.from_numpy(round_rows(weight.cpu().numpy())))
    rows = np.cumsum(kept, dtype=np.int32) - 1
    index = FeatureIndex(encoder.index.keys[kept[1:]])
    smaller_encoder = TaggingEncoder(encoder.forms, index, rows[encoder.part_rows], encoder.vectors, encoder.lexicon)
    return replace(parts, encoder=smaller_encoder, network=network)


def round_rows(table: Floats, exponent: int = LOWEST) -> Floats:
    """Round each row to integer multiples of a power of two, with factors up to 127.

    The power is the finest that is enough for the row. No value changes by more than half of it.

    Args:
        table: (rows, width).
        exponent: The lowest exponent.

    Returns:
        (rows, width): the rounded table.
    """
    exponents = np.maximum(finest_exponents(table, BITS), exponent)
    numbers = np.rint(table * powers_of_two(-exponents))
    # The largest value may have been rounded up to 128, which doesn't fit in a byte.
    coarser = np.abs(numbers).max(axis=1, initial=0) >= 1 << BITS
    exponents[coarser] += 1
    numbers[coarser] = np.rint(table[coarser] * powers_of_two(-exponents[coarser]))
    result: Floats = numbers * powers_of_two(exponents) + np.float32(0)  # no negative zeros
    return result
