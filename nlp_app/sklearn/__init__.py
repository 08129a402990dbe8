"""The face for scikit-learn: a text classifier and a sequence tagger as estimators.

They train as `train cls` and `train ner` do, with the same settings and defaults, and fit into `Pipeline`,
`GridSearchCV` and `cross_val_score`. Importing this loads no torch; fitting does.
"""

from __future__ import annotations

from nlp_app.sklearn.classifier import TextClassifier
from nlp_app.sklearn.tagger import SequenceTagger

__all__ = ["SequenceTagger", "TextClassifier"]
