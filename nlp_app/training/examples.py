"""What a run has in hand before its first update, whatever the network."""

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
    """A micro-batch of the training loop. rows: places among the encoded training examples."""

    inputs: dict[str, Tensor]
    targets: int
    rows: list[int]

    def halves(self) -> tuple[TrainBatch, TrainBatch]:
        """The first rows and the others, as many, in two micro-batches; there are two rows at least."""
        middle = len(self.rows) // 2
        return self._part(0, middle), self._part(middle, len(self.rows))

    def _part(self, start: int, end: int) -> TrainBatch:
        inputs = {name: value[start:end] for name, value in self.inputs.items() if name not in _FLAT}
        if "offsets" in self.inputs:  # bags of n-grams, one after the other
            offsets = self.inputs["offsets"][start : end + 1]
            inputs |= {name: self.inputs[name][offsets[0] : offsets[-1]] for name in _FLAT if name != "offsets"}
            inputs["offsets"] = offsets - offsets[0]
        mask = inputs.get("mask")
        targets = end - start if mask is None or "targets" in inputs else int(mask.sum())
        return TrainBatch(inputs, targets, self.rows[start:end])


_FLAT = ("offsets", "ngrams", "weights")  # not a row for each row of a batch


class Examples(Protocol):
    """Encoded training data, from which batches are cut."""

    def batch_count(self) -> int:
        """Batches of the first epoch."""

    def batches(self, epoch: int, share: ProcessShare = WHOLE) -> Iterator[engine.Batch]:
        """The batches of an epoch (from 1), of each the share that is asked for, which may be empty; they follow from
        the data, the seed, the epoch and the share alone."""

    def padding(self) -> float:
        """The share of the first epoch's batches that is padding."""

    def sources(self, rows: Iterable[int]) -> list[int]:
        """The places in the training data (sentences, texts) that rows of batches come from."""


class StoredExamples(Examples, Protocol):
    """Training data that may be too large for memory."""

    def store(self, directory: Path) -> None:
        """Encode into a directory what isn't encoded yet; to be called once, before `batches`."""

    def release(self) -> None:
        """Let go of memory that holds what can be read again."""


class LearningRates(TypedDict, total=False):
    """How fast parts of a network learn, as `make_learner` takes it."""

    rate_factors: Mapping[str, float]
    sparse_rate: float
    plain_rate: float


@dataclass(frozen=True)
class PreparedRun(Generic[P_co, E_co]):
    """The model (`parts`), its training examples, its rates; `files` that a continuation has to find unchanged, beside
    the data."""

    parts: P_co
    examples: E_co
    rates: LearningRates
    files: list[Path] = field(default_factory=list)
