"""Steps of a training run that are specific to classifiers."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from nlp_app import engine
from nlp_app.config import ClassificationSettings, TransformerClassificationSettings
from nlp_app.core.errors import TrainingError
from nlp_app.core.files import temporary_path
from nlp_app.data.classification.splits import ClassData, ClassSplit, read_class_splits
from nlp_app.inference.class_scores import EncodedForClassifier, decide_chunks, predict_scores, to_probabilities
from nlp_app.labels.class_set import ClassSet
from nlp_app.metrics.classes import class_selection_score, score_classes
from nlp_app.reports.model_card import classifier_card
from nlp_app.reports.plots import draw_confusion, plotting_available
from nlp_app.training.classification.calibrate import encode_records, fit_decision_rule
from nlp_app.training.classification.examples import record_chunks
from nlp_app.training.classification.loss import training_loss
from nlp_app.training.examples import PreparedRun, StoredExamples
from nlp_app.training.learner_setup import with_epochs
from nlp_app.training.networks import load_prepare
from nlp_app.training.runs.predictions import write_class_predictions
from nlp_app.training.runs.progress import Progress
from nlp_app.training.task import TrainingResult

if TYPE_CHECKING:
    from nlp_app.models import AnyClassifierParts


@dataclass(frozen=True)
class ClassificationTask:
    """A run that trains a classifier.

    Attributes:
        settings: Settings of the run.
        data: The splits.
        name: Name of the task.
    """

    settings: ClassificationSettings | TransformerClassificationSettings
    data: ClassData

    name: ClassVar[str] = "cls"

    @staticmethod
    def read(settings: ClassificationSettings | TransformerClassificationSettings) -> ClassificationTask:
        """Read the splits.

        Args:
            settings: Settings of the run.

        Returns:
            The task.

        Raises:
            DataError: A file of the data cannot be read.
        """
        return ClassificationTask(settings, read_class_splits(settings.data, settings.train.seed))

    @property
    def source(self) -> str:
        """Path of the training data."""
        return self.data.train.file.path

    @property
    def has_dev(self) -> bool:
        """True if there is a dev set."""
        return self.data.dev is not None

    def prepare(self, progress: Progress) -> PreparedRun[AnyClassifierParts, StoredExamples]:
        """Make the untrained classifier with its loss, and open the training texts.

        Args:
            progress: Log of the run.

        Returns:
            The classifier, its training texts and learning rates.
        """
        data = self.data
        loss = training_loss(self.settings.train, data.class_set, data.label_counts, data.train_size)
        prepared: PreparedRun[AnyClassifierParts, StoredExamples]
        prepared = load_prepare(type(self.settings))(self.settings, data, progress)
        prepared.parts.network.loss = loss
        return prepared

    def with_epochs(self, batches: int) -> ClassificationTask:
        """Return the task with the number of epochs in its settings.

        Args:
            batches: Number of batches per epoch.

        Returns:
            The task.
        """
        return replace(self, settings=with_epochs(self.settings, batches))

    def summary(self, examples: StoredExamples) -> str:
        """Describe the size of the training data.

        Args:
            examples: The training texts.

        Returns:
            A text for the log.
        """
        return f"{self.data.train_size:,} texts, {examples.batch_count()} batches per epoch"

    @contextmanager
    def stored(self, examples: StoredExamples, output: Path) -> Iterator[None]:
        """Encode the training texts into a temporary directory, which is removed after the block.

        Args:
            examples: The training texts.
            output: Run directory, where the temporary directory is made.

        Yields:
            Nothing.
        """
        directory = temporary_path(output / "texts")  # the next run removes it if this one is killed
        try:
            examples.store(directory)
            yield
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def score_name(self, parts: AnyClassifierParts) -> str:
        """Return the name of the dev score.

        Args:
            parts: The classifier.

        Returns:
            "weighted F1".
        """
        return "weighted F1"

    def evaluator(
        self, parts: AnyClassifierParts, examples: StoredExamples, processes: engine.Processes
    ) -> Callable[[], engine.Evaluation] | None:
        """Encode this process's share of dev, and make a function that evaluates the network on all of dev.

        Args:
            parts: The classifier.
            examples: The training texts, whose memory is released before each evaluation.
            processes: The processes of the run.

        Returns:
            The function; None without a dev set.
        """
        if self.data.dev is None:
            return None
        dev = self.data.dev
        encoded = list(encode_records(parts, dev.records[processes.rank :: processes.count]))

        def evaluate() -> engine.Evaluation:
            examples.release()
            return _evaluate(parts, dev, encoded, processes)

        return evaluate

    def lines(self, indices: Iterable[int]) -> list[int]:
        """Find the lines of training texts in their file.

        Args:
            indices: Indices of texts in the training data.

        Returns:
            Line numbers, from 1.
        """
        rows = set(indices)
        return [record.line for row, record in enumerate(self.data.train) if row in rows]

    def complete(self, parts: AnyClassifierParts, progress: Progress) -> AnyClassifierParts:
        """Calibrate the classifier on dev.

        Args:
            parts: The trained classifier.
            progress: Log of the run; not used.

        Returns:
            The finished classifier; unchanged without a dev set.
        """
        return parts if self.data.dev is None else replace(parts, decision=fit_decision_rule(parts, self.data.dev))

    def score(self, parts: AnyClassifierParts, output: Path) -> TrainingResult:
        """Evaluate the finished classifier on dev and test; write its predictions and a plot of the confusion matrix.

        Files of test replace files of dev.

        Args:
            parts: The classifier.
            output: Run directory.

        Returns:
            Metrics and predicted classes by split.
        """
        result = TrainingResult()
        for name, split in self.data.scored():
            texts = ([record.text for record in chunk] for chunk in record_chunks(split.records))
            decisions = decide_chunks(parts, texts, len(split.records))
            result.predictions[name] = decisions.labels
            scores = score_classes(parts.class_set, split.gold, decisions.labels, decisions.probabilities)
            result.metrics[name] = scores
            write_class_predictions(output, split.records, decisions.labels, decisions.best)
            confusion = scores.get("confusion")
            if self.settings.track.plots and plotting_available() and confusion is not None:
                draw_confusion(confusion["labels"], confusion["matrix"], output / "confusion.png")
        return result

    def card(self, parts: AnyClassifierParts, metrics: Mapping[str, Any]) -> str:
        """Make the model card.

        Args:
            parts: The classifier.
            metrics: Metrics by split.

        Returns:
            The card, as Markdown.
        """
        return classifier_card(parts, metrics, self.settings, self.data.counts())


def _evaluate(
    parts: AnyClassifierParts, dev: ClassSplit, texts: Sequence[EncodedForClassifier], processes: engine.Processes
) -> engine.Evaluation:
    """Evaluate the network on dev; `texts` has this process's share of the texts."""
    classes, thresholds = parts.class_set, parts.decision.thresholds
    local: list[tuple[str, ...]] = []
    for encoded in texts:
        scores = predict_scores(parts, encoded)
        if not np.isfinite(scores).all():
            raise TrainingError(
                "training has diverged: scores are no longer finite; use lower learning rates in [train]"
            )
        local += classes.decide(to_probabilities(scores, parts), thresholds)
    result = score_classes(classes, dev.gold, gather_predictions(local, len(dev.records), classes, processes))
    # The line in history.jsonl has numbers only, no tables.
    numbers = {name: value for name, value in result.items() if isinstance(value, float)}
    return engine.Evaluation(class_selection_score(result), numbers)


def gather_predictions(
    local: list[tuple[str, ...]], texts: int, classes: ClassSet, processes: engine.Processes
) -> list[tuple[str, ...]]:
    """Gather the classes of all texts from all processes, each with its share of the texts.

    Args:
        local: Classes of each of this process's texts, which are every `processes.count`-th one from its rank on.
        texts: Number of all texts.
        classes: Classes of the model.
        processes: The processes of the run.

    Returns:
        The classes of each text.
    """
    if processes.count == 1:
        return local
    one_hot = np.zeros((len(local), len(classes.labels)), dtype=np.uint8)
    for row, each in enumerate(local):
        one_hot[row, [classes.ids[label] for label in each]] = 1
    gathered: list[tuple[str, ...]] = [()] * texts
    for rank, part in enumerate(processes.gather(one_hot)):
        gathered[rank :: processes.count] = [
            tuple(classes.labels[index] for index in np.flatnonzero(row)) for row in part
        ]
    return gathered
