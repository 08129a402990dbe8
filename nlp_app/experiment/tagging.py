"""`train ner`: one run, to be read from top to bottom."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from nlp_app import training
from nlp_app.card import tagger_card
from nlp_app.config import DistilledTaggingSettings, TaggingSettings, TransformerTaggingSettings
from nlp_app.errors import TrainingError
from nlp_app.experiment.fitting import fit, leave, make_learner, open_run, scored_in, with_epochs
from nlp_app.experiment.prepared import Examples, Prepared
from nlp_app.experiment.starting import read_start
from nlp_app.experiment.tagger_building import prepare_tagger
from nlp_app.modeldir import write_model
from nlp_app.nn.summary import summary_table
from nlp_app.predict import Tagger
from nlp_app.predict.emissions import Encoded
from nlp_app.predict.tagger import predict_encoded
from nlp_app.progress import Progress
from nlp_app.rundir import RunDirectory, check_output
from nlp_app.schemes import NONE
from nlp_app.splits import TaggingData, read_splits
from nlp_app.tasks.tagging import headline
from nlp_app.writing import write_predictions

if TYPE_CHECKING:
    from nlp_app.modeldir import AnyTaggerParts


def train_ner(
    settings: TaggingSettings | TransformerTaggingSettings, output: Path, resume: bool = False, quiet: bool = False
) -> dict[str, Any]:
    """Train a tagger and leave its directory in `output`; returns what stands in metrics.json.

    Raises SettingsError, DataError or TrainingError; nothing in `output` has changed if data or settings are wrong.
    """
    progress = Progress(quiet)
    check_output(output, "ner")
    settings, start = read_start(settings, output)
    data = read_splits(settings.data, settings.train.seed, start.tag_set.labels if start is not None else ())
    progress.say(*data.report(), "")
    if settings.train.threads:
        torch.set_num_threads(settings.train.threads)
    training.seed_everything(settings.train.seed)

    prepared: Prepared[AnyTaggerParts, Examples]
    if isinstance(settings, TransformerTaggingSettings):
        # It imports transformers, which takes a second that others needn't wait.
        from nlp_app.experiment.transformer_building import prepare_transformer_tagger  # noqa: PLC0415

        prepared = prepare_transformer_tagger(settings, data, progress, start)
    elif isinstance(settings, DistilledTaggingSettings):
        from nlp_app.experiment.distillation import prepare_distilled_tagger  # noqa: PLC0415

        prepared = prepare_distilled_tagger(settings, data, progress)
    else:
        prepared = prepare_tagger(settings, data, progress, start)
    parts, examples = prepared.parts, prepared.examples
    progress.say(summary_table(parts.network), "")
    settings = with_epochs(settings, examples.batch_count())
    learner = make_learner(settings.train, parts.network, examples.batch_count(), **prepared.rates)

    run = open_run(output, "ner", settings, [*data.files(), *prepared.files])
    run.start(learner, resume, progress)
    progress.say(
        f"training: {len(data.train.sentences):,} sentences, {examples.batch_count()} batches an epoch, "
        f"{examples.padding():.1%} padding, on {learner.accelerator.device}"
    )
    with scored_in(parts.network, learner):
        fit(_Tagging(data, parts, examples), learner, settings, run, progress)
    return _finish(settings, data, parts, run, learner.state, progress)


@dataclass(frozen=True)
class _Tagging:
    """A tagger in training."""

    data: TaggingData
    parts: AnyTaggerParts
    examples: Examples

    @property
    def source(self) -> str:
        return self.data.train.path

    @property
    def score_name(self) -> str:
        return "accuracy" if self.parts.tag_set.scheme == NONE else "F1"

    def batch_count(self) -> int:
        return self.examples.batch_count()

    def batches(self, epoch: int) -> Iterator[training.Batch]:
        return self.examples.batches(epoch)

    @cached_property
    def _dev(self) -> Encoded:
        return self.parts.encoder.encode([sentence.tokens for sentence in self.data.dev.sentences])

    @property
    def evaluate(self) -> Callable[[], training.Evaluation]:
        return self._score_dev

    def _score_dev(self) -> training.Evaluation:
        try:
            found = [[span for span, _ in spans] for spans in predict_encoded(self.parts, self._dev, scores=False)]
        except ValueError as error:
            if all(torch.isfinite(weight).all() for weight in self.parts.network.parameters()):
                raise
            raise TrainingError("training has diverged: weights are no longer finite; lower train.rate") from error
        scores = self.parts.tag_set.score(self.data.dev.sentences, found)
        return training.Evaluation(headline(scores), scores)

    def lines(self, rows: Iterable[int]) -> list[int]:
        return [self.data.train.sentences[place].lines[0] for place in self.examples.sources(rows)]


def _finish(
    settings: TaggingSettings | TransformerTaggingSettings,
    data: TaggingData,
    parts: AnyTaggerParts,
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
