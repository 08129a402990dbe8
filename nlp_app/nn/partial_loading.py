"""Load weights that match a network only partly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class PartialLoad:
    """Names of the tensors that a partial load copied or skipped.

    Attributes:
        taken: Loaded into the network.
        left: Unexpected: the network has no tensor of this name.
        missing: Tensors of the network that kept their values, including `reshaped`.
        reshaped: In both, but with different shapes.
    """

    taken: tuple[str, ...]
    left: tuple[str, ...]
    missing: tuple[str, ...]
    reshaped: tuple[str, ...] = ()


def load_partial(network: nn.Module, weights: Mapping[str, Tensor]) -> PartialLoad:
    """Copy the weights whose name and shape match the network's state dict.

    Values are converted to the type and device of the tensors that they replace.

    Args:
        network: The network; its other tensors are unchanged.
        weights: Tensors by name.

    Returns:
        The names of loaded, unexpected, missing and reshaped tensors.
    """
    state = network.state_dict()
    matching = {name for name, value in state.items() if name in weights and weights[name].shape == value.shape}
    with torch.no_grad():
        for name in matching:
            state[name].copy_(weights[name])
    return PartialLoad(
        taken=tuple(name for name in state if name in matching),
        left=tuple(name for name in weights if name not in state),
        missing=tuple(name for name in state if name not in matching),
        reshaped=tuple(name for name in state if name in weights and name not in matching),
    )
