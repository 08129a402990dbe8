"""Where a trained tagger stands between precision and recall: how much O scores, the tag of tokens outside of spans.

Training makes the gold tags likely, not F1 high. Where most tokens are O and spans are hard to tell, the likeliest path
has too many O for F1. One number moves that: what all tags but O are preferred by, found on dev after training (compare
Jansche 2005, "Maximum expected F-measure training of logistic regression models").
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from nlp_app.core.types import Sentence
from nlp_app.inference.tag_scores import emission_batches
from nlp_app.labels.schemes import OUTSIDE
from nlp_app.models import TaggerParts

SHIFTS = (0.0, -0.5, 0.5, 1.0, 1.5, 2.0, 2.5)  # nats; the first is none


@torch.inference_mode()
def tune_outside_bias(parts: TaggerParts, sentences: Sequence[Sentence]) -> float:
    """Lower the score of O in the network by `best_outside_bias` on labeled sentences; that shift.

    The tags are those of a scheme with O.
    """
    outside = parts.tag_set.ids[OUTSIDE]
    gold = [set(sentence.spans or ()) for sentence in sentences]
    # Of each shift and sentence: spans found and right, and spans found and gold ones, of which F1 is made.
    right = np.zeros((len(SHIFTS), len(sentences)))
    both = np.tile(
        [float(len(spans) + len(s.unaligned)) for spans, s in zip(gold, sentences, strict=True)], (len(SHIFTS), 1)
    )
    for rows, emissions, mask in emission_batches(parts, parts.encoder.encode([s.tokens for s in sentences])):
        for number, shift in enumerate(SHIFTS):
            lowered = emissions.clone()
            lowered[..., outside] -= shift
            for row, path in zip(rows.tolist(), parts.network.crf.decode(lowered, mask), strict=True):
                found = parts.tag_set.spans(path)
                right[number, row] = len(gold[row].intersection(found))
                both[number, row] += len(found)
    best = best_outside_bias(right, both)
    parts.network.tags.bias[outside] -= best
    return best


def best_outside_bias(right: NDArray[np.float64], both: NDArray[np.float64]) -> float:
    """The one of SHIFTS whose gain in F1 over none is largest after a standard error is taken off; 0.0 if none has one.

    right: (shifts, sentences), spans that were found and are gold; both: those found plus those gold. F1 is twice the
    sum of the first over the sum of the second. The standard error is that of the difference between two values of F1
    on the same sentences, each value linear in what a sentence adds to the two sums (the delta method).
    """
    sums = np.maximum(both.sum(axis=1, keepdims=True), 1)
    f1 = 2 * right.sum(axis=1, keepdims=True) / sums
    pulls = (2 * right - f1 * both) / sums  # how much a sentence pulls F1 up or down
    gains = (f1 - f1[0])[:, 0] - np.sqrt(((pulls - pulls[0]) ** 2).sum(axis=1))
    return SHIFTS[int(gains.argmax())]
