"""What a run's numbers depend on beside its settings and data."""

from __future__ import annotations

import platform
import unicodedata
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from nlp_app import __version__
from nlp_app.training import Processes

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


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
