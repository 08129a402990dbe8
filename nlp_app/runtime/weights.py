"""Types of the networks' weights, and a check that a file has those of a network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

Floats = NDArray[np.float32]

Integers = NDArray[np.integer[Any]]


class WeightType(NamedTuple):
    """Shape and type of an array.

    Attributes:
        shape: The size of each axis.
        dtype: The type of its values.
    """

    shape: tuple[int, ...]
    dtype: type[np.generic] = np.float32


def linear(name: str, outputs: int, inputs: int) -> dict[str, WeightType]:
    """List the weights of a linear layer.

    Args:
        name: The name of the layer.
        outputs: Number of outputs.
        inputs: Number of inputs.

    Returns:
        The type of each array by name.
    """
    return {f"{name}.weight": WeightType((outputs, inputs)), f"{name}.bias": WeightType((outputs,))}


def check_weights(weights: Mapping[str, Array], expected: Mapping[str, WeightType]) -> None:
    """Check that there is an array for each weight of a network, and no other.

    Args:
        weights: Arrays by name.
        expected: The types that the network needs.

    Raises:
        ValueError: If an array is missing, unexpected, or has another shape or type.
    """
    missing, unexpected = sorted(expected.keys() - weights.keys()), sorted(weights.keys() - expected.keys())
    if missing or unexpected:
        raise ValueError(f"found no {', '.join(missing) or 'missing'} weights, unexpected: {', '.join(unexpected)}")
    for name, (shape, dtype) in expected.items():
        found = weights[name]
        if found.shape != shape or found.dtype != dtype:
            wanted = f"{np.dtype(dtype)} {shape}"
            raise ValueError(f"{name}: found {found.dtype} {found.shape}, expected {wanted}")
