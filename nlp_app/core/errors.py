"""Errors that the user can correct.

Every message is one line: the place, the problem, what was expected, and what to do. The command line prints it and
exits with status 2. Any other exception is a bug in this project and shows its traceback.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from pathlib import Path

# Messages of torch's allocators (on a CPU, and on accelerators without an error class of their own), of oneDNN (which
# computes layers on a CPU), of C++ and of the CUDA libraries. oneDNN allocates memory when it creates a primitive or a
# memory object. Creating a descriptor allocates nothing: it fails when the processor doesn't support the operation.
_OUT_OF_MEMORY = re.compile(
    "can't allocate memory|not enough memory|out of memory|could not execute a primitive|"
    "could not create a (primitive|memory)(?! descriptor)|bad_alloc|alloc_failed"
)

# Messages of oneDNN and of torch's own kernels for a number format that they don't support on this machine.
_UNSUPPORTED = re.compile(
    r"could not create a primitive descriptor|not implemented for '(bfloat16|half)'|does not support \S*(bf16|fp?16)|"
    "(bf16|fp16) path needs"
)


class NlpAppError(Exception):
    """An error in data, settings, a model directory or a call that the user can correct."""


class DataError(NlpAppError):
    """A data file that can't be used, or an invalid record in it.

    The message starts with the place if it is known: `notes.conll:12: found ...`.

    Attributes:
        path: The file, or None.
        line: The line number (from 1), or None.
    """

    def __init__(self, message: str, path: str | Path | None = None, line: int | None = None) -> None:
        self.path, self.line = path, line
        place = "" if path is None else f"{path}: " if line is None else f"{path}:{line}: "
        super().__init__(place + message)


class OtherTaskError(DataError):
    """A data file for the other task: labeled texts instead of labeled tokens or spans, or the other way round."""


class SettingsError(NlpAppError):
    """A setting that is unknown, has the wrong type, or is out of range."""


class ModelError(NlpAppError):
    """A model directory that is incomplete, damaged, in a newer format, or not written by this package."""


class TrainingError(NlpAppError):
    """A training run that can't continue, for example because the loss is not finite or a checkpoint does not fit."""


_ADVICE = {
    FileNotFoundError: "check the name",
    IsADirectoryError: "name a file",
    PermissionError: "check its permissions",
}


def read_error_message(path: str | Path, error: OSError) -> DataError:
    """Make the error for a file that can't be read.

    Args:
        path: The file.
        error: The error of the operating system.

    Returns:
        An error whose message names the file, the reason and what to do.
    """
    return DataError(f"can't be read: {error.strerror}; {_ADVICE.get(type(error), 'try again')}", path)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Suggest the known name that is closest to an unknown one, as the end of an error message.

    Args:
        name: The unknown name.
        known: All known names.

    Returns:
        A suggestion such as `; did you mean 'x'?`, or an empty string if no known name is similar.
    """
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.4)
    return f"; did you mean {close[0]!r}?" if close else ""


def is_out_of_memory(error: BaseException) -> bool:
    """Check if an error means that the memory of the CPU or of an accelerator is exhausted.

    Args:
        error: An error of Python, NumPy or torch.

    Returns:
        True for an out-of-memory error.
    """
    if isinstance(error, RuntimeError):  # raised by torch for all devices
        return _OUT_OF_MEMORY.search(str(error).lower()) is not None
    return isinstance(error, MemoryError)


def is_unsupported(error: BaseException) -> bool:
    """Check if an error means that this machine can't compute a layer in the selected number format.

    Args:
        error: An error of torch.

    Returns:
        True if torch does not support the number format here; False for all other errors, also out of memory.
    """
    if not isinstance(error, RuntimeError) or is_out_of_memory(error):
        return False
    return _UNSUPPORTED.search(str(error).lower()) is not None


def is_panic(error: BaseException) -> bool:
    """Check for the error that Python bindings of Rust libraries raise when the library panics.

    It is not an Exception, and its class can't be imported.

    Args:
        error: The error.

    Returns:
        True for a panic.
    """
    return type(error).__name__ == "PanicException"
