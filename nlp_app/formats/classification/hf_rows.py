"""Read texts with classes from a Hugging Face dataset, on the Hub (`hf:NAME`) or local."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from nlp_app.core.errors import DataError
from nlp_app.core.types import ClassRecord
from nlp_app.formats.classification.column_detection import COLUMN_HINT
from nlp_app.formats.classification.column_names import (
    LABEL_NAMES,
    TEXT_NAMES,
    find_named,
    list_columns,
    normalize_name,
    resolve_column,
)
from nlp_app.formats.classification.column_profiles import Profile, profile_values
from nlp_app.formats.classification.detection import SEQUENCES
from nlp_app.formats.classification.json_labels import parse_cell, parse_labels
from nlp_app.formats.classification.options import ClassReadOptions
from nlp_app.formats.classification.read_plan import LISTED, NO_LABEL, NO_TEXT, ReadPlan, RepairLog
from nlp_app.formats.io.hf_datasets import BATCH, load_data_set, parse_address

_SAMPLE = 200  # rows whose values show if a column may contain texts or labels

_Labeler = Callable[[Sequence[Any], int], tuple[str, ...] | None]


def plan_reading(path: str, options: ClassReadOptions) -> ReadPlan:
    """Load a dataset and choose its columns.

    Args:
        path: An address with `hf:`, or a local path.
        options: Reading options.

    Returns:
        A plan with resolved options.

    Raises:
        DataError: The dataset cannot be loaded, its columns are ambiguous, or a named column does not exist.
    """
    address = parse_address(path)
    dataset = load_data_set(path)
    names, features = list(dataset.column_names), dict(dataset.features)
    text = tuple(resolve_column(wanted, names, path, COLUMN_HINT) for wanted in options.text_columns)
    labels = (
        tuple(resolve_column(wanted, names, path, COLUMN_HINT) for wanted in options.label_columns)
        if options.labels
        else ()
    )
    profiles = _profile_columns(dataset)
    strings = [column for column, key in enumerate(names) if _is_text(features[key])]
    named_texts = find_named(names, TEXT_NAMES, lambda column: column in strings and profiles[column].may_be_named_text)
    text = text or (_find_column(names, named_texts, TEXT_NAMES, strings, path),)
    if any(not _is_text(features[names[column]]) for column in text):
        hint = SEQUENCES if "tokens" in names else COLUMN_HINT
        raise DataError(f"found no strings in the text column {names[text[0]]!r}: {hint}", path)
    if options.labels and not labels:
        other_columns = [column for column in range(len(names)) if column not in text]
        class_columns = [column for column in other_columns if _class_names(features[names[column]]) is not None]
        named_labels = find_named(
            names, LABEL_NAMES, lambda column: column in other_columns and profiles[column].may_be_named_label
        )
        if named_labels:
            labels = (_find_column(names, named_labels, LABEL_NAMES, other_columns, path),)
        elif len(class_columns) == 1:
            labels = (class_columns[0],)
    resolved = dataclasses.replace(
        options,
        format="hub",
        text_columns=tuple(names[column] for column in text),
        label_columns=tuple(names[column] for column in labels) if options.labels else options.label_columns,
    )
    label_phrase = f"label {', '.join(repr(names[column]) for column in labels)}" if labels else "no label"
    remarks = [
        f"format: hub, {address.name}, split {address.split}, {len(dataset):,} rows",
        f"columns: text {', '.join(repr(names[column]) for column in text)}; {label_phrase} ({COLUMN_HINT})",
    ]
    return ReadPlan(resolved, remarks, partial(_read, dataset=dataset, options=resolved, path=path))


def _is_text(feature: Any) -> bool:
    return getattr(feature, "dtype", None) in ("string", "large_string")


def _class_names(feature: Any) -> Sequence[str] | None:
    """Return the names of the classes whose numbers a column contains; None for other columns."""
    names: Sequence[str] | None = getattr(getattr(feature, "feature", feature), "names", None)
    return names


def _profile_columns(dataset: Any) -> list[Profile]:
    return [profile_values(values) for values in dataset[:_SAMPLE].values()]


def _find_column(
    names: Sequence[str], named: Sequence[int], known: Sequence[str], candidates: Sequence[int], path: str
) -> int:
    """Return the column, among the candidates, that has a known name or is the only one."""
    role = "text" if known is TEXT_NAMES else "label"
    matches = [column for column in named if column in candidates]
    if matches and (len(matches) == 1 or normalize_name(names[matches[0]]) in known):
        return matches[0]
    if len(candidates) == 1:
        return candidates[0]
    if {"tokens", "ner_tags"} <= set(names):
        raise DataError(f"found `tokens` and `ner_tags`: {SEQUENCES}", path)
    raise DataError(
        f"can't tell which column is the {role}: found {list_columns(names)}; name it ({COLUMN_HINT})", path
    )


def _read(
    lines: Iterable[str], repair_log: RepairLog, *, dataset: Any, options: ClassReadOptions, path: str
) -> Iterator[ClassRecord]:
    text_keys = [str(key) for key in options.text_columns]
    label_keys = [str(key) for key in options.label_columns] if options.labels else []
    label_of = _labeler(label_keys, dataset.features, options.label_separator, repair_log)
    number = 0
    for batch in dataset.select_columns([*text_keys, *label_keys]).iter(BATCH):
        texts = zip(*(batch[key] for key in text_keys), strict=True)
        values = (
            zip(*(batch[key] for key in label_keys), strict=True) if label_keys else ((),) * len(batch[text_keys[0]])
        )
        for parts, cells in zip(texts, values, strict=True):
            number += 1
            if not options.labels and all(part is None for part in parts):  # without a text, nothing can be classified
                raise DataError(f"`{text_keys[0]}`: found no value, expected a text", path, number)
            text = " ".join(filter(None, parts)) if len(parts) > 1 else parts[0] or ""
            if not text:
                repair_log.add(NO_TEXT, number)
            try:
                labels = label_of(cells, number) if label_keys else None
            except ValueError as error:
                raise DataError(str(error), path, number) from error
            if label_keys and labels is None:
                repair_log.add(NO_LABEL, number)
            yield ClassRecord(text, labels, number)


def _labeler(keys: Sequence[str], features: Any, separator: str, repair_log: RepairLog) -> _Labeler:
    """Return a function that turns a row's cells into labels: the names of class numbers, or of columns that are 1."""
    if len(keys) != 1:
        return lambda cells, number: _binary_labels(keys, cells)
    classes = _class_names(features[keys[0]])

    def single(cells: Sequence[Any], number: int) -> tuple[str, ...] | None:
        value = cells[0]
        if (listed := parse_cell(value, keys[0])) is not None:
            repair_log.add(LISTED, number)
            return listed
        if classes is None or value is None:
            return parse_labels(value, keys[0], separator)
        if isinstance(value, list):
            return tuple(dict.fromkeys(classes[item] for item in value))
        return (classes[value],) if value >= 0 else None  # -1: a test split whose labels are not published

    return single


def _binary_labels(keys: Sequence[str], cells: Sequence[Any]) -> tuple[str, ...] | None:
    if all(cell is None for cell in cells):
        return None
    return parse_labels({key: cell or 0 for key, cell in zip(keys, cells, strict=True)}, "label")
