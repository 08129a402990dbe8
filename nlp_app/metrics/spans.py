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
    """Score predicted spans against all gold spans, including gold spans that do not align with tokens.

    Args:
        tag_set: Labels and scheme of the tagger.
        sentences: Sentences with gold spans.
        predicted: The predicted spans of each sentence.

    Returns:
        Scores as `metrics.entity_scores`, or `metrics.label_scores` for tags without a scheme.
    """
    counts = TagCounts()
    count_spans(tag_set, counts, sentences, predicted)
    return span_scores(tag_set, counts)


def count_spans(
    tag_set: TagSet, counts: TagCounts, sentences: Sequence[Sentence], predicted: Sequence[Sequence[TokenSpan]]
) -> None:
    """Add the gold and predicted spans of sentences to `counts`.

    Args:
        tag_set: Labels and scheme of the tagger.
        counts: Counts to update.
        sentences: Sentences with gold spans.
        predicted: The predicted spans of each sentence.
    """
    scheme = tag_set.written_scheme
    for sentence, predicted_spans in zip(sentences, predicted, strict=True):
        gold = sentence.spans or ()
        counts.add(*(schemes.encode(spans, len(sentence), scheme) for spans in (gold, predicted_spans)))
        counts.add_spans(gold, predicted_spans)
        # A gold span that does not align with tokens cannot be predicted: count it as missed, on an extra token.
        for span in sentence.unaligned:
            counts.add([f"B-{span.label}"], ["O"])
            counts.add_spans([TokenSpan(0, 1, span.label)], [])


def span_scores(tag_set: TagSet, counts: TagCounts) -> dict[str, Any]:
    """Compute scores from the counts.

    Args:
        tag_set: Labels and scheme of the tagger.
        counts: Counts of all sentences, as `count_spans` adds them up.

    Returns:
        Scores as `metrics.entity_scores`, or `metrics.label_scores` for tags without a scheme.
    """
    return counts.label_scores() if tag_set.written_scheme == schemes.NONE else counts.entity_scores()


def selection_score(scores: Mapping[str, Any]) -> float:
    """Extract the score by which models are compared and selected.

    Args:
        scores: Scores of a tagger, as `score_spans` returns them.

    Returns:
        Entity F1, or token accuracy for tags without a scheme; 0 to 1.
    """
    return float(scores["f1"] if "f1" in scores else scores["accuracy"])
