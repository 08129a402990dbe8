"""Interface of a training task: the steps of a run that differ between taggers and classifiers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from nlp_app import engine
from nlp_app.config import Settings
from nlp_app.models import ModelParts
from nlp_app.training.examples import Examples, PreparedRun
from nlp_app.training.runs.progress import Progress

P = TypeVar("P", bound=ModelParts)

E = TypeVar("E", bound=Examples)


@dataclass(frozen=True)
class TrainingResult:
    """Scores and predictions of the finished model, by split; empty except in the main process.

    predictions: spans of each sentence, or classes of each text.
    """

    metrics: dict[str, Any] = field(default_factory=dict)
    predictions: dict[str, Any] = field(default_factory=dict)


class TrainingData(Protocol):
    """The splits of a run."""

    def report(self) -> list[str]:
        """Table of the splits, and remarks on them: a line each."""

    def files(self) -> list[Path]:
        """The files that the splits were read from."""


class TrainingTask(Protocol[P, E]):
    """Settings and data of a run, and its steps. P: parts of the model; E: encoded training examples."""

    @property
    def name(self) -> str:
        """Name of the task in the record of a run: "ner" or "cls"."""

    @property
    def settings(self) -> Settings:
        """The settings of the run."""

    @property
    def data(self) -> TrainingData:
        """The splits."""

    @property
    def source(self) -> str:
        """Path of the training data."""

    @property
    def has_dev(self) -> bool:
        """True if there is a dev set."""

    def prepare(self, progress: Progress) -> PreparedRun[P, E]:
        """Make the untrained model and encode the training examples."""

    def with_epochs(self, batches: int) -> TrainingTask[P, E]:
        """Return the task with the number of epochs in its settings, for so many batches an epoch."""

    def summary(self, examples: E) -> str:
        """Sizes of the training data, for a person."""

    def stored(self, examples: E, output: Path) -> AbstractContextManager[None]:
        """Keep examples that are too large for memory in a temporary directory in `output` within the block."""

    def score_name(self, parts: P) -> str:
        """Name of the dev score."""

    def evaluator(self, parts: P, examples: E, processes: engine.Processes) -> Callable[[], engine.Evaluation] | None:
        """Encode dev once; return a function that scores the network on it, None without dev."""

    def lines(self, places: Iterable[int]) -> list[int]:
        """Lines in the training file of training examples (sentences, texts)."""

    def complete(self, parts: P, progress: Progress) -> P:
        """Apply the steps after training: quantization and outside bias, or calibration."""

    def score(self, parts: P, output: Path) -> TrainingResult:
        """Score the finished model on dev and test, and write its predictions."""

    def card(self, parts: P, metrics: Mapping[str, Any]) -> str:
        """Make the model card."""
