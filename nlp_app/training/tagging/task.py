"""The steps of a training run that are particular to taggers."""

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
    """A run that trains a tagger. start: the initial model, if there is one."""

    settings: TaggingSettings | TransformerTaggingSettings
    data: TaggingData
    start: AnyTaggerParts | None = None

    name: ClassVar[str] = "ner"

    @staticmethod
    def read(settings: TaggingSettings | TransformerTaggingSettings, output: Path) -> TaggingTask:
        """Read the initial model and the splits."""
        settings, start = read_initial_model(settings, output)
        data = read_splits(settings.data, settings.train.seed, start.tag_set.labels if start is not None else ())
        return TaggingTask(settings, data, start)

    @property
    def source(self) -> str:
        """Path of the training data."""
        return self.data.train.path

    @property
    def has_dev(self) -> bool:
        """True if there is a dev set."""
        return self.data.dev is not None

    def prepare(self, progress: Progress) -> PreparedRun[AnyTaggerParts, Examples]:
        """Make the untrained tagger, or extend the initial one, and encode the training sentences."""
        return load_prepare(type(self.settings))(self.settings, self.data, progress, self.start)

    def with_epochs(self, batches: int) -> TaggingTask:
        """Return the task with the number of epochs in its settings."""
        return replace(self, settings=with_epochs(self.settings, batches))

    def summary(self, examples: Examples) -> str:
        """Sizes of the training data, for a person."""
        return (
            f"{len(self.data.train.sentences):,} sentences, {examples.batch_count()} batches an epoch, "
            f"{examples.padding():.1%} padding"
        )

    def stored(self, examples: Examples, output: Path) -> AbstractContextManager[None]:
        """Do nothing: the encoded sentences are in the cache."""
        return nullcontext()

    def score_name(self, parts: AnyTaggerParts) -> str:
        """Name of the dev score."""
        return "accuracy" if parts.tag_set.scheme == NONE else "F1"

    def evaluator(
        self, parts: AnyTaggerParts, examples: Examples, processes: engine.Processes
    ) -> Callable[[], engine.Evaluation] | None:
        """Encode this process's share of dev; return a function that scores the network on all of dev."""
        if self.data.dev is None:
            return None
        dev = self.data.dev.sentences
        local = dev[processes.rank :: processes.count]
        encoded = parts.encoder.encode([sentence.tokens for sentence in local])
        return lambda: _evaluate(parts, dev, encoded, processes)

    def lines(self, places: Iterable[int]) -> list[int]:
        """First lines of sentences in the training file."""
        return [self.data.train.sentences[place].lines[0] for place in places]

    def complete(self, parts: AnyTaggerParts, progress: Progress) -> AnyTaggerParts:
        """Quantize a BiLSTM-CRF and tune its outside bias on dev, before it is scored: the saved model is scored."""
        if not isinstance(self.settings, TaggingSettings) or not isinstance(parts, TaggerParts):
            return parts
        if self.settings.model.quantize:
            parts = quantize(parts)
        if self.settings.train.tune_outside_bias and self.data.dev is not None and parts.tag_set.scheme != NONE:
            shift = tune_outside_bias(parts, self.data.dev.sentences)
            if shift:
                progress.say("", f"the score of O is lowered by {shift:g}, by which dev F1 gains")
        return parts

    def score(self, parts: AnyTaggerParts, output: Path) -> TrainingResult:
        """Score the finished tagger on dev and test, and write its predictions on the last of them."""
        tagger = Tagger(parts)
        result = TrainingResult()
        for name, corpus in self.data.scored():
            spans = tagger.token_spans([sentence.tokens for sentence in corpus.sentences])
            result.predictions[name] = spans
            result.metrics[name] = score_spans(parts.tag_set, corpus.sentences, spans)
        for name, corpus in self.data.scored()[-1:]:  # none without dev and test
            write_predictions(output, corpus, result.predictions[name], scheme=parts.tag_set.written_scheme)
        return result

    def card(self, parts: AnyTaggerParts, metrics: Mapping[str, Any]) -> str:
        """Make the model card."""
        return tagger_card(parts, metrics, self.settings, self.data.counts())


def _evaluate(
    parts: AnyTaggerParts, dev: Sequence[Sentence], encoded: Encoded, processes: engine.Processes
) -> engine.Evaluation:
    """Score the network on dev. encoded: this process's share of the sentences."""
    try:
        local = [[span for span, _ in spans] for spans in predict_encoded(parts, encoded, scores=False)]
    except (ValueError, ModelError) as error:
        if all(torch.isfinite(weight).all() for weight in parts.network.parameters()):
            raise
        raise TrainingError("training has diverged: weights are no longer finite; lower train.learning_rate") from error
    scores = score_spans(parts.tag_set, dev, gather_predictions(local, len(dev), parts.tag_set.labels, processes))
    return engine.Evaluation(selection_score(scores), scores)


def gather_predictions(
    local: list[list[TokenSpan]], sentences: int, labels: Sequence[str], processes: engine.Processes
) -> list[list[TokenSpan]]:
    """Collect the spans of all sentences from all processes, each of which has tagged its share of them.

    Args:
        local: This process's spans, of each of its sentences: those at its rank, and every `processes.count` further.
        sentences: The number of all sentences.
        labels: The labels of spans, in the same order in all processes.
        processes: This process and the others.

    Returns:
        The spans of each sentence.
    """
    if processes.count == 1:
        return local
    ids = {label: number for number, label in enumerate(labels)}
    rows = [
        (processes.rank + place * processes.count, span.start, span.end, ids[span.label])
        for place, spans in enumerate(local)
        for span in spans
    ]
    gathered: list[list[TokenSpan]] = [[] for _ in range(sentences)]
    for part in processes.gather(np.array(rows, dtype=np.int64).reshape(-1, 4)):
        for row, start, end, label in part.tolist():
            gathered[row].append(TokenSpan(start, end, labels[label]))
    return gathered
