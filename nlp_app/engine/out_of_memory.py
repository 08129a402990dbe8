"""Split micro-batches that do not fit into memory, and repeat the step."""

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
    """Run forward and backward passes over a window, with smaller micro-batches if memory is not sufficient.

    Each micro-batch is split into `learner.state.parts` parts. If a part does not fit into memory, the number of parts
    is doubled for this and all following windows, and the window is repeated. Losses and gradients are sums over rows,
    so the result does not depend on the number of parts.

    Args:
        learner: The learner; its `state.parts` is updated.
        micro: The micro-batches of the window.
        attempt: Function that runs the passes over the micro-batches that it is given, one after the other.

    Returns:
        The result of `attempt`.

    Raises:
        RowsError: A single row does not fit into memory.
    """
    while True:
        batches = _TrackedBatches([part for batch in micro for part in split_batch(batch, learner.state.parts)])
        seed_update(learner.seed, learner.state.epoch, learner.state.window, learner.processes.rank)
        try:
            return attempt(batches)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if len(batches.rows) == 1:
                raise RowsError(_out_of_memory_message(batches.rows[0]), batches.rows) from error
        # Outside the handler: the exception keeps the failed attempt's tensors in memory.
        learner.optimizers.zero_grad()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        learner.state.parts *= 2


def split_batch(batch: Batch, parts: int) -> list[Batch]:
    """Split a micro-batch into smaller ones.

    Args:
        batch: The micro-batch.
        parts: Number of parts, a power of two.

    Returns:
        The parts; fewer than asked for if the micro-batch has fewer rows.
    """
    batches = [batch]
    while len(batches) < parts:
        batches = [half for part in batches for half in (part.halves() if len(part.rows) > 1 else (part,))]
        if all(len(part.rows) <= 1 for part in batches):
            break
    return batches


class _TrackedBatches:
    """Iterate over micro-batches; `rows` has the rows of the current one."""

    def __init__(self, batches: Sequence[Batch]) -> None:
        self._batches = batches
        self.rows: Sequence[int] = ()

    def __iter__(self) -> Iterator[Batch]:
        for part in self._batches:
            self.rows = part.rows
            yield part


def _out_of_memory_message(row: int) -> str:
    return (
        f"out of memory in a batch with a single row, {row}; use a smaller model, precision bf16 or, with a "
        "transformer, a smaller model.window_subwords or gradient_checkpointing"
    )
