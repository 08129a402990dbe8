"""One training run of each task, from files to a model directory.

output/
  nlp_app.json  model.safetensors  vocab/  README.md     the best model, and its card
  config.toml  metrics.json  predictions.*               settings as resolved, scores, what was found
  history.jsonl  history.png                             a line an epoch, as training goes on; the curves, at the end
  checkpoints/                                           what `--resume` continues from
  folds/ search/  folds.json search.json                 the runs that it stands on, if there are any
"""

from __future__ import annotations

from nlp_app.training.run import train_cls, train_ner

__all__ = ["train_cls", "train_ner"]
