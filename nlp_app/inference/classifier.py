"""Classify texts with a trained model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from nlp_app.core.errors import SettingsError
from nlp_app.core.types import Label
from nlp_app.inference.backends import BULK_CHARACTERS, OnDemand
from nlp_app.inference.class_scores import Probabilities, encode_texts, predict_scores, text_chunks, to_probabilities
from nlp_app.inference.sharing import HubMixin
from nlp_app.models import ClassifierParts, NumpyClassifierParts
from nlp_app.models.classifier import to_torch

if TYPE_CHECKING:
    from nlp_app.models import LoadedClassifierParts


class Classifier(HubMixin["LoadedClassifierParts"]):
    """A trained text classifier.

    `nlp_app.load` creates one. Calls change neither their input nor the classifier, so threads may share it. Give many
    texts in one call: that is many times faster than one text per call.

    Args:
        parts: The parts of the model, as read from a model directory.
        torch_for_bulk: Compute calls with much text by torch even if the network of `parts` is NumPy's.

    Example:
        >>> import nlp_app
        >>> classifier = nlp_app.load("runs/classes")
        >>> best = classifier.classify("Where is my parcel?")
        >>> best.label, round(best.score, 2)
        ('delivery', 0.98)
        >>> for labels in classifier.classify(["Where is my parcel?", "I want my money back."], top_k=2):
        ...     print([label.label for label in labels])
        ['delivery', 'refund']
        ['refund', 'delivery']
    """

    def __init__(self, parts: LoadedClassifierParts, *, torch_for_bulk: bool = False) -> None:
        self.parts = parts
        self._bulk: OnDemand[NumpyClassifierParts, ClassifierParts] | None = None
        if not isinstance(parts, NumpyClassifierParts):
            parts.network.eval()
        elif torch_for_bulk:
            self._bulk = OnDemand(parts, to_torch)

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, sorted; columns of `probabilities` are in this order."""
        return self.parts.class_set.labels

    @property
    def multi_label(self) -> bool:
        """True if a text may have any number of classes, False if it has exactly one."""
        return self.parts.class_set.multi_label

    @overload
    def classify(self, texts: str, *, top_k: None = None, threshold: None = None) -> Label | list[Label]: ...
    @overload
    def classify(self, texts: str, *, top_k: int | None = None, threshold: float | None = None) -> list[Label]: ...
    @overload
    def classify(
        self, texts: list[str] | tuple[str, ...], *, top_k: None = None, threshold: None = None
    ) -> list[Label] | list[list[Label]]: ...
    @overload
    def classify(
        self, texts: list[str] | tuple[str, ...], *, top_k: int | None = None, threshold: float | None = None
    ) -> list[list[Label]]: ...
    def classify(
        self, texts: str | list[str] | tuple[str, ...], *, top_k: int | None = None, threshold: float | None = None
    ) -> Label | list[Label] | list[list[Label]]:
        """Predict the classes of one text or of a list of texts.

        By default, the result for a text is its best class; from a multi-label model, it is a list of the classes at or
        above their thresholds, which were fitted on dev data. With `top_k` or `threshold`, it is always a list. Lists
        are sorted by score, best first, and may be empty unless `top_k` alone is given.

        Args:
            texts: A raw text, or a list or tuple of raw texts.
            top_k: Return so many of the best classes, 1 or more.
            threshold: Return only classes with at least this score, from 0 to 1. May be combined with `top_k`.

        Returns:
            For one text: a `Label`, or a list of them. For several texts: a list with one result for each text. A
            label's score is its probability under the model, calibrated on dev data.

        Raises:
            SettingsError: If `top_k` is below 1, or `threshold` is outside 0 to 1.
            TypeError: If `texts` is neither a str nor a list or tuple of str.

        Example:
            >>> classifier.classify("Where is my parcel?")
            Label(label='delivery', score=0.9812)
            >>> classifier.classify(["Where is my parcel?", "Hm."], threshold=0.8)
            [[Label(label='delivery', score=0.9812)], []]
        """
        if isinstance(texts, str):
            results_of_one = self.classify([texts], top_k=top_k, threshold=threshold)
            return results_of_one[0]
        _check_texts(texts)
        validate_prediction_options(top_k, threshold)
        results: list[Any] = []
        for probabilities in self._probability_chunks(texts):
            if top_k is None and threshold is None and not self.multi_label:
                best = probabilities.argmax(1)
                scores = probabilities[np.arange(len(best)), best]
                labels = self.labels
                results += [
                    Label(labels[index], score) for index, score in zip(best.tolist(), scores.tolist(), strict=True)
                ]
            else:
                results += self._label_lists(probabilities, top_k, threshold)
        return results

    def probabilities(self, texts: list[str] | tuple[str, ...]) -> Probabilities:
        """Compute the probability of every class for each text.

        Args:
            texts: A list or tuple of raw texts.

        Returns:
            (texts, classes), columns in the order of `labels`. Each row sums to 1; from a multi-label model, each
            probability stands by itself.

        Raises:
            TypeError: If `texts` is not a list or tuple of str.

        Example:
            >>> probabilities = classifier.probabilities(["Where is my parcel?", "Hm."])
            >>> probabilities.shape == (2, len(classifier.labels))
            True
        """
        _check_texts(texts)
        chunks = list(self._probability_chunks(texts))
        return np.concatenate(chunks) if chunks else np.zeros((0, len(self.labels)), dtype=np.float32)

    def _label_lists(
        self, probabilities: Probabilities, top_k: int | None, threshold: float | None
    ) -> list[list[Label]]:
        """List the labels of each text, best first: `top_k` at most, those at or above the threshold."""
        thresholds = self.parts.decision.thresholds
        minimum: Any = threshold
        if minimum is None:
            minimum = thresholds if thresholds is not None and top_k is None else 0.0
        count = min(top_k or len(self.labels), len(self.labels))
        best = np.argsort(-probabilities, axis=1, kind="stable")[:, :count]
        selected = np.take_along_axis(probabilities >= minimum, best, 1)
        scores = np.take_along_axis(probabilities, best, 1)
        return [
            [Label(self.labels[index], score) for index, score, is_selected in zip(*row, strict=True) if is_selected]
            for row in zip(best.tolist(), scores.tolist(), selected.tolist(), strict=True)
        ]

    def _probability_chunks(self, texts: Sequence[str]) -> Iterator[Probabilities]:
        # The choice depends on the call alone, so its result is repeatable.
        is_small = self._bulk is None or sum(map(len, texts)) < BULK_CHARACTERS
        parts = self.parts if self._bulk is None or is_small else self._bulk.get()
        for chunk in text_chunks(texts):
            yield to_probabilities(predict_scores(parts, encode_texts(parts, chunk)), parts)


def validate_prediction_options(top_k: int | None, threshold: float | None) -> None:
    """Check that `top_k` and `threshold` are in range.

    Args:
        top_k: The number of classes to return, or None.
        threshold: The lowest score to return, or None.

    Raises:
        SettingsError: If `top_k` is below 1, or `threshold` is outside 0 to 1.
    """
    if top_k is not None and top_k < 1:
        raise SettingsError(f"top_k: found {top_k}, expected 1 or more")
    if threshold is not None and not 0 <= threshold <= 1:
        raise SettingsError(f"threshold: found {threshold}, expected a probability from 0 to 1")


def _check_texts(texts: Sequence[str]) -> None:
    if not isinstance(texts, list | tuple):
        raise TypeError(
            f"classify takes a str or a list of str, found {type(texts).__name__}: write classify([...]) or "
            "classify(text)"
        )
    for text in texts:
        if not isinstance(text, str):
            raise TypeError(f"classify takes a str or a list of str, found {type(text).__name__} in the list")
