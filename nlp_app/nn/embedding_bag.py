"""Sums of rows of a large table, with gradients for the rows that were used and no others."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional


class EmbeddingSum(nn.Module):
    """For each token the sum of its rows of a table: `nn.EmbeddingBag(mode="sum", padding_idx=0)`, faster to train.

    The gradient is a sparse tensor with each used row once; an optimizer that knows sparse gradients touches those
    rows only.
    """

    sparse = True  # as in nn.EmbeddingBag: tells that the gradient of `weight` is sparse

    def __init__(self, rows: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(rows, width))

    def forward(self, rows: Tensor) -> Tensor:
        """rows: (B, L, k) integers, 0 for none -> (B, L, width)."""
        flat = rows.flatten(0, 1)
        if torch.is_grad_enabled():
            summed: Tensor = _FixedSum.apply(self.weight, flat)  # type: ignore[no-untyped-call]
        else:
            summed = _fixed_sums(self.weight, flat)
        return summed.view(*rows.shape[:2], -1)

    def extra_repr(self) -> str:
        return f"{self.weight.shape[0]}, {self.weight.shape[1]}"


class WeightedBag(nn.Module):
    """For each text the weighted sum, mean or maximum of its rows of a table: `nn.EmbeddingBag`, faster to train.

    Bags lie one after the other, without padding. The weighted mean divides by the number of rows, and the maximum
    takes each column's largest value, whatever the weights. An empty bag gives zeros. Gradients are sparse, each used
    row once; those of the maximum are dense, as in `nn.EmbeddingBag`.
    """

    def __init__(self, rows: int, width: int, mode: str = "sum") -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(rows, width))
        self.mode = mode
        self.sparse = mode != "max"

    def forward(self, rows: Tensor, offsets: Tensor, weights: Tensor) -> Tensor:
        """rows: (n,) integers, offsets: (B + 1,) of their type, from 0 to n, weights: (n,) -> (B, width)."""
        if self.mode == "max":
            return functional.embedding_bag(rows, self.weight, offsets, mode="max", include_last_offset=True)
        if self.mode == "mean":
            counts = offsets.diff()
            weights = weights / counts.repeat_interleave(counts)
        summed: Tensor = _WeightedSum.apply(self.weight, rows, offsets, weights)  # type: ignore[no-untyped-call]
        return summed

    def extra_repr(self) -> str:
        return f"{self.weight.shape[0]}, {self.weight.shape[1]}, {self.mode}"


def _fixed_sums(table: Tensor, rows: Tensor) -> Tensor:
    """(n, k) rows -> (n, width), without row 0."""
    # Without padding_idx a CPU takes an eighth of the time, and where row 0 is zero, as it is unless somebody set it,
    # the sums are the same.
    skipped = 0 if table.device.type != "cpu" or bool(table[0].any()) else None
    return functional.embedding_bag(rows, table, mode="sum", padding_idx=skipped)


class _FixedSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table: Tensor, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        ctx.shape = table.shape
        return _fixed_sums(table, rows)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (rows,) = ctx.saved_tensors
        flat = rows.flatten()
        real = flat.nonzero().squeeze(1)
        owners = real.div(rows.shape[1], rounding_mode="floor")
        return _table_gradient(flat[real], owners, None, gradient, ctx.shape), None


class _WeightedSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table: Tensor, rows: Tensor, offsets: Tensor, weights: Tensor) -> Tensor:
        weights = weights.to(table.dtype)
        ctx.save_for_backward(rows, offsets, weights)
        ctx.shape = table.shape
        return functional.embedding_bag(
            rows, table, offsets, mode="sum", per_sample_weights=weights, include_last_offset=True
        )

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        rows, offsets, weights = ctx.saved_tensors
        owners = torch.arange(len(offsets) - 1, device=rows.device).repeat_interleave(offsets.diff())
        return _table_gradient(rows, owners, weights, gradient, ctx.shape), None, None, None


def _table_gradient(
    rows: Tensor, owners: Tensor, weights: Tensor | None, gradient: Tensor, shape: torch.Size
) -> Tensor:
    """The gradient of a table, sparse and coalesced, each used row once.

    rows, owners, weights: (n,), which row was added, to which sum, how often; gradient: (B, width), of the sums.
    A row's gradient is itself a sum, of those of the sums that it was added to: the same fast kernel, transposed.
    """
    ordered, order = torch.sort(rows, stable=True)
    used, counts = torch.unique_consecutive(ordered, return_counts=True)
    offsets = functional.pad(counts.cumsum(0), (1, 0))
    summed = functional.embedding_bag(
        owners[order],
        gradient.contiguous(),
        offsets,
        mode="sum",
        per_sample_weights=None if weights is None else weights[order].to(gradient.dtype),
        include_last_offset=True,
    )
    return torch.sparse_coo_tensor(used.long().unsqueeze(0), summed, shape, is_coalesced=True, check_invariants=False)
