"""One training run, from files to a model directory, to be read from top to bottom.

output/
  nlp_app.json  model.safetensors  vocab/  README.md     the best model, and its card
  config.toml  metrics.json  predictions.conll|jsonl     settings as resolved, scores, what was found
  history.jsonl                                          a line an epoch, as training goes on
  checkpoints/                                           what `--resume` continues from
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nlp_app import training
from nlp_app.building import (
    epoch_batches,
    epoch_rows,
    load_vectors,
    make_learner,
    make_parts,
    training_columns,
    updates_an_epoch,
    with_epochs,
)
from nlp_app.card import model_card
from nlp_app.config import Settings, write_settings
from nlp_app.errors import NlpAppError, TrainingError
from nlp_app.features.columns import Columns, padding_share
from nlp_app.modeldir import TaggerParts, save_tagger
from nlp_app.nn.summary import summary_table
from nlp_app.output import checksum
from nlp_app.predict import Tagger, predict_columns
from nlp_app.progress import Progress
from nlp_app.rundir import RunDirectory, check_output
from nlp_app.schemes import NONE
from nlp_app.splits import TaggingData, read_splits
from nlp_app.tasks.tagging import headline
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

    parts = make_parts(settings, data, load_vectors(settings, progress))
    progress.say(summary_table(parts.network), "")
    columns = training_columns(parts, data.train.sentences)
    settings = with_epochs(settings, columns)
    learner = make_learner(settings, parts, columns)

    files = [*data.files(), *([Path(settings.model.vectors)] if settings.model.vectors else [])]
    directory = RunDirectory(output, settings.model_dump(), {str(path): checksum(path) for path in files})
    directory.start(learner, resume, progress)
    run = _Run(settings, data, parts, directory, progress)
    try:
        run.fit(learner, columns)
    except NlpAppError:
        directory.discard_if_empty()
        raise
    return run.finish(learner.state)


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
        rows = epoch_rows(settings, columns, epoch=1)
        self.progress.say(
            f"training: {len(columns):,} sentences, {len(rows)} batches an epoch, "
            f"{padding_share(columns.lengths, rows):.1%} padding, on {learner.accelerator.device}"
        )
        options = training.LoopOptions(
            epochs=train.epochs,
            accumulation=train.accumulation,
            max_grad_norm=train.clip or None,
            patience=train.patience or None,
        )
        done = learner.state.step + learner.state.skipped
        updates = updates_an_epoch(settings, columns) * train.epochs
        score = "accuracy" if self.parts.tag_set.scheme == NONE else "F1"
        with self.progress.training(train.epochs, done, updates, score) as show:
            try:
                for report in training.train(
                    learner,
                    lambda epoch: epoch_batches(settings, columns, epoch),
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
        write_predictions(output, *predictions, scheme=parts.tag_set.written_scheme)
        write_text(output / "metrics.json", json.dumps(metrics, ensure_ascii=False, indent=1) + "\n")
        write_text(output / "config.toml", write_settings(self.settings))
        write_text(output / "README.md", card)
        save_tagger(parts, output)
        self.directory.close()
        self.progress.say("", f"the model of epoch {state.best_epoch}, the best on dev, is in {output}")
        return metrics
