"""LazyAdam against torch's own SparseAdam."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nlp_app.engine.lazy_adam import LazyAdam

pytestmark = pytest.mark.numeric


def test_it_makes_the_updates_of_sparse_adam() -> None:
    torch.manual_seed(0)
    tables = [nn.EmbeddingBag(50, 7, mode="sum", sparse=True) for _ in range(2)]
    tables[1].load_state_dict(tables[0].state_dict())
    ours = LazyAdam(tables[0].parameters(), lr=0.05, betas=(0.8, 0.99), eps=1e-6)
    theirs = torch.optim.SparseAdam(list(tables[1].parameters()), lr=0.05, betas=(0.8, 0.99), eps=1e-6)
    for step in range(20):
        rows = torch.randint(0, 10 + 2 * step, (6, 4))
        target = torch.randn(6, 7)
        for table, optimizer in zip(tables, (ours, theirs), strict=True):
            optimizer.zero_grad()
            ((table(rows) - target) ** 2).sum().backward()
            optimizer.step()
        assert torch.allclose(tables[0].weight, tables[1].weight, atol=1e-6)


def test_rows_without_a_gradient_stay() -> None:
    table = nn.EmbeddingBag(9, 3, mode="sum", sparse=True)
    before = table.weight.detach().clone()
    optimizer = LazyAdam(table.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        table(torch.tensor([[2, 5]])).sum().backward()
        optimizer.step()
    changed = (table.weight != before).any(1).nonzero().squeeze(1).tolist()
    assert changed == [2, 5]


def test_a_dense_gradient_is_refused() -> None:
    layer = nn.Linear(2, 2, bias=False)
    layer(torch.ones(1, 2)).sum().backward()
    with pytest.raises(ValueError, match="sparse"):
        LazyAdam(layer.parameters()).step()
