"""Read JSON objects of texts with classes, in the shapes that annotation tools and datasets use.

* `{"text", "label" or another name: "x", 3, ["x", "y"] or null}`: datasets, doccano;
* `{"text", "cats": {"x": 0.0, "y": 1.0}}`: spaCy and Prodigy; scores from 0.5 are labels;
* `{"text", "options": [...], "accept": ["x"]}`: Prodigy; an object whose `answer` is `reject` or `ignore` is skipped;
* `{"text", "annotations": [{"label": 15, "user": 1}]}`: early versions of doccano;
* `{"data": {...}, "annotations": [{"result": [{"type": "choices", ...}]}]}`: Label Studio.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from nlp_app.core.errors import DataError, did_you_mean
from nlp_app.core.types import ClassRecord
from nlp_app.formats.classification.column_detection import COLUMN_HINT, find_text
from nlp_app.formats.classification.column_names import (
    LABEL_NAMES,
    enumerate_names,
    find_exact,
    find_partial,
    normalize_name,
)
from nlp_app.formats.classification.column_profiles import Profile, profile_values
from nlp_app.formats.classification.detection import SEQUENCES
from nlp_app.formats.classification.json_labels import (
    choice_names,
    chosen_labels,
    parse_cell,
    parse_labels,
    parse_scores,
)
from nlp_app.formats.classification.options import ClassReadOptions
from nlp_app.formats.classification.read_plan import LISTED, NO_LABEL, NO_TEXT, ReadPlan, RepairLog, Sample
from nlp_app.formats.io.json_objects import json_type, read_objects
from nlp_app.formats.io.label_studio import NO_ANNOTATION, ONLY_PREDICTIONS, select_annotations

_SAMPLE = 1000

_REJECTED = "records that the annotator did not accept, skipped"

_SHAPES = ("cats", "accept", "annotations", "completions")  # keys whose values hold labels in special shapes

_NOT_ACCEPTED = ("reject", "ignore")

_TASK_KEYS = {"annotations", "completions", "predictions"}

_TAG_KEYS = {"ner_tags", "pos_tags", "chunk_tags"}


def plan_reading(sample: Sample, options: ClassReadOptions) -> ReadPlan:
    """Choose the keys of text and labels from the first objects.

    Args:
        sample: The beginning of the source.
        options: Reading options.

    Returns:
        A plan with resolved options.

    Raises:
        DataError: The keys are ambiguous, a named key does not exist, or the objects contain tokens or spans.
    """
    first = _read_first_objects(sample)
    keys = list(dict.fromkeys(path for value in first for path in _key_paths(value)))
    for value in first:
        _reject_sequences(value, options, sample.name)
    text = tuple(_resolve_key(key, keys, sample.name) for key in options.text_columns)
    labels = tuple(_resolve_key(key, [*keys, *_choice_groups(first)], sample.name) for key in options.label_columns)
    if not text:
        text = (_find_text(first, keys, labels, sample.name),)
    if options.labels and not labels:
        labels = _find_labels(first, keys, text, sample.name)
    if options.labels and not any("." in key for key in labels):
        _reject_unannotated(first, sample.name)
    resolved = dataclasses.replace(
        options, format="jsonl", text_columns=text, label_columns=labels if options.labels else options.label_columns
    )
    others = [key for key in keys if key not in text]
    label_phrase = f"label {', '.join(map(repr, labels))}" if labels else "no label"
    label_phrase += f" among {enumerate_names(others)}" if others and not labels else ""
    columns = f"keys: text {', '.join(map(repr, text))}" + (f"; {label_phrase}" if options.labels else "")
    return ReadPlan(
        resolved,
        ["format: jsonl, JSON", f"{columns} ({COLUMN_HINT})"],
        partial(_read, options=resolved, name=sample.name),
        partial(read_objects, name=sample.name),
    )


def _read(
    lines: Iterable[str], repair_log: RepairLog, *, options: ClassReadOptions, name: str
) -> Iterator[ClassRecord]:
    keys = tuple(map(str, options.text_columns))
    label_keys = tuple(map(str, options.label_columns))
    for number, value in read_objects(lines, name):
        labels: tuple[str, ...] | None = None
        if options.labels:
            if value.get("answer") in _NOT_ACCEPTED and "answer" not in label_keys:
                repair_log.add(_REJECTED, number)
                continue
            labels = _get_labels(value, label_keys, options.label_separator, repair_log, name, number)
            if labels is None and label_keys:
                repair_log.add(NO_LABEL, number)
        parts = [_get_text(value, key, name, number) for key in keys]
        if not options.labels and all(part is None for part in parts):  # without a text, nothing can be classified
            raise DataError(f"found no {keys[0]!r}, expected a string ({COLUMN_HINT})", name, number)
        text = (parts[0] or "") if len(parts) == 1 else " ".join(filter(None, parts))
        if not text:
            repair_log.add(NO_TEXT, number)
        yield ClassRecord(text, labels, number)


def _read_first_objects(sample: Sample) -> list[dict[str, Any]]:
    """Return the first objects, at most 1,000. Raises DataError if the first one is invalid."""
    found: list[dict[str, Any]] = []
    try:
        for _, value in read_objects(sample.lines if sample.whole else sample.all_lines(), sample.name):
            found.append(value)
            if len(found) == _SAMPLE:
                break
    except DataError:
        # Raised again, with its line, when the file is read. A stream's first lines may end within an object.
        if not found and sample.whole:
            raise
    return found


def _key_paths(value: Mapping[str, Any]) -> list[str]:
    """Return the keys of an object, and those of `data`, where Label Studio keeps the fields."""
    data = value.get("data")
    return [*value, *(f"data.{key}" for key in data)] if isinstance(data, dict) else list(value)


def _get_path(value: Mapping[str, Any], path: str) -> Any:
    """Return the value of a key, or of a path of keys with dots in between; None if there is no value."""
    if path in value or "." not in path:
        return value.get(path)
    item: Any = value
    for key in path.split("."):
        item = item.get(key) if isinstance(item, dict) else None
    return item


def _get_text(value: Mapping[str, Any], key: str, name: str, number: int) -> str | None:
    text = _get_path(value, key)
    if text is not None and not isinstance(text, str):
        raise DataError(f"`{key}`: found {json_type(text)}, expected a string ({COLUMN_HINT})", name, number)
    return text


def _resolve_key(key: str | int, keys: Sequence[str], name: str) -> str:
    """Return a key given by the user as it is written in the objects."""
    wanted = str(key)
    if wanted in keys or not keys:
        return wanted
    for path in keys:
        if normalize_name(path) == normalize_name(wanted) or path.split(".", 1)[-1] == wanted:
            return path
    raise DataError(
        f"found no key {wanted!r}, only {enumerate_names(keys)}{did_you_mean(wanted, keys)} ({COLUMN_HINT})", name
    )


def _find_text(first: Sequence[Mapping[str, Any]], keys: Sequence[str], label_keys: Sequence[str], name: str) -> str:
    strings = [
        key for key in keys if key not in label_keys and any(isinstance(_get_path(value, key), str) for value in first)
    ]
    if not keys:
        return "text"
    profiles = [_profile(first, key) for key in strings]
    found = find_text([_last_key(key) for key in strings], profiles)
    if found is None:
        raise DataError(
            f"can't tell which key is the text: found {enumerate_names(keys)}; name it ({COLUMN_HINT})", name
        )
    return strings[found]


def _last_key(path: str) -> str:
    return path.split(".", 1)[-1]


def _profile(first: Sequence[Mapping[str, Any]], key: str) -> Profile:
    return profile_values(_get_path(value, key) for value in first)


def _find_labels(
    first: Sequence[Mapping[str, Any]], keys: Sequence[str], text_keys: Sequence[str], name: str
) -> tuple[str, ...]:
    """Return the keys of labels; empty without a key that may hold labels."""
    if groups := _choice_groups(first):
        if len(groups) > 1:
            raise DataError(f"found several kinds of choices: {', '.join(groups)}; name one ({COLUMN_HINT})", name)
        return (groups[0],)
    others = [key for key in keys if key not in text_keys and not key.startswith("data.")]
    for shape in _SHAPES:
        if any(isinstance(value.get(shape), dict if shape == "cats" else list) for value in first):
            return (shape,)
    named = find_exact(others, LABEL_NAMES)[:1] or find_partial(
        others, LABEL_NAMES, lambda column: _fits_name(first, others[column])
    )
    if len(named) == 1:
        return (others[named[0]],)
    if named:
        found = ", ".join(others[column] for column in named)
        raise DataError(f"can't tell which key is the label: found {found}; name it ({COLUMN_HINT})", name)
    return ()


def _fits_name(first: Sequence[Mapping[str, Any]], key: str) -> bool:
    """Return True if the values of a key, whose name only contains a word for labels, may be labels."""
    if any(isinstance(_get_path(value, key), dict) for value in first):
        return True
    return _profile(first, key).may_be_named_label


def _choice_groups(first: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names of the questions that are answered with choices in Label Studio tasks."""
    return list(dict.fromkeys(group for task in first if _is_task(task) for group in choice_names(task)))


def _is_task(value: Mapping[str, Any]) -> bool:
    return isinstance(value.get("data"), dict) and bool(_TASK_KEYS & value.keys())


def _get_labels(
    value: dict[str, Any], keys: Sequence[str], separator: str, repair_log: RepairLog, name: str, number: int
) -> tuple[str, ...] | None:
    if _is_task(value) and not any("." in key for key in keys):
        return chosen_labels(value, keys, name, number)
    if not keys:
        unexpected = next((key for key in (*_SHAPES, *LABEL_NAMES) if value.get(key) is not None), None)
        if unexpected is not None:
            found = f"found `{unexpected}`, which the first objects lack"
            raise DataError(f"{found}; name it if it is the label ({COLUMN_HINT})", name, number)
        return None
    try:
        if len(keys) == 1:
            item = _get_path(value, keys[0])
            if (listed := parse_cell(item, keys[0])) is not None:
                repair_log.add(LISTED, number)
                return listed
            return parse_labels(item, keys[0], separator)
        values = {key: _get_path(value, key) for key in keys}
        if all(item is None for item in values.values()):
            return None
        return parse_scores({key: item or 0 for key, item in values.items()}, "label")
    except ValueError as error:
        raise DataError(str(error), name, number) from error


def _reject_sequences(value: Mapping[str, Any], options: ClassReadOptions, name: str) -> None:
    if isinstance(value.get("tokens"), list) and (_TAG_KEYS & value.keys() or not isinstance(value.get("text"), str)):
        raise DataError(f"found `tokens`; {SEQUENCES}", name)
    has_classes = {"cats", "accept", *LABEL_NAMES} & value.keys() or options.label_columns
    if options.labels and not has_classes and isinstance(value.get("spans") or value.get("entities"), list):
        raise DataError(f"found spans; {SEQUENCES}", name)


def _reject_unannotated(first: Sequence[dict[str, Any]], name: str) -> None:
    """Raise DataError for Label Studio tasks if no task has a finished annotation."""
    tasks = [value for value in first if _is_task(value)]
    if tasks and not any(select_annotations(task, name, 1) for task in tasks):
        raise DataError(ONLY_PREDICTIONS if any(task.get("predictions") for task in tasks) else NO_ANNOTATION, name)
