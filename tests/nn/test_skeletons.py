"""Networks that are built without memory and without initialization."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nlp_app.nn.skeletons import build_skeleton, check_materialized


def build() -> nn.ModuleDict:
    """One layer of each kind that our networks have, and an initialization by keyword."""
    layers = nn.ModuleDict(
        {
            "table": nn.Embedding(5, 3, padding_idx=0),
            "lstm": nn.LSTM(3, 4, bidirectional=True),
            "convolution": nn.Conv1d(4, 4, 3),
            "output": nn.Linear(4, 2),
            "norm": nn.LayerNorm(4),
        }
    )
    nn.init.normal_(tensor=layers["output"].weight, std=0.3)
    nn.init.constant_(layers["output"].bias, 7.0)
    return layers


def test_it_has_the_names_types_and_shapes_of_the_network_and_no_memory() -> None:
    skeleton, network = build_skeleton(build), build()
    described = [
        {name: (value.shape, value.dtype) for name, value in layers.state_dict().items()}
        for layers in (skeleton, network)
    ]
    assert described[0] == described[1]
    assert all(value.is_meta for value in skeleton.state_dict().values())
    assert all(isinstance(value, nn.Parameter) for value in skeleton.parameters())


def test_no_random_number_is_drawn_and_initialization_works_afterwards() -> None:
    torch.manual_seed(0)
    expected = build()
    torch.manual_seed(0)
    build_skeleton(build)
    found = build()
    assert all(torch.equal(a, b) for a, b in zip(found.parameters(), expected.parameters(), strict=True))
    assert (found["output"].bias == 7).all()
    with pytest.raises(RuntimeError, match="within"):
        build_skeleton(failing)
    assert (build()["output"].bias == 7).all()


def failing() -> nn.Module:
    raise RuntimeError("within")


def test_anything_left_without_memory_is_refused() -> None:
    skeleton = build_skeleton(build)
    skeleton["norm"].register_buffer("table", torch.empty(3, device="meta"), persistent=False)
    skeleton.load_state_dict(build().state_dict(), strict=True, assign=True)
    with pytest.raises(ValueError, match=r"found no values for norm\.table"):
        check_materialized(skeleton)
    skeleton["norm"].table = torch.zeros(3)
    check_materialized(skeleton)
