"""What both engines take for a micro-batch, and what they raise because of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from torch import Tensor

from nlp_app.core.errors import TrainingError


class RowsError(TrainingError):
    """What can't go on because of certain rows of the corpus: `rows`, those of the batches at fault."""

    def __init__(self, message: str, rows: Sequence[int]) -> None:
        super().__init__(message)
        self.rows = [int(row) for row in rows]


class Batch(Protocol):
    """A micro-batch: the model's keyword arguments, the number of targets, and the rows in the corpus. A process whose
    share of a batch is empty has one without rows and targets; it isn't looked into."""

    @property
    def inputs(self) -> Mapping[str, Tensor]: ...

    @property
    def targets(self) -> int: ...

    @property
    def rows(self) -> Sequence[int]: ...

    def halves(self) -> tuple[Batch, Batch]:
        """Two micro-batches that have the rows of this one, of which there are two at least."""
