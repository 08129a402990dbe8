"""Score predicted spans against gold spans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nlp_app.core.types import Sentence, TokenSpan
from nlp_app.labels import schemes
from nlp_app.labels.tag_set import TagSet
from nlp_app.metrics import TagCounts


def score_spans(
    tag_set: TagSet, sentences: Sequence[Sentence], predicted: Sequence[Sequence[TokenSpan]]
) -> dict[str, Any]:
    """Score predicted spans against all gold spans, including gold spans that fit no tokens.

    Args:
        tag_set: labels and scheme of the tagger.
        sentences: sentences with gold spans.
        predicted: the predicted spans of each sentence.

    Returns:
        Scores as `metrics.entity_scores`, or `metrics.label_scores` for tags without a scheme.
    """
    counts = TagCounts()
    count_spans(tag_set, counts, sentences, predicted)
    return span_scores(tag_set, counts)


def count_spans(
    tag_set: TagSet, counts: TagCounts, sentences: Sequence[Sentence], predicted: Sequence[Sequence[TokenSpan]]
) -> None:
    """Add the predicted spans of some sentences, and all their gold spans, to `counts`."""
    plain = tag_set.written_scheme
    for sentence, found in zip(sentences, predicted, strict=True):
        gold = sentence.spans or ()
        counts.add(*(schemes.encode(spans, len(sentence), plain) for spans in (gold, found)))
        counts.add_spans(gold, found)
        # A gold span that no tokens can spell can't be found either: count it as a missed span on a token of its own.
        for span in sentence.unaligned:
            counts.add([f"B-{span.label}"], ["O"])
            counts.add_spans([TokenSpan(0, 1, span.label)], [])


def span_scores(tag_set: TagSet, counts: TagCounts) -> dict[str, Any]:
    """Compute scores from counted spans."""
    return counts.label_scores() if tag_set.written_scheme == schemes.NONE else counts.entity_scores()


def selection_score(scores: Mapping[str, Any]) -> float:
    """The score that selects a model: entity F1, or token accuracy for tags without a scheme."""
    return float(scores["f1"] if "f1" in scores else scores["accuracy"])
