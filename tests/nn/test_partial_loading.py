"""Weights that fit in part: what fits is copied, the rest is untouched, and all of it is told."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from nlp_app.nn.partial_loading import load_partial

pytestmark = pytest.mark.numeric

NAMES = ("0.weight", "0.bias", "1.weight", "1.bias", "2.weight")


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4), nn.Embedding(5, 2, dtype=torch.float64))


@given(st.dictionaries(st.sampled_from([*NAMES, "3.weight", "weight", ""]), st.booleans()))
def test_what_fits_is_taken_and_the_rest_is_named(given: dict[str, bool]) -> None:
    """given: names of weights, and whether their shape is the network's, if the network knows the name."""
    net = network()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    shapes = {name: value.shape for name, value in before.items()}
    weights = {
        name: torch.randn(*shapes[name] if fits and name in shapes else (3, 1, 2)) for name, fits in given.items()
    }
    found = load_partial(net, weights)
    for name, value in net.state_dict().items():
        expected = weights[name].to(value.dtype) if given.get(name) else before[name]
        assert torch.equal(value, expected)
        assert value.dtype == before[name].dtype
    assert set(found.taken) == {name for name, fits in given.items() if fits and name in NAMES}
    assert set(found.missing) == set(NAMES) - set(found.taken)
    assert set(found.left) == set(given) - set(NAMES)
    assert set(found.reshaped) == set(found.missing) & set(given)
    assert all(len(set(names)) == len(names) for names in (found.taken, found.missing, found.left, found.reshaped))


def test_parameters_stay_parameters() -> None:
    net = network()
    first = net[0].weight
    load_partial(net, {"0.weight": torch.ones(3, 2)})
    assert net[0].weight is first
    assert first.requires_grad
    assert first.tolist() == [[1.0, 1.0]] * 3
