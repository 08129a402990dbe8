"""Text classifiers that others would use, as lines of comparison for our benchmarks: scikit-learn's and fastText.

Plain, and without handicaps. scikit-learn: TF-IDF of n-grams, sublinear, C = 1; Chinese by its characters 1-3, English
by words 1-2 and characters 2-5. fastText: bigrams; Chinese with a space between characters, English lower-cased with
punctuation apart, as its tutorial prepares text; several labels a text by one loss each.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fasttext
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import Pipeline, make_pipeline, make_union
from sklearn.preprocessing import MultiLabelBinarizer
from sklearn.svm import LinearSVC

Labels = Sequence[tuple[str, ...]]  # of each text; one, but for sets with several labels a text
_PREFIX = "__label__"


def scores(gold: Labels, found: Labels) -> dict[str, float]:
    """Accuracy of whole label sets, micro and macro F1 over the labels of `gold`."""
    binarizer = MultiLabelBinarizer().fit(gold)
    known = set(binarizer.classes_)
    kept = [tuple(label for label in labels if label in known) for labels in found]
    truth, answer = binarizer.transform(gold), binarizer.transform(kept)
    return {
        "accuracy": accuracy_score(truth, answer),
        "micro_f1": f1_score(truth, answer, average="micro", zero_division=0),
        "macro_f1": f1_score(truth, answer, average="macro", zero_division=0),
    }


def tfidf(chinese: bool) -> Any:
    """The features."""
    if chinese:
        return TfidfVectorizer(analyzer="char", ngram_range=(1, 3), sublinear_tf=True)
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    return make_union(words, TfidfVectorizer(analyzer="char", ngram_range=(2, 5), sublinear_tf=True))


class Linear:
    """A pipeline of scikit-learn."""

    def __init__(self, classifier: Any, chinese: bool, multi_label: bool) -> None:
        self.multi_label = multi_label
        self.binarizer = MultiLabelBinarizer()
        self.pipeline: Pipeline = make_pipeline(
            tfidf(chinese), OneVsRestClassifier(classifier) if multi_label else classifier
        )

    @classmethod
    def svm(cls, chinese: bool, seed: int = 1) -> Linear:
        """A linear support vector machine."""
        return cls(LinearSVC(C=1.0, random_state=seed), chinese, multi_label=False)

    @classmethod
    def logistic(cls, chinese: bool, multi_label: bool, weight: str | None = None) -> Linear:
        """Logistic regression; `weight`: of the classes, None or "balanced"."""
        return cls(LogisticRegression(C=1.0, max_iter=1000, class_weight=weight), chinese, multi_label)

    def train(self, texts: Sequence[str], labels: Labels) -> None:
        targets = self.binarizer.fit_transform(labels) if self.multi_label else [label for (label,) in labels]
        self.pipeline.fit(texts, targets)

    def classify(self, texts: Sequence[str]) -> Labels:
        found = self.pipeline.predict(texts)
        if self.multi_label:
            answers: Labels = self.binarizer.inverse_transform(found)
            return answers
        return [(label,) for label in found.tolist()]


class FastText:
    """fastText at one thread; `options`: what isn't left at its defaults."""

    def __init__(self, chinese: bool, multi_label: bool, file: Path, **options: Any) -> None:
        self.chinese, self.multi_label, self.file = chinese, multi_label, file
        self.options = options | ({"loss": "ova"} if multi_label else {})
        self.model: Any = None

    def prepare(self, texts: Sequence[str], labels: Labels) -> None:
        """Write the file that it trains from."""
        with self.file.open("w", encoding="utf-8") as out:
            for text, own in zip(self._spaced(texts), labels, strict=True):
                out.write(" ".join([*(f"{_PREFIX}{label.replace(' ', '_')}" for label in own), text]) + "\n")

    def train(self) -> None:
        self.model = fasttext.train_supervised(str(self.file), wordNgrams=2, thread=1, verbose=0, **self.options)

    def classify(self, texts: Sequence[str]) -> Labels:
        choice = {"k": -1, "threshold": 0.5} if self.multi_label else {"k": 1}
        found, _ = self.model.predict(self._spaced(texts), **choice)
        return [tuple(label.removeprefix(_PREFIX) for label in labels) for labels in found]

    def _spaced(self, texts: Sequence[str]) -> list[str]:
        if self.chinese:
            return [" ".join(text) for text in texts]
        return [" ".join(re.sub(r"([.!?,'/()<>\"])", r" \1 ", text.lower()).split()) for text in texts]
