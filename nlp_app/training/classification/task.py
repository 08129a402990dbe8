"""The steps of a training run that are particular to classifiers."""

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
from nlp_app.training.classification.calibrate import decision_of, encode_records
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
    """A run that trains a classifier."""

    settings: ClassificationSettings | TransformerClassificationSettings
    data: ClassData

    name: ClassVar[str] = "cls"

    @staticmethod
    def read(settings: ClassificationSettings | TransformerClassificationSettings) -> ClassificationTask:
        """Read the splits."""
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
        """Make the untrained classifier with its loss, and open the training texts."""
        data = self.data
        loss = training_loss(self.settings.train, data.class_set, data.label_counts, data.train_size)
        prepared: PreparedRun[AnyClassifierParts, StoredExamples]
        prepared = load_prepare(type(self.settings))(self.settings, data, progress)
        prepared.parts.network.loss = loss
        return prepared

    def with_epochs(self, batches: int) -> ClassificationTask:
        """Return the task with the number of epochs in its settings."""
        return replace(self, settings=with_epochs(self.settings, batches))

    def summary(self, examples: StoredExamples) -> str:
        """Sizes of the training data, for a person."""
        return f"{self.data.train_size:,} texts, {examples.batch_count()} batches an epoch"

    @contextmanager
    def stored(self, examples: StoredExamples, output: Path) -> Iterator[None]:
        """Encode the training texts into a temporary directory in `output` within the block."""
        directory = temporary_path(output / "texts")  # the next run removes it if this one is killed
        try:
            examples.store(directory)
            yield
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def score_name(self, parts: AnyClassifierParts) -> str:
        """Name of the dev score."""
        return "weighted F1"

    def evaluator(
        self, parts: AnyClassifierParts, examples: StoredExamples, processes: engine.Processes
    ) -> Callable[[], engine.Evaluation] | None:
        """Encode this process's share of dev; return a function that scores the network on all of dev."""
        if self.data.dev is None:
            return None
        dev = self.data.dev
        encoded = list(encode_records(parts, dev.records[processes.rank :: processes.count]))

        def evaluate() -> engine.Evaluation:
            examples.release()
            return _evaluate(parts, dev, encoded, processes)

        return evaluate

    def lines(self, places: Iterable[int]) -> list[int]:
        """Lines of texts in the training file."""
        wanted = set(places)
        return [record.line for row, record in enumerate(self.data.train) if row in wanted]

    def complete(self, parts: AnyClassifierParts, progress: Progress) -> AnyClassifierParts:
        """Calibrate on dev."""
        return parts if self.data.dev is None else replace(parts, decision=decision_of(parts, self.data.dev))

    def score(self, parts: AnyClassifierParts, output: Path) -> TrainingResult:
        """Score the finished classifier on dev and test; write its predictions and the confusion matrix."""
        result = TrainingResult()
        for name, split in self.data.scored():
            texts = ([record.text for record in chunk] for chunk in record_chunks(split.records))
            found = decide_chunks(parts, texts, len(split.records))
            result.predictions[name] = found.labels
            scores = score_classes(parts.class_set, split.gold, found.labels, found.probabilities)
            result.metrics[name] = scores
            write_class_predictions(output, split.records, found.labels, found.best)
            confusion = scores.get("confusion")
            if self.settings.track.plots and plotting_available() and confusion is not None:
                draw_confusion(confusion["labels"], confusion["matrix"], output / "confusion.png")
        return result

    def card(self, parts: AnyClassifierParts, metrics: Mapping[str, Any]) -> str:
        """Make the model card."""
        return classifier_card(parts, metrics, self.settings, self.data.counts())


def _evaluate(
    parts: AnyClassifierParts, dev: ClassSplit, texts: Sequence[EncodedForClassifier], processes: engine.Processes
) -> engine.Evaluation:
    """Score the network on dev. texts: this process's share of the texts."""
    classes, thresholds = parts.class_set, parts.decision.thresholds
    local: list[tuple[str, ...]] = []
    for encoded in texts:
        scores = predict_scores(parts, encoded)
        if not np.isfinite(scores).all():
            raise TrainingError("training has diverged: scores are no longer finite; lower the rates in [train]")
        local += classes.decide(to_probabilities(scores, parts), thresholds)
    result = score_classes(classes, dev.gold, gather_predictions(local, len(dev.records), classes, processes))
    # A line of history has room for plain numbers only.
    numbers = {name: value for name, value in result.items() if isinstance(value, float)}
    return engine.Evaluation(class_selection_score(result), numbers)


def gather_predictions(
    local: list[tuple[str, ...]], texts: int, classes: ClassSet, processes: engine.Processes
) -> list[tuple[str, ...]]:
    """Collect the classes of all texts from all processes, each of which has classified its share of them.

    Args:
        local: This process's classes, of each of its texts: those at its rank, and every `processes.count` further.
        texts: The number of all texts.
        classes: The classes of the model.
        processes: This process and the others.

    Returns:
        The classes of each text.
    """
    if processes.count == 1:
        return local
    hot = np.zeros((len(local), len(classes.labels)), dtype=np.uint8)
    for row, each in enumerate(local):
        hot[row, [classes.ids[label] for label in each]] = 1
    gathered: list[tuple[str, ...]] = [()] * texts
    for rank, part in enumerate(processes.gather(hot)):
        gathered[rank :: processes.count] = [
            tuple(classes.labels[place] for place in np.flatnonzero(row)) for row in part
        ]
    return gathered
