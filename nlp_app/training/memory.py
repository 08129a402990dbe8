"""What to do when a micro-batch doesn't fit into memory: cut it, and do the update again."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from nlp_app.training.batches import Batch, RowsError
from nlp_app.training.learner import Learner
from nlp_app.training.randomness import seed_update

T = TypeVar("T")

# What torch's allocators say, of a CPU and of accelerators that raise no error of their own kind; and what oneDNN,
# which computes layers on a CPU, says where it finds no room.
_SIGNS = (
    "can't allocate memory", "not enough memory", "out of memory", "could not execute a primitive",
    "could not create a primitive", "could not create a memory",
)  # fmt: skip


def within_memory(learner: Learner, micro: Sequence[Batch], attempt: Callable[[list[Batch]], T]) -> T:
    """What `attempt` makes of a window's micro-batches, forward and backward, cut into `learner.state.parts` each.

    If they don't fit into memory, they are cut into twice as many from now on, and the window is done again: its losses
    and gradients are sums over rows, so they come to the same. Raises RowsError where a row doesn't fit alone.
    """
    while True:
        pieces = [piece for batch in micro for piece in cut(batch, learner.state.parts)]
        seed_update(learner.seed, learner.state.epoch, learner.state.window, learner.processes.rank)
        try:
            return attempt(pieces)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if all(len(piece.rows) <= 1 for piece in pieces):
                raise RowsError(_too_long(pieces), [row for piece in pieces for row in piece.rows]) from error
        # After the handler, which holds on to what the failed attempt had in memory.
        learner.optimizers.zero_grad()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        learner.state.parts *= 2


def cut(batch: Batch, parts: int) -> list[Batch]:
    """A micro-batch as `parts` smaller ones, a power of two, or as many as it has rows."""
    pieces = [batch]
    while len(pieces) < parts:
        pieces = [half for piece in pieces for half in (piece.halves() if len(piece.rows) > 1 else (piece,))]
        if all(len(piece.rows) <= 1 for piece in pieces):
            break
    return pieces


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory, of whichever device, has run out."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in _SIGNS)


def _too_long(pieces: Sequence[Batch]) -> str:
    rows = [row for piece in pieces for row in piece.rows]
    shown = ", ".join(map(str, rows[:8])) + (", ..." if len(rows) > 8 else "")
    return (
        f"found no memory for a batch of a single row (of rows {shown}); use a smaller model, precision bf16 or, with "
        "a transformer, a smaller model.window or gradient_checkpointing"
    )
