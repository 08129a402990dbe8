"""Sums of embeddings over a handful of rows a token, with gradients for the rows that were used and no others."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional


class EmbeddingSum(nn.Module):
    """For each token the sum of its rows of a table: `nn.EmbeddingBag(mode="sum", padding_idx=0)`, faster to train.

    The gradient is a sparse tensor with each used row once: which rows a batch used is found by marking them, not by
    sorting all its features, and an optimizer that knows sparse gradients touches those rows only.
    """

    sparse = True  # as in nn.EmbeddingBag: tells that the gradient of `weight` is sparse

    def __init__(self, rows: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(rows, width))

    def forward(self, rows: Tensor) -> Tensor:
        """rows: (B, L, k) integers, 0 for none -> (B, L, width)."""
        summed: Tensor = _Sum.apply(self.weight, rows.flatten(0, 1))  # type: ignore[no-untyped-call]
        return summed.view(*rows.shape[:2], -1)

    def extra_repr(self) -> str:
        return f"{self.weight.shape[0]}, {self.weight.shape[1]}"


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        ctx.shape = weight.shape
        return functional.embedding_bag(rows, weight, mode="sum", padding_idx=0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (rows,) = ctx.saved_tensors
        flat = rows.flatten().long()
        real = flat.nonzero().squeeze(1)
        chosen = flat.index_select(0, real)
        used = torch.zeros(ctx.shape[0], dtype=torch.bool, device=rows.device)
        used[chosen] = True
        found = used.nonzero().squeeze(1)
        place = torch.empty(ctx.shape[0], dtype=torch.long, device=rows.device)
        place[found] = torch.arange(len(found), device=rows.device)
        summed = gradient.new_zeros(len(found), ctx.shape[1])
        tokens = real.div_(rows.shape[1], rounding_mode="floor")
        summed.index_add_(0, place.index_select(0, chosen), gradient.index_select(0, tokens))
        sparse = torch.sparse_coo_tensor(
            found.unsqueeze(0), summed, ctx.shape, is_coalesced=True, check_invariants=False
        )
        return sparse, None
