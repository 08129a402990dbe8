"""What a student loses against its teacher (Hinton et al. 2015, "Distilling the knowledge in a neural network").

Both are CRFs over the same tags. The loss is the cross entropy of the student's distribution q over whole paths under
the teacher's, p:

    - sum_y p(y) log q(y) = log Z_q - sum of the student's scores, each as often as the teacher expects to use it

The teacher's expected uses of tags and moves come from one forward-backward pass, so no path is enumerated.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nlp_app.nn.crf.layer import LinearChainCRF


def path_cross_entropy(
    student: LinearChainCRF, emissions: Tensor, teacher: LinearChainCRF, taught: Tensor, mask: Tensor, weights: Tensor
) -> Tensor:
    """The sum over rows of weights (B,) times the cross entropy of the student's paths under the teacher's.

    emissions: the student's, taught: the teacher's, (B, L, T) each; mask: (B, L) bool. The two permit the same moves.
    Differentiable in what is the student's.
    """
    with torch.no_grad():
        tags, moves = teacher.lattice(taught.float(), mask).expected_counts(weights.double())
    gained = (tags * emissions).sum() + (moves[:-2, :-2] * student.transitions).sum()
    gained = gained + (moves[-2, :-2] * student.start).sum() + (moves[:-2, -1] * student.end).sum()
    return (weights * student.log_partition(emissions, mask)).sum() - gained.to(emissions.dtype)
