"""Record the environment of a run: versions, threads, processes and device, which can change its numbers."""

from __future__ import annotations

import os
import platform
import unicodedata
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from nlp_app.core.version import __version__
from nlp_app.engine import Processes


def flatten_values(value: Any, place: str = "") -> dict[str, Any]:
    """Flatten nested JSON objects and arrays. Keys named "seconds" are skipped, as they differ between equal runs.

    Args:
        value: A JSON value.
        place: The path of the value, a prefix of all paths in the result.

    Returns:
        Strings, numbers, booleans and nulls by their path, such as "dev.f1"; indices in arrays count from 1.

    Example:
        >>> flatten_values({"dev": {"f1": 0.5}, "rates": [0.1]})
        {'dev.f1': 0.5, 'rates.1': 0.1}
    """
    if not isinstance(value, dict | list):
        return {place: value}
    items = value.items() if isinstance(value, dict) else enumerate(value, 1)
    flat: dict[str, Any] = {}
    for key, inner in items:
        if key != "seconds":
            flat |= flatten_values(inner, f"{place}.{key}" if place else str(key))
    return flat


_ACCELERATE = "ACCELERATE_MIXED_PRECISION"  # set by `accelerate launch`

# Packages that compute something or read the data.
_PACKAGES = ("torch", "numpy", "accelerate", "transformers", "tokenizers", "datasets", "scikit-learn", "seqeval")


def describe_environment(processes: Processes, device: torch.device) -> dict[str, Any]:
    """Describe the environment of the current run.

    Args:
        processes: The processes of the run.
        device: The device of the network.

    Returns:
        Versions of packages, numbers of threads and processes, and the name of the device.
    """
    return {
        "versions": {
            "nlp_app": __version__,
            "python": platform.python_version(),
            "unicode": unicodedata.unidata_version,
            **{package: _version(package) for package in _PACKAGES},
        },
        "threads": torch.get_num_threads(),
        "processes": processes.count,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine() or device.type,
    }


def changed_environment(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """List the differences between two environments. Values that the first one does not have are ignored.

    Args:
        before: The environment that a run has recorded.
        now: The current environment.

    Returns:
        One line per difference.
    """
    current = flatten_values(dict(now))
    return [
        f"{name.removeprefix('versions.')}: found {current.get(name)}, the run had {value}"
        for name, value in flatten_values(dict(before)).items()
        if current.get(name) != value
    ]


def launch_notes(processes: Processes) -> Iterator[str]:
    """Note that `accelerate launch` has started only one process on a machine without an accelerator.

    Args:
        processes: The processes of the run.

    Yields:
        One note, or none.
    """
    if processes.count == 1 and _ACCELERATE in os.environ and not torch.accelerator.is_available():
        yield "note: accelerate launch starts only one process on CPUs; use torchrun --nproc_per_node N for several"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
