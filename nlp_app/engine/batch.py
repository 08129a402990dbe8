"""Interface of a micro-batch, and the error for rows that cannot be trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from torch import Tensor

from nlp_app.core.errors import TrainingError


class RowsError(TrainingError):
    """Training failed because of certain rows of the training data.

    Attributes:
        rows: Rows of the batches that caused the failure.
    """

    def __init__(self, message: str, rows: Sequence[int]) -> None:
        super().__init__(message)
        self.rows = [int(row) for row in rows]


class Batch(Protocol):
    """A micro-batch.

    A process whose share of a batch is empty gets a micro-batch without rows and targets; its inputs are not read.
    """

    @property
    def inputs(self) -> Mapping[str, Tensor]:
        """Keyword arguments of the model."""

    @property
    def targets(self) -> int:
        """Number of targets."""

    @property
    def rows(self) -> Sequence[int]:
        """Rows of the training data."""

    def halves(self) -> tuple[Batch, Batch]:
        """Split the micro-batch, which has at least two rows, into two.

        Returns:
            The two micro-batches, in the order of the rows.
        """
