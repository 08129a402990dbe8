"""Convert values from JSON or Arrow to labels.

Errors are ValueError without a line; the readers, which know the line, turn them into DataError.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from nlp_app.core.errors import DataError
from nlp_app.formats.classification.detection import SEQUENCES
from nlp_app.formats.io.json_objects import json_type, load_cell
from nlp_app.formats.io.label_studio import annotation_results, select_annotations

_MIN_SCORE = 0.5

_TASK_LISTS = ("annotations", "completions")  # keys of a Label Studio task, not names of questions


def parse_labels(item: Any, key: str, separator: str = "") -> tuple[str, ...] | None:
    """Parse a value into labels.

    Args:
        item: A label, a list of labels, an object of scores, or the annotations of an early version of doccano.
        key: The key of the value, for messages.
        separator: Separates several labels in a string; empty for none.

    Returns:
        The labels without duplicates; None for no value, and an empty tuple for an empty list.

    Raises:
        ValueError: The value cannot be parsed.
    """
    if isinstance(item, str):
        parts = item.split(separator) if separator else [item]
        return tuple(dict.fromkeys(filter(None, map(str.strip, parts)))) or None
    if isinstance(item, dict):
        return parse_labels(item["choices"], key) if "choices" in item else parse_scores(item, key)
    if not isinstance(item, list):
        label = _parse_label(item, key)
        return None if label is None else (label,)
    if item and all(isinstance(entry, dict) for entry in item):
        return _parse_annotations(item, key)
    labels = [_parse_label(entry, key) for entry in item]
    if None in labels:
        raise ValueError(f"`{key}`: found an empty label in a list, expected names")
    return tuple(dict.fromkeys(label for label in labels if label is not None))


def parse_cell(cell: Any, key: str) -> tuple[str, ...] | None:
    """Parse a cell of a table that contains labels as JSON or Python writes them: `["x", "y"]`, `{"choices": ["x"]}`.

    Args:
        cell: The cell.
        key: The name of the column, for messages.

    Returns:
        The labels; None if the cell is an ordinary label, or no string.

    Raises:
        ValueError: The cell contains an object or a list without labels, such as spans.
    """
    value = load_cell(cell)
    if value is None:
        return None
    entries = value if isinstance(value, list) else [value]
    if any(isinstance(entry, dict) and {"start", "start_offset"} & entry.keys() for entry in entries):
        raise ValueError(f"`{key}`: found spans; `train ner` reads them")
    return parse_labels(value, key)


def _parse_label(item: Any, key: str) -> str | None:
    if isinstance(item, bool):
        return "true" if item else "false"
    if item is None or item == "" or (isinstance(item, float) and math.isnan(item)):
        return None
    if isinstance(item, str):
        return item.strip() or None
    if isinstance(item, int | float):
        return str(item)
    if isinstance(item, list) and len(item) == 3 and type(item[0]) is int:
        raise ValueError(f"`{key}`: found a span {item!r}; {SEQUENCES}")
    raise ValueError(f"`{key}`: found {json_type(item)}, expected a label or a list of labels")


def parse_scores(scores: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """Parse an object of scores into labels.

    Args:
        scores: A score from 0 to 1 for each label.
        key: The key of the object, for messages.

    Returns:
        The labels with a score of at least 0.5.

    Raises:
        ValueError: A score is not a number from 0 to 1.
    """
    for label, score in scores.items():
        if not isinstance(score, int | float) or not 0 <= score <= 1:
            raise ValueError(f"`{key}`: found {score!r} for {label!r}, expected a number from 0 to 1")
    return tuple(label for label, score in scores.items() if score >= _MIN_SCORE)


def _parse_annotations(entries: Sequence[Mapping[str, Any]], key: str) -> tuple[str, ...]:
    """Return the labels in annotations of an early doccano version, from one user or from several who agree."""
    users: dict[Any, dict[str, None]] = {}
    for entry in entries:
        if "start_offset" in entry or "start" in entry:
            raise ValueError(f"`{key}`: found spans; {SEQUENCES}")
        label = _parse_label(entry.get("label"), key)
        if label is None:
            raise ValueError(f"`{key}`: found an annotation without a label, expected one")
        users.setdefault(str(entry.get("user")), {})[label] = None
    first, *rest = users.values()
    if any(set(other) != set(first) for other in rest):
        raise ValueError(f"`{key}`: found annotations of {len(users)} users that differ, expected one for each text")
    return tuple(first)


def choice_names(task: Mapping[str, Any]) -> list[str]:
    """Return the names of the questions (`from_name`) that are answered with choices in a Label Studio task.

    Args:
        task: The task.

    Returns:
        The names, in order of occurrence.
    """
    found: dict[str, None] = {}
    for annotation in [*(task.get("annotations") or ()), *(task.get("completions") or ())]:
        for result in annotation.get("result") or () if isinstance(annotation, dict) else ():
            if isinstance(result, dict) and result.get("type") == "choices":
                found[_group_name(result)] = None
    return list(found)


def chosen_labels(task: dict[str, Any], groups: Sequence[str], name: str, line: int) -> tuple[str, ...] | None:
    """Return the labels chosen in a Label Studio task.

    Args:
        task: The task.
        groups: The names of the questions that are read; empty for all.
        name: The file's name, for messages.
        line: The task's line.

    Returns:
        The labels; None if there is no finished annotation or nothing was chosen.

    Raises:
        DataError: The task has annotations that differ, or labeled spans.
    """
    read: list[tuple[str, ...]] = []
    names_question = any(group not in _TASK_LISTS for group in groups)
    for annotation in select_annotations(task, name, line):
        results = annotation_results(annotation, name, line)
        choices = [result for result in results if result.get("type") == "choices"]
        if not choices and not names_question and any("labels" in str(result.get("type")) for result in results):
            raise DataError(f"found labeled spans: {SEQUENCES}", name, line)
        found: dict[str, None] = {}
        for result in choices:
            value = result.get("value")
            if isinstance(value, dict) and (not groups or _group_name(result) in groups):
                found.update(dict.fromkeys(parse_labels(value.get("choices"), "choices") or ()))
        read.append(tuple(found))
    if any(set(other) != set(read[0]) for other in read):
        reason = f"found {len(read)} annotations that differ"
        raise DataError(f"{reason}, expected one, or one marked as ground truth", name, line)
    return (read[0] or None) if read else None


def _group_name(result: Mapping[str, Any]) -> str:
    return str(result.get("from_name", "choices"))
