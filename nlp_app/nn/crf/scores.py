"""Emission and transition scores of a batch."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor


class Scores(NamedTuple):
    """A batch's scores in float64: -inf where forbidden, 0 on padding."""

    emissions: Tensor  # (B, L, T)
    moves: Tensor  # (T + 2, T + 2)
    mask: Tensor  # (B, L) bool, True from the left
    lengths: Tensor  # (B,)
    constrained: bool  # whether emissions are forbidden

    @classmethod
    def of(cls, emissions: Tensor, moves: Tensor, mask: Tensor, allowed_tags: Tensor | None = None) -> Scores:
        """Of any floating type; `allowed_tags` (B, L, T) bool forbids every other tag of its position."""
        full = emissions.detach().to(torch.float64, copy=True).masked_fill_(~mask.unsqueeze(-1), 0.0)
        moves = moves.to(full.device)  # long rows come to the CPU, wherever the network is
        if allowed_tags is not None:
            full.masked_fill_((~allowed_tags).logical_and_(mask.unsqueeze(-1)), -math.inf)
        return cls(full, moves, mask, mask.sum(1), allowed_tags is not None)

    @property
    def between(self) -> Tensor:
        return self.moves[:-2, :-2]

    @property
    def start(self) -> Tensor:
        return self.moves[-2, :-2]

    @property
    def end(self) -> Tensor:
        return self.moves[:-2, -1]

    def order(self) -> tuple[Tensor, Tensor]:
        """Places in a flattened (L, B): of each row read from its end (L * B,), and of each row's last (B,).

        The first is its own inverse, lets ragged rows begin at the same step, and leaves padding in place.
        """
        rows, steps = self.mask.shape
        step = torch.arange(steps, device=self.mask.device).unsqueeze(1)
        row = torch.arange(rows, device=self.mask.device)
        last = self.lengths - 1
        turned = torch.where(step > last, step, last - step)
        return torch.add(row, turned, alpha=rows).flatten(), torch.add(row, last, alpha=rows)
