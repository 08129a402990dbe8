"""One training run, from files to a model directory, to be read from top to bottom.

output/
  nlp_app.json  model.safetensors  vocab/  README.md     the best model, and its card
  config.toml  metrics.json  predictions.conll|jsonl     settings as resolved, scores, what was found
  history.jsonl                                          a line an epoch, as training goes on
  checkpoints/                                           what `--resume` continues from
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nlp_app import training
from nlp_app.card import model_card
from nlp_app.config import Settings, write_settings
from nlp_app.errors import NlpAppError, SettingsError, TrainingError
from nlp_app.features.columns import Columns, collate, padding_share, training_batches
from nlp_app.features.encoder import TaggingEncoder, hide_singletons
from nlp_app.features.vectors import Vectors, read_vectors
from nlp_app.modeldir import TaggerParts, save_tagger
from nlp_app.nn.summary import summary_table
from nlp_app.nn.tagger import TableSizes, TaggerDimensions, WideBiLstmCrf
from nlp_app.predict import Tagger, predict_columns
from nlp_app.progress import Progress
from nlp_app.rundir import RunDirectory, check_output
from nlp_app.schemes import NONE
from nlp_app.splits import TaggingData, read_splits
from nlp_app.tasks.tagging import TagSet, headline
from nlp_app.types import Sentence
from nlp_app.writing import write_predictions, write_text


def train_ner(settings: Settings, output: Path, resume: bool = False, quiet: bool = False) -> dict[str, Any]:
    """Train a tagger and leave its directory in `output`; returns what stands in metrics.json.

    Raises SettingsError, DataError or TrainingError; nothing in `output` has changed if data or settings are wrong.
    """
    progress = Progress(quiet)
    check_output(output)
    data = read_splits(settings.data, settings.train.seed)
    progress.say(*data.report(), "")
    if settings.train.threads:
        torch.set_num_threads(settings.train.threads)
    training.seed_everything(settings.train.seed)

    vectors = _vectors(settings, progress)
    parts = _parts(settings, data, vectors)
    progress.say(summary_table(parts.network), "")
    train_columns = _with_targets(parts, data.train.sentences)
    learner = _learner(settings, parts, train_columns)

    directory = RunDirectory(output, settings.model_dump(), data.checksums())
    directory.start(learner, resume, progress)
    run = _Run(settings, data, parts, directory, progress)
    try:
        run.fit(learner, train_columns)
    except NlpAppError:
        directory.discard_if_empty()
        raise
    return run.finish(learner.state)


def _vectors(settings: Settings, progress: Progress) -> Vectors | None:
    if not settings.model.vectors:
        return None
    vectors = read_vectors(Path(settings.model.vectors))
    rows, width = vectors.matrix.shape
    progress.say(f"vectors: {rows:,} of {width} dimensions; {vectors.untrained} untrained rows left out")
    return vectors


def _parts(settings: Settings, data: TaggingData, vectors: Vectors | None) -> TaggerParts:
    model = settings.model
    scheme = "none" if data.train.scheme == "none" else model.scheme
    tag_set = TagSet.of(data.train.sentences, scheme)
    encoder = TaggingEncoder.fit(
        [sentence.tokens for sentence in data.train.sentences],
        data.tokenizer.normalise,
        min_count=model.min_count,
        vectors=vectors.vocabulary if vectors else None,
    )
    dimensions = TaggerDimensions(
        norm=model.norm,
        shape=model.shape,
        part=model.part,
        vector=vectors.matrix.shape[1] if vectors else 0,
        hidden=model.hidden,
        layers=model.layers,
        input_dropout=model.input_dropout,
        hidden_dropout=model.hidden_dropout,
        feature_dropout=model.feature_dropout,
        wide_dropout=model.wide_dropout,
    )
    network = _network(tag_set, TableSizes(**encoder.sizes), dimensions)
    if vectors is not None:
        network.set_vectors(torch.from_numpy(vectors.matrix), trained=model.train_vectors)
    return TaggerParts(network, encoder, tag_set, data.tokenizer, data.about())


def _network(tag_set: TagSet, sizes: TableSizes, dimensions: TaggerDimensions) -> WideBiLstmCrf:
    try:
        return WideBiLstmCrf(len(tag_set.tags), torch.from_numpy(tag_set.allowed), sizes, dimensions)
    except RuntimeError as error:
        if "memory" not in str(error):
            raise
        raise SettingsError("model: the network doesn't fit into memory; give it smaller dimensions") from error


def _with_targets(parts: TaggerParts, sentences: list[Sentence]) -> Columns:
    columns = parts.encoder.encode([sentence.tokens for sentence in sentences])
    return Columns(columns.arrays | {"tags": parts.tag_set.targets(sentences)}, columns.offsets)


def _learner(settings: Settings, parts: TaggerParts, columns: Columns) -> training.Learner:
    train = settings.train
    accelerator = training.make_accelerator(train.precision)
    network = training.place_model(parts.network, accelerator)
    optimizers = training.make_optimizers(
        network,
        training.OptimizerOptions(
            name=train.optimizer,
            lr=train.rate,
            weight_decay=train.weight_decay,
            momentum=train.momentum,
            sparse_lr=train.sparse_rate,
            rate_factors={"crf.": train.crf_rate / train.rate},
        ),
    )
    first_epoch = len(_rows(settings, columns, epoch=1))
    windows = -(-first_epoch // train.accumulation)
    schedule = training.Schedule(
        training.ScheduleOptions(
            total_steps=windows * train.epochs,
            name=train.schedule,
            warmup=train.warmup,
            every=windows * train.step_epochs,
            factor=train.factor,
        )
    )
    average = training.WeightAverage(parts.network, train.ema) if train.ema else None
    return training.Learner(network, optimizers, schedule, accelerator, train.seed, average)


def _rows(settings: Settings, columns: Columns, epoch: int) -> list[NDArray[np.int64]]:
    train = settings.train
    return training_batches(columns.lengths, train.batch_tokens, seed=train.seed, epoch=epoch)


@dataclass(frozen=True)
class _Batch:
    inputs: dict[str, Tensor]
    targets: int
    rows: list[int]


def _batches(settings: Settings, columns: Columns, rare: NDArray[np.bool_], epoch: int) -> Iterator[_Batch]:
    """The batches of an epoch; they follow from the data, the seed and the epoch alone."""
    random = np.random.default_rng((settings.train.seed, epoch, 1))
    for rows in _rows(settings, columns, epoch):
        arrays = collate(columns, rows)
        hide_singletons(arrays["norms"], rare, settings.model.unknown_share, random)
        inputs = {name: torch.from_numpy(array) for name, array in arrays.items()}
        yield _Batch(inputs, int(arrays["mask"].sum()), rows.tolist())


@dataclass(frozen=True)
class _Run:
    """What training and scoring share."""

    settings: Settings
    data: TaggingData
    parts: TaggerParts
    directory: RunDirectory
    progress: Progress

    def fit(self, learner: training.Learner, columns: Columns) -> None:
        """Train, leaving a line of history and a checkpoint an epoch, and the best model so far."""
        settings, train = self.settings, self.settings.train
        rows = _rows(settings, columns, epoch=1)
        self.progress.say(
            f"training: {len(columns):,} sentences, {len(rows)} batches an epoch, "
            f"{padding_share(columns.lengths, rows):.1%} padding, on {learner.accelerator.device}"
        )
        rare = np.bincount(columns.arrays["norms"], minlength=self.parts.encoder.sizes["norms"]) == 1
        options = training.LoopOptions(
            epochs=train.epochs,
            accumulation=train.accumulation,
            max_grad_norm=train.clip or None,
            patience=train.patience or None,
        )
        done = learner.state.step + learner.state.skipped
        updates = -(-len(rows) // train.accumulation) * train.epochs
        score = "accuracy" if self.parts.tag_set.scheme == NONE else "F1"
        with self.progress.training(train.epochs, done, updates, score) as show:
            try:
                for report in training.train(
                    learner,
                    lambda epoch: _batches(settings, columns, rare, epoch),
                    self._evaluation(),
                    options,
                ):
                    show(report)
                    if isinstance(report, training.EpochReport):
                        self._keep(report, learner)
            except training.NonFiniteError as error:
                lines = sorted({self.data.train.sentences[row].lines[0] for row in error.rows})
                first = ", ".join(map(str, lines[:8])) + (", ..." if len(lines) > 8 else "")
                raise TrainingError(f"{error}; the rows' lines in {self.data.train.path}: {first}") from error

    def _evaluation(self) -> Callable[[], training.Evaluation]:
        dev = self.data.dev.sentences
        columns = self.parts.encoder.encode([sentence.tokens for sentence in dev])

        def evaluate() -> training.Evaluation:
            try:
                found = [[span for span, _ in spans] for spans in predict_columns(self.parts, columns, scores=False)]
            except ValueError as error:
                if all(torch.isfinite(weight).all() for weight in self.parts.network.parameters()):
                    raise
                raise TrainingError("training has diverged: weights are no longer finite; lower train.rate") from error
            scores = self.parts.tag_set.score(dev, found)
            return training.Evaluation(headline(scores), scores)

        return evaluate

    def _keep(self, report: training.EpochReport, learner: training.Learner) -> None:
        line = {
            "epoch": report.epoch,
            "step": report.step,
            "train_loss": report.train_loss,
            "dev": report.metrics,
            "best": report.is_best,
            "rates": learner.optimizers.rates(),
            "skipped": report.skipped,
            "seconds": round(report.seconds, 3),
        }
        self.directory.keep(line, learner, self.parts)

    def finish(self, state: training.TrainState) -> dict[str, Any]:
        """Score the best model and put it, its scores and its predictions in place."""
        output = self.directory.output
        parts = self.directory.load_best(state.best_epoch)
        tagger = Tagger(parts)
        metrics: dict[str, Any] = {}
        for name, corpus in self.data.scored():
            found = tagger.token_spans([sentence.tokens for sentence in corpus.sentences])
            metrics[name] = parts.tag_set.score(corpus.sentences, found)
            predictions = (corpus, found)
        card = model_card(parts, metrics, self.settings, self.data.counts())
        write_predictions(output, *predictions, scheme=parts.tag_set.scheme)
        write_text(output / "metrics.json", json.dumps(metrics, ensure_ascii=False, indent=1) + "\n")
        write_text(output / "config.toml", write_settings(self.settings))
        write_text(output / "README.md", card)
        save_tagger(parts, output)
        self.directory.close()
        self.progress.say("", f"the model of epoch {state.best_epoch}, the best on dev, is in {output}")
        return metrics
