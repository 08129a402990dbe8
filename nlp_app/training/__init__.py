"""Train taggers and classifiers: read the data, fit the model, and save it with its scores.

A run writes to its output directory:

output/
  nlp_app.json  model.safetensors  vocab/  README.md     the best model and its model card
  config.toml  metrics.json  predictions.*               settings with all defaults, scores, predictions
  history.jsonl  history.png                             one line per epoch; the training curves
  checkpoints/                                           checkpoints for `--resume`
  folds/ search/  folds.json search.json                 runs and report of a cross-validation or search
"""

from __future__ import annotations

from nlp_app.training.run import train_cls, train_ner

__all__ = ["train_cls", "train_ner"]
