"""Interface of a training task: the parts of a run that differ between taggers and classifiers."""

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
    """Scores and predictions of the final model, by split; empty except in the main process.

    Attributes:
        metrics: Scores by split.
        predictions: Spans of each sentence, or classes of each text, by split.
    """

    metrics: dict[str, Any] = field(default_factory=dict)
    predictions: dict[str, Any] = field(default_factory=dict)


class TrainingData(Protocol):
    """The splits of a run."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """Messages that are shown even if the run is quiet."""

    def report(self) -> list[str]:
        """Describe the splits and their data.

        Returns:
            The lines of a table of the splits, and notes.
        """

    def files(self) -> list[Path]:
        """List the files that the splits were read from.

        Returns:
            Their paths.
        """


class TrainingTask(Protocol[P, E]):
    """Settings and data of a run, and the steps that depend on the kind of model.

    `P` is the type of the model, `E` the type of its encoded training examples.
    """

    @property
    def name(self) -> str:
        """Name of the task in run.json: "ner" or "cls"."""

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
        """Make the untrained model and encode the training examples.

        Args:
            progress: Shows notes.

        Returns:
            Model, training examples and learning rates.
        """

    def with_epochs(self, batches: int) -> TrainingTask[P, E]:
        """Set the number of epochs in the settings.

        Args:
            batches: The number of batches per epoch.

        Returns:
            A copy of the task with the new settings.
        """

    def summary(self, examples: E) -> str:
        """Describe the size of the training data in words.

        Args:
            examples: The encoded training examples.

        Returns:
            A phrase such as "1,006 sentences, 19 batches per epoch, 8.1% padding".
        """

    def stored(self, examples: E, output: Path) -> AbstractContextManager[None]:
        """Store examples that are too large for memory in a temporary directory while the block runs.

        Args:
            examples: The encoded training examples.
            output: The run directory; the temporary directory is created in it.

        Returns:
            A context manager; at its end the temporary directory is removed.
        """

    def score_name(self, parts: P) -> str:
        """Return the name of the dev score.

        Args:
            parts: The model.

        Returns:
            The name as shown to the user, such as "F1".
        """

    def evaluator(self, parts: P, examples: E, processes: engine.Processes) -> Callable[[], engine.Evaluation] | None:
        """Encode the dev set once and make a function that evaluates the network on it.

        Args:
            parts: The model; its network is evaluated in its current state.
            examples: The encoded training examples.
            processes: The processes that evaluate together.

        Returns:
            The function; None without a dev set.
        """

    def lines(self, places: Iterable[int]) -> list[int]:
        """Find the lines of training examples in the training file.

        Args:
            places: Indices of training examples (sentences, texts).

        Returns:
            Line numbers from 1.
        """

    def complete(self, parts: P, progress: Progress) -> P:
        """Apply the steps after training: quantization and outside bias, or calibration.

        Args:
            parts: The trained model.
            progress: Shows what was changed.

        Returns:
            The final model.
        """

    def score(self, parts: P, output: Path) -> TrainingResult:
        """Evaluate the final model on dev and test; write its predictions for the last of the two.

        Args:
            parts: The final model.
            output: The run directory.

        Returns:
            Scores and predictions by split.
        """

    def card(self, parts: P, metrics: Mapping[str, Any]) -> str:
        """Make the text of the model card.

        Args:
            parts: The final model.
            metrics: Its scores by split.

        Returns:
            The model card in Markdown.
        """
