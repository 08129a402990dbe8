"""The number of CPU threads, for NumPy and torch."""

from __future__ import annotations

import os
import sys

# Read by the linear algebra of NumPy and by torch when they are imported.
_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def limit_threads(count: int) -> None:
    """Set the number of threads of this process and of its child processes.

    For NumPy, it has an effect only before NumPy is imported.

    Args:
        count: The number of threads.
    """
    os.environ.update(dict.fromkeys(_VARIABLES, str(count)))
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(count)


def thread_count() -> int:
    """Get the number of threads that computations use.

    Returns:
        torch's number if it is imported, otherwise the number of CPUs that this process may use, or `OMP_NUM_THREADS`.
    """
    if "torch" in sys.modules:
        return int(sys.modules["torch"].get_num_threads())
    limit = os.environ.get(_VARIABLES[0], "")
    if limit.isdecimal() and int(limit):
        return int(limit)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
