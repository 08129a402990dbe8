"""Steps of a training run that are specific to taggers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from nlp_app import engine
from nlp_app.config import TaggingSettings, TransformerTaggingSettings
from nlp_app.core.errors import ModelError, TrainingError
from nlp_app.core.types import Sentence, TokenSpan
from nlp_app.data.tagging.splits import TaggingData, read_splits
from nlp_app.inference import Tagger
from nlp_app.inference.tag_decoding import predict_encoded
from nlp_app.inference.tag_scores import Encoded
from nlp_app.labels.schemes import NONE
from nlp_app.metrics.spans import score_spans, selection_score
from nlp_app.models import TaggerParts
from nlp_app.models.quantization import quantize
from nlp_app.reports.model_card import tagger_card
from nlp_app.training.examples import Examples, PreparedRun
from nlp_app.training.learner_setup import with_epochs
from nlp_app.training.networks import load_prepare
from nlp_app.training.runs.predictions import write_predictions
from nlp_app.training.runs.progress import Progress
from nlp_app.training.tagging.initial_model import read_initial_model
from nlp_app.training.tagging.outside_bias import tune_outside_bias
from nlp_app.training.task import TrainingResult

if TYPE_CHECKING:
    from nlp_app.models import AnyTaggerParts


@dataclass(frozen=True)
class TaggingTask:
    """A run that trains a tagger.

    Attributes:
        settings: Settings of the run.
        data: The splits.
        initial_model: Tagger to continue training from, if there is one.
        name: Name of the task.
    """

    settings: TaggingSettings | TransformerTaggingSettings
    data: TaggingData
    initial_model: AnyTaggerParts | None = None

    name: ClassVar[str] = "ner"

    @staticmethod
    def read(settings: TaggingSettings | TransformerTaggingSettings, output: Path) -> TaggingTask:
        """Read the initial model and the splits.

        Args:
            settings: Settings of the run.
            output: Run directory.

        Returns:
            The task.

        Raises:
            SettingsError: The initial model cannot be used with the settings.
            DataError: A file of the data cannot be read.
        """
        settings, initial_model = read_initial_model(settings, output)
        known_labels = initial_model.tag_set.labels if initial_model is not None else ()
        data = read_splits(settings.data, settings.train.seed, known_labels)
        return TaggingTask(settings, data, initial_model)

    @property
    def source(self) -> str:
        """Path of the training data."""
        return self.data.train.path

    @property
    def has_dev(self) -> bool:
        """True if there is a dev set."""
        return self.data.dev is not None

    def prepare(self, progress: Progress) -> PreparedRun[AnyTaggerParts, Examples]:
        """Make the untrained tagger, or extend the initial model, and encode the training sentences.

        Args:
            progress: Log of the run.

        Returns:
            The tagger, its training examples and learning rates.
        """
        return load_prepare(type(self.settings))(self.settings, self.data, progress, self.initial_model)

    def with_epochs(self, batches: int) -> TaggingTask:
        """Return the task with the number of epochs in its settings.

        Args:
            batches: Number of batches per epoch.

        Returns:
            The task.
        """
        return replace(self, settings=with_epochs(self.settings, batches))

    def summary(self, examples: Examples) -> str:
        """Describe the size of the training data.

        Args:
            examples: The training examples.

        Returns:
            A text for the log.
        """
        return (
            f"{len(self.data.train.sentences):,} sentences, {examples.batch_count()} batches per epoch, "
            f"{examples.padding():.1%} padding"
        )

    def stored(self, examples: Examples, output: Path) -> AbstractContextManager[None]:
        """Do nothing, as the encoded sentences are already stored in the cache.

        Args:
            examples: The training examples.
            output: Run directory.

        Returns:
            An empty context.
        """
        return nullcontext()

    def score_name(self, parts: AnyTaggerParts) -> str:
        """Return the name of the dev score.

        Args:
            parts: The tagger.

        Returns:
            "accuracy" for a tagger without a scheme (POS), otherwise "F1".
        """
        return "accuracy" if parts.tag_set.scheme == NONE else "F1"

    def evaluator(
        self, parts: AnyTaggerParts, examples: Examples, processes: engine.Processes
    ) -> Callable[[], engine.Evaluation] | None:
        """Encode this process's share of dev, and make a function that evaluates the network on all of dev.

        Args:
            parts: The tagger.
            examples: The training examples; not used.
            processes: The processes of the run.

        Returns:
            The function; None without a dev set.
        """
        if self.data.dev is None:
            return None
        dev = self.data.dev.sentences
        local = dev[processes.rank :: processes.count]
        encoded = parts.encoder.encode([sentence.tokens for sentence in local])
        return lambda: _evaluate(parts, dev, encoded, processes)

    def lines(self, indices: Iterable[int]) -> list[int]:
        """Find the first line of training sentences in their file.

        Args:
            indices: Indices of sentences in the training data.

        Returns:
            Line numbers, from 1.
        """
        return [self.data.train.sentences[index].lines[0] for index in indices]

    def complete(self, parts: AnyTaggerParts, progress: Progress) -> AnyTaggerParts:
        """Quantize a BiLSTM-CRF and tune its outside bias on dev, before the final evaluation.

        The saved model is therefore the evaluated model.

        Args:
            parts: The trained tagger.
            progress: Log of the run.

        Returns:
            The finished tagger.
        """
        if not isinstance(self.settings, TaggingSettings) or not isinstance(parts, TaggerParts):
            return parts
        if self.settings.model.quantize:
            parts = quantize(parts)
        if self.settings.train.tune_outside_bias and self.data.dev is not None and parts.tag_set.scheme != NONE:
            shift = tune_outside_bias(parts, self.data.dev.sentences)
            if shift:
                progress.say("", f"score of O lowered by {shift:g} to improve dev F1")
        return parts

    def score(self, parts: AnyTaggerParts, output: Path) -> TrainingResult:
        """Evaluate the finished tagger on dev and test, and write its predictions on test, or on dev without test.

        Args:
            parts: The tagger.
            output: Run directory.

        Returns:
            Metrics and predicted spans by split.
        """
        tagger = Tagger(parts)
        result = TrainingResult()
        for name, corpus in self.data.scored():
            spans = tagger.token_spans([sentence.tokens for sentence in corpus.sentences])
            result.predictions[name] = spans
            result.metrics[name] = score_spans(parts.tag_set, corpus.sentences, spans)
        for name, corpus in self.data.scored()[-1:]:  # empty without dev and test
            write_predictions(output, corpus, result.predictions[name], scheme=parts.tag_set.written_scheme)
        return result

    def card(self, parts: AnyTaggerParts, metrics: Mapping[str, Any]) -> str:
        """Make the model card.

        Args:
            parts: The tagger.
            metrics: Metrics by split.

        Returns:
            The card, as Markdown.
        """
        return tagger_card(parts, metrics, self.settings, self.data.counts())


def _evaluate(
    parts: AnyTaggerParts, dev: Sequence[Sentence], encoded: Encoded, processes: engine.Processes
) -> engine.Evaluation:
    """Evaluate the network on dev; `encoded` has this process's share of the sentences."""
    try:
        local = [[span for span, _ in spans] for spans in predict_encoded(parts, encoded, scores=False)]
    except (ValueError, ModelError) as error:
        if all(torch.isfinite(weight).all() for weight in parts.network.parameters()):
            raise
        raise TrainingError(
            "training has diverged: weights are no longer finite; use a lower train.learning_rate"
        ) from error
    scores = score_spans(parts.tag_set, dev, gather_predictions(local, len(dev), parts.tag_set.labels, processes))
    return engine.Evaluation(selection_score(scores), scores)


def gather_predictions(
    local: list[list[TokenSpan]], sentences: int, labels: Sequence[str], processes: engine.Processes
) -> list[list[TokenSpan]]:
    """Gather the spans of all sentences from all processes, each with its share of the sentences.

    Args:
        local: Spans of each of this process's sentences, which are every `processes.count`-th one from its rank on.
        sentences: Number of all sentences.
        labels: Labels of spans, in the same order in all processes.
        processes: The processes of the run.

    Returns:
        The spans of each sentence.
    """
    if processes.count == 1:
        return local
    ids = {label: number for number, label in enumerate(labels)}
    rows = [
        (processes.rank + index * processes.count, span.start, span.end, ids[span.label])
        for index, spans in enumerate(local)
        for span in spans
    ]
    gathered: list[list[TokenSpan]] = [[] for _ in range(sentences)]
    for part in processes.gather(np.array(rows, dtype=np.int64).reshape(-1, 4)):
        for row, start, end, label in part.tolist():
            gathered[row].append(TokenSpan(start, end, labels[label]))
    return gathered
