"""Texts and classes in a data set that the package `datasets` opens: of the Hub (`hf:NAME`), or a local one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from nlp_app.core.errors import DataError
from nlp_app.core.types import ClassRecord
from nlp_app.formats.classification.column_detection import HOW
from nlp_app.formats.classification.column_names import (
    LABEL_NAMES,
    TEXT_NAMES,
    find_named,
    list_columns,
    normalize_name,
    resolve_column,
)
from nlp_app.formats.classification.detection import SEQUENCES
from nlp_app.formats.classification.json_labels import parse_labels
from nlp_app.formats.classification.options import ClassReadOptions
from nlp_app.formats.classification.read_plan import NO_LABEL, NO_TEXT, ReadPlan, RepairLog
from nlp_app.formats.io.hf_datasets import BATCH, load_data_set, parse_address

_Labeller = Callable[[Sequence[Any], int], tuple[str, ...] | None]


def plan_reading(path: str, options: ClassReadOptions) -> ReadPlan:
    """Load a data set and settle its columns.

    Raises DataError if the data set can't be had, or its columns can't be told.
    """
    address = parse_address(path)
    dataset = load_data_set(path)
    names, features = list(dataset.column_names), dict(dataset.features)
    text = tuple(resolve_column(wanted, names, path, HOW) for wanted in options.text_columns)
    labels = (
        tuple(resolve_column(wanted, names, path, HOW) for wanted in options.label_columns) if options.labels else ()
    )
    text = text or (
        _find(names, TEXT_NAMES, "text", [c for c, key in enumerate(names) if _is_text(features[key])], path),
    )
    if any(not _is_text(features[names[column]]) for column in text):
        hint = SEQUENCES if "tokens" in names else HOW
        raise DataError(f"found no strings in the text column {names[text[0]]!r}: {hint}", path)
    if options.labels and not labels:
        others = [column for column in range(len(names)) if column not in text]
        classes = [column for column in others if _classes(features[names[column]]) is not None]
        if find_named(names, LABEL_NAMES):
            labels = (_find(names, LABEL_NAMES, "label", others, path),)
        elif len(classes) == 1:
            labels = (classes[0],)
    resolved = dataclasses.replace(
        options,
        format="hub",
        text_columns=tuple(names[column] for column in text),
        label_columns=tuple(names[column] for column in labels) if options.labels else options.label_columns,
    )
    said = f"label {', '.join(repr(names[column]) for column in labels)}" if labels else "no label"
    remarks = [
        f"format: hub, {address.name}, part {address.split}, {len(dataset):,} rows",
        f"columns: text {', '.join(repr(names[column]) for column in text)}; {said} ({HOW})",
    ]
    return ReadPlan(resolved, remarks, partial(_read, dataset=dataset, options=resolved, path=path))


def _is_text(feature: Any) -> bool:
    return getattr(feature, "dtype", None) in ("string", "large_string")


def _classes(feature: Any) -> Sequence[str] | None:
    """The names of the classes that a column's numbers stand for, where they do."""
    names: Sequence[str] | None = getattr(getattr(feature, "feature", feature), "names", None)
    return names


def _find(names: Sequence[str], known: Sequence[str], what: str, likely: Sequence[int], path: str) -> int:
    """The column of these that bears a known name, or is the only one."""
    named = find_named([names[column] for column in likely], known)
    if named and (len(named) == 1 or normalize_name(names[likely[named[0]]]) in known):
        return likely[named[0]]
    if len(likely) == 1:
        return likely[0]
    if {"tokens", "ner_tags"} <= set(names):
        raise DataError(f"found `tokens` and `ner_tags`: {SEQUENCES}", path)
    raise DataError(f"can't tell which column is the {what}: found {list_columns(names)}; name it ({HOW})", path)


def _read(
    lines: Iterable[str], ledger: RepairLog, *, dataset: Any, options: ClassReadOptions, path: str
) -> Iterator[ClassRecord]:
    text_keys = [str(key) for key in options.text_columns]
    label_keys = [str(key) for key in options.label_columns] if options.labels else []
    label_of = _labeler(label_keys, dataset.features, options.label_separator)
    number = 0
    for batch in dataset.select_columns([*text_keys, *label_keys]).iter(BATCH):
        texts = zip(*(batch[key] for key in text_keys), strict=True)
        values = (
            zip(*(batch[key] for key in label_keys), strict=True) if label_keys else ((),) * len(batch[text_keys[0]])
        )
        for parts, cells in zip(texts, values, strict=True):
            number += 1
            if not options.labels and all(part is None for part in parts):  # nothing that a class could be found for
                raise DataError(f"`{text_keys[0]}`: found nothing, expected a text", path, number)
            text = " ".join(filter(None, parts)) if len(parts) > 1 else parts[0] or ""
            if not text:
                ledger.add(NO_TEXT, number)
            try:
                labels = label_of(cells, number) if label_keys else None
            except ValueError as error:
                raise DataError(str(error), path, number) from error
            if label_keys and labels is None:
                ledger.add(NO_LABEL, number)
            yield ClassRecord(text, labels, number)


def _labeler(keys: Sequence[str], features: Any, separator: str) -> _Labeller:
    """Labels from a row's cells: the names of classes for their numbers, of columns for 1."""
    if len(keys) != 1:
        return lambda cells, number: _switched(keys, cells)
    classes = _classes(features[keys[0]])

    def single(cells: Sequence[Any], number: int) -> tuple[str, ...] | None:
        value = cells[0]
        if classes is None or value is None:
            return parse_labels(value, keys[0], separator)
        if isinstance(value, list):
            return tuple(dict.fromkeys(classes[item] for item in value))
        return (classes[value],) if value >= 0 else None  # -1: the labels of a test part that are kept secret

    return single


def _switched(keys: Sequence[str], cells: Sequence[Any]) -> tuple[str, ...] | None:
    if all(cell is None for cell in cells):
        return None
    return parse_labels({key: cell or 0 for key, cell in zip(keys, cells, strict=True)}, "label")
