"""Exponential moving average of the weights (as in Tarvainen & Valpola 2017, section 2)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from nlp_app.core.errors import SettingsError
from nlp_app.engine.optimizers import sparse_parameter_names


class ExponentialMovingAverage:
    """A moving average of a model's trainable dense weights, exchanged with the weights for evaluation.

    Sparse tables are not averaged and keep their own weights: averaging would touch every row at every step, while the
    step itself touches few rows. Buffers are not averaged either. The average starts with the model's weights.

    Args:
        model: The model.
        decay: Decay of the average, between 0 and 1.

    Raises:
        SettingsError: The decay is out of range.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        if not 0 < decay < 1:
            raise SettingsError(f"ema: found {decay}, expected a decay between 0 and 1, such as 0.999")
        self.decay = decay
        self.exchanged = False  # True: the model has the average, and `averages` the trained weights
        sparse = sparse_parameter_names(model)
        self._parameters = {
            name: parameter
            for name, parameter in model.named_parameters()
            if parameter.requires_grad and parameter.is_floating_point() and name not in sparse
        }
        self.averages = {name: parameter.detach().clone() for name, parameter in self._parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Update the average with the current weights.

        The decay is min(decay, (1 + step) / (10 + step)), so that the initial, random weights soon lose their
        influence.

        Args:
            step: Number of the optimizer step that was just made, from 1.
        """
        weight = 1 - min(self.decay, (1 + step) / (10 + step))
        for name, average in self.averages.items():
            average.lerp_(self._parameters[name], weight)

    @torch.no_grad()
    def exchange(self) -> None:
        """Exchange the model's weights and the average; calling it twice restores both exactly."""
        for name, average in self.averages.items():
            parameter = self._parameters[name]
            # Copy values instead of swapping storage: on CUDA a recurrent layer's flattened weights must not move.
            trained = parameter.clone()
            parameter.copy_(average)
            average.copy_(trained)
        self.exchanged = not self.exchanged

    @torch.no_grad()
    def load(self, averages: Mapping[str, Tensor], exchanged: bool) -> None:
        """Load a saved average.

        Args:
            averages: Tensors with the same names and shapes as `self.averages`.
            exchanged: True if they had been exchanged with the model's weights when they were saved.
        """
        for name, average in self.averages.items():
            average.copy_(averages[name])
        self.exchanged = exchanged
