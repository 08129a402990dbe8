"""Format classification scores and confusions as tables for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nlp_app.core.text_table import format_table, shorten

LABELS_SHOWN = 30  # maximum number of labels in a table

MATRIX_SHOWN = 12  # maximum number of labels in a confusion matrix

_NARROW = 12  # columns of a label above a column of the matrix


def class_score_table(metrics: Mapping[str, Mapping[str, Any]]) -> str:
    """Format the scores of each split, per label and overall.

    Args:
        metrics: Scores by split, as in metrics.json.

    Returns:
        One table for each split. With more than 30 labels, it shows the 30 most frequent ones, sorted by name.
    """
    return "\n\n".join(_split_table(split, scores) for split, scores in metrics.items())


def _split_table(split: str, scores: Mapping[str, Any]) -> str:
    per_label = scores["per_label"]
    shown = sorted(sorted(per_label, key=lambda name: (-per_label[name]["support"], name))[:LABELS_SHOWN])
    rows = [[split, "precision", "recall", "F1", "gold"]]
    rows += [[f"  {shorten(name)}", *_row(per_label[name])] for name in shown]
    if len(shown) < len(per_label):
        rows.append([f"  ... and {len(per_label) - len(shown):,} more in metrics.json", "", "", "", ""])
    overall = {"accuracy": "accuracy", "weighted_f1": "weighted F1", "macro_f1": "macro F1"}
    if "micro_f1" in scores:
        total = sum(label["support"] for label in per_label.values())
        rows.append(["all labels", *_row({**scores, "f1": scores["micro_f1"], "support": total})])
        overall = {
            "micro_f1": "micro F1",
            "macro_f1": "macro F1",
            "weighted_f1": "weighted F1",
            "samples_f1": "samples F1",
            "subset_accuracy": "subset accuracy",
        }
    values = [f"{title} {scores[key]:.4f}" for key, title in overall.items()]
    if "calibration" in scores:
        values.append(f"ECE {scores['calibration']['ece']:.4f}")
    return "\n".join([*format_table(rows), ", ".join(values)])


def _row(scores: Mapping[str, Any]) -> list[str]:
    return [*(f"{scores[key]:.4f}" for key in ("precision", "recall", "f1")), f"{scores['support']:,}"]


def confusion_table(scores: Mapping[str, Any]) -> str:
    """Format the confusions of one split.

    Args:
        scores: Scores of the split, as in metrics.json.

    Returns:
        The confusion matrix for up to 12 labels, otherwise the most frequent confusions; empty if texts may have
        several labels.
    """
    if "confused" not in scores:
        return ""
    if "confusion" in scores and len(scores["confusion"]["labels"]) <= MATRIX_SHOWN:
        return _matrix_table(scores["confusion"]["labels"], scores["confusion"]["matrix"])
    if not scores["confused"]:
        return "no text was assigned a wrong class"
    rows = [["gold", "predicted", "texts"]]
    rows += [[shorten(gold), shorten(predicted), f"{count:,}"] for gold, predicted, count in scores["confused"]]
    return "\n".join(["most often confused", *format_table(rows)])


def _matrix_table(labels: Sequence[str], matrix: Sequence[Sequence[int]]) -> str:
    rows = [["gold \\ predicted", *(shorten(label, _NARROW) for label in labels)]]
    rows += [
        [f"  {shorten(label)}", *(f"{count:,}" if count else "." for count in counts)]
        for label, counts in zip(labels, matrix, strict=True)
    ]
    return "\n".join(format_table(rows))
