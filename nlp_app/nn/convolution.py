"""Convolutions over the tokens of a text, pooled into one vector a text (Kim 2014).

A window is read around each real token, with zeros beyond both ends of the text: so the shortest text has windows too.
What stands on padding, and how much of it there is, has no influence. A text without tokens gives zeros.

`forward` takes embeddings. `of_rows` takes embeddings of distinct tokens, and which of them stands where: the same
result at a fraction of the cost, because a convolution is a sum over the window's offsets of (kernel of the offset) x
(embedding), and that product is made once for each distinct token and offset, not once for each token of the text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

# Windows that are summed at a time, of a batch and of each text: what bounds the memory that a very long text takes.
# More than 256 of a text could not be numbered in bfloat16.
_WINDOWS_OF_A_BATCH = 1 << 16

_WINDOWS_OF_A_TEXT = 256


def distinct_ids(ids: Tensor) -> tuple[Tensor, Tensor]:
    """What `of_rows` takes: the distinct ids, 0 first, and the place of each id among them.

    ids: integers >= 0 of any shape -> (U,), and int64 of the shape of ids.
    """
    used, places = torch.cat((ids.new_zeros(1), ids.flatten())).unique(return_inverse=True)  # type: ignore[no-untyped-call]
    return used, places[1:].view_as(ids)


class ConvolutionEncoder(nn.Module):
    """Convolutions of several kernel sizes side by side, each ReLU and its maximum over the text: Kim 2014, section 2.

    `width`: of the result, `filters` for each kernel size.
    """

    def __init__(self, width_in: int, filters: int = 256, kernel_sizes: Sequence[int] = (2, 3, 4)) -> None:
        super().__init__()
        self.convolutions = _layers(nn.Conv1d(width_in, filters, size) for size in kernel_sizes)
        self.width = filters * len(kernel_sizes)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x: (B, L, width_in), mask: (B, L) bool, True = real -> (B, width)."""
        if not mask.shape[1]:
            return x.new_zeros(len(mask), self.width)
        # Nothing that the ReLU lets pass is below zero, so zero may stand for "no window here".
        return torch.cat([_convolve(each, x, mask).amax(1).relu() for each in self.convolutions], dim=1)

    stride = 1  # tokens between two windows

    @property
    def reach(self) -> int:
        """Tokens on either side that a window may have beside the one that it is read around."""
        return max(each.kernel_size[0] for each in self.convolutions) - 1

    def of_rows(self, distinct: Tensor, rows: Tensor, mask: Tensor) -> Tensor:
        """distinct: (U, width_in), row 0 for nothing, whatever it holds; rows: (B, L) integers, mask -> (B, width)."""
        return self.of_tables(self.tables(distinct), rows, mask)

    def maxima(self, distinct: Tensor, rows: Tensor, mask: Tensor, inner: slice) -> Tensor:
        """`of_rows` of the windows around the tokens `inner` alone: the largest of it over parts is that of a text."""
        around = torch.zeros_like(mask)
        around[:, inner] = mask[:, inner]
        return self.of_tables(self.tables(distinct), rows, mask, around)

    def of_maxima(self, maxima: Tensor, mask: Tensor) -> Tensor:
        """What `of_rows` gives, from the `maxima` over a whole text."""
        return maxima

    def tables(self, distinct: Tensor) -> list[Tensor]:
        """What each distinct token adds to a window at each of its offsets: for each kernel size k (U * k, filters).

        To predict, made once for the whole vocabulary.
        """
        # Row 0, which stands beyond the ends, must add nothing.
        distinct = functional.pad(distinct[1:], (0, 0, 1, 0))
        tables = []
        for convolution in self.convolutions:
            filters, width_in, size = convolution.weight.shape
            kernel = convolution.weight.permute(2, 0, 1).reshape(size * filters, width_in)
            # Each window has the token that it is read around just once: that one brings the bias.
            bias = kernel.new_zeros(size, filters)
            if convolution.bias is not None:
                bias[_left(size)] = convolution.bias
            tables.append(functional.linear(distinct, kernel, bias.flatten()).view(-1, filters))
        return tables

    def of_tables(self, tables: Sequence[Tensor], rows: Tensor, mask: Tensor, around: Tensor | None = None) -> Tensor:
        """`of_rows` from its `tables`; around: (B, L), which windows are read if not those of all real tokens."""
        if not mask.shape[1]:
            return tables[0].new_zeros(len(mask), self.width)
        rows = rows.int().masked_fill(~mask, 0)
        around = mask if around is None else around
        pooled = []
        for convolution, table in zip(self.convolutions, tables, strict=True):
            size = convolution.kernel_size[0]
            offsets = torch.arange(size, dtype=torch.int32, device=rows.device)
            left = _left(size)
            windows = functional.pad(rows, (left, size - 1 - left)).unfold(1, size, 1) * size + offsets
            pooled.append(_LargestSum.apply(table, windows, around))  # type: ignore[no-untyped-call]
        return torch.cat(pooled, dim=1)


class StackedConvolutionEncoder(nn.Module):
    """Convolution, ReLU, maxima of two neighbors, again; the last layer's maximum over the text; then dense, ReLU.

    `width`: of the result, `filters`.
    """

    def __init__(self, width_in: int, filters: int = 256, kernel_size: int = 3, layers: int = 2) -> None:
        super().__init__()
        inputs = [width_in, *[filters] * layers]
        self.convolutions = _layers(nn.Conv1d(a, b, kernel_size) for a, b in pairwise(inputs))
        self.dense = nn.Linear(filters, filters)
        self.width = filters

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x: (B, L, width_in), mask: (B, L) bool, real positions first -> (B, width)."""
        if not mask.shape[1]:
            return x.new_zeros(len(mask), self.width)
        return self.of_maxima(self._layered(x, mask).amax(1), mask)

    @property
    def reach(self) -> int:
        """Tokens on either side that a position of the last layer may look at, and not less; a multiple of `stride`."""
        return 2 * self.stride * self.convolutions[0].kernel_size[0]

    @property
    def stride(self) -> int:
        """Tokens that a position of the last layer stands for."""
        return 1 << len(self.convolutions) - 1

    def of_rows(self, distinct: Tensor, rows: Tensor, mask: Tensor) -> Tensor:
        """As `ConvolutionEncoder.of_rows`; nothing is saved here."""
        encoded: Tensor = self(_embedded(distinct, rows, mask), mask)
        return encoded

    def maxima(self, distinct: Tensor, rows: Tensor, mask: Tensor, inner: slice) -> Tensor:
        """The last layer's maxima over the tokens `inner`, which begins at a multiple of `stride`, and ends at one or
        with the text."""
        layered = self._layered(_embedded(distinct, rows, mask), mask)
        return layered[:, inner.start // self.stride : -(-inner.stop // self.stride)].amax(1)

    def of_maxima(self, maxima: Tensor, mask: Tensor) -> Tensor:
        """What `of_rows` gives, from the `maxima` over a whole text."""
        dense: Tensor = self.dense(maxima)
        return dense.relu().masked_fill(~mask.any(1, keepdim=True), 0)

    def _layered(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, ceil(L / stride), filters)"""
        for number, convolution in enumerate(self.convolutions):
            if number:
                # Of an odd length the last stays alone; a pair is real where its first is.
                x = functional.max_pool1d(x.transpose(1, 2), 2, ceil_mode=True).transpose(1, 2)
                mask = mask[:, ::2]
            x = _convolve(convolution, x, mask).relu()
        return x


def _embedded(distinct: Tensor, rows: Tensor, mask: Tensor) -> Tensor:
    return functional.embedding(rows.masked_fill(~mask, 0), functional.pad(distinct[1:], (0, 0, 1, 0)))


def _layers(convolutions: Iterable[nn.Conv1d]) -> Sequence[nn.Conv1d]:
    return cast("Sequence[nn.Conv1d]", nn.ModuleList(convolutions))  # which doesn't say what its modules are


def _left(size: int) -> int:
    """Tokens of a window before the one that it is read around."""
    return (size - 1) // 2


def _convolve(convolution: nn.Conv1d, x: Tensor, mask: Tensor) -> Tensor:
    """(B, L, width_in) -> (B, L, filters), zero at padding, which is read as zero."""
    size = convolution.kernel_size[0]
    x = x.masked_fill(~mask.unsqueeze(2), 0).transpose(1, 2)
    y: Tensor = convolution(functional.pad(x, (_left(size), size - 1 - _left(size))))
    return y.transpose(1, 2) * mask.unsqueeze(2)


class _LargestSum(torch.autograd.Function):
    """For each text and column the largest of 0 and of the sums over a real window's rows of the table.

    Only one window a text and column has a gradient: on the way back a few numbers are added, where a convolution's own
    gradient multiplies two more matrices of the size of the text.
    """

    @staticmethod
    def forward(ctx: Any, table: Tensor, windows: Tensor, mask: Tensor) -> Tensor:
        """table: (rows, F), windows: (B, L, k) int32 rows of it, mask: (B, L) -> (B, F)."""
        largest = table.new_zeros(len(mask), table.shape[1])
        places = torch.zeros(largest.shape, dtype=torch.int64, device=table.device)
        step = min(_WINDOWS_OF_A_TEXT, 1 + _WINDOWS_OF_A_BATCH // (1 + len(mask)))
        for start in range(0, mask.shape[1], step):
            some, real = windows[:, start : start + step], mask[:, start : start + step]
            sums = functional.embedding_bag(some.flatten(0, 1), table, mode="sum").view(*real.shape, -1)
            sums *= real.unsqueeze(2)
            best = sums.amax(1)
            if ctx.needs_input_grad[0]:
                places = torch.where(best > largest, _places(sums, best) + start, places)
            largest = torch.maximum(best, largest)
        ctx.save_for_backward(windows, places, largest)
        ctx.shape = table.shape
        return largest

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        windows, places, largest = ctx.saved_tensors
        texts = torch.arange(len(windows), device=windows.device).unsqueeze(1)
        columns = torch.arange(ctx.shape[1], device=windows.device).unsqueeze(1)
        cells = windows[texts, places].long() * ctx.shape[1] + columns  # (B, F, k), numbered through the table
        # Common tokens collect hundreds of gradients: half precision would lose the later ones.
        added = (gradient * (largest > 0)).to(torch.promote_types(gradient.dtype, torch.float32))
        summed = added.new_zeros(ctx.shape.numel())
        summed.index_add_(0, cells.flatten(), added.unsqueeze(2).expand(cells.shape).flatten())
        return summed.view(ctx.shape).to(gradient.dtype), None, None


def _places(sums: Tensor, best: Tensor) -> Tensor:
    """Where along dimension 1 the largest stand, the last of equals: (B, L, F), which it overwrites, (B, F) -> int64.

    At an eighth of what `max` with indices costs a CPU: comparing into the same type is vectorized, and even bfloat16
    has the whole numbers up to 256.
    """
    place = torch.arange(sums.shape[1], device=sums.device).to(sums.dtype).unsqueeze(1)
    return sums.eq_(best.unsqueeze(1)).mul_(place).amax(1).long()
