"""Bidirectional LSTM over padded rows, without packing."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from nlp_app.nn.precision import supports_lstm


class BiLstm(nn.Module):
    """One bidirectional LSTM layer over right-padded rows, without packing.

    The backward LSTM reads each row reversed within its own length. The results are those of packed sequences, at a
    third of their cost on a CPU. Under autocast to a type for which the CPU has no LSTM kernel, the layer computes in
    float32.
    """

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.forwards = nn.LSTM(inputs, hidden)
        self.backwards = nn.LSTM(inputs, hidden)

    def forward(self, x: Tensor, reversal: Tensor) -> Tensor:
        """Run both directions and concatenate their outputs.

        Args:
            x: Inputs, (B, L, inputs).
            reversal: (B, L), as `reversal_indices` returns it.

        Returns:
            Hidden states of the forward and backward LSTM, (B, L, 2 hidden).
        """
        has_autocast = x.device.type == "cpu" and torch.is_autocast_enabled("cpu")
        if has_autocast and not supports_lstm(torch.get_autocast_dtype("cpu")):
            with torch.autocast("cpu", enabled=False):
                return self._both_directions(x.float(), reversal)
        return self._both_directions(x, reversal)

    def _both_directions(self, x: Tensor, reversal: Tensor) -> Tensor:
        if len(x) == 1 and not torch.is_grad_enabled() and int(reversal[0, 0]) == x.shape[1] - 1:
            return self._single_row(x)
        # nn.LSTM wants positions first: one gather both reverses the rows and swaps the axes.
        indices, inverse = _gather_indices(reversal)
        ahead, _ = self.forwards(x.transpose(0, 1))
        behind, _ = self.backwards(_permute(x, indices, inverse))
        return torch.cat((ahead.transpose(0, 1), _permute(behind, inverse, indices)), dim=-1)

    def _single_row(self, x: Tensor) -> Tensor:
        """Run both directions in one call, for a single row without padding and without gradients."""
        zeros = x.new_zeros(2, 1, self.forwards.hidden_size)
        weights = (*self.forwards.all_weights[0], *self.backwards.all_weights[0])
        layers, dropout, biases, training, bidirectional, batch_first = 1, 0.0, True, False, True, True
        output, *_ = torch.lstm(
            x, (zeros, zeros), weights, biases, layers, dropout, training, bidirectional, batch_first
        )
        return output


def reversal_indices(mask: Tensor) -> Tensor:
    """Compute the indices that reverse each row within its own length.

    Args:
        mask: (B, L) bool, True for real positions, which come first.

    Returns:
        (B, L) int64: the mirrored position within the row; padding keeps its position.
    """
    position = torch.arange(mask.shape[1], device=mask.device)
    return torch.where(mask, mask.sum(1, keepdim=True) - 1 - position, position)


def _gather_indices(reversal: Tensor) -> tuple[Tensor, Tensor]:
    """Compute flat indices that reverse the rows and swap the axes, (L, B), and their inverse, (B, L)."""
    rows, steps = reversal.shape
    row = torch.arange(rows, device=reversal.device).unsqueeze(1)
    return torch.add(reversal, row, alpha=steps).T, torch.add(row, reversal, alpha=rows)


class _Permutation(torch.autograd.Function):
    """Permute elements. The gradient is a gather too, while autograd's gradient of a gather would be a scatter-add."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, indices: Tensor, inverse: Tensor) -> Tensor:
        ctx.save_for_backward(inverse)
        return _gather(x, indices)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (inverse,) = ctx.saved_tensors
        return _gather(gradient, inverse), None, None


def _gather(x: Tensor, indices: Tensor) -> Tensor:
    """Gather from x, (m, n, units), by flat indices (n, m) over its first two axes: (n, m, units)."""
    return x.flatten(0, 1).index_select(0, indices.flatten()).view(*indices.shape, x.shape[2])


def _permute(x: Tensor, indices: Tensor, inverse: Tensor) -> Tensor:
    if not torch.is_grad_enabled():
        return _gather(x, indices)
    permuted: Tensor = _Permutation.apply(x, indices, inverse)  # type: ignore[no-untyped-call]
    return permuted
