"""`train cls`: one run, to be read from top to bottom."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from nlp_app import engine
from nlp_app.config import ClassSettings, DistilledClassSettings, TransformerClassSettings
from nlp_app.core.errors import TrainingError
from nlp_app.core.files import temporary_path
from nlp_app.data.classification.splits import ClassData, ClassSplit, read_class_splits
from nlp_app.inference.class_scores import EncodedForClassifier, decide_all, predict_scores, to_probabilities
from nlp_app.metrics.classes import class_headline, score_classes
from nlp_app.models import write_model
from nlp_app.nn.summary import summary_table
from nlp_app.reports.model_card import classifier_card
from nlp_app.reports.plots import draw_confusion, plotting_available
from nlp_app.storage.batching import Share
from nlp_app.training.classification.calibrate import _encoded, decision_of
from nlp_app.training.classification.examples import record_chunks
from nlp_app.training.classification.loss import training_loss
from nlp_app.training.classification.setup import prepare_classifier
from nlp_app.training.examples import Prepared, StoredExamples
from nlp_app.training.fit import fit, leave
from nlp_app.training.learner_setup import make_learner, place_of, scored_in, with_epochs
from nlp_app.training.runs.directory import RunDirectory
from nlp_app.training.runs.predictions import write_class_predictions
from nlp_app.training.runs.progress import Progress
from nlp_app.training.runs.record import stored_metrics
from nlp_app.training.runs.start import Launch, Watch, open_run, start_run

if TYPE_CHECKING:
    from nlp_app.models import AnyClassifierParts


def train_cls(
    settings: ClassSettings | TransformerClassSettings,
    output: Path,
    resume: bool = False,
    quiet: bool = False,
    watch: Watch | None = None,
) -> dict[str, Any]:
    """Train a classifier and leave its directory in `output`; returns what stands in metrics.json.

    watch: told of each epoch once it is kept. Of several processes each calls this, and the main one has the scores.
    Raises SettingsError, DataError or TrainingError; nothing in `output` has changed if data or settings are wrong.
    Raises Interrupted when told to stop, with everything saved that `resume` goes on from.
    """
    processes = engine.join_processes()
    progress = Progress(quiet or not processes.is_main)
    launch = Launch(output, resume, progress, watch, processes)
    with open_run(launch, "cls", settings) as run:
        if run is None:
            return stored_metrics(output) if processes.is_main else {}
        with processes.main_first():
            data = read_class_splits(settings.data, settings.train.seed)
        progress.say(*data.report(), "")
        if settings.train.threads:
            torch.set_num_threads(settings.train.threads)
        engine.seed_everything(settings.train.seed)
        with engine.deterministic(settings.train.deterministic):
            return _trained(settings, data, launch, run)


def _trained(
    settings: ClassSettings | TransformerClassSettings, data: ClassData, launch: Launch, run: RunDirectory
) -> dict[str, Any]:
    progress, processes = launch.progress, launch.processes
    loss = training_loss(settings.train, data.class_set, data.label_counts, data.train_size)
    with processes.main_first():
        prepared = _prepared(settings, data, progress)
    parts, examples = prepared.parts, prepared.examples
    parts.network.loss = loss
    progress.say(summary_table(parts.network), "")
    settings = with_epochs(settings, examples.batch_count())
    learner = make_learner(settings.train, parts.network, examples.batch_count(), prepared.rates, launch.processes)

    start_run(run, launch, "cls", settings, [*data.files(), *prepared.files], learner)
    scratch = temporary_path(launch.output / "texts")  # swept away by the next run, should this one be killed
    try:
        examples.store(scratch)
        progress.say(
            f"training: {data.train_size:,} texts, {examples.batch_count()} batches an epoch, on {place_of(learner)}"
        )
        with scored_in(parts.network, learner):
            fit(_Classification(data, parts, examples, processes), learner, settings, run, launch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return _finish(settings, data, parts, run, learner.state, progress) if processes.is_main else {}


def _prepared(
    settings: ClassSettings | TransformerClassSettings, data: ClassData, progress: Progress
) -> Prepared[AnyClassifierParts, StoredExamples]:
    if isinstance(settings, DistilledClassSettings):
        from nlp_app.training.distillation.setup import prepare_distilled_classifier  # noqa: PLC0415

        return prepare_distilled_classifier(settings, data, progress)
    if isinstance(settings, TransformerClassSettings):
        # It imports transformers, which takes a second that others needn't wait.
        from nlp_app.training.transformers.setup import prepare_transformer_classifier  # noqa: PLC0415

        return prepare_transformer_classifier(settings, data, progress)
    return prepare_classifier(settings, data, progress)


@dataclass(frozen=True)
class _Classification:
    """A classifier in training."""

    data: ClassData
    parts: AnyClassifierParts
    examples: StoredExamples
    processes: engine.Processes

    @property
    def source(self) -> str:
        return self.data.train.file.path

    @property
    def score_name(self) -> str:
        return "weighted F1"

    def batch_count(self) -> int:
        return self.examples.batch_count()

    def batches(self, epoch: int, share: Share) -> Iterator[engine.Batch]:
        return self.examples.batches(epoch, share)

    @property
    def evaluate(self) -> Callable[[], engine.Evaluation] | None:
        if self.data.dev is None:
            return None
        dev = self.data.dev
        own = dev.records[self.processes.rank :: self.processes.count]
        encoded = list(_encoded(self.parts, own))
        return lambda: self._score(dev, encoded)

    def _score(self, dev: ClassSplit, texts: Sequence[EncodedForClassifier]) -> engine.Evaluation:
        """The score of all of dev; texts: this process's share of it."""
        self.examples.release()
        classes, thresholds = self.parts.class_set, self.parts.decision.thresholds
        own: list[tuple[str, ...]] = []
        for encoded in texts:
            scores = predict_scores(self.parts, encoded)
            if not np.isfinite(scores).all():
                raise TrainingError("training has diverged: scores are no longer finite; lower the rates in [train]")
            own += classes.decide(to_probabilities(scores, self.parts), thresholds)
        found = self._of_all(own, len(dev.records))
        result = score_classes(self.parts.class_set, dev.gold, found)
        return engine.Evaluation(class_headline(result), _numbers(result))

    def _of_all(self, own: list[tuple[str, ...]], texts: int) -> list[tuple[str, ...]]:
        """What all processes found, each in its share of the texts."""
        if self.processes.count == 1:
            return own
        labels, ids, count = self.parts.class_set.labels, self.parts.class_set.ids, self.processes.count
        hot = np.zeros((len(own), len(labels)), dtype=np.uint8)
        for row, each in enumerate(own):
            hot[row, [ids[label] for label in each]] = 1
        together: list[tuple[str, ...]] = [()] * texts
        for rank, part in enumerate(self.processes.gather(hot)):
            together[rank::count] = [tuple(labels[place] for place in np.flatnonzero(row)) for row in part]
        return together

    def lines(self, rows: Iterable[int]) -> list[int]:
        wanted = set(self.examples.sources(rows))
        return [record.line for row, record in enumerate(self.data.train) if row in wanted]


def _numbers(scores: dict[str, Any]) -> dict[str, float]:
    """The plain numbers among scores: what a line of history has room for."""
    return {name: value for name, value in scores.items() if isinstance(value, float)}


def _finish(
    settings: ClassSettings | TransformerClassSettings,
    data: ClassData,
    parts: AnyClassifierParts,
    run: RunDirectory,
    state: engine.TrainState,
    progress: Progress,
) -> dict[str, Any]:
    """Calibrate and score the best model and put it, its scores and its predictions in place."""
    parts = run.load_best(state.best_epoch, parts)
    if data.dev is not None:
        parts = replace(parts, decision=decision_of(parts, data.dev))
    metrics: dict[str, Any] = {}
    for name, split in data.scored():
        texts = ([record.text for record in chunk] for chunk in record_chunks(split.records))
        found = decide_all(parts, texts, len(split.records))
        metrics[name] = score_classes(parts.class_set, split.gold, found.labels, found.probabilities)
        write_class_predictions(run.output, split.records, found.labels, found.best)
        confusion = metrics[name].get("confusion")
        if settings.track.plots and plotting_available() and confusion is not None:
            draw_confusion(confusion["labels"], confusion["matrix"], run.output / "confusion.png")
    leave(run, settings, metrics, classifier_card(parts, metrics, settings, data.counts()), progress)
    write_model(parts, run.output)
    run.close()
    chosen = "the best on dev" if data.dev is not None else "the last"
    progress.say("", f"the model of epoch {state.best_epoch}, {chosen}, is in {run.output}")
    return metrics
