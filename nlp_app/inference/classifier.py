"""The classifier in memory, asked for classes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from nlp_app.core.errors import SettingsError
from nlp_app.core.types import Label
from nlp_app.inference.class_scores import Probabilities, encode_texts, predict_scores, text_chunks, to_probabilities
from nlp_app.inference.sharing import HubMixin

if TYPE_CHECKING:
    from nlp_app.models import AnyClassifierParts


class Classifier(HubMixin["AnyClassifierParts"]):
    """Finds the classes of texts. Calls change neither their input nor the classifier, which threads may share."""

    def __init__(self, parts: AnyClassifierParts) -> None:
        self.parts = parts
        parts.network.eval()

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes."""
        return self.parts.class_set.labels

    @property
    def multi_label(self) -> bool:
        """Whether a text may have any number of classes."""
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
        """The class of a raw text; or, for a list of texts, one for each.

        A text gives a list of labels, best first, if the model finds several a text (those at or above their
        thresholds), and with `top_k` (so many) or `threshold` (those of at least this score; maybe none). A label's
        score is its probability under the model, calibrated on dev data.

        Raises SettingsError for a `top_k` below 1 and a `threshold` outside 0 to 1.
        """
        if isinstance(texts, str):
            found = self.classify([texts], top_k=top_k, threshold=threshold)
            return found[0]
        _check_texts(texts)
        validate_prediction_options(top_k, threshold)
        results: list[Any] = []
        for probabilities in self._chunks(texts):
            if top_k is None and threshold is None and not self.multi_label:
                best = probabilities.argmax(1)
                scores = probabilities[np.arange(len(best)), best]
                labels = self.labels
                results += [
                    Label(labels[place], score) for place, score in zip(best.tolist(), scores.tolist(), strict=True)
                ]
            else:
                results += self._several(probabilities, top_k, threshold)
        return results

    def probabilities(self, texts: list[str] | tuple[str, ...]) -> Probabilities:
        """(texts, classes), in the order of `labels`: each row adds up to 1, or with several labels a text each is a
        probability of its own."""
        _check_texts(texts)
        found = list(self._chunks(texts))
        return np.concatenate(found) if found else np.zeros((0, len(self.labels)), dtype=np.float32)

    def _several(self, probabilities: Probabilities, top_k: int | None, threshold: float | None) -> list[list[Label]]:
        thresholds = self.parts.decision.thresholds
        least: Any = threshold
        if least is None:
            least = thresholds if thresholds is not None and top_k is None else 0.0
        shown = min(top_k or len(self.labels), len(self.labels))
        best = np.argsort(-probabilities, axis=1, kind="stable")[:, :shown]
        enough = np.take_along_axis(probabilities >= least, best, 1)
        scores = np.take_along_axis(probabilities, best, 1)
        return [
            [Label(self.labels[place], score) for place, score, good in zip(*row, strict=True) if good]
            for row in zip(best.tolist(), scores.tolist(), enough.tolist(), strict=True)
        ]

    def _chunks(self, texts: Sequence[str]) -> Iterator[Probabilities]:
        for chunk in text_chunks(texts):
            yield to_probabilities(predict_scores(self.parts, encode_texts(self.parts, chunk)), self.parts)


def validate_prediction_options(top_k: int | None, threshold: float | None) -> None:
    """Raises SettingsError for a `top_k` or a `threshold` out of range."""
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
