"""Moves that a CRF caches within inference mode: always those of its parameters as they are."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from nlp_app.nn.crf.layer import LinearChainCRF

TAGS = 4
EMISSIONS = torch.zeros(1, 3, TAGS)
MASK = torch.ones(1, 3, dtype=torch.bool)


def make_crf(seed: int = 0) -> LinearChainCRF:
    allowed = torch.ones(TAGS + 2, TAGS + 2, dtype=torch.bool)
    allowed[1, 2] = False
    crf = LinearChainCRF(TAGS, allowed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in crf.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return crf.eval()


@torch.inference_mode()
def moves(crf: LinearChainCRF) -> torch.Tensor:
    return crf.scores(EMISSIONS, MASK).moves


def expected(crf: LinearChainCRF) -> list[list[float]]:
    """The moves, each by itself."""
    inner, start, end = crf.transitions.tolist(), crf.start.tolist(), crf.end.tolist()
    rows = [[*inner[i], 0.0, end[i]] for i in range(TAGS)] + [[*start, 0.0, 0.0], [0.0] * (TAGS + 2)]
    allowed = crf.allowed.tolist()
    return [
        [value if permitted else -float("inf") for value, permitted in zip(*pair, strict=True)]
        for pair in zip(rows, allowed, strict=True)
    ]


def step(crf: LinearChainCRF, make: Callable[..., torch.optim.Optimizer]) -> None:
    crf(EMISSIONS, torch.tensor([[0, 1, 3]]), MASK).sum().backward()
    make(crf.parameters(), lr=0.1).step()


@torch.inference_mode()
def in_inference_mode(crf: LinearChainCRF) -> None:
    crf.end += 1


def replace_parameter(crf: LinearChainCRF) -> None:
    crf.start = torch.nn.Parameter(torch.full((TAGS,), 0.25))


def replace_data(crf: LinearChainCRF) -> None:
    crf.transitions.data = crf.transitions.data * 2


def forbid(crf: LinearChainCRF) -> None:
    crf.allowed[0, 0] = False


CHANGES: dict[str, Callable[[LinearChainCRF], object]] = {
    "SGD": lambda crf: step(crf, torch.optim.SGD),
    "AdamW": lambda crf: step(crf, torch.optim.AdamW),
    "fused": lambda crf: step(crf, lambda parameters, lr: torch.optim.AdamW(parameters, lr=lr, fused=True)),
    "foreach": lambda crf: step(crf, lambda parameters, lr: torch.optim.AdamW(parameters, lr=lr, foreach=True)),
    "inference mode": in_inference_mode,
    "replaced": replace_parameter,
    "replaced data": replace_data,
    "loaded": lambda crf: crf.load_state_dict(make_crf(1).state_dict()),
    "assigned": lambda crf: crf.load_state_dict(make_crf(1).state_dict(), assign=True),
    "forbidden": forbid,
    "double": lambda crf: crf.double(),
    "trained unseen": lambda crf: (crf.train(), crf.start.data.add_(1), crf.eval()),  # counted by no version
}


@pytest.mark.parametrize("change", CHANGES)
def test_they_follow_every_change(change: str) -> None:
    crf = make_crf()
    first = moves(crf)
    before = first.clone()
    assert first.tolist() == expected(crf)
    assert moves(crf) is first
    CHANGES[change](crf)
    assert moves(crf).tolist() == expected(crf)
    assert change == "double" or moves(crf).tolist() != before.tolist()
    assert torch.equal(first, before)  # those handed out stay as they are


def test_in_training_and_outside_of_inference_mode_none_are_cached() -> None:
    crf = make_crf().train()
    assert moves(crf) is not moves(crf)
    first = moves(crf.eval())
    assert crf.scores(EMISSIONS, MASK).moves is not first
    assert moves(crf) is not first


def test_cached_in_inference_mode_they_serve_gradients() -> None:
    crf, tags = make_crf(), torch.tensor([[0, 1, 3]])
    moves(crf)
    emissions = EMISSIONS.clone().requires_grad_()
    (crf(emissions, tags, MASK) + crf.log_partition(emissions, MASK)).sum().backward()
    # The log of a path's weight: once for each of its tags.
    torch.testing.assert_close(emissions.grad, torch.nn.functional.one_hot(tags, TAGS).float())


def test_copies_pickles_and_state_dicts_know_nothing_of_them() -> None:
    crf = make_crf()
    names = list(crf.state_dict())
    first = moves(crf)
    assert list(crf.state_dict()) == names
    stored = io.BytesIO()
    torch.save(crf, stored)
    stored.seek(0)
    for other in (copy.deepcopy(crf), torch.load(stored, weights_only=False)):
        assert moves(other) is not first
        assert moves(other).tolist() == expected(crf)
        with torch.no_grad():
            other.start += 1
        assert moves(other).tolist() == expected(other) != expected(crf)
    assert moves(crf) is first


def test_threads_find_the_same_ones() -> None:
    crf = make_crf()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: moves(crf).tolist(), range(200)))
    assert all(each == expected(crf) for each in found)
