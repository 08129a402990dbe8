"""Make predictions work in forked processes."""

from __future__ import annotations

import os
import sys


def use_one_thread_in_forked_children() -> None:
    """Limit torch to one thread in every process that is forked from now on.

    A fork copies one thread only, but OpenMP in the child still counts on its pool of threads: the first computation
    that is shared among them waits forever. A child that replaces itself by another program (`exec`) is not affected.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_use_one_thread)


def _use_one_thread() -> None:
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)
