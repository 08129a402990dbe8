"""Model, training examples and learning rates of a run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Protocol, TypedDict, TypeVar

from torch import Tensor

from nlp_app import engine
from nlp_app.storage.batching import WHOLE, ProcessShare

P_co = TypeVar("P_co", covariant=True)

E_co = TypeVar("E_co", bound="Examples", covariant=True)


@dataclass(frozen=True)
class TrainBatch:
    """A micro-batch of the training loop.

    Attributes:
        inputs: Keyword arguments of the network.
        targets: The number of targets in the batch.
        rows: Indices of the batch's rows in the encoded training examples.
    """

    inputs: dict[str, Tensor]
    targets: int
    rows: list[int]

    def halves(self) -> tuple[TrainBatch, TrainBatch]:
        """Split the micro-batch into two halves, in the order of its rows; it must have at least two rows.

        Returns:
            The first half and the second half. With an odd number of rows, the second half has one row more.
        """
        middle = len(self.rows) // 2
        return self._part(0, middle), self._part(middle, len(self.rows))

    def _part(self, start: int, end: int) -> TrainBatch:
        inputs = {name: value[start:end] for name, value in self.inputs.items() if name not in _FLAT}
        if "offsets" in self.inputs:  # the n-grams of all texts are concatenated
            offsets = self.inputs["offsets"][start : end + 1]
            inputs |= {name: self.inputs[name][offsets[0] : offsets[-1]] for name in _FLAT if name != "offsets"}
            inputs["offsets"] = offsets - offsets[0]
        mask = inputs.get("mask")
        targets = end - start if mask is None or "targets" in inputs else int(mask.sum())
        return TrainBatch(inputs, targets, self.rows[start:end])


_FLAT = ("offsets", "ngrams", "weights")  # inputs without a batch dimension


class Examples(Protocol):
    """Encoded training data that can be iterated over in batches."""

    def batch_count(self) -> int:
        """Count the batches of the first epoch.

        Returns:
            The number of batches.
        """

    def batches(self, epoch: int, share: ProcessShare = WHOLE) -> Iterator[engine.Batch]:
        """Iterate over the batches of an epoch.

        The batches depend only on the data, the seed, the epoch and the share.

        Args:
            epoch: The epoch, from 1.
            share: The part of each batch that belongs to this process.

        Yields:
            The share of each batch; it may be empty.
        """

    def padding(self) -> float:
        """Compute how much of the batches of the first epoch is padding.

        Returns:
            A fraction from 0 to 1.
        """

    def sources(self, rows: Iterable[int]) -> list[int]:
        """Find the training examples (sentences, texts) that rows come from.

        Args:
            rows: The rows of a batch: indices of encoded examples.

        Returns:
            The index in the training data for each row.
        """


class StoredExamples(Examples, Protocol):
    """Training data that may be too large for memory."""

    def store(self, directory: Path) -> None:
        """Encode the examples that are not encoded yet and write them to a directory.

        Call it once, before `batches`.

        Args:
            directory: An existing directory for the encoded examples.
        """

    def release(self) -> None:
        """Release pages of memory-mapped data; they are read again when needed."""


class LearningRates(TypedDict, total=False):
    """Learning rates for parts of a network, as `make_learner` expects them; all are optional.

    Attributes:
        rate_factors: Factors on the learning rate, by prefix of the parameters' names.
        sparse_rate: Learning rate for parameters with sparse gradients.
        plain_rate: Learning rate for parameters that are trained by plain SGD.
    """

    rate_factors: Mapping[str, float]
    sparse_rate: float
    plain_rate: float


@dataclass(frozen=True)
class PreparedRun(Generic[P_co, E_co]):
    """Everything a run needs before its first step.

    Attributes:
        parts: The untrained model.
        examples: Its training examples.
        rates: Learning rates of parts of the network.
        files: Files in addition to the data that must not have changed when the run is resumed.
    """

    parts: P_co
    examples: E_co
    rates: LearningRates
    files: list[Path] = field(default_factory=list)
