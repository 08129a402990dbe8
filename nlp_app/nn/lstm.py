"""A bidirectional LSTM over padded rows, without packing."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from nlp_app.nn.precision import supports_lstm


class BiLstm(nn.Module):
    """One bidirectional layer over right-padded rows, without packing.

    The backward half reads each row reversed within its own length: the same sums as by packing, at a third of its cost
    on a CPU. Under autocast to a number format that the processor has no LSTM for, it computes in single precision.
    """

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.forwards = nn.LSTM(inputs, hidden)
        self.backwards = nn.LSTM(inputs, hidden)

    def forward(self, x: Tensor, reversal: Tensor) -> Tensor:
        """x: (B, L, inputs), reversal: (B, L) from `reversal_indices` -> (B, L, 2 hidden)."""
        on_autocast = x.device.type == "cpu" and torch.is_autocast_enabled("cpu")
        if on_autocast and not supports_lstm(torch.get_autocast_dtype("cpu")):
            with torch.autocast("cpu", enabled=False):
                return self._both_halves(x.float(), reversal)
        return self._both_halves(x, reversal)

    def _both_halves(self, x: Tensor, reversal: Tensor) -> Tensor:
        if len(x) == 1 and not torch.is_grad_enabled() and int(reversal[0, 0]) == x.shape[1] - 1:
            return self._whole_row(x)
        # Inside of an LSTM positions come first: to turn the rows and the axes is one gather.
        turned, back = _places(reversal)
        ahead, _ = self.forwards(x.transpose(0, 1))
        behind, _ = self.backwards(_permuted(x, turned, back))
        return torch.cat((ahead.transpose(0, 1), _permuted(behind, back, turned)), dim=-1)

    def _whole_row(self, x: Tensor) -> Tensor:
        """Without gradients, for a row that has no padding: there is nothing to turn, and one call does both halves."""
        nothing = x.new_zeros(2, 1, self.forwards.hidden_size)
        weights = (*self.forwards.all_weights[0], *self.backwards.all_weights[0])
        layers, dropout, biases, training, both, batch_first = 1, 0.0, True, False, True, True
        found, *_ = torch.lstm(x, (nothing, nothing), weights, biases, layers, dropout, training, both, batch_first)
        return found


def reversal_indices(mask: Tensor) -> Tensor:
    """Where each position's mirror image within its row stands; padding stays: (B, L) bool -> (B, L) int64."""
    place = torch.arange(mask.shape[1], device=mask.device)
    return torch.where(mask, mask.sum(1, keepdim=True) - 1 - place, place)


def _places(reversal: Tensor) -> tuple[Tensor, Tensor]:
    """(B, L) to where each element of the turned (L, B) stands in (B, L), and each of (B, L) in the turned (L, B)."""
    rows, steps = reversal.shape
    row = torch.arange(rows, device=reversal.device).unsqueeze(1)
    return torch.add(reversal, row, alpha=steps).T, torch.add(row, reversal, alpha=rows)


class _Permuted(torch.autograd.Function):
    """Elements in another order, whose gradient is a gather too; that of a gather in general adds up."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, places: Tensor, inverse: Tensor) -> Tensor:
        ctx.save_for_backward(inverse)
        return _gather(x, places)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (inverse,) = ctx.saved_tensors
        return _gather(gradient, inverse), None, None


def _gather(x: Tensor, places: Tensor) -> Tensor:
    """x: (m, n, units), places: (n, m) in its first two axes as one -> (n, m, units)."""
    return x.flatten(0, 1).index_select(0, places.flatten()).view(*places.shape, x.shape[2])


def _permuted(x: Tensor, places: Tensor, inverse: Tensor) -> Tensor:
    if not torch.is_grad_enabled():
        return _gather(x, places)
    found: Tensor = _Permuted.apply(x, places, inverse)  # type: ignore[no-untyped-call]
    return found
