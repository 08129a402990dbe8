"""Count tags and spans against gold incrementally, so that memory does not grow with the corpus.

The scores are bit-identical to `metrics.entity_scores` and `metrics.label_scores`, which need all tags at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from nlp_app.core.types import TokenSpan
from nlp_app.metrics.tags import average_scores


class TagCounts:
    """Confusion counts of tags, and counts of gold, predicted and correct spans per label.

    Example:
        >>> counts = TagCounts()
        >>> counts.add(["B-PER", "O"], ["B-PER", "O"])
        >>> counts.add_spans([TokenSpan(0, 1, "PER")], [TokenSpan(0, 1, "PER")])
        >>> counts.entity_scores()["f1"]
        1.0
    """

    def __init__(self) -> None:
        self._pairs: Counter[tuple[str, str]] = Counter()
        self._gold: Counter[str] = Counter()
        self._predicted: Counter[str] = Counter()
        self._correct: Counter[str] = Counter()

    def add(self, gold: Sequence[str], predicted: Sequence[str]) -> None:
        """Add the tags of a sentence, or of any other sequence of tokens.

        Args:
            gold: The gold tag of each token.
            predicted: The predicted tag of each token.

        Raises:
            ValueError: If the numbers of tags differ.
        """
        self._pairs.update(zip(gold, predicted, strict=True))

    def add_spans(self, gold: Iterable[TokenSpan], predicted: Iterable[TokenSpan]) -> None:
        """Add the spans of one sentence.

        Args:
            gold: The gold spans.
            predicted: The predicted spans.
        """
        gold_spans, predicted_spans = set(gold), set(predicted)
        for counts, spans in (
            (self._gold, gold_spans),
            (self._predicted, predicted_spans),
            (self._correct, gold_spans & predicted_spans),
        ):
            counts.update(span.label for span in spans)

    def entity_scores(self) -> dict[str, Any]:
        """Compute entity scores from the counts.

        Returns:
            Micro-averaged `precision`, `recall`, `f1` and `support` of spans; the same for each type in `per_type`;
            `accuracy` and `weighted_f1` of the tags.
        """
        types = sorted(self._gold.keys() | self._predicted.keys())
        per_type = {name: _scores(self._correct[name], self._predicted[name], self._gold[name]) for name in types}
        micro = _scores(self._correct.total(), self._predicted.total(), self._gold.total())
        return micro | {"per_type": per_type} | self._tag_scores()

    def label_scores(self) -> dict[str, Any]:
        """Compute scores of tags without a scheme (POS) from the counts.

        Returns:
            `accuracy` and `weighted_f1` of the tags; precision, recall, F1 and support of each tag in `per_label`.
        """
        gold, predicted = (Counter[str](), Counter[str]())
        for (gold_tag, predicted_tag), count in self._pairs.items():
            gold[gold_tag] += count
            predicted[predicted_tag] += count
        names = sorted(gold.keys() | predicted.keys())
        per_label = {name: _label_scores(self._pairs[name, name], predicted[name], gold[name]) for name in names}
        return self._tag_scores() | {"per_label": per_label}

    def _tag_scores(self) -> dict[str, float]:
        from sklearn.metrics import accuracy_score, f1_score  # noqa: PLC0415

        if not self._pairs:
            return {"accuracy": 0.0, "weighted_f1": 0.0}
        gold, predicted = map(list, zip(*self._pairs, strict=True))
        counts = list(self._pairs.values())
        weighted = f1_score(gold, predicted, sample_weight=counts, average="weighted", zero_division=0)
        return {
            "accuracy": float(accuracy_score(gold, predicted, sample_weight=counts)),
            "weighted_f1": float(weighted),
        }


def _scores(correct: int, predicted: int, gold: int) -> dict[str, float | int]:
    precision, recall = (correct / total if total else 0.0 for total in (predicted, gold))
    f1 = 2 * precision * recall / (precision + recall) if correct else 0.0
    return average_scores(precision, recall, f1, gold)


def _label_scores(correct: int, predicted: int, gold: int) -> dict[str, float | int]:
    """Like `_scores`, with F1 rounded as in scikit-learn, which computes it from the counts."""
    return _scores(correct, predicted, gold) | {"f1": 2 * correct / (predicted + gold)}
