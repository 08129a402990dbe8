"""What to do when a micro-batch doesn't fit into memory: cut it, and do the update again."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import torch

from nlp_app.core.errors import is_out_of_memory
from nlp_app.engine.batch import Batch, RowsError
from nlp_app.engine.learner import Learner
from nlp_app.engine.random_state import seed_update

T = TypeVar("T")


def run_with_oom_retry(learner: Learner, micro: Sequence[Batch], attempt: Callable[[Iterable[Batch]], T]) -> T:
    """What `attempt` makes of a window's micro-batches, forward and backward, cut into `learner.state.parts` each; it
    takes one after the other.

    If one doesn't fit into memory, they are cut into twice as many from now on, and the window is done again: its
    losses and gradients are sums over rows, so they come to the same. Raises RowsError where a row doesn't fit alone.
    """
    while True:
        pieces = _Pieces([piece for batch in micro for piece in split_batch(batch, learner.state.parts)])
        seed_update(learner.seed, learner.state.epoch, learner.state.window, learner.processes.rank)
        try:
            return attempt(pieces)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if len(pieces.rows) == 1:
                raise RowsError(_too_long(pieces.rows[0]), pieces.rows) from error
        # After the handler, which holds on to what the failed attempt had in memory.
        learner.optimizers.zero_grad()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        learner.state.parts *= 2


def split_batch(batch: Batch, parts: int) -> list[Batch]:
    """A micro-batch as `parts` smaller ones, a power of two, or as many as it has rows."""
    pieces = [batch]
    while len(pieces) < parts:
        pieces = [half for piece in pieces for half in (piece.halves() if len(piece.rows) > 1 else (piece,))]
        if all(len(piece.rows) <= 1 for piece in pieces):
            break
    return pieces


class _Pieces:
    """Micro-batches, one after the other; `rows`: of the one that was taken last."""

    def __init__(self, pieces: Sequence[Batch]) -> None:
        self._pieces = pieces
        self.rows: Sequence[int] = ()

    def __iter__(self) -> Iterator[Batch]:
        for piece in self._pieces:
            self.rows = piece.rows
            yield piece


def _too_long(row: int) -> str:
    return (
        f"found no memory for a batch of a single row, {row}; use a smaller model, precision bf16 or, with a "
        "transformer, a smaller model.window_subwords or gradient_checkpointing"
    )
