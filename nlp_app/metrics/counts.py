"""Tags and spans against gold, counted a few sentences at a time: what is kept doesn't grow with the corpus.

The scores are, to the last bit, those that `entity_scores` and `label_scores` take of all tags at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from nlp_app.core.types import TokenSpan
from nlp_app.metrics.tags import average_scores


class TagCounts:
    """How often each tag was found where gold has each, and how many spans of each label there are, found and right."""

    def __init__(self) -> None:
        self._pairs: Counter[tuple[str, str]] = Counter()
        self._gold: Counter[str] = Counter()
        self._found: Counter[str] = Counter()
        self._right: Counter[str] = Counter()

    def add(self, gold: Sequence[str], found: Sequence[str]) -> None:
        """Add the tags of some tokens. Raises ValueError if there aren't as many found as in gold."""
        self._pairs.update(zip(gold, found, strict=True))

    def add_spans(self, gold: Iterable[TokenSpan], found: Iterable[TokenSpan]) -> None:
        """Add the spans of one sentence."""
        of_gold, of_found = set(gold), set(found)
        for counts, spans in ((self._gold, of_gold), (self._found, of_found), (self._right, of_gold & of_found)):
            counts.update(span.label for span in spans)

    def entity_scores(self) -> dict[str, Any]:
        """Precision, recall and F1 of spans, micro-averaged and per type; accuracy and weighted F1 of the tags."""
        types = sorted(self._gold.keys() | self._found.keys())
        per_type = {name: _scores(self._right[name], self._found[name], self._gold[name]) for name in types}
        micro = _scores(self._right.total(), self._found.total(), self._gold.total())
        return micro | {"per_type": per_type} | self._tag_scores()

    def label_scores(self) -> dict[str, Any]:
        """Accuracy, weighted F1 and each label's scores, for tags without a scheme (POS)."""
        gold, found = (Counter[str](), Counter[str]())
        for (of_gold, of_found), count in self._pairs.items():
            gold[of_gold] += count
            found[of_found] += count
        names = sorted(gold.keys() | found.keys())
        per_label = {name: _label_scores(self._pairs[name, name], found[name], gold[name]) for name in names}
        return self._tag_scores() | {"per_label": per_label}

    def _tag_scores(self) -> dict[str, float]:
        from sklearn.metrics import accuracy_score, f1_score  # noqa: PLC0415

        if not self._pairs:
            return {"accuracy": 0.0, "weighted_f1": 0.0}
        gold, found = map(list, zip(*self._pairs, strict=True))
        counts = list(self._pairs.values())
        weighted = f1_score(gold, found, sample_weight=counts, average="weighted", zero_division=0)
        return {
            "accuracy": float(accuracy_score(gold, found, sample_weight=counts)),
            "weighted_f1": float(weighted),
        }


def _scores(right: int, found: int, gold: int) -> dict[str, float | int]:
    precision, recall = (right / total if total else 0.0 for total in (found, gold))
    f1 = 2 * precision * recall / (precision + recall) if right else 0.0
    return average_scores(precision, recall, f1, gold)


def _label_scores(right: int, found: int, gold: int) -> dict[str, float | int]:
    """As scikit-learn rounds."""
    return _scores(right, found, gold) | {"f1": 2 * right / (found + gold)}
