"""Embedding bags over large tables, with gradients only for the rows that were used."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional


class EmbeddingSum(nn.Module):
    """Sum table rows for each token: `nn.EmbeddingBag(mode="sum", padding_idx=0)`, but faster to train.

    The gradient is a sparse tensor that contains each used row once, so an optimizer with support for sparse gradients
    updates only these rows.
    """

    sparse = True  # as in nn.EmbeddingBag: the gradient of `weight` is sparse

    def __init__(self, rows: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(rows, width))

    def forward(self, rows: Tensor) -> Tensor:
        """Sum the rows of each token.

        Args:
            rows: Row indices, (B, L, k) integers; 0 is padding.

        Returns:
            (B, L, width).
        """
        flat = rows.flatten(0, 1)
        if torch.is_grad_enabled():
            summed: Tensor = _FixedSum.apply(self.weight, flat)  # type: ignore[no-untyped-call]
        else:
            summed = _fixed_sums(self.weight, flat)
        return summed.view(*rows.shape[:2], -1)

    def extra_repr(self) -> str:
        """Describe the table's size in the module's repr.

        Returns:
            "rows, width".
        """
        return f"{self.weight.shape[0]}, {self.weight.shape[1]}"


class WeightedBag(nn.Module):
    """Weighted sum, weighted mean or maximum of table rows for each text: `nn.EmbeddingBag`, but faster to train.

    Bags are concatenated without padding. The weighted mean divides by the number of rows. The maximum is taken in each
    column and ignores the weights. An empty bag gives zeros. Gradients are sparse and contain each used row once; for
    the maximum they are dense, as in `nn.EmbeddingBag`.
    """

    def __init__(self, rows: int, width: int, mode: str = "sum") -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(rows, width))
        self.mode = mode
        self.sparse = mode != "max"

    def forward(self, rows: Tensor, offsets: Tensor, weights: Tensor) -> Tensor:
        """Reduce the rows of each bag to one vector.

        Args:
            rows: Row indices of all bags, (n,) integers.
            offsets: Start of each bag in `rows`, and at the end n; (B + 1,), of the same type as `rows`.
            weights: Factors of the rows, (n,).

        Returns:
            (B, width).
        """
        if self.mode == "max":
            return functional.embedding_bag(rows, self.weight, offsets, mode="max", include_last_offset=True)
        if self.mode == "mean":
            counts = offsets.diff()
            weights = weights / counts.repeat_interleave(counts)
        summed: Tensor = _WeightedSum.apply(self.weight, rows, offsets, weights)  # type: ignore[no-untyped-call]
        return summed

    def extra_repr(self) -> str:
        """Describe the table's size and the mode in the module's repr.

        Returns:
            "rows, width, mode".
        """
        return f"{self.weight.shape[0]}, {self.weight.shape[1]}, {self.mode}"


def _fixed_sums(table: Tensor, rows: Tensor) -> Tensor:
    """Sum rows (n, k) of a table to (n, width), without row 0."""
    # Without padding_idx, a CPU takes an eighth of the time. The sums are the same if row 0 is zero, which is the case
    # unless a caller has changed it.
    padding_idx = 0 if table.device.type != "cpu" or bool(table[0].any()) else None
    return functional.embedding_bag(rows, table, mode="sum", padding_idx=padding_idx)


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
        bags = real.div(rows.shape[1], rounding_mode="floor")
        return _table_gradient(flat[real], bags, None, gradient, ctx.shape), None


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
        bags = torch.arange(len(offsets) - 1, device=rows.device).repeat_interleave(offsets.diff())
        return _table_gradient(rows, bags, weights, gradient, ctx.shape), None, None, None


def _table_gradient(rows: Tensor, bags: Tensor, weights: Tensor | None, gradient: Tensor, shape: torch.Size) -> Tensor:
    """Compute the gradient of a table as a sparse, coalesced tensor with each used row once.

    A row's gradient is the weighted sum of the gradients of the bags that contain it, so the same fast kernel is used,
    with rows and bags exchanged.

    Args:
        rows: Row indices, (n,).
        bags: The bag of each entry of `rows`, (n,).
        weights: Factor of each entry, (n,), or None for 1.
        gradient: Gradient of the bags, (B, width).
        shape: Shape of the table.
    """
    ordered, order = torch.sort(rows, stable=True)
    used, counts = torch.unique_consecutive(ordered, return_counts=True)
    offsets = functional.pad(counts.cumsum(0), (1, 0))
    summed = functional.embedding_bag(
        bags[order],
        gradient.contiguous(),
        offsets,
        mode="sum",
        per_sample_weights=None if weights is None else weights[order].to(gradient.dtype),
        include_last_offset=True,
    )
    return torch.sparse_coo_tensor(used.long().unsqueeze(0), summed, shape, is_coalesced=True, check_invariants=False)
