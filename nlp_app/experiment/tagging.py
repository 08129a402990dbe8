"""`train ner`: one run, to be read from top to bottom."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from nlp_app import training
from nlp_app.card import tagger_card
from nlp_app.config import TaggingSettings
from nlp_app.errors import TrainingError
from nlp_app.experiment.fitting import epochs_of, fit, leave, load_vectors, make_learner, open_run
from nlp_app.experiment.tagger_building import TaggingBatch, epoch_batches, epoch_rows, make_parts, training_columns
from nlp_app.features.columns import Columns, padding_share
from nlp_app.modeldir import TaggerParts, write_model
from nlp_app.nn.summary import summary_table
from nlp_app.predict import Tagger
from nlp_app.predict.tagger import predict_columns
from nlp_app.progress import Progress
from nlp_app.rundir import RunDirectory, check_output
from nlp_app.schemes import NONE
from nlp_app.splits import TaggingData, read_splits
from nlp_app.tasks.tagging import headline
from nlp_app.writing import write_predictions


def train_ner(settings: TaggingSettings, output: Path, resume: bool = False, quiet: bool = False) -> dict[str, Any]:
    """Train a tagger and leave its directory in `output`; returns what stands in metrics.json.

    Raises SettingsError, DataError or TrainingError; nothing in `output` has changed if data or settings are wrong.
    """
    progress = Progress(quiet)
    check_output(output, "ner")
    data = read_splits(settings.data, settings.train.seed)
    progress.say(*data.report(), "")
    if settings.train.threads:
        torch.set_num_threads(settings.train.threads)
    training.seed_everything(settings.train.seed)

    parts = make_parts(settings, data, load_vectors(settings.model.vectors, progress))
    progress.say(summary_table(parts.network), "")
    course = _Tagging(settings, data, parts, training_columns(parts, data.train.sentences))
    epochs = epochs_of(settings.train, course.batch_count())
    settings = settings.model_copy(update={"train": settings.train.model_copy(update={"epochs": epochs})})
    factors = {"crf.": settings.train.crf_rate / settings.train.rate}
    learner = make_learner(
        settings.train,
        parts.network,
        course.batch_count(),
        rate_factors=factors,
        sparse_rate=settings.train.sparse_rate,
    )

    files = [*data.files(), *([Path(settings.model.vectors)] if settings.model.vectors else [])]
    run = open_run(output, "ner", settings, files)
    run.start(learner, resume, progress)
    progress.say(
        f"training: {len(course.columns):,} sentences, {course.batch_count()} batches an epoch, "
        f"{padding_share(course.columns.lengths, course.first_rows):.1%} padding, on {learner.accelerator.device}"
    )
    fit(course, learner, settings, run, progress)
    return _finish(settings, data, parts, run, learner.state, progress)


@dataclass(frozen=True)
class _Tagging:
    """A tagger in training."""

    settings: TaggingSettings
    data: TaggingData
    parts: TaggerParts
    columns: Columns

    @property
    def source(self) -> str:
        return self.data.train.path

    @property
    def score_name(self) -> str:
        return "accuracy" if self.parts.tag_set.scheme == NONE else "F1"

    @cached_property
    def first_rows(self) -> list[Any]:
        """The sentences of each batch of the first epoch."""
        return epoch_rows(self.settings, self.columns, epoch=1)

    def batch_count(self) -> int:
        return len(self.first_rows)

    def batches(self, epoch: int) -> Iterator[TaggingBatch]:
        return epoch_batches(self.settings, self.columns, epoch)

    @cached_property
    def _dev(self) -> Columns:
        return self.parts.encoder.encode([sentence.tokens for sentence in self.data.dev.sentences])

    @property
    def evaluate(self) -> Callable[[], training.Evaluation]:
        return self._score_dev

    def _score_dev(self) -> training.Evaluation:
        try:
            found = [[span for span, _ in spans] for spans in predict_columns(self.parts, self._dev, scores=False)]
        except ValueError as error:
            if all(torch.isfinite(weight).all() for weight in self.parts.network.parameters()):
                raise
            raise TrainingError("training has diverged: weights are no longer finite; lower train.rate") from error
        scores = self.parts.tag_set.score(self.data.dev.sentences, found)
        return training.Evaluation(headline(scores), scores)

    def lines(self, rows: Iterable[int]) -> list[int]:
        return [self.data.train.sentences[row].lines[0] for row in rows]


def _finish(
    settings: TaggingSettings,
    data: TaggingData,
    parts: TaggerParts,
    run: RunDirectory,
    state: training.TrainState,
    progress: Progress,
) -> dict[str, Any]:
    """Score the best model and put it, its scores and its predictions in place."""
    run.load_best(state.best_epoch, parts)
    tagger = Tagger(parts)
    metrics: dict[str, Any] = {}
    for name, corpus in data.scored():
        found = tagger.token_spans([sentence.tokens for sentence in corpus.sentences])
        metrics[name] = parts.tag_set.score(corpus.sentences, found)
        predictions = (corpus, found)
    write_predictions(run.output, *predictions, scheme=parts.tag_set.written_scheme)
    leave(run, settings, metrics, tagger_card(parts, metrics, settings, data.counts()), progress)
    write_model(parts, run.output)
    run.close()
    progress.say("", f"the model of epoch {state.best_epoch}, the best on dev, is in {run.output}")
    return metrics
