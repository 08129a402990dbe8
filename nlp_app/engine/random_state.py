"""Where randomness comes from: a seed for everything, a seed for each update, and the generators' states."""

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
    """Seed Python's, NumPy's (legacy, global) and torch's generators on all devices."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


@contextmanager
def deterministic_algorithms(wanted: bool = True) -> Iterator[None]:
    """Within the block, where that is `wanted`, torch computes on accelerators in ways that give the same bits each
    time, at some cost in speed; on a CPU it always does. Raises TrainingError for an operation that has no such way."""
    if not wanted:
        yield
        return
    # cuBLAS reads it when it is first used.
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
            f"train.deterministic: found an operation of the network that has no deterministic way on this device "
            f"({str(error).partition(' does not')[0]}); leave it out, or choose other settings of the network"
        ) from error
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.backends.cudnn.benchmark = before[1]


def seed_update(seed: int, epoch: int, window: int, rank: int) -> None:
    """Seed torch's generators for one update, so that its dropout follows from these four numbers alone.

    Whatever the caller draws between two updates then changes nothing, and a resumed run draws what it would
    have.
    """
    digest = hashlib.blake2b(repr((seed, epoch, window, rank)).encode(), digest_size=8).digest()
    mixed = int.from_bytes(digest, "little") >> 1
    # `torch.manual_seed` asks every backend in turn, at 70 microseconds.
    torch.default_generator.manual_seed(mixed)
    if torch.cuda.is_available():
        torch.cuda.manual_seed(mixed)


def random_state() -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The states of Python's, NumPy's and torch's generators: tensors, and plain values."""
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
    """Put back what `random_state` gave; states of CUDA devices that this machine lacks are left out."""
    torch.set_rng_state(tensors["torch"])
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            if f"cuda.{index}" in tensors:
                torch.cuda.set_rng_state(tensors[f"cuda.{index}"], index)
    np.random.set_state(("MT19937", tensors["numpy"].numpy().astype(np.uint32), *plain["numpy"]))
    version, words, spare = plain["python"]
    random.setstate((version, tuple(words), spare))
