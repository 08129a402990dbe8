"""Text classification as an estimator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from nlp_app.config import ClassificationSettings
from nlp_app.sklearn.estimator import (
    RunEstimator,
    as_list,
    check_dev_pair,
    check_distinct,
    check_lengths,
    check_target,
    make_constructor,
    parameter_paths,
)
from nlp_app.sklearn.targets import Targets, exact_matches

if TYPE_CHECKING:
    from nlp_app.inference import Classifier


_PLACES = parameter_paths(ClassificationSettings, {name: name for name in ("dev_share", "tokenizer", "lower_case")})


class TextClassifier(ClassifierMixin, RunEstimator):  # type: ignore[misc]
    """Finds the class of a text, or any number of classes, as `train cls` learns to.

    Parameters are those of [model] and [train] in `configs/cls_combined.toml`, with the same defaults, and
    `dev_share`, `tokenizer` and `lower_case` of [data]. `random_state` (an int, a RandomState or None) is the seed;
    `verbose=1` shows the run.

    After `fit`: `classes_`, sorted, of y's own type; `model_`, an `nlp_app.inference.Classifier`; `scores_`, on dev.
    """

    __init__ = make_constructor(ClassificationSettings, _PLACES)

    def fit(self, X: Any, y: Any, *, dev: Any = None) -> TextClassifier:
        """Train on texts X (n strings) with classes y.

        y: (n,) labels of strings, integers or truth values; for several labels a text a list of n lists, tuples or sets
        of labels, or an (n, k) indicator matrix. dev: (X, y) to choose the epoch and to calibrate by; without it, a
        `dev_share` of the texts is held out.

        Raises TypeError and ValueError for what isn't texts and classes, SettingsError for parameters out of range,
        DataError and TrainingError as `train cls` does.
        """
        from nlp_app.sklearn.training_run import train  # noqa: PLC0415

        y = check_target(y, self)
        targets = Targets.of(y)
        files = {"X": _rows(X, y, targets, "X", "y")}
        if dev is None:
            check_distinct(len({row["text"] for row in files["X"] if row["text"].strip()}))
        else:
            files["dev"] = _rows(*check_dev_pair(dev), targets, "dev", "dev")
        settings = self._run_settings(ClassificationSettings, _PLACES, multi_label="yes" if targets.several else "no")
        model, self.scores_ = train(settings, files, quiet=not self.verbose)
        self.model_ = cast("Classifier", model)
        self.classes_ = targets.classes
        self._targets = targets
        return self

    def predict(self, X: Any) -> Any:
        """The classes of texts, in the form in which fit was given them: (n,) labels, a list of n tuples of labels, or
        an (n, k) indicator matrix."""
        check_is_fitted(self)
        parts = self.model_.parts
        probabilities = self.model_.probabilities(_texts(X, "X"))
        return self._targets.read(parts.class_set.decide(probabilities, parts.decision.thresholds))

    def predict_proba(self, X: Any) -> NDArray[Any]:
        """(n, k) probabilities in the order of `classes_`, calibrated on dev: each row adds up to 1, or with several
        labels a text each is a probability of its own. A class that no text to learn from had has 0."""
        check_is_fitted(self)
        found = self.model_.probabilities(_texts(X, "X"))
        places = {label: place for place, label in enumerate(self.model_.labels)}
        probabilities = np.zeros((len(found), len(self.classes_)), dtype=found.dtype)
        for column, name in enumerate(self._targets.names):
            if name in places:
                probabilities[:, column] = found[:, places[name]]
        return probabilities

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Accuracy: with several labels a text, the share of texts with all of them right."""
        check_is_fitted(self)
        if self._targets.form != "lists":
            return float(super().score(X, y, sample_weight))
        return float(np.average(exact_matches(y, self.predict(X)), weights=sample_weight))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


def _texts(values: Any, name: str) -> list[str]:
    rows = as_list(values, name, "a sequence of texts")
    for place, text in enumerate(rows):
        if not isinstance(text, str):
            kind = type(text).__name__
            raise TypeError(
                f"{name}[{place}]: found {kind}, expected a str; an empty text is '', features aren't taken"
            )
    return [str(text) for text in rows]


def _length(y: Any) -> int:
    return int(y.shape[0]) if hasattr(y, "shape") and len(y.shape) else len(y)


def _rows(X: Any, y: Any, targets: Targets, name: str, target: str) -> list[dict[str, Any]]:
    texts = _texts(X, name)
    check_lengths(len(texts), _length(y), name)
    return [{"text": text, "labels": each} for text, each in zip(texts, targets.write(y, target), strict=True)]
