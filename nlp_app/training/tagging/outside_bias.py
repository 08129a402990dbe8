"""Balance precision and recall of a trained tagger with the bias of O, the tag of tokens outside of spans.

Training maximizes the likelihood of the gold tags, not F1. If most tokens are O and spans are hard to find, the best
path has too many O for the best F1. One number corrects this: the amount by which the score of O is lowered. It is
tuned on dev after training (compare Jansche 2005, "Maximum expected F-measure training of logistic regression models").
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from nlp_app.core.types import Sentence
from nlp_app.inference.torch_tag_scores import emission_batches
from nlp_app.labels.schemes import OUTSIDE
from nlp_app.models import TaggerParts

SHIFTS = (0.0, -0.5, 0.5, 1.0, 1.5, 2.0, 2.5)  # amounts in nats; the first one changes nothing


@torch.inference_mode()
def tune_outside_bias(parts: TaggerParts, sentences: Sequence[Sentence]) -> float:
    """Lower the score of O in the network by the amount that is best for F1 on labeled sentences.

    Args:
        parts: A tagger with a tag O; the bias of O is changed in place.
        sentences: Labeled sentences.

    Returns:
        The amount in nats, one of `SHIFTS`.
    """
    outside = parts.tag_set.ids[OUTSIDE]
    gold = [set(sentence.spans or ()) for sentence in sentences]
    # (shifts, sentences): correct spans, and the sum of predicted and gold spans.
    correct = np.zeros((len(SHIFTS), len(sentences)))
    totals = np.tile(
        [float(len(spans) + len(s.unaligned)) for spans, s in zip(gold, sentences, strict=True)], (len(SHIFTS), 1)
    )
    for rows, emissions, mask in emission_batches(parts, parts.encoder.encode([s.tokens for s in sentences])):
        for number, shift in enumerate(SHIFTS):
            lowered = emissions.clone()
            lowered[..., outside] -= shift
            for row, path in zip(rows.tolist(), parts.network.crf.decode(lowered, mask), strict=True):
                predicted = parts.tag_set.spans(path)
                correct[number, row] = len(gold[row].intersection(predicted))
                totals[number, row] += len(predicted)
    best = best_outside_bias(correct, totals)
    parts.network.tags.bias[outside] -= best
    return best


def best_outside_bias(correct: NDArray[np.float64], totals: NDArray[np.float64]) -> float:
    """Select the shift with the largest gain in F1, minus one standard error, over no shift.

    F1 is twice the sum of `correct` over the sum of `totals`. The standard error is that of the difference between two
    values of F1 on the same sentences, with F1 linear in a sentence's contribution to both sums (the delta method).

    Args:
        correct: (shifts, sentences) Number of predicted spans that are gold.
        totals: (shifts, sentences) Number of predicted spans plus number of gold spans.

    Returns:
        One of `SHIFTS`; 0.0 if no gain exceeds its standard error.
    """
    sums = np.maximum(totals.sum(axis=1, keepdims=True), 1)
    f1 = 2 * correct.sum(axis=1, keepdims=True) / sums
    influences = (2 * correct - f1 * totals) / sums  # influence of each sentence on F1
    gains = (f1 - f1[0])[:, 0] - np.sqrt(((influences - influences[0]) ** 2).sum(axis=1))
    return SHIFTS[int(gains.argmax())]
