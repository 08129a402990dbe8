"""JSON objects: the shapes in which annotation tools and data sets write texts with classes.

* `{"text", "label" or another name: "x", 3, ["x", "y"] or null}`: data sets, doccano;
* `{"text", "cats": {"x": 0.0, "y": 1.0}}`: spaCy and Prodigy, on from 0.5;
* `{"text", "options": [...], "accept": ["x"]}`: Prodigy; an `answer` of `reject` or `ignore` leaves an object out;
* `{"text", "annotations": [{"label": 15, "user": 1}]}`: the first doccano;
* `{"data": {...}, "annotations": [{"result": [{"type": "choices", ...}]}]}`: Label Studio.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from nlp_app.core.errors import DataError, did_you_mean
from nlp_app.core.types import ClassRecord
from nlp_app.formats.classification.column_detection import HOW
from nlp_app.formats.classification.column_names import (
    LABEL_NAMES,
    TEXT_NAMES,
    enumerate_names,
    find_named,
    normalize_name,
)
from nlp_app.formats.classification.detection import SEQUENCES
from nlp_app.formats.classification.json_labels import choice_names, chosen_labels, parse_labels, parse_switches
from nlp_app.formats.classification.options import ClassReadOptions
from nlp_app.formats.classification.read_plan import NO_LABEL, NO_TEXT, ReadPlan, RepairLog, Sample
from nlp_app.formats.io.json_objects import json_type, read_objects

_SAMPLE = 1000

_REJECTED = "records that their annotator didn't accept, left out"

_SHAPES = ("cats", "accept", "annotations", "completions")  # keys that hold labels in a shape of their own

_NOT_ACCEPTED = ("reject", "ignore")

_TASK_KEYS = {"annotations", "completions", "predictions"}

_TAG_KEYS = {"ner_tags", "pos_tags", "chunk_tags"}


def plan_reading(sample: Sample, options: ClassReadOptions) -> ReadPlan:
    """Settle which keys hold text and labels, from the first objects. Raises DataError if they can't be told."""
    first = _first_objects(sample)
    keys = list(dict.fromkeys(path for value in first for path in _paths(value)))
    for value in first:
        _refuse_sequences(value, options, sample.name)
    text = tuple(_existing(key, keys, sample.name) for key in options.text_columns)
    labels = tuple(_existing(key, [*keys, *_groups(first)], sample.name) for key in options.label_columns)
    if not text:
        text = (_find_text(first, keys, labels, sample.name),)
    if options.labels and not labels:
        labels = _find_labels(first, keys, text, sample.name)
    resolved = dataclasses.replace(
        options, format="jsonl", text_columns=text, label_columns=labels if options.labels else options.label_columns
    )
    others = [key for key in keys if key not in text]
    said = f"label {', '.join(map(repr, labels))}" if labels else "no label"
    said += f" among {enumerate_names(others)}" if others and not labels else ""
    columns = f"keys: text {', '.join(map(repr, text))}" + (f"; {said}" if options.labels else "")
    return ReadPlan(
        resolved, ["format: jsonl, JSON", f"{columns} ({HOW})"], partial(_read, options=resolved, name=sample.name)
    )


def _read(lines: Iterable[str], ledger: RepairLog, *, options: ClassReadOptions, name: str) -> Iterator[ClassRecord]:
    keys = tuple(map(str, options.text_columns))
    label_keys = tuple(map(str, options.label_columns))
    for number, value in read_objects(lines, name):
        labels: tuple[str, ...] | None = None
        if options.labels:
            if value.get("answer") in _NOT_ACCEPTED and "answer" not in label_keys:
                ledger.add(_REJECTED, number)
                continue
            labels = _labels(value, label_keys, options.label_separator, name, number)
            if labels is None and label_keys:
                ledger.add(NO_LABEL, number)
        parts = [_text(value, key, name, number) for key in keys]
        if not options.labels and all(part is None for part in parts):  # nothing that a class could be found for
            raise DataError(f"found no {keys[0]!r}, expected a string ({HOW})", name, number)
        text = (parts[0] or "") if len(parts) == 1 else " ".join(filter(None, parts))
        if not text:
            ledger.add(NO_TEXT, number)
        yield ClassRecord(text, labels, number)


def _first_objects(sample: Sample) -> list[dict[str, Any]]:
    """The first objects; raises DataError if not even one can be read."""
    found: list[dict[str, Any]] = []
    try:
        for _, value in read_objects(sample.lines if sample.whole else sample.all_lines(), sample.name):
            found.append(value)
            if len(found) == _SAMPLE:
                break
    except DataError:  # what is read later says so; a stream's first lines may end in the middle of an object
        if not found and sample.whole:
            raise
    return found


def _paths(value: Mapping[str, Any]) -> list[str]:
    """The object's keys, and those of `data`, where Label Studio keeps the fields."""
    data = value.get("data")
    return [*value, *(f"data.{key}" for key in data)] if isinstance(data, dict) else list(value)


def _at(value: Mapping[str, Any], path: str) -> Any:
    """What stands at a key, or at a path of keys with dots between; None if nothing does."""
    if path in value or "." not in path:
        return value.get(path)
    item: Any = value
    for key in path.split("."):
        item = item.get(key) if isinstance(item, dict) else None
    return item


def _text(value: Mapping[str, Any], key: str, name: str, number: int) -> str | None:
    text = _at(value, key)
    if text is not None and not isinstance(text, str):
        raise DataError(f"`{key}`: found {json_type(text)}, expected a string ({HOW})", name, number)
    return text


def _existing(key: str | int, keys: Sequence[str], name: str) -> str:
    """A key that was named, as the objects write it."""
    wanted = str(key)
    if wanted in keys or not keys:
        return wanted
    for path in keys:
        if normalize_name(path) == normalize_name(wanted) or path.split(".", 1)[-1] == wanted:
            return path
    raise DataError(f"found no key {wanted!r}, only {enumerate_names(keys)}{did_you_mean(wanted, keys)} ({HOW})", name)


def _find_text(first: Sequence[Mapping[str, Any]], keys: Sequence[str], taken: Sequence[str], name: str) -> str:
    strings = [key for key in keys if key not in taken and any(isinstance(_at(value, key), str) for value in first)]
    ends = [key.split(".", 1)[-1] for key in strings]
    named = find_named(ends, TEXT_NAMES)
    if named and (len(named) == 1 or normalize_name(ends[named[0]]) in TEXT_NAMES):
        return strings[named[0]]
    if len(strings) == 1:
        return strings[0]
    if not keys:
        return "text"
    raise DataError(f"can't tell which key is the text: found {enumerate_names(keys)}; name it ({HOW})", name)


def _find_labels(
    first: Sequence[Mapping[str, Any]], keys: Sequence[str], text: Sequence[str], name: str
) -> tuple[str, ...]:
    """The keys of labels; none if there are none."""
    if groups := _groups(first):
        if len(groups) > 1:
            raise DataError(f"found several kinds of choices: {', '.join(groups)}; name one ({HOW})", name)
        return (groups[0],)
    others = [key for key in keys if key not in text and not key.startswith("data.")]
    for shape in _SHAPES:
        if any(isinstance(value.get(shape), dict if shape == "cats" else list) for value in first):
            return (shape,)
    named = find_named(others, LABEL_NAMES)
    if named and (len(named) == 1 or normalize_name(others[named[0]]) in LABEL_NAMES):
        return (others[named[0]],)
    if named:
        found = ", ".join(others[column] for column in named)
        raise DataError(f"can't tell which key is the label: found {found}; name it ({HOW})", name)
    return ()


def _groups(first: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names under which something is chosen in Label Studio tasks."""
    return list(dict.fromkeys(group for task in first if _is_task(task) for group in choice_names(task)))


def _is_task(value: Mapping[str, Any]) -> bool:
    return isinstance(value.get("data"), dict) and bool(_TASK_KEYS & value.keys())


def _labels(
    value: dict[str, Any], keys: Sequence[str], separator: str, name: str, number: int
) -> tuple[str, ...] | None:
    if _is_task(value) and not any("." in key for key in keys):
        return chosen_labels(value, keys, name, number)
    if not keys:
        late = next((key for key in (*_SHAPES, *LABEL_NAMES) if value.get(key) is not None), None)
        if late is not None:
            found = f"found `{late}`, which the first objects lack"
            raise DataError(f"{found}; say that it is the label ({HOW})", name, number)
        return None
    try:
        if len(keys) == 1:
            return parse_labels(_at(value, keys[0]), keys[0], separator)
        switches = {key: _at(value, key) for key in keys}
        if all(item is None for item in switches.values()):
            return None
        return parse_switches({key: item or 0 for key, item in switches.items()}, "label")
    except ValueError as error:
        raise DataError(str(error), name, number) from error


def _refuse_sequences(value: Mapping[str, Any], options: ClassReadOptions, name: str) -> None:
    if isinstance(value.get("tokens"), list) and (_TAG_KEYS & value.keys() or not isinstance(value.get("text"), str)):
        raise DataError(f"found `tokens`; {SEQUENCES}", name)
    has_classes = {"cats", "accept", *LABEL_NAMES} & value.keys() or options.label_columns
    if options.labels and not has_classes and isinstance(value.get("spans") or value.get("entities"), list):
        raise DataError(f"found spans; {SEQUENCES}", name)
