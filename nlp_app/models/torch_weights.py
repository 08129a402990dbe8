"""Read the weights of a model directory into a torch network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nlp_app.models.directory import MAX_WEIGHT, WEIGHTS, read_or_raise_model_error
from nlp_app.nn.skeletons import build_skeleton, check_materialized

N = TypeVar("N", bound=nn.Module)


def read_network(
    directory: Path,
    build: Callable[[], N],
    restore: Callable[[dict[str, Tensor]], Mapping[str, Tensor]] = lambda weights: weights,
) -> N:
    """Build a network and load its weights from a model directory.

    Args:
        directory: The model's directory.
        build: Makes the network.
        restore: Converts the tensors of the file to the network's own, if they were saved in another form.

    Returns:
        The network in evaluation mode.

    Raises:
        ModelError: If the file can't be read or doesn't fit the network.
    """

    def read() -> N:
        # Built without memory, then filled with the file's tensors: no time is lost on initializing weights.
        network = build_skeleton(build)
        weights = restore(safetensors.torch.load_file(directory / WEIGHTS))
        # The tensors are used as they are, so their types have to be those of the network.
        for name, tensor in network.state_dict().items():
            if name in weights and weights[name].dtype != tensor.dtype:
                raise ValueError(f"{name}: found the type {weights[name].dtype}, expected {tensor.dtype}")
        _check_range(weights)
        network.load_state_dict(weights, strict=True, assign=True)
        check_materialized(network)
        return network.eval()

    return read_or_raise_model_error(directory / WEIGHTS, read)


def share_weights(build: Callable[[], N], weights: Mapping[str, NDArray[Any]]) -> N:
    """Build a network whose weights are arrays that NumPy holds; it shares their memory.

    Args:
        build: Makes the network.
        weights: An array for each of the network's weights, by name.

    Returns:
        The network in evaluation mode.
    """
    network = build_skeleton(build)
    network.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()}, assign=True)
    check_materialized(network)
    return network.eval()


def check_finite(weights: Mapping[str, Tensor]) -> None:
    """Check that weights are finite numbers; otherwise no score could be computed.

    Args:
        weights: Tensors by name.

    Raises:
        ValueError: If a weight is NaN or infinite.
    """
    for name, tensor in weights.items():
        # The sum is fast to check. Only if it overflows, every number has to be checked.
        if tensor.is_floating_point() and not tensor.sum().isfinite() and not tensor.isfinite().all():
            raise ValueError(f"{name}: found values that are not finite")


def _check_range(weights: Mapping[str, Tensor]) -> None:
    """Raise ValueError if weights are so large that products of them, and so the scores, would overflow."""
    for name, tensor in weights.items():
        if tensor.is_floating_point() and tensor.numel():
            low, high = (float(value) for value in tensor.aminmax())
            if not -MAX_WEIGHT <= low <= high <= MAX_WEIGHT:
                raise ValueError(f"{name}: found values that are not finite, or beyond {MAX_WEIGHT:g}")
