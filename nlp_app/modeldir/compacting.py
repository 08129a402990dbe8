"""A trained tagger made small: fewer window features, and tables of numbers that a byte or half a byte can hold.

What is saved of it is what it computes with (see `packing`), so it is to be scored after this, not before.

A window feature's weights are parts of a log-probability, in nats, whatever the data, and they are rounded to a step
of that. Most features weigh little, yet together they tell something: a word next to ten pairs that each speak faintly
for O. If all of the small ones were dropped, that would go. So one that reaches only a share of what counts as large is
kept with just that share for a chance, and is then made as much larger: each tag's score stays right on average
(threshold sampling; Duffield, Lund & Thorup 2005, "Learn more, sample less"). The chance lies in the feature's key, so
it falls the same way each time.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from nlp_app.errors import ModelError
from nlp_app.features.encoder import TaggingEncoder
from nlp_app.features.keys import FeatureIndex, Keys, finalise
from nlp_app.modeldir.packing import BITS, LOWEST, SHORT_BITS, finest_exponents, scales
from nlp_app.modeldir.tagger import TaggerParts

STEP_EXPONENT = -6
STEP = 2.0**STEP_EXPONENT  # nats: what a window feature's weights are multiples of
# Weights that reach this are large. What half a byte holds; the chances of n features that a token has add less than
# LARGE sqrt(n) / 2 to the standard deviation of a score: with 26 about a quarter of a nat, on real data a twentieth.
LARGE = ((1 << SHORT_BITS) - 1) * STEP

Floats = NDArray[np.float32]


def compact(parts: TaggerParts) -> TaggerParts:
    """The tagger with tables that are small when saved, as a copy: a little different in what it finds.

    A window feature's weights change by LARGE and half a STEP at most, or if they are larger by a 128th of the largest;
    those of an embedding by a 128th of its largest. Features that are embedded too are kept as they are. What was
    compacted once isn't changed by it again. Raises ModelError for weights that aren't finite.
    """
    if not all(torch.isfinite(weight).all() for weight in parts.network.parameters()):
        raise ModelError("compact: found weights that are not finite; train the tagger again, with a lower train.rate")
    encoder, network = parts.encoder, copy.deepcopy(parts.network)
    wide = network.wide.weight
    table = wide.detach().cpu().numpy()
    shares = np.minimum(np.abs(table).max(axis=1, initial=0) / np.float32(LARGE), np.float32(1))
    shares[0] = shares[encoder.part_rows] = 1
    kept = _chances(encoder.index.keys) < shares
    sampled = rounded(table[kept] / shares[kept, None], STEP_EXPONENT)
    network.wide.weight = nn.Parameter(torch.from_numpy(sampled).to(wide.device), requires_grad=wide.requires_grad)
    embeddings = [network.norms.weight, network.shapes.weight, network.parts.weight]
    with torch.no_grad():
        for weight in embeddings if network.vectors is None else [*embeddings, network.vectors.weight]:
            weight.copy_(torch.from_numpy(rounded(weight.cpu().numpy())))
    rows = np.cumsum(kept, dtype=np.int32) - 1
    index = FeatureIndex(encoder.index.keys[kept[1:]])
    fewer = TaggingEncoder(encoder.forms, index, rows[encoder.part_rows], encoder.vectors)
    return replace(parts, encoder=fewer, network=network)


def rounded(table: Floats, exponent: int = LOWEST) -> Floats:
    """Each row as multiples, at most 127, of a power of two: the finest that is enough, and not below `exponent`.

    No value changes by more than half of that power. table: (rows, width).
    """
    exponents = np.maximum(finest_exponents(table, BITS), exponent)
    numbers = np.rint(table * scales(-exponents))
    # The largest may have been rounded up, out of a byte.
    coarser = np.abs(numbers).max(axis=1, initial=0) >= 1 << BITS
    exponents[coarser] += 1
    numbers[coarser] = np.rint(table[coarser] * scales(-exponents[coarser]))
    result: Floats = numbers * scales(exponents) + np.float32(0)  # no negative zeros
    return result


def _chances(keys: Keys) -> NDArray[np.float64]:
    """A number from 0 to 1, exclusive, for each row, as good as random; 0 for row 0, which has no key."""
    return np.concatenate(([0.0], (finalise(keys) >> np.uint64(11)) / 2.0**53))
