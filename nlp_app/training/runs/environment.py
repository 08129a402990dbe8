"""What a run's numbers depend on beside its settings and data."""

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


def plain_values(value: Any, place: str = "") -> dict[str, Any]:
    """The plain values in a JSON value, by their place such as `dev.f1`, the seconds that things took aside."""
    if not isinstance(value, dict | list):
        return {place: value}
    items = value.items() if isinstance(value, dict) else enumerate(value, 1)
    found: dict[str, Any] = {}
    for key, inner in items:
        if key != "seconds":
            found |= plain_values(inner, f"{place}.{key}" if place else str(key))
    return found


_ACCELERATE = "ACCELERATE_MIXED_PRECISION"  # set by `accelerate launch`

# Those that compute something, or read the data.
_PACKAGES = ("torch", "numpy", "accelerate", "transformers", "tokenizers", "datasets", "scikit-learn", "seqeval")


def environment(processes: Processes, device: torch.device) -> dict[str, Any]:
    """Versions, threads, processes and device of this run: plain values."""
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


def differing_environment(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What is not as it was, a line each; nothing of what wasn't noted."""
    found = plain_values(dict(now))
    return [
        f"{name.removeprefix('versions.')}: found {found.get(name)}, the run had {value}"
        for name, value in plain_values(dict(before)).items()
        if found.get(name) != value
    ]


def launch_note(processes: Processes) -> Iterator[str]:
    """What is to be said of how the processes were started."""
    if processes.count == 1 and _ACCELERATE in os.environ and not torch.accelerator.is_available():
        yield "note: accelerate launch starts one process on CPUs; torchrun --nproc_per_node N starts several"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
