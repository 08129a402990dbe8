"""What can go wrong by the user's doing.

Every message is one line: where, what was found, what was expected, what to do. The command line prints it and exits
with status 2; any other exception is a bug of this project and shows its traceback.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from pathlib import Path

# Messages of torch's allocators, for a CPU and for accelerators without an error class of their own; of oneDNN, which
# computes layers on a CPU; of C++; and of the libraries of CUDA. oneDNN allocates when it makes a primitive or a memory
# object; a descriptor only says what to compute, and fails where the processor can't.
_OUT_OF_MEMORY = re.compile(
    "can't allocate memory|not enough memory|out of memory|could not execute a primitive|"
    "could not create a (primitive|memory)(?! descriptor)|bad_alloc|alloc_failed"
)

# Messages of oneDNN, and of torch's own kernels, for a number format that they have no code for on this machine.
_UNSUPPORTED = re.compile(
    r"could not create a primitive descriptor|not implemented for '(bfloat16|half)'|does not support \S*(bf16|fp?16)|"
    "(bf16|fp16) path needs"
)


class NlpAppError(Exception):
    """A mistake in data, settings, a model directory or a call that the user can put right."""


class DataError(NlpAppError):
    """A data file, or a place in it, that can't be used.

    `path` and `line` (from 1), where known, are put in front of the message: `notes.conll:12: found ...`.
    """

    def __init__(self, message: str, path: str | Path | None = None, line: int | None = None) -> None:
        self.path, self.line = path, line
        place = "" if path is None else f"{path}: " if line is None else f"{path}:{line}: "
        super().__init__(place + message)


class OtherTaskError(DataError):
    """A data file of another task: texts with classes where tokens or spans with labels are read, or the other way."""


class SettingsError(NlpAppError):
    """A setting that is unknown, of the wrong type, or out of range."""


class ModelError(NlpAppError):
    """A model directory that is incomplete, damaged, of a newer format, or not one of ours."""


class TrainingError(NlpAppError):
    """A run that can't go on: a non-finite loss, say, or a checkpoint that doesn't fit the settings."""


_ADVICE = {FileNotFoundError: "check the name", IsADirectoryError: "name a file", PermissionError: "ask for the right"}


def read_error_message(path: str | Path, error: OSError) -> DataError:
    """What is said of a file that can't be read."""
    return DataError(f"can't be read: {error.strerror}; {_ADVICE.get(type(error), 'try again')}", path)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` with the nearest of the known names, or nothing: the end of a message."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.4)
    return f"; did you mean {close[0]!r}?" if close else ""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory, of whichever device, has run out."""
    if isinstance(error, RuntimeError):  # torch's, of all devices
        return _OUT_OF_MEMORY.search(str(error).lower()) is not None
    return isinstance(error, MemoryError)


def is_unsupported(error: BaseException) -> bool:
    """Tell whether an error of torch says that this machine can't compute a layer in the number format asked for."""
    if not isinstance(error, RuntimeError) or is_out_of_memory(error):
        return False
    return _UNSUPPORTED.search(str(error).lower()) is not None
