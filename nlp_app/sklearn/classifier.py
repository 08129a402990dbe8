"""A text classifier as a scikit-learn estimator."""

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


_PATHS = parameter_paths(ClassificationSettings, {name: name for name in ("dev_share", "tokenizer", "lower_case")})


class TextClassifier(ClassifierMixin, RunEstimator):  # type: ignore[misc]
    """A text classifier with the scikit-learn interface.

    Predicts one class per text, or any number of classes if y has several labels per text. Trains like the command
    `train cls`.

    All parameters are keyword arguments. Except for `random_state` and `verbose`, they are the settings of
    `configs/cls_combined.toml`, with the same names and defaults; `get_params()` lists them.

    Args:
        dev_share: Share of the texts to hold out as a dev set in `fit`, unless `fit` gets a dev set.
        tokenizer: `basic`, `char` or `whitespace`; `auto` is `basic`.
        lower_case: Lower-case words and strip their accents.
        random_state: Random seed: an int, a RandomState, or None for a different seed in each fit.
        verbose: 1 shows the progress of training, 0 nothing.
        epochs, learning_rate, hidden_size, ...: All settings in `[model]` and `[train]`, except for `seed` and
            `checkpoint_seconds`.

    Attributes:
        classes_: Sorted classes, (n_classes,), in the type of y's labels; for an indicator matrix, its column numbers.
        model_: The trained model, an `nlp_app.inference.Classifier`.
        scores_: Scores of the model on the dev set, as in metrics.json.

    Example:
        >>> from nlp_app.sklearn import TextClassifier
        >>> texts = ["great tea", "great cake", "great soup", "awful tea", "awful cake", "awful soup"]
        >>> labels = ["good", "good", "good", "bad", "bad", "bad"]
        >>> classifier = TextClassifier(epochs=20, random_state=1).fit(texts, labels, dev=(texts, labels))
        >>> classifier.predict(["great jam", "awful jam"])
        array(['good', 'bad'], dtype='<U4')
        >>> classifier.predict_proba(["great jam"]).shape
        (1, 2)
        >>> classifier.save("my_model")  # for `nlp_app.load` and the command line
    """

    __init__ = make_constructor(ClassificationSettings, _PATHS)

    def fit(self, X: Any, y: Any, *, dev: Any = None) -> TextClassifier:
        """Train the classifier.

        Args:
            X: Texts, a sequence of n strings.
            y: Class of each text, (n,): strings, integers or booleans. For several labels per text, a list of n lists,
                tuples or sets of labels, or an indicator matrix, (n, n_classes).
            dev: A dev set (X, y), in the same form. It is used to select the best epoch and to calibrate the
                probabilities. Without it, the share `dev_share` of the texts is held out.

        Returns:
            The fitted estimator.

        Raises:
            TypeError: X is not a sequence of strings, or `dev` is not a pair.
            ValueError: y has the wrong length, an unsupported form or fewer than two classes.
            SettingsError: A parameter is invalid.
            DataError: The texts can't be used for training.
            TrainingError: Training failed.

        Example:
            >>> TextClassifier(epochs=10).fit(texts, labels, dev=(dev_texts, dev_labels))
            >>> TextClassifier(epochs=10).fit(texts, [["tea", "good"], ["cake"], ...])  # several labels per text
        """
        from nlp_app.sklearn.training_run import train  # noqa: PLC0415

        y = check_target(y, self)
        targets = Targets.from_y(y)
        files = {"X": _rows(X, y, targets, "X", "y")}
        if dev is None:
            check_distinct(len({row["text"] for row in files["X"] if row["text"].strip()}))
        else:
            files["dev"] = _rows(*check_dev_pair(dev), targets, "dev", "dev")
        settings = self._run_settings(
            ClassificationSettings, _PATHS, multi_label="yes" if targets.multi_label else "no"
        )
        model, self.scores_ = train(settings, files, quiet=not self.verbose)
        self.model_ = cast("Classifier", model)
        self.classes_ = targets.classes
        self._targets = targets
        return self

    def predict(self, X: Any) -> Any:
        """Predict the classes of texts.

        Args:
            X: Texts, a sequence of n strings.

        Returns:
            The classes in the form of `fit`'s y: labels, (n,); a list of n tuples of labels; or an indicator matrix,
            (n, n_classes).

        Raises:
            NotFittedError: The estimator is not fitted.
            TypeError: X is not a sequence of strings.

        Example:
            >>> classifier.predict(["great jam", "awful jam"])
            array(['good', 'bad'], dtype='<U4')
        """
        check_is_fitted(self)
        parts = self.model_.parts
        probabilities = self.model_.probabilities(_texts(X, "X"))
        return self._targets.from_names(parts.class_set.decide(probabilities, parts.decision.thresholds))

    def predict_proba(self, X: Any) -> NDArray[Any]:
        """Predict class probabilities, calibrated on the dev set.

        Args:
            X: Texts, a sequence of n strings.

        Returns:
            Probabilities, (n, n_classes), in the order of `classes_`. Each row sums to 1, or with several labels per
            text, each value is the probability of one label. A column of an indicator matrix without a training text
            has probability 0.

        Raises:
            NotFittedError: The estimator is not fitted.
            TypeError: X is not a sequence of strings.

        Example:
            >>> classifier.classes_
            array(['bad', 'good'], dtype='<U4')
            >>> classifier.predict_proba(["great jam"]).round(2)
            array([[0.01, 0.99]], dtype=float32)
        """
        check_is_fitted(self)
        predicted = self.model_.probabilities(_texts(X, "X"))
        columns = {label: column for column, label in enumerate(self.model_.labels)}
        probabilities = np.zeros((len(predicted), len(self.classes_)), dtype=predicted.dtype)
        for column, name in enumerate(self._targets.names):
            if name in columns:
                probabilities[:, column] = predicted[:, columns[name]]
        return probabilities

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Compute the accuracy: the share of texts with exactly the correct label or set of labels.

        Args:
            X: Texts, a sequence of n strings.
            y: Gold classes, in the form of `fit`'s y.
            sample_weight: Weight of each text, (n,).

        Returns:
            The accuracy, from 0 to 1.

        Raises:
            NotFittedError: The estimator is not fitted.
            TypeError: X is not a sequence of strings.
        """
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
    for index, text in enumerate(rows):
        if not isinstance(text, str):
            kind = type(text).__name__
            raise TypeError(
                f"{name}[{index}]: found {kind}, expected a str; pass raw texts, not features ('' for an empty text)"
            )
    return [str(text) for text in rows]


def _length(y: Any) -> int:
    return int(y.shape[0]) if hasattr(y, "shape") and len(y.shape) else len(y)


def _rows(X: Any, y: Any, targets: Targets, name: str, target: str) -> list[dict[str, Any]]:
    texts = _texts(X, name)
    check_lengths(len(texts), _length(y), name)
    return [{"text": text, "labels": labels} for text, labels in zip(texts, targets.to_names(y, target), strict=True)]
