"""The libraries that can compute a model's network: NumPy for nlp_app's own networks, torch for all."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Generic, TypeVar

from nlp_app.core.errors import ModelError, SettingsError, did_you_mean
from nlp_app.formats.io.compression import strip_compression_suffix
from nlp_app.formats.io.hf_datasets import is_data_set
from nlp_app.models import LoadedParts, is_transformer, read_model, read_numpy_model

BACKENDS = ("auto", "numpy", "torch")

# From so many tokens in one call, or characters of raw text, torch computes it. It takes two thirds of NumPy's time (a
# fifth for a classifier with convolutions), but three seconds to import, which pays after some of these calls.
BULK_TOKENS, BULK_CHARACTERS = 100_000, 500_000

# By task: a file is read once, so the import has to pay within it.
_BULK_BYTES = {"ner": 8 << 20, "cls": 1 << 20}

_COMPRESSION = 4  # size of a text divided by its compressed size

N = TypeVar("N")

T = TypeVar("T")


class OnDemand(Generic[N, T]):
    """A value that is converted when it is first needed, once for all threads.

    Args:
        value: The value.
        convert: Converts it.
    """

    def __init__(self, value: N, convert: Callable[[N], T]) -> None:
        self._value, self._convert, self._lock = value, convert, Lock()
        self._converted: T | None = None

    def get(self) -> T:
        """Get the converted value.

        Returns:
            The same object for every call.
        """
        with self._lock:
            if self._converted is None:
                self._converted = self._convert(self._value)
            return self._converted


def check_backend(backend: str) -> None:
    """Check the name of a backend.

    Args:
        backend: The name.

    Raises:
        SettingsError: If it is not one of `BACKENDS`.
    """
    if backend not in BACKENDS:
        hint = did_you_mean(backend, BACKENDS)
        raise SettingsError(f"backend: found {backend!r}, expected one of {', '.join(BACKENDS)}{hint}")


def is_torch_installed() -> bool:
    """Check if torch can be imported, without importing it.

    Returns:
        True if it is installed.
    """
    try:
        return find_spec("torch") is not None
    except (ImportError, ValueError):
        return False


def is_large_file(source: str, task: str) -> bool:
    """Check if a file is so large that torch pays for it.

    Args:
        source: The path of a file, or the name of a data set.
        task: The task of the model, "ner" or "cls".

    Returns:
        True for a data set and for a large file. False for a stream, which may end at any time.
    """
    if is_data_set(source):
        return True
    path = Path(source)
    if not path.is_file():
        return False
    factor = 1 if strip_compression_suffix(path) == path else _COMPRESSION
    return path.stat().st_size * factor >= _BULK_BYTES[task]


def choose_backend(directory: Path, backend: str) -> str:
    """Choose the library that computes a model's network.

    Args:
        directory: The model's directory.
        backend: One of `BACKENDS`. `auto` is NumPy for nlp_app's own networks and torch for transformers.

    Returns:
        "numpy" or "torch".

    Raises:
        ModelError: If there is no model in the directory, or the backend cannot compute it or is not installed.
    """
    needs_torch = is_transformer(directory)
    if needs_torch and backend == "numpy":
        raise ModelError(
            f"{directory}: found a pretrained transformer, which the backend numpy can't compute; "
            "use the backend torch (pip install torch transformers)"
        )
    chosen = ("torch" if needs_torch else "numpy") if backend == "auto" else backend
    if chosen == "torch" and not is_torch_installed():
        kind = "a pretrained transformer" if needs_torch else "the backend torch"
        advice = "" if needs_torch else ", or use the backend numpy"
        raise ModelError(f"{directory}: {kind} needs PyTorch, which is not installed; pip install torch{advice}")
    return chosen


def read_parts(directory: Path, backend: str, trust_remote_code: bool) -> LoadedParts:
    """Read a model with its network for a backend.

    Args:
        directory: The model's directory.
        backend: "numpy" or "torch".
        trust_remote_code: Whether Python code in the directory may run.

    Returns:
        The parts of the model.

    Raises:
        ModelError: If there is no model in the directory, or it is damaged.
    """
    if backend == "numpy":
        return read_numpy_model(directory)
    return read_model(directory, trust_remote_code=trust_remote_code)
