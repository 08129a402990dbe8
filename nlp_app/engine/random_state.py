"""Seeds and states of the random number generators."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nlp_app.core.errors import TrainingError


def seed_everything(seed: int) -> None:
    """Seed the generators of Python, NumPy (the legacy global one) and torch on all devices.

    Args:
        seed: The seed.
    """
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


@contextmanager
def deterministic_algorithms(enabled: bool = True) -> Iterator[None]:
    """Use deterministic algorithms on accelerators within the block, at some cost in speed.

    Results are then the same bit for bit in each run. On a CPU they always are.

    Args:
        enabled: False to change nothing.

    Yields:
        Nothing.

    Raises:
        TrainingError: An operation in the block has no deterministic implementation.
    """
    if not enabled:
        yield
        return
    # cuBLAS reads this variable once, at its first use.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    try:
        yield
    except RuntimeError as error:
        if "does not have a deterministic implementation" not in str(error):
            raise
        raise TrainingError(
            f"train.deterministic: an operation of the network has no deterministic implementation on this device "
            f"({str(error).partition(' does not')[0]}); set train.deterministic=false, or change the network's settings"
        ) from error
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.backends.cudnn.benchmark = before[1]


def seed_update(seed: int, epoch: int, window: int, rank: int) -> None:
    """Seed torch's generators for one step, so that its dropout depends on the arguments only.

    Random numbers that the caller draws between two steps then change nothing, and a resumed run draws the same
    numbers as one that was not interrupted.

    Args:
        seed: Seed of the run.
        epoch: Number of completed epochs.
        window: Number of completed windows of the current epoch.
        rank: Rank of this process.
    """
    digest = hashlib.blake2b(repr((seed, epoch, window, rank)).encode(), digest_size=8).digest()
    mixed = int.from_bytes(digest, "little") >> 1
    # Not `torch.manual_seed`, which queries every backend and takes 70 microseconds.
    torch.default_generator.manual_seed(mixed)
    if torch.cuda.is_available():
        torch.cuda.manual_seed(mixed)


def random_state() -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Collect the states of the generators of Python, NumPy and torch.

    Returns:
        Tensors by name, and values that can be stored as JSON by name.
    """
    _, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    tensors = {"torch": torch.get_rng_state(), "numpy": torch.from_numpy(np.asarray(keys, dtype=np.int64))}
    if torch.cuda.is_available():
        tensors |= {f"cuda.{index}": state for index, state in enumerate(torch.cuda.get_rng_state_all())}
    version, words, spare = random.getstate()
    return tensors, {
        "numpy": [int(position), int(has_gauss), float(gauss)],
        "python": [version, list(words), spare],
    }


def set_random_state(tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
    """Restore the states that `random_state` has returned.

    States of CUDA devices that this machine does not have are ignored.

    Args:
        tensors: Tensors by name.
        plain: Other values by name.
    """
    torch.set_rng_state(tensors["torch"])
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            if f"cuda.{index}" in tensors:
                torch.cuda.set_rng_state(tensors[f"cuda.{index}"], index)
    np.random.set_state(("MT19937", tensors["numpy"].numpy().astype(np.uint32), *plain["numpy"]))
    version, words, spare = plain["python"]
    random.setstate((version, tuple(words), spare))
