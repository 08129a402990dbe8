"""Format the output of `inspect` for labeled texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nlp_app.core.text_table import format_table, shorten
from nlp_app.reports.classification_scores import LABELS_SHOWN, MATRIX_SHOWN


def class_inspection_table(facts: Mapping[str, Any]) -> str:
    """Format the facts about files of labeled texts as a table, followed by notes on anything unusual.

    Args:
        facts: The result of `inspect_classes`.

    Returns:
        The table, with one column for each file, and one line for each note.
    """
    files = facts["files"]
    names = _file_names([file["path"] for file in files])
    is_multi_label = any(file["multi_label"] for file in files)
    rows = [["", *(names[file["path"]] for file in files)], ["format", *(file["format"] for file in files)]]
    rows += [
        [title, *(f"{file[key]:,}" for file in files)]
        for key, title in (
            ("texts", "texts"),
            ("unlabelled", "without a label"),
            ("empty", "empty"),
            ("duplicates", "duplicate texts"),
            ("contradictions", "texts with different labels"),
        )
    ]
    rows += [
        [f"characters, {title}", *(f"{file['characters'][key]:,}" for file in files)]
        for key, title in (("min", "min"), ("median", "median"), ("p95", "95%"), ("max", "max"))
    ]
    if len(files) > 1:
        shared = {pair["file"]: pair["count"] for pair in facts["leaks"] if pair["train"] == files[0]["path"]}
        rows.append(["texts also in first file", "-", *(f"{shared[file['path']]:,}" for file in files[1:])])
    rows.append(["several labels per text", *("yes" if file["multi_label"] else "no" for file in files)])
    rows += _class_rows(files)
    notes = [f"{names[file['path']]}: {remark}" for file in files for remark in file["remarks"]]
    notes += [
        f"{names[file['path']]}:{repair['line']}: {repair['count']:,} {repair['what']}, the first of them"
        for file in files
        for repair in file["repairs"]
    ]
    notes += [
        f"{names[pair['file']]}: labels that do not occur in {names[pair['train']]}: "
        + ", ".join(shorten(label) for label in pair["labels"][:MATRIX_SHOWN])
        for pair in facts["unknown"]
        if pair["labels"]
    ]
    if is_multi_label:
        notes.append("texts have several labels; each label of a text is counted")
    return "\n".join([*format_table(rows), *(["", *notes] if notes else [])])


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
    """Return the display name of each file: its name, or the whole path if names are not unique."""
    names = [path.rpartition("/")[2] for path in paths]
    return {
        path: shorten(name if len(set(names)) == len(set(paths)) else path)
        for path, name in zip(paths, names, strict=True)
    }
