"""Read the weights of a model directory as NumPy arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from nlp_app.models.directory import MAX_WEIGHT, WEIGHTS, read_or_raise_model_error
from nlp_app.runtime.weights import WeightType, check_weights

Arrays = Mapping[str, NDArray[Any]]


def read_arrays(
    directory: Path, expected: Mapping[str, WeightType], restore: Callable[[Arrays], Arrays] = lambda weights: weights
) -> Arrays:
    """Read the weights of a network.

    Args:
        directory: The model's directory.
        expected: The type of each array that the network needs.
        restore: Converts the arrays of the file to the network's own, if they were saved in another form.

    Returns:
        The arrays by name.

    Raises:
        ModelError: If the file can't be read or doesn't fit the network.
    """

    def read() -> Arrays:
        weights = restore(_load(directory / WEIGHTS))
        check_weights(weights, expected)
        _check_range(weights)
        return weights

    return read_or_raise_model_error(directory / WEIGHTS, read)


def _load(path: Path) -> dict[str, NDArray[Any]]:
    """Load all tensors of a file.

    Each is read from a mapping of its own: the pages of one mapping of the whole file would stay in memory until the
    last tensor is copied, which doubles the memory.
    """
    with safe_open(path, "np") as file:
        names = list(file.keys())
    weights: dict[str, NDArray[Any]] = {}
    for name in names:
        with safe_open(path, "np") as file:
            weights[name] = file.get_tensor(name)
    return weights


def _check_range(weights: Arrays) -> None:
    """Raise ValueError if weights are so large that products of them, and so the scores, would overflow."""
    for name, array in weights.items():
        if array.size and np.issubdtype(array.dtype, np.floating):
            low, high = float(array.min()), float(array.max())
            if not -MAX_WEIGHT <= low <= high <= MAX_WEIGHT:
                raise ValueError(f"{name}: found values that are not finite, or beyond {MAX_WEIGHT:g}")
