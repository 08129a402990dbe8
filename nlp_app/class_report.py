"""Scores of classes as tables for a terminal: each split's scores, and which classes are taken for which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nlp_app.report import aligned, display_width

LABELS_SHOWN = 30
MATRIX_SHOWN = 12
_WIDEST = 32  # columns of a label
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
    return "\n".join([*aligned(rows), ", ".join(values)])


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
    return "\n".join(["most often confused", *aligned(rows)])


def _matrix_table(labels: Sequence[str], matrix: Sequence[Sequence[int]]) -> str:
    rows = [["gold \\ predicted", *(shorten(label, _NARROW) for label in labels)]]
    rows += [
        [f"  {shorten(label)}", *(f"{count:,}" if count else "." for count in counts)]
        for label, counts in zip(labels, matrix, strict=True)
    ]
    return "\n".join(aligned(rows))


def shorten(label: str, widest: int = _WIDEST) -> str:
    """The label in at most `widest` columns of one line, an ellipsis for the rest, with escapes for what would not
    show."""
    printable = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in label)
    if display_width(printable) <= widest:
        return printable
    kept, room = "", widest - 1
    for character in printable:
        room -= display_width(character)
        if room < 0:
            break
        kept += character
    return kept + "…"


def class_inspection_table(facts: Mapping[str, Any]) -> str:
    """What `inspect` found in files of texts and classes, a column a file, and what is odd about them."""
    files = facts["files"]
    names = _file_names([file["path"] for file in files])
    several = any(file["multi_label"] for file in files)
    rows = [["", *(names[file["path"]] for file in files)], ["format", *(file["format"] for file in files)]]
    rows += [
        [title, *(f"{file[key]:,}" for file in files)]
        for key, title in (
            ("texts", "texts"),
            ("unlabelled", "without a label"),
            ("empty", "empty"),
            ("duplicates", "repeated texts"),
            ("contradictions", "texts with different labels"),
        )
    ]
    rows += [
        [f"characters, {title}", *(f"{file['characters'][key]:,}" for file in files)]
        for key, title in (("min", "least"), ("median", "median"), ("p95", "95 %"), ("max", "most"))
    ]
    if len(files) > 1:
        shared = {pair["file"]: pair["count"] for pair in facts["leaks"] if pair["train"] == files[0]["path"]}
        rows.append(["texts also in first file", "-", *(f"{shared[file['path']]:,}" for file in files[1:])])
    rows.append(["several labels a text", *("yes" if file["multi_label"] else "no" for file in files)])
    rows += _class_rows(files)
    notes = [f"{names[file['path']]}: {remark}" for file in files for remark in file["remarks"]]
    notes += [
        f"{names[file['path']]}:{repair['line']}: {repair['count']:,} {repair['what']}, the first of them"
        for file in files
        for repair in file["repairs"]
    ]
    notes += [
        f"{names[pair['file']]}: labels that {names[pair['train']]} never has: "
        + ", ".join(shorten(label) for label in pair["labels"][:MATRIX_SHOWN])
        for pair in facts["unknown"]
        if pair["labels"]
    ]
    if several:
        notes.append("labels are counted one by one, as texts have several")
    return "\n".join([*aligned(rows), *(["", *notes] if notes else [])])


def _class_rows(files: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    totals: dict[str, int] = {}
    for file in files:
        for label, count in file["labels"].items():
            totals[label] = totals.get(label, 0) + count
    rows = [["labels", *(f"{len(file['labels']):,}" for file in files)]]
    shown = sorted(totals, key=lambda label: (-totals[label], label))[:LABELS_SHOWN]
    rows += [[f"  {shorten(label)}", *(f"{file['labels'].get(label, 0):,}" for file in files)] for label in shown]
    if len(shown) < len(totals):
        rows.append([f"  ... and {len(totals) - len(shown):,} more", *("" for _ in files)])
    return rows


def _file_names(paths: Sequence[str]) -> dict[str, str]:
    """File names where they tell the files apart, else whole paths."""
    names = [path.rpartition("/")[2] for path in paths]
    return {
        path: shorten(name if len(set(names)) == len(set(paths)) else path)
        for path, name in zip(paths, names, strict=True)
    }
