"""Convolutions over the tokens of a text, max-pooled to one vector per text (Kim 2014).

There is a window around each real token, with zeros beyond both ends of the text, so even the shortest text has
windows. Padding has no influence, neither its content nor its length. A text without tokens gives zeros.

`forward` takes embeddings. `encode_indexed` takes the embeddings of distinct tokens and an index for each position. It
gives the same result at a fraction of the cost: a convolution is a sum over the window's offsets of (kernel of the
offset) x (embedding), and this product is computed once per distinct token and offset, not once per token of the text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

# Windows summed at a time, per batch and per text; they limit the memory for very long texts. bfloat16 represents all
# integers only up to 256, so a chunk has at most 256 windows per text.
_WINDOWS_PER_BATCH = 1 << 16

_WINDOWS_PER_TEXT = 256


def distinct_ids(ids: Tensor) -> tuple[Tensor, Tensor]:
    """Find the distinct ids and the index of each id among them, for `encode_indexed`.

    Args:
        ids: Integers >= 0 of any shape.

    Returns:
        The distinct ids, (U,), with 0 always included and first; and their indices, int64 of the shape of `ids`.
    """
    used, indices = torch.cat((ids.new_zeros(1), ids.flatten())).unique(return_inverse=True)  # type: ignore[no-untyped-call]
    return used, indices[1:].view_as(ids)


class ConvolutionEncoder(nn.Module):
    """Parallel convolutions of several kernel sizes, with ReLU and max-pooling over the text (Kim 2014, section 2).

    Shapes: B texts, L tokens, U distinct tokens.

    Attributes:
        width: Width of the result: `filters` for each kernel size.
        stride: Number of tokens between two windows.
    """

    def __init__(self, width_in: int, filters: int = 256, kernel_sizes: Sequence[int] = (2, 3, 4)) -> None:
        super().__init__()
        self.convolutions = _layers(nn.Conv1d(width_in, filters, size) for size in kernel_sizes)
        self.width = filters * len(kernel_sizes)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Encode texts from the embeddings of their tokens.

        Args:
            x: Embeddings, (B, L, width_in).
            mask: (B, L) bool, True for real tokens.

        Returns:
            (B, width).
        """
        if not mask.shape[1]:
            return x.new_zeros(len(mask), self.width)
        # Padding has score 0, which cannot change the result: after ReLU, no value is below 0.
        return torch.cat([_convolve(each, x, mask).amax(1).relu() for each in self.convolutions], dim=1)

    stride = 1

    @property
    def reach(self) -> int:
        """Largest number of tokens that a window includes on one side of its central token."""
        return max(each.kernel_size[0] for each in self.convolutions) - 1

    def encode_indexed(self, distinct: Tensor, rows: Tensor, mask: Tensor) -> Tensor:
        """Encode texts from the embeddings of their distinct tokens.

        Args:
            distinct: Embeddings of distinct tokens, (U, width_in). Row 0 is padding; its content is ignored.
            rows: The row of each token in `distinct`, (B, L) integers.
            mask: (B, L) bool, True for real tokens.

        Returns:
            (B, width), as `forward`.
        """
        return self.encode_tables(self.tables(distinct), rows, mask)

    def partial_maxima(self, distinct: Tensor, rows: Tensor, mask: Tensor, inner: slice) -> Tensor:
        """Compute the maxima over some of the windows, to encode a long text in parts.

        Args:
            distinct: As for `encode_indexed`.
            rows: As for `encode_indexed`.
            mask: As for `encode_indexed`.
            inner: The tokens whose windows are used, with at least `reach` tokens before and after, or an end of the
                text.

        Returns:
            (B, width). The maximum over all parts of a text is the input of `encode_maxima`.
        """
        centers = torch.zeros_like(mask)
        centers[:, inner] = mask[:, inner]
        return self.encode_tables(self.tables(distinct), rows, mask, centers)

    def encode_maxima(self, maxima: Tensor, mask: Tensor) -> Tensor:
        """Finish the encoding of a long text from its maxima.

        Args:
            maxima: The maximum of `partial_maxima` over all parts, (B, width).
            mask: (B, L) bool of the whole texts.

        Returns:
            (B, width), as `forward`.
        """
        return maxima

    def tables(self, distinct: Tensor) -> list[Tensor]:
        """Compute the contribution of each distinct token at each offset of a window.

        For prediction, the tables can be computed once for the whole vocabulary.

        Args:
            distinct: As for `encode_indexed`.

        Returns:
            One table (U * k, filters) for each kernel size k.
        """
        # Row 0 stands for positions beyond the ends of the text and must contribute nothing.
        distinct = functional.pad(distinct[1:], (0, 0, 1, 0))
        tables = []
        for convolution in self.convolutions:
            filters, width_in, size = convolution.weight.shape
            kernel = convolution.weight.permute(2, 0, 1).reshape(size * filters, width_in)
            # Each window has exactly one central token, so the bias is added to the central offset.
            bias = kernel.new_zeros(size, filters)
            if convolution.bias is not None:
                bias[_left(size)] = convolution.bias
            tables.append(functional.linear(distinct, kernel, bias.flatten()).view(-1, filters))
        return tables

    def encode_tables(
        self, tables: Sequence[Tensor], rows: Tensor, mask: Tensor, centers: Tensor | None = None
    ) -> Tensor:
        """Encode texts from the precomputed tables of their distinct tokens.

        Args:
            tables: The result of `tables`.
            rows: As for `encode_indexed`.
            mask: As for `encode_indexed`.
            centers: (B, L) bool, the tokens whose windows are used; None: all real tokens.

        Returns:
            (B, width), as `forward`.
        """
        if not mask.shape[1]:
            return tables[0].new_zeros(len(mask), self.width)
        rows = rows.int().masked_fill(~mask, 0)
        centers = mask if centers is None else centers
        pooled = []
        for convolution, table in zip(self.convolutions, tables, strict=True):
            size = convolution.kernel_size[0]
            offsets = torch.arange(size, dtype=torch.int32, device=rows.device)
            left = _left(size)
            windows = functional.pad(rows, (left, size - 1 - left)).unfold(1, size, 1) * size + offsets
            pooled.append(_MaxWindowSum.apply(table, windows, centers))  # type: ignore[no-untyped-call]
        return torch.cat(pooled, dim=1)


class StackedConvolutionEncoder(nn.Module):
    """Stacked convolutions with max-pooling of two neighbors in between.

    Each layer is a convolution and ReLU, with max-pooling of size 2 between layers. The last layer is max-pooled over
    the text, followed by a dense layer and ReLU. Shapes: B texts, L tokens, U distinct tokens.

    Attributes:
        width: Width of the result: `filters`.
    """

    def __init__(self, width_in: int, filters: int = 256, kernel_size: int = 3, layers: int = 2) -> None:
        super().__init__()
        inputs = [width_in, *[filters] * layers]
        self.convolutions = _layers(nn.Conv1d(a, b, kernel_size) for a, b in pairwise(inputs))
        self.dense = nn.Linear(filters, filters)
        self.width = filters

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Encode texts from the embeddings of their tokens.

        Args:
            x: Embeddings, (B, L, width_in).
            mask: (B, L) bool, True for real tokens, which come first.

        Returns:
            (B, width).
        """
        if not mask.shape[1]:
            return x.new_zeros(len(mask), self.width)
        return self.encode_maxima(self._run_layers(x, mask).amax(1), mask)

    @property
    def reach(self) -> int:
        """Upper bound of the tokens on either side that a position of the last layer sees; a multiple of `stride`."""
        return 2 * self.stride * self.convolutions[0].kernel_size[0]

    @property
    def stride(self) -> int:
        """Number of tokens per position of the last layer."""
        return 1 << len(self.convolutions) - 1

    def encode_indexed(self, distinct: Tensor, rows: Tensor, mask: Tensor) -> Tensor:
        """Encode texts from the embeddings of their distinct tokens.

        The interface is that of `ConvolutionEncoder.encode_indexed`. It is no faster than `forward` here.

        Args:
            distinct: Embeddings of distinct tokens, (U, width_in). Row 0 is padding; its content is ignored.
            rows: The row of each token in `distinct`, (B, L) integers.
            mask: (B, L) bool, True for real tokens, which come first.

        Returns:
            (B, width), as `forward`.
        """
        encoded: Tensor = self(_embedded(distinct, rows, mask), mask)
        return encoded

    def partial_maxima(self, distinct: Tensor, rows: Tensor, mask: Tensor, inner: slice) -> Tensor:
        """Compute the last layer's maxima over some of the tokens, to encode a long text in parts.

        Args:
            distinct: As for `encode_indexed`.
            rows: As for `encode_indexed`.
            mask: As for `encode_indexed`.
            inner: The tokens used, with at least `reach` tokens before and after, or an end of the text. It starts at a
                multiple of `stride` and stops at a multiple of `stride` or at the end of the text.

        Returns:
            (B, filters). The maximum over all parts of a text is the input of `encode_maxima`.
        """
        outputs = self._run_layers(_embedded(distinct, rows, mask), mask)
        return outputs[:, inner.start // self.stride : -(-inner.stop // self.stride)].amax(1)

    def encode_maxima(self, maxima: Tensor, mask: Tensor) -> Tensor:
        """Finish the encoding of a long text from its maxima.

        Args:
            maxima: The maximum of `partial_maxima` over all parts, (B, filters).
            mask: (B, L) bool of the whole texts.

        Returns:
            (B, width), as `forward`.
        """
        dense: Tensor = self.dense(maxima)
        return dense.relu().masked_fill(~mask.any(1, keepdim=True), 0)

    def _run_layers(self, x: Tensor, mask: Tensor) -> Tensor:
        """Run all convolutions: (B, ceil(L / stride), filters)."""
        for number, convolution in enumerate(self.convolutions):
            if number:
                # With an odd length, the last position has no partner. A pair is real if its first position is.
                x = functional.max_pool1d(x.transpose(1, 2), 2, ceil_mode=True).transpose(1, 2)
                mask = mask[:, ::2]
            x = _convolve(convolution, x, mask).relu()
        return x


def _embedded(distinct: Tensor, rows: Tensor, mask: Tensor) -> Tensor:
    return functional.embedding(rows.masked_fill(~mask, 0), functional.pad(distinct[1:], (0, 0, 1, 0)))


def _layers(convolutions: Iterable[nn.Conv1d]) -> Sequence[nn.Conv1d]:
    return cast("Sequence[nn.Conv1d]", nn.ModuleList(convolutions))  # a ModuleList is not typed by its modules


def _left(size: int) -> int:
    """Number of tokens before the central token of a window."""
    return (size - 1) // 2


def _convolve(convolution: nn.Conv1d, x: Tensor, mask: Tensor) -> Tensor:
    """Convolve (B, L, width_in) to (B, L, filters). Padding is read as zero, and its output is zero."""
    size = convolution.kernel_size[0]
    x = x.masked_fill(~mask.unsqueeze(2), 0).transpose(1, 2)
    y: Tensor = convolution(functional.pad(x, (_left(size), size - 1 - _left(size))))
    return y.transpose(1, 2) * mask.unsqueeze(2)


class _MaxWindowSum(torch.autograd.Function):
    """Sum the table rows of each window and take the maximum over the windows of a text, or 0 if it is negative.

    Only one window per text and column has a gradient. So the backward pass adds up a few numbers, while the gradient
    of a convolution needs two more matrix products of the size of the text.
    """

    @staticmethod
    def forward(ctx: Any, table: Tensor, windows: Tensor, mask: Tensor) -> Tensor:
        """Reduce windows (B, L, k), int32 rows of the table (rows, F), with mask (B, L), to (B, F)."""
        largest = table.new_zeros(len(mask), table.shape[1])
        positions = torch.zeros(largest.shape, dtype=torch.int64, device=table.device)
        step = min(_WINDOWS_PER_TEXT, 1 + _WINDOWS_PER_BATCH // (1 + len(mask)))
        for start in range(0, mask.shape[1], step):
            chunk, real = windows[:, start : start + step], mask[:, start : start + step]
            sums = functional.embedding_bag(chunk.flatten(0, 1), table, mode="sum").view(*real.shape, -1)
            sums *= real.unsqueeze(2)
            best = sums.amax(1)
            if ctx.needs_input_grad[0]:
                positions = torch.where(best > largest, _argmax(sums, best) + start, positions)
            largest = torch.maximum(best, largest)
        ctx.save_for_backward(windows, positions, largest)
        ctx.shape = table.shape
        return largest

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        windows, positions, largest = ctx.saved_tensors
        texts = torch.arange(len(windows), device=windows.device).unsqueeze(1)
        columns = torch.arange(ctx.shape[1], device=windows.device).unsqueeze(1)
        cells = windows[texts, positions].long() * ctx.shape[1] + columns  # (B, F, k), flat indices into the table
        # Frequent tokens add up hundreds of gradients, of which half precision would lose the later ones.
        terms = (gradient * (largest > 0)).to(torch.promote_types(gradient.dtype, torch.float32))
        summed = terms.new_zeros(ctx.shape.numel())
        summed.index_add_(0, cells.flatten(), terms.unsqueeze(2).expand(cells.shape).flatten())
        return summed.view(ctx.shape).to(gradient.dtype), None, None


def _argmax(sums: Tensor, best: Tensor) -> Tensor:
    """Find the position of the maximum along dimension 1, the last one in a tie. Overwrites `sums`.

    It takes an eighth of the CPU time of `max` with indices, because a comparison into the same type is vectorized.
    Even bfloat16 represents all integers up to 256.

    Args:
        sums: (B, L, F).
        best: Maxima of `sums` over L, (B, F).

    Returns:
        (B, F) int64.
    """
    position = torch.arange(sums.shape[1], device=sums.device).to(sums.dtype).unsqueeze(1)
    return sums.eq_(best.unsqueeze(1)).mul_(position).amax(1).long()
