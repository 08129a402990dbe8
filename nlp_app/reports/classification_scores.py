"""Scores of classes as tables for a terminal: each split's scores, and which classes are taken for which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nlp_app.core.text_table import format_table, shorten

LABELS_SHOWN = 30

MATRIX_SHOWN = 12

_NARROW = 12  # of a label above a column


def class_score_table(metrics: Mapping[str, Mapping[str, Any]]) -> str:
    """The scores of each split, per label and overall; of more than 30 labels the most frequent ones, by name."""
    return "\n\n".join(_split_table(split, scores) for split, scores in metrics.items())


def _split_table(split: str, scores: Mapping[str, Any]) -> str:
    each = scores["per_label"]
    shown = sorted(sorted(each, key=lambda name: (-each[name]["support"], name))[:LABELS_SHOWN])
    rows = [[split, "precision", "recall", "F1", "gold"]]
    rows += [[f"  {shorten(name)}", *_row(each[name])] for name in shown]
    if len(shown) < len(each):
        rows.append([f"  ... and {len(each) - len(shown):,} more in metrics.json", "", "", "", ""])
    overall = {"accuracy": "accuracy", "weighted_f1": "weighted F1", "macro_f1": "macro F1"}
    if "micro_f1" in scores:
        total = sum(label["support"] for label in each.values())
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
    """Which classes were taken for which: the matrix with up to 12 labels, otherwise the most frequent confusions;
    empty where texts have several labels."""
    if "confused" not in scores:
        return ""
    if "confusion" in scores and len(scores["confusion"]["labels"]) <= MATRIX_SHOWN:
        return _matrix_table(scores["confusion"]["labels"], scores["confusion"]["matrix"])
    if not scores["confused"]:
        return "no text was given another class than its own"
    rows = [["gold", "predicted", "texts"]]
    rows += [[shorten(gold), shorten(found), f"{count:,}"] for gold, found, count in scores["confused"]]
    return "\n".join(["most often confused", *format_table(rows)])


def _matrix_table(labels: Sequence[str], matrix: Sequence[Sequence[int]]) -> str:
    rows = [["gold \\ predicted", *(shorten(label, _NARROW) for label in labels)]]
    rows += [
        [f"  {shorten(label)}", *(f"{count:,}" if count else "." for count in counts)]
        for label, counts in zip(labels, matrix, strict=True)
    ]
    return "\n".join(format_table(rows))
