"""Emission and transition scores of a batch."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nlp_app.numerics.transitions import Transitions


class Scores(NamedTuple):
    """Scores of a batch in float64, -inf for forbidden tags and transitions, 0 on padding.

    Shapes: B rows, L positions, T tags.

    Attributes:
        emissions: Scores of tags at each position, (B, L, T).
        moves: Scores of transitions, (T + 2, T + 2); index T is the start, T + 1 the end.
        mask: (B, L) bool, True for real positions, which come first.
        lengths: Number of real positions of each row, (B,).
        constrained: True if some tags may be forbidden at some positions.
    """

    emissions: Tensor
    moves: Tensor
    mask: Tensor
    lengths: Tensor
    constrained: bool

    @classmethod
    def of(cls, emissions: Tensor, moves: Tensor, mask: Tensor, allowed_tags: Tensor | None = None) -> Scores:
        """Convert scores to float64 and apply the constraints.

        Args:
            emissions: (B, L, T) of a floating type; copied.
            moves: (T + 2, T + 2) float64, -inf for forbidden transitions.
            mask: (B, L) bool.
            allowed_tags: (B, L, T) bool, the tags allowed at each position; None: all.

        Returns:
            The scores, on the device of `emissions`.
        """
        full = emissions.detach().to(torch.float64, copy=True).masked_fill_(~mask.unsqueeze(-1), 0.0)
        moves = moves.to(full.device)  # emissions of long rows are on the CPU even if the network is not
        if allowed_tags is not None:
            full.masked_fill_((~allowed_tags).logical_and_(mask.unsqueeze(-1)), -math.inf)
        return cls(full, moves, mask, mask.sum(1), allowed_tags is not None)

    @property
    def between(self) -> Tensor:
        """Scores of transitions between tags, (T, T)."""
        return self.moves[:-2, :-2]

    @property
    def start(self) -> Tensor:
        """Scores of transitions from the start, (T,)."""
        return self.moves[-2, :-2]

    @property
    def end(self) -> Tensor:
        """Scores of transitions to the end, (T,)."""
        return self.moves[:-2, -1]

    @property
    def transitions(self) -> Transitions:
        """The scores of transitions for NumPy, on the CPU."""
        return Transitions(self.moves.cpu().numpy())

    def row(self) -> NDArray[np.float64]:
        """Get the emissions of a batch of one row on the CPU, without padding.

        Returns:
            (L, T); shares its memory with the batch.
        """
        emissions: NDArray[np.float64] = self.emissions[0, : int(self.lengths[0])].numpy()
        return emissions

    def reversal(self) -> tuple[Tensor, Tensor]:
        """Compute flat indices into (L, B) that reverse each row within its own length.

        Returns:
            The indices of the reversed rows, (L * B,), and the index of each row's last real position, (B,). The former
            are a permutation that is its own inverse and keeps padding in place; all reversed rows start at step 0.
        """
        rows, steps = self.mask.shape
        step = torch.arange(steps, device=self.mask.device).unsqueeze(1)
        row = torch.arange(rows, device=self.mask.device)
        last = self.lengths - 1
        reversed_step = torch.where(step > last, step, last - step)
        return torch.add(row, reversed_step, alpha=rows).flatten(), torch.add(row, last, alpha=rows)
