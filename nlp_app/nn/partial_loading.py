"""Weights that fit a network only in part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class PartialLoad:
    """What came of weights, by their names.

    taken: the network has them now; left: it knows no such name; missing: what it has of its own, as it was before,
    reshaped among them: known by name, but of another shape.
    """

    taken: tuple[str, ...]
    left: tuple[str, ...]
    missing: tuple[str, ...]
    reshaped: tuple[str, ...] = ()


def load_partial(network: nn.Module, weights: Mapping[str, Tensor]) -> PartialLoad:
    """Copy into a network those weights that fit a tensor of its state dict in name and shape; the rest stays.

    Values are converted to the type, and put on the device, of what they replace.
    """
    present = network.state_dict()
    fitting = {name for name, value in present.items() if name in weights and weights[name].shape == value.shape}
    with torch.no_grad():
        for name in fitting:
            present[name].copy_(weights[name])
    return PartialLoad(
        taken=tuple(name for name in present if name in fitting),
        left=tuple(name for name in weights if name not in present),
        missing=tuple(name for name in present if name not in fitting),
        reshaped=tuple(name for name in present if name in weights and name not in fitting),
    )
