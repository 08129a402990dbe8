"""`train ner`: one run, to be read from top to bottom."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from nlp_app import training
from nlp_app.card import tagger_card
from nlp_app.config import DistilledTaggingSettings, TaggingSettings, TransformerTaggingSettings
from nlp_app.errors import TrainingError
from nlp_app.experiment.fitting import Launch, Watch, fit, leave, make_learner, open_run, scored_in, with_epochs
from nlp_app.experiment.operating_point import shift_outside
from nlp_app.experiment.prepared import Examples, Prepared
from nlp_app.experiment.starting import read_start
from nlp_app.experiment.tagger_building import prepare_tagger
from nlp_app.modeldir import TaggerParts, write_model
from nlp_app.modeldir.compacting import compact
from nlp_app.nn.summary import summary_table
from nlp_app.predict import Tagger
from nlp_app.predict.emissions import Encoded
from nlp_app.predict.tagger import predict_encoded
from nlp_app.progress import Progress
from nlp_app.rundir import RunDirectory, check_output
from nlp_app.schemes import NONE
from nlp_app.splits import TaggingData, read_splits
from nlp_app.tasks.tagging import headline
from nlp_app.types import Sentence, TokenSpan
from nlp_app.writing import write_predictions

if TYPE_CHECKING:
    from nlp_app.modeldir import AnyTaggerParts


@dataclass(frozen=True)
class TrainedTagger:
    """What a run came to: scores and found spans of each split that the finished model was scored on."""

    metrics: dict[str, Any]
    found: dict[str, list[list[TokenSpan]]]


def train_ner(
    settings: TaggingSettings | TransformerTaggingSettings,
    output: Path,
    resume: bool = False,
    quiet: bool = False,
    watch: Watch | None = None,
) -> dict[str, Any]:
    """Train a tagger and leave its directory in `output`; returns what stands in metrics.json.

    watch: told of each epoch once it is kept. Raises SettingsError, DataError or TrainingError; nothing in `output` has
    changed if data or settings are wrong.
    """
    progress = Progress(quiet)
    check_output(output, "ner")
    settings, start = read_start(settings, output)
    data = read_splits(settings.data, settings.train.seed, start.tag_set.labels if start is not None else ())
    progress.say(*data.report(), "")
    return train_tagger(settings, start, data, Launch(output, resume, progress, watch)).metrics


def train_tagger(
    settings: TaggingSettings | TransformerTaggingSettings,
    start: AnyTaggerParts | None,
    data: TaggingData,
    launch: Launch,
) -> TrainedTagger:
    """`train_ner` on data that have been read, with the settings and the tagger that `read_start` gave."""
    progress = launch.progress
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

    run = open_run(launch.output, "ner", settings, [*data.files(), *prepared.files])
    run.start(learner, launch.resume, progress)
    progress.say(
        f"training: {len(data.train.sentences):,} sentences, {examples.batch_count()} batches an epoch, "
        f"{examples.padding():.1%} padding, on {learner.accelerator.device}"
    )
    with scored_in(parts.network, learner):
        fit(_Tagging(data, parts, examples), learner, settings, run, launch)
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

    @property
    def evaluate(self) -> Callable[[], training.Evaluation] | None:
        if self.data.dev is None:
            return None
        dev = self.data.dev.sentences
        encoded = self.parts.encoder.encode([sentence.tokens for sentence in dev])
        return lambda: self._score(dev, encoded)

    def _score(self, dev: list[Sentence], encoded: Encoded) -> training.Evaluation:
        try:
            found = [[span for span, _ in spans] for spans in predict_encoded(self.parts, encoded, scores=False)]
        except ValueError as error:
            if all(torch.isfinite(weight).all() for weight in self.parts.network.parameters()):
                raise
            raise TrainingError("training has diverged: weights are no longer finite; lower train.rate") from error
        scores = self.parts.tag_set.score(dev, found)
        return training.Evaluation(headline(scores), scores)

    def lines(self, rows: Iterable[int]) -> list[int]:
        return [self.data.train.sentences[place].lines[0] for place in self.examples.sources(rows)]


def _completed(
    settings: TaggingSettings | TransformerTaggingSettings, parts: AnyTaggerParts, data: TaggingData, progress: Progress
) -> AnyTaggerParts:
    """The tagger with what is done to it after training, before it is scored: what is saved is what is scored."""
    if not isinstance(settings, TaggingSettings) or not isinstance(parts, TaggerParts):
        return parts
    if settings.model.compact:
        parts = compact(parts)
    if settings.train.shift_outside and data.dev is not None and parts.tag_set.scheme != NONE:
        shift = shift_outside(parts, data.dev.sentences)
        if shift:
            progress.say("", f"the score of O is lowered by {shift:g}, by which dev F1 gains")
    return parts


def _finish(
    settings: TaggingSettings | TransformerTaggingSettings,
    data: TaggingData,
    parts: AnyTaggerParts,
    run: RunDirectory,
    state: training.TrainState,
    progress: Progress,
) -> TrainedTagger:
    """Score the best model and put it, its scores and its predictions in place."""
    finished = run.finished_model(state.best_epoch)
    if finished is None:
        parts = _completed(settings, run.load_best(state.best_epoch, parts), data, progress)
    else:
        parts = cast("AnyTaggerParts", finished)
    tagger = Tagger(parts)
    metrics: dict[str, Any] = {}
    found: dict[str, list[list[TokenSpan]]] = {}
    for name, corpus in data.scored():
        found[name] = tagger.token_spans([sentence.tokens for sentence in corpus.sentences])
        metrics[name] = parts.tag_set.score(corpus.sentences, found[name])
    for name, corpus in data.scored()[-1:]:  # none without dev and test
        write_predictions(run.output, corpus, found[name], scheme=parts.tag_set.written_scheme)
    leave(run, settings, metrics, tagger_card(parts, metrics, settings, data.counts()), progress)
    write_model(parts, run.output)
    run.close()
    chosen = "the best on dev" if data.dev is not None else "the last"
    progress.say("", f"the model of epoch {state.best_epoch}, {chosen}, is in {run.output}")
    return TrainedTagger(metrics, found)
