"""Score tags against gold.

Entities are counted by seqeval in its default mode, which counts like the CoNLL scorer; labels and tokens by
scikit-learn. Both packages are imported when a score is computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

Tags = Sequence[Sequence[str]]


def entity_scores(gold: Tags, predicted: Tags) -> dict[str, Any]:
    """Compute entity scores from BIO tags.

    Args:
        gold: The gold tags of each sentence.
        predicted: The predicted tags of each sentence.

    Returns:
        Micro-averaged `precision`, `recall`, `f1` and `support` of entities; the same for each type in `per_type`;
        `accuracy` and `weighted_f1` of the tags.

    Raises:
        ValueError: If the sentences or their lengths differ.

    Example:
        >>> entity_scores([["B-PER", "I-PER", "O"]], [["B-PER", "I-PER", "O"]])["f1"]
        1.0
    """
    from seqeval.metrics.sequence_labeling import precision_recall_fscore_support  # noqa: PLC0415

    _check(gold, predicted)
    if not any(tag != "O" for tag in chain.from_iterable((*gold, *predicted))):
        # Without any entity, seqeval would average empty arrays.
        return average_scores(0.0, 0.0, 0.0, 0) | {"per_type": {}} | tag_scores(gold, predicted)
    lists = [list(sentence) for sentence in gold], [list(sentence) for sentence in predicted]
    micro = precision_recall_fscore_support(*lists, average="micro", zero_division=0)
    each = precision_recall_fscore_support(*lists, average=None, zero_division=0)
    types = sorted({tag.partition("-")[2] for tag in chain.from_iterable((*gold, *predicted)) if tag != "O"})
    per_type = {name: average_scores(*values) for name, *values in zip(types, *each, strict=True)}
    support = sum(int(scores["support"]) for scores in per_type.values())
    return (
        average_scores(float(micro[0]), float(micro[1]), float(micro[2]), support)
        | {"per_type": per_type}
        | tag_scores(gold, predicted)
    )


def tag_scores(gold: Tags, predicted: Tags) -> dict[str, float]:
    """Compute accuracy and weighted F1 over all tokens.

    Args:
        gold: The gold tags of each sentence.
        predicted: The predicted tags of each sentence.

    Returns:
        `accuracy` and `weighted_f1`, 0 without tokens.

    Raises:
        ValueError: If the sentences or their lengths differ.
    """
    from sklearn.metrics import accuracy_score, f1_score  # noqa: PLC0415

    _check(gold, predicted)
    flat = _flat(gold), _flat(predicted)
    if not flat[0]:
        return {"accuracy": 0.0, "weighted_f1": 0.0}
    weighted = f1_score(*flat, average="weighted", zero_division=0)
    return {"accuracy": float(accuracy_score(*flat)), "weighted_f1": float(weighted)}


def label_scores(gold: Tags, predicted: Tags) -> dict[str, Any]:
    """Compute scores of tags without a scheme (POS).

    Args:
        gold: The gold tags of each sentence.
        predicted: The predicted tags of each sentence.

    Returns:
        `accuracy` and `weighted_f1` of the tags; precision, recall, F1 and support of each tag in `per_label`.

    Raises:
        ValueError: If the sentences or their lengths differ.
    """
    from sklearn.metrics import precision_recall_fscore_support  # noqa: PLC0415

    _check(gold, predicted)
    flat = _flat(gold), _flat(predicted)
    names = sorted(set(chain(*flat)))
    each = precision_recall_fscore_support(*flat, labels=names, average=None, zero_division=0) if names else ((),) * 4
    per_label = {name: average_scores(*values) for name, *values in zip(names, *each, strict=True)}
    return tag_scores(gold, predicted) | {"per_label": per_label}


def average_scores(precision: float, recall: float, f1: float, support: int) -> dict[str, float | int]:
    """Convert the scores of one label, or an average, to plain Python types.

    Args:
        precision: Precision, 0 to 1.
        recall: Recall, 0 to 1.
        f1: F1, 0 to 1.
        support: Number of gold occurrences.

    Returns:
        The scores by name.
    """
    return {"precision": float(precision), "recall": float(recall), "f1": float(f1), "support": int(support)}


def _flat(sentences: Tags) -> list[str]:
    return list(chain.from_iterable(sentences))


def _check(gold: Tags, predicted: Tags) -> None:
    lengths = [len(sentence) for sentence in gold], [len(sentence) for sentence in predicted]
    if lengths[0] != lengths[1]:
        raise ValueError(
            f"gold and predictions need the same sentences and lengths: found {len(gold)} and {len(predicted)} "
            f"sentences with {sum(lengths[0])} and {sum(lengths[1])} tags"
        )
