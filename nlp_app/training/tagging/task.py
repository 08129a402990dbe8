"""`train ner`: one run, to be read from top to bottom."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from nlp_app import engine
from nlp_app.config import DistilledTaggingSettings, TaggingSettings, TransformerTaggingSettings
from nlp_app.core.errors import ModelError, TrainingError
from nlp_app.core.types import Sentence, TokenSpan
from nlp_app.data.tagging.splits import TaggingData, read_splits
from nlp_app.inference import Tagger
from nlp_app.inference.tag_decoding import predict_encoded
from nlp_app.inference.tag_scores import Encoded
from nlp_app.labels.schemes import NONE
from nlp_app.metrics.spans import headline, score_spans
from nlp_app.models import TaggerParts, write_model
from nlp_app.models.quantization import compact
from nlp_app.nn.summary import summary_table
from nlp_app.reports.model_card import tagger_card
from nlp_app.storage.batching import Share
from nlp_app.training.examples import Examples, Prepared
from nlp_app.training.fit import fit, leave
from nlp_app.training.learner_setup import make_learner, place_of, scored_in, with_epochs
from nlp_app.training.runs.directory import RunDirectory
from nlp_app.training.runs.predictions import write_predictions
from nlp_app.training.runs.progress import Progress
from nlp_app.training.runs.record import stored_metrics
from nlp_app.training.runs.start import Launch, Watch, open_run, start_run
from nlp_app.training.tagging.initial_model import read_start
from nlp_app.training.tagging.outside_bias import shift_outside
from nlp_app.training.tagging.setup import prepare_tagger

if TYPE_CHECKING:
    from nlp_app.models import AnyTaggerParts


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

    watch: told of each epoch once it is kept. Of several processes each calls this, and the main one has the scores.
    Raises SettingsError, DataError or TrainingError; nothing in `output` has changed if data or settings are wrong.
    Raises Interrupted when told to stop, with everything saved that `resume` goes on from.
    """
    processes = engine.join_processes()
    progress = Progress(quiet or not processes.is_main)
    launch = Launch(output, resume, progress, watch, processes)
    with open_run(launch, "ner", settings) as run:
        if run is None:
            return stored_metrics(output) if processes.is_main else {}
        with processes.main_first():
            settings, start = read_start(settings, output)
            data = read_splits(settings.data, settings.train.seed, start.tag_set.labels if start is not None else ())
        progress.say(*data.report(), "")
        return train_tagger(settings, start, data, launch, run).metrics


def train_tagger(
    settings: TaggingSettings | TransformerTaggingSettings,
    start: AnyTaggerParts | None,
    data: TaggingData,
    launch: Launch,
    run: RunDirectory,
) -> TrainedTagger:
    """`train_ner` on data that have been read, with the settings and the tagger that `read_start` gave."""
    if settings.train.threads:
        torch.set_num_threads(settings.train.threads)
    engine.seed_everything(settings.train.seed)
    with engine.deterministic(settings.train.deterministic):
        return _trained(settings, start, data, launch, run)


def _trained(
    settings: TaggingSettings | TransformerTaggingSettings,
    start: AnyTaggerParts | None,
    data: TaggingData,
    launch: Launch,
    run: RunDirectory,
) -> TrainedTagger:
    progress = launch.progress
    with launch.processes.main_first():
        prepared = _prepared(settings, start, data, progress)
    parts, examples = prepared.parts, prepared.examples
    progress.say(summary_table(parts.network), "")
    settings = with_epochs(settings, examples.batch_count())
    learner = make_learner(settings.train, parts.network, examples.batch_count(), prepared.rates, launch.processes)

    start_run(run, launch, "ner", settings, [*data.files(), *prepared.files], learner)
    progress.say(
        f"training: {len(data.train.sentences):,} sentences, {examples.batch_count()} batches an epoch, "
        f"{examples.padding():.1%} padding, on {place_of(learner)}"
    )
    with scored_in(parts.network, learner):
        fit(_Tagging(data, parts, examples, launch.processes), learner, settings, run, launch)
    if not launch.processes.is_main:
        return TrainedTagger({}, {})
    return _finish(settings, data, parts, run, learner.state, progress)


def _prepared(
    settings: TaggingSettings | TransformerTaggingSettings,
    start: AnyTaggerParts | None,
    data: TaggingData,
    progress: Progress,
) -> Prepared[AnyTaggerParts, Examples]:
    if isinstance(settings, TransformerTaggingSettings):
        # It imports transformers, which takes a second that others needn't wait.
        from nlp_app.training.transformers.setup import prepare_transformer_tagger  # noqa: PLC0415

        return prepare_transformer_tagger(settings, data, progress, start)
    if isinstance(settings, DistilledTaggingSettings):
        from nlp_app.training.distillation.setup import prepare_distilled_tagger  # noqa: PLC0415

        return prepare_distilled_tagger(settings, data, progress)
    return prepare_tagger(settings, data, progress, start)


@dataclass(frozen=True)
class _Tagging:
    """A tagger in training."""

    data: TaggingData
    parts: AnyTaggerParts
    examples: Examples
    processes: engine.Processes

    @property
    def source(self) -> str:
        return self.data.train.path

    @property
    def score_name(self) -> str:
        return "accuracy" if self.parts.tag_set.scheme == NONE else "F1"

    def batch_count(self) -> int:
        return self.examples.batch_count()

    def batches(self, epoch: int, share: Share) -> Iterator[engine.Batch]:
        return self.examples.batches(epoch, share)

    @property
    def evaluate(self) -> Callable[[], engine.Evaluation] | None:
        if self.data.dev is None:
            return None
        dev = self.data.dev.sentences
        own = dev[self.processes.rank :: self.processes.count]
        encoded = self.parts.encoder.encode([sentence.tokens for sentence in own])
        return lambda: self._score(dev, encoded)

    def _score(self, dev: Sequence[Sentence], encoded: Encoded) -> engine.Evaluation:
        """The score of all of dev; encoded: this process's share of it."""
        try:
            found = [[span for span, _ in spans] for spans in predict_encoded(self.parts, encoded, scores=False)]
        except (ValueError, ModelError) as error:
            if all(torch.isfinite(weight).all() for weight in self.parts.network.parameters()):
                raise
            raise TrainingError("training has diverged: weights are no longer finite; lower train.rate") from error
        scores = score_spans(self.parts.tag_set, dev, self._of_all(found, len(dev)))
        return engine.Evaluation(headline(scores), scores)

    def _of_all(self, found: list[list[TokenSpan]], sentences: int) -> list[list[TokenSpan]]:
        """What all processes found, each in its share of the sentences."""
        if self.processes.count == 1:
            return found
        labels, rank, count = self.parts.tag_set.labels, self.processes.rank, self.processes.count
        ids = {label: number for number, label in enumerate(labels)}
        own = [
            (rank + place * count, span.start, span.end, ids[span.label])
            for place, spans in enumerate(found)
            for span in spans
        ]
        together: list[list[TokenSpan]] = [[] for _ in range(sentences)]
        for part in self.processes.gather(np.array(own, dtype=np.int64).reshape(-1, 4)):
            for row, start, end, label in part.tolist():
                together[row].append(TokenSpan(start, end, labels[label]))
        return together

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
    state: engine.TrainState,
    progress: Progress,
) -> TrainedTagger:
    """Score the best model and put it, its scores and its predictions in place."""
    parts = _completed(settings, run.load_best(state.best_epoch, parts), data, progress)
    tagger = Tagger(parts)
    metrics: dict[str, Any] = {}
    found: dict[str, list[list[TokenSpan]]] = {}
    for name, corpus in data.scored():
        found[name] = tagger.token_spans([sentence.tokens for sentence in corpus.sentences])
        metrics[name] = score_spans(parts.tag_set, corpus.sentences, found[name])
    for name, corpus in data.scored()[-1:]:  # none without dev and test
        write_predictions(run.output, corpus, found[name], scheme=parts.tag_set.written_scheme)
    leave(run, settings, metrics, tagger_card(parts, metrics, settings, data.counts()), progress)
    write_model(parts, run.output)
    run.close()
    chosen = "the best on dev" if data.dev is not None else "the last"
    progress.say("", f"the model of epoch {state.best_epoch}, {chosen}, is in {run.output}")
    return TrainedTagger(metrics, found)
