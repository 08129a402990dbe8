"""Distillation loss of a CRF (Hinton et al. 2015, "Distilling the knowledge in a neural network").

Student and teacher are CRFs over the same tags. The loss is the cross entropy between the teacher's distribution p over
whole paths and the student's distribution q:

    - sum_y p(y) log q(y) = log Z_q - sum of the student's scores, each times its expected count under the teacher

The expected counts of tags and transitions come from one forward-backward pass, so no paths are enumerated.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nlp_app.nn.crf.layer import LinearChainCRF


def path_cross_entropy(
    student: LinearChainCRF,
    emissions: Tensor,
    teacher: LinearChainCRF,
    teacher_emissions: Tensor,
    mask: Tensor,
    weights: Tensor,
) -> Tensor:
    """Compute the weighted cross entropy of a student's paths under a teacher's distribution, summed over rows.

    Differentiable with respect to the student's emissions and parameters.

    Args:
        student: The CRF that is trained.
        emissions: The student's emissions, (B, L, T).
        teacher: The teacher's CRF. It must allow the same transitions as the student.
        teacher_emissions: The teacher's emissions, (B, L, T).
        mask: (B, L) bool, True for real positions, which come first.
        weights: Factor of each row's cross entropy, (B,).

    Returns:
        The loss, a scalar.
    """
    with torch.no_grad():
        tags, moves = teacher.lattice(teacher_emissions.float(), mask).expected_counts(weights.double())
    expected_score = (tags * emissions).sum() + (moves[:-2, :-2] * student.transitions).sum()
    expected_score = expected_score + (moves[-2, :-2] * student.start).sum() + (moves[:-2, -1] * student.end).sum()
    return (weights * student.log_partition(emissions, mask)).sum() - expected_score.to(emissions.dtype)
