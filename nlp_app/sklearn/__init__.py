"""scikit-learn estimators: a text classifier and a sequence tagger.

They train like the commands `train cls` and `train ner`, with the same settings and defaults, and work in `Pipeline`,
`GridSearchCV` and `cross_val_score`. Importing this package does not import torch; fitting does.
"""

from __future__ import annotations

from nlp_app.sklearn.classifier import TextClassifier
from nlp_app.sklearn.tagger import SequenceTagger

__all__ = ["SequenceTagger", "TextClassifier"]
