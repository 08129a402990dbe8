"""The loss against a teacher, beside all paths enumerated."""

from __future__ import annotations

from itertools import pairwise, product

import pytest
import torch
from torch import Tensor

from nlp_app.nn import LinearChainCRF
from nlp_app.nn.crf.distillation_loss import path_cross_entropy

pytestmark = pytest.mark.numeric


def filled(tags: int, allowed: Tensor | None, seed: int) -> LinearChainCRF:
    crf = LinearChainCRF(tags, allowed)
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in crf.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=random))
    return crf


def score(crf: LinearChainCRF, emissions: Tensor, path: tuple[int, ...]) -> Tensor:
    total = crf.start[path[0]] + crf.end[path[-1]]
    total = total + sum((emissions[place, tag] for place, tag in enumerate(path)), torch.tensor(0.0))
    return total + sum((crf.transitions[a, b] for a, b in pairwise(path)), torch.tensor(0.0))


@pytest.mark.parametrize("forbid", [False, True])
def test_it_is_the_cross_entropy_of_all_paths(forbid: bool) -> None:
    tags, lengths, weights = 3, (4, 2, 1), torch.tensor([0.5, 2.0, 1.0])
    allowed = torch.ones(tags + 2, tags + 2, dtype=torch.bool)
    if forbid:
        allowed[0, 2] = allowed[tags, 1] = allowed[2, tags + 1] = False
    student, teacher = filled(tags, allowed, 1), filled(tags, allowed, 2)
    random = torch.Generator().manual_seed(3)
    emissions = torch.randn(3, 4, tags, generator=random, requires_grad=True)
    taught = torch.randn(3, 4, tags, generator=random) * 2
    mask = torch.arange(4)[None, :] < torch.tensor(lengths)[:, None]

    expected = torch.tensor(0.0)
    for row, length in enumerate(lengths):
        paths = [
            path
            for path in product(range(tags), repeat=length)
            if all(allowed[a, b] for a, b in zip((tags, *path), (*path, tags + 1), strict=True))
        ]
        p = torch.stack([score(teacher, taught[row], path) for path in paths]).softmax(0).detach()
        q = torch.stack([score(student, emissions[row], path) for path in paths]).log_softmax(0)
        expected = expected - weights[row] * (p * q).sum()
    wanted = torch.autograd.grad(expected, [emissions, *student.parameters()])

    found = path_cross_entropy(student, emissions, teacher, taught, mask, weights)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    for ours, theirs in zip(torch.autograd.grad(found, [emissions, *student.parameters()]), wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
