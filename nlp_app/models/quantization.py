"""A trained tagger made small: tables of numbers that a byte or half a byte can hold.

What is saved of it is what it computes with (see `packed_tensors`), so it is to be scored after this, not before. A
window feature's weights are parts of a log-probability, in nats, whatever the data, and they are rounded to a step of
that; features of which nothing is left are dropped.
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

STEP = 2.0**STEP_EXPONENT  # nats: what a window feature's weights are multiples of

Floats = NDArray[np.float32]


def quantize(parts: TaggerParts) -> TaggerParts:
    """The tagger with tables that are small when saved, as a copy: a little different in what it finds.

    A window feature's weights change by half a STEP at most, or by a 128th of the largest of them if that is more;
    those of an embedding by a 128th of its largest. What was compacted once isn't changed by it again. Raises
    ModelError for weights that aren't finite.
    """
    if not all(torch.isfinite(weight).all() for weight in parts.network.parameters()):
        raise ModelError(
            "compact: found weights that are not finite; train the tagger again, with a lower train.learning_rate"
        )
    encoder, network = parts.encoder, copy.deepcopy(parts.network)
    wide = network.wide.weight
    table = round_rows(wide.detach().cpu().numpy(), STEP_EXPONENT)
    kept = np.asarray(table.any(axis=1))
    kept[0] = kept[encoder.part_rows] = True  # a feature that is embedded has a row in the index, whatever its weights
    network.wide.weight = nn.Parameter(torch.from_numpy(table[kept]).to(wide.device), requires_grad=wide.requires_grad)
    embeddings = [network.norms.weight, network.shapes.weight, network.parts.weight]
    with torch.no_grad():
        for weight in embeddings if network.vectors is None else [*embeddings, network.vectors.weight]:
            weight.copy_(torch.from_numpy(round_rows(weight.cpu().numpy())))
    rows = np.cumsum(kept, dtype=np.int32) - 1
    index = FeatureIndex(encoder.index.keys[kept[1:]])
    fewer = TaggingEncoder(encoder.forms, index, rows[encoder.part_rows], encoder.vectors)
    return replace(parts, encoder=fewer, network=network)


def round_rows(table: Floats, exponent: int = LOWEST) -> Floats:
    """Each row as multiples, at most 127, of a power of two: the finest that is enough, and not below `exponent`.

    No value changes by more than half of that power. table: (rows, width).
    """
    exponents = np.maximum(finest_exponents(table, BITS), exponent)
    numbers = np.rint(table * powers_of_two(-exponents))
    # The largest may have been rounded up, out of a byte.
    coarser = np.abs(numbers).max(axis=1, initial=0) >= 1 << BITS
    exponents[coarser] += 1
    numbers[coarser] = np.rint(table[coarser] * powers_of_two(-exponents[coarser]))
    result: Floats = numbers * powers_of_two(exponents) + np.float32(0)  # no negative zeros
    return result
