"""Networks without memory, to be given the weights of a file."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

N = TypeVar("N", bound=nn.Module)


class _SkipInitialization(TorchFunctionMode):
    """Make every function of `torch.nn.init` return its tensor unchanged, within the block."""

    def __torch_function__(
        self, func: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)


def build_skeleton(build: Callable[[], N]) -> N:
    """Build a network on the meta device, without initializing it.

    Random initialization on the meta device imports torch._dynamo and SymPy: 1.3 CPU seconds and 70 MB.

    Args:
        build: Makes the network.

    Returns:
        The network, all of whose parameters and buffers have to be replaced.
    """
    with torch.device("meta"), _SkipInitialization():
        return build()


def check_materialized(network: nn.Module) -> None:
    """Check that a skeleton was given all of its parameters and buffers, those outside its state dict included.

    Raises:
        ValueError: If one of them is still without memory.
    """
    tensors = (*network.named_parameters(), *network.named_buffers())
    left = [name for name, tensor in tensors if tensor.is_meta]
    if left:
        raise ValueError(f"found no values for {', '.join(left)}; expected all parameters and buffers in the file")
