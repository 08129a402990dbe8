"""EmbeddingSum against nn.EmbeddingBag: values, gradients, and a gradient that has each used row once."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nlp_app.nn.bags import EmbeddingSum


@given(st.integers(1, 4), st.integers(1, 5), st.integers(1, 4), st.integers(2, 12), st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_values_and_gradients_are_those_of_an_embedding_bag(b: int, length: int, k: int, rows: int, seed: int) -> None:
    torch.manual_seed(seed)
    ours, theirs = EmbeddingSum(rows, 3), nn.EmbeddingBag(rows, 3, mode="sum", padding_idx=0)
    with torch.no_grad():
        theirs.weight.normal_()
        ours.weight.copy_(theirs.weight)
    chosen = torch.randint(0, rows, (b, length, k), dtype=torch.int32)
    found, expected = ours(chosen), theirs(chosen.flatten(0, 1)).view(b, length, 3)
    assert torch.allclose(found, expected, atol=1e-6)
    upstream = torch.randn_like(found)
    found.backward(upstream)
    expected.backward(upstream)
    assert ours.weight.grad is not None
    assert theirs.weight.grad is not None
    gradient = ours.weight.grad
    assert gradient.is_sparse
    indices = gradient._indices()[0].tolist()
    assert indices == sorted(set(chosen.flatten().tolist()) - {0})
    assert torch.allclose(gradient.to_dense(), theirs.weight.grad, atol=1e-5)
