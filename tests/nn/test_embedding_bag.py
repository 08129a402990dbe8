"""Sums of rows against nn.EmbeddingBag and loops: values, gradients, and gradients that have each used row once."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from nlp_app.nn.embedding_bag import EmbeddingSum, WeightedBag

pytestmark = pytest.mark.numeric


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


@pytest.mark.parametrize("first", [0.0, 1.0])
def test_values_without_gradients_are_those_with_them(first: float) -> None:
    """Row 0 adds nothing, whatever it holds."""
    ours, theirs = EmbeddingSum(9, 3), nn.EmbeddingBag(9, 3, mode="sum", padding_idx=0)
    with torch.no_grad():
        theirs.weight.normal_()
        theirs.weight[0] = first
        ours.weight.copy_(theirs.weight)
    chosen = torch.randint(0, 9, (4, 5, 6), dtype=torch.int32)
    found = ours(chosen)
    torch.testing.assert_close(found, theirs(chosen.flatten(0, 1)).view(4, 5, 3))
    with torch.inference_mode():
        torch.testing.assert_close(ours(chosen), found)


sizes_of_bags = st.lists(st.integers(0, 5), min_size=1, max_size=6)


def bags(sizes: list[int], rows: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Rows, offsets and weights of bags of these sizes; rows may come more than once in a bag."""
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randint(0, rows, (sum(sizes),), generator=generator, dtype=torch.int32)
    offsets = torch.tensor([0, *sizes]).cumsum(0).int()
    return chosen, offsets, torch.randn(len(chosen), generator=generator)


def slow(table: Tensor, rows: Tensor, offsets: Tensor, weights: Tensor, mode: str) -> Tensor:
    found = []
    ends = offsets.tolist()
    for start, end in pairwise(ends):
        vectors = table[rows[start:end].long()]
        if start == end:
            found.append(table[0] * 0)
        elif mode == "max":
            found.append(vectors.amax(0))
        else:
            total = (vectors * weights[start:end, None]).sum(0)
            found.append(total / (end - start) if mode == "mean" else total)
    return torch.stack(found)


def weighted_bag(rows: int, mode: str, seed: int = 0) -> WeightedBag:
    bag = WeightedBag(rows, 3, mode)
    with torch.no_grad():
        bag.weight.normal_(generator=torch.Generator().manual_seed(seed))
    return bag


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@given(sizes_of_bags, st.integers(1, 9), st.integers(0, 10**6))
@settings(max_examples=50, deadline=None)
def test_weighted_bags_are_those_of_a_loop(mode: str, sizes: list[int], rows: int, seed: int) -> None:
    bag = weighted_bag(rows, mode, seed)
    chosen, offsets, weights = bags(sizes, rows, seed)
    table = bag.weight.detach().clone().requires_grad_()
    found, expected = bag(chosen, offsets, weights), slow(table, chosen, offsets, weights, mode)
    torch.testing.assert_close(found, expected)
    upstream = torch.randn_like(found)
    found.backward(upstream)
    expected.backward(upstream)
    gradient = bag.weight.grad
    assert gradient is not None
    assert table.grad is not None
    assert gradient.is_sparse == bag.sparse == (mode != "max")
    torch.testing.assert_close(gradient.to_dense(), table.grad)
    if gradient.is_sparse:
        assert gradient._indices()[0].tolist() == sorted(set(chosen.tolist()))


def test_weighted_sums_are_those_of_embedding_bag() -> None:
    ours, theirs = weighted_bag(30, "sum"), nn.EmbeddingBag(30, 3, mode="sum", sparse=True, include_last_offset=True)
    theirs.load_state_dict(ours.state_dict())
    chosen, offsets, weights = bags([7, 0, 3, 12, 0], 30, 1)
    found, expected = ours(chosen, offsets, weights), theirs(chosen, offsets, weights)
    torch.testing.assert_close(found, expected)
    found.square().sum().backward()
    expected.square().sum().backward()
    torch.testing.assert_close(ours.weight.grad.to_dense(), theirs.weight.grad.to_dense())


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize("sizes", [[0], [0, 0, 0], []])
def test_empty_bags_give_zeros_and_no_gradient(mode: str, sizes: list[int]) -> None:
    bag = weighted_bag(4, mode)
    found = bag(*bags(sizes, 4, 0))
    assert found.shape == (len(sizes), 3)
    assert not found.any()
    if sizes:
        found.sum().backward()
        assert bag.weight.grad is not None
        assert not bag.weight.grad.to_dense().any()


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_weighted_bags_under_autocast(mode: str) -> None:
    plain, cast = weighted_bag(9, mode), weighted_bag(9, mode)
    chosen, offsets, weights = bags([3, 0, 5], 9, 2)
    head = torch.randn(3, 2, generator=torch.Generator().manual_seed(0))
    (plain(chosen, offsets, weights) @ head).square().sum().backward()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = cast(chosen, offsets, weights)
        loss = (found @ head).square().sum()
    loss.backward()
    torch.testing.assert_close(found, plain(chosen, offsets, weights))
    assert cast.weight.grad.dtype == torch.float32
    torch.testing.assert_close(cast.weight.grad.to_dense(), plain.weight.grad.to_dense(), rtol=0.05, atol=0.05)


def test_gradients_of_several_batches_add_up() -> None:
    bag = weighted_bag(9, "sum")
    table = bag.weight.detach().clone().requires_grad_()
    for seed in range(3):
        batch = bags([3, 2], 9, seed)
        bag(*batch).square().sum().backward()
        slow(table, *batch, "sum").square().sum().backward()
    torch.testing.assert_close(bag.weight.grad.to_dense(), table.grad)


def test_no_gradient_where_none_is_wanted() -> None:
    bag = weighted_bag(9, "sum").requires_grad_(False)
    assert not bag(*bags([3, 2], 9, 0)).requires_grad
    with torch.inference_mode():
        weighted_bag(9, "mean")(*bags([3, 2], 9, 0))
