"""Prediction in forked processes: what a fork leaves unusable, put right in the child."""

from __future__ import annotations

import os

import torch


def compute_alone_in_forked_children() -> None:
    """Let every child that is forked from now on compute in one thread.

    A fork copies one thread, and of OpenMP's pool the belief that it is there: the first computation that it would be
    shared for waits forever. A child that replaces itself by another program isn't concerned.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_compute_alone)


def _compute_alone() -> None:
    torch.set_num_threads(1)
