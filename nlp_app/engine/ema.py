"""An exponential moving average of the weights (as in Tarvainen & Valpola 2017, section 2)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from nlp_app.core.errors import SettingsError
from nlp_app.engine.optimizers import sparse_parameter_names


class ExponentialMovingAverage:
    """Keeps a moving average of a model's trainable dense weights, and exchanges the two for scoring.

    Sparse tables are left out and keep their own weights: averaging them would touch every row at every
    update, where the update itself touches few. Buffers are left out too. The average starts as the weights
    it is made with.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        if not 0 < decay < 1:
            raise SettingsError(f"ema: found {decay}, expected a decay between 0 and 1, such as 0.999")
        self.decay = decay
        self.exchanged = False  # True: the model holds the average, and `averages` the weights that train
        sparse = sparse_parameter_names(model)
        self._parameters = {
            name: parameter
            for name, parameter in model.named_parameters()
            if parameter.requires_grad and parameter.is_floating_point() and name not in sparse
        }
        self.averages = {name: parameter.detach().clone() for name, parameter in self._parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after update number `step` (from 1).

        The decay is min(decay, (1 + step) / (10 + step)), so that the first, random weights are soon
        forgotten.
        """
        weight = 1 - min(self.decay, (1 + step) / (10 + step))
        for name, average in self.averages.items():
            average.lerp_(self._parameters[name], weight)

    @torch.no_grad()
    def exchange(self) -> None:
        """Put the average into the model and keep its weights here, or the reverse; exact both ways."""
        for name, average in self.averages.items():
            parameter = self._parameters[name]
            # Values move, not storage: a recurrent layer's flattened weights on CUDA must stay where they
            # are.
            kept = parameter.clone()
            parameter.copy_(average)
            average.copy_(kept)
        self.exchanged = not self.exchanged

    @torch.no_grad()
    def load(self, averages: Mapping[str, Tensor], exchanged: bool) -> None:
        """Put back saved `averages` (the same names and shapes) and whether they were exchanged."""
        for name, average in self.averages.items():
            average.copy_(averages[name])
        self.exchanged = exchanged
