"""Recognize the shapes in which annotation tools write labeled spans as JSON, and bring them into one form.

| tool | shape |
|---|---|
| doccano | `{"text", "label" or "labels": [[start, end, label]]}`, `{"text", "entities": [{"start_offset", ...}]}` |
| Prodigy, `tag` | `{"text", "spans": [{"start", "end", "label"}, ...]}` |
| Label Studio, JSON-MIN | `{any key: text, any key: [{"start", "end", "text", "labels": [label]}, ...]}` |
| Argilla | `{"text", "tokens", "prediction", "annotation": [{"label", "start", "end"} or [label, start, end], ...]}` |
| spaCy | `[text, {"entities": [[start, end, label], ...]}]`; `{"annotations": [...], "classes": [...]}` around them |
| CLUENER | `{"text", "label": {label: {surface: [[start, end inclusive], ...]}}}` |
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from nlp_app.core.errors import DataError, OtherTaskError
from nlp_app.formats.io.json_objects import json_type
from nlp_app.formats.tagging.span_reader import RawSpan

SPAN_KEYS = ("spans", "entities", "label", "labels", "annotations")

_CLASSES_SKIPPED = "classes of whole texts under the key {!r}, skipped"

_SPANS_SKIPPED = "lists of spans under the key {!r}, skipped (setting data.label_key)"

_SPAN_NAME = re.compile("ner|entit|span|label|annot|tag")

OTHER_TASK = (
    "this looks like text classification data (a text and its classes): use `train cls`, or give tokens with "
    "tags, or texts with spans"
)

_STARTS = frozenset(("start", "start_offset"))

_UIMA_KEYS = ("%TYPES", "%FEATURE_STRUCTURES", "_context", "_views")

_PARTS_OF_SPAN = (3, 4)


class SpanField(NamedTuple):
    """The key of an object that holds its spans.

    Attributes:
        key: The key; empty if the object has no spans.
        spans: The spans; None if the object is unlabeled.
        skipped: Plural noun phrases for other labels in the object.
    """

    key: str
    spans: list[RawSpan] | None
    skipped: list[str]


def is_pair(value: Any) -> bool:
    """Check if a value is an example of spaCy.

    Args:
        value: A value parsed from JSON.

    Returns:
        True for `[text, {...}]`.
    """
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], dict)


def expand(value: Any, name: str, line: int) -> Iterator[dict[str, Any]]:
    """Yield the objects that a value stands for: itself, or the examples of spaCy in it.

    Args:
        value: A value parsed from JSON.
        name: The file's name, for messages.
        line: The value's line.

    Yields:
        The objects.

    Raises:
        DataError: The value is not an object, or has a format that is not read.
    """
    if is_pair(value):
        yield _pair_to_object(*value)
    elif not isinstance(value, dict):
        raise DataError(f"found {json_type(value)}, expected an object {{...}}", name, line)
    elif any(key in value for key in _UIMA_KEYS):
        raise DataError("found UIMA CAS JSON, which is not read; export WebAnno TSV 3.3 instead", name, line)
    elif "classes" in value and isinstance(pairs := value.get("annotations"), list) and any(map(is_pair, pairs)):
        for pair in pairs:  # the tool writes null for a text without annotations
            if is_pair(pair):
                yield _pair_to_object(*pair)
    else:
        yield value


def _pair_to_object(text: str, annotations: dict[str, Any]) -> dict[str, Any]:
    entities = annotations.get("entities")
    if isinstance(entities, list):  # a fourth part would be an id in a knowledge base
        entities = [item[:3] if isinstance(item, list) else item for item in entities]
    return {**annotations, "text": text, "entities": entities}


def find_spans(value: Mapping[str, Any], label_key: str, name: str, line: int) -> SpanField:
    """Find the key that holds the spans of an object, and parse them.

    Args:
        value: The object.
        label_key: The key that the user names; empty to find it.
        name: The file's name, for messages.
        line: The object's line.

    Returns:
        The key and its spans.

    Raises:
        DataError: Several keys hold spans, or a value is not a list of spans.
        OtherTaskError: The object has classes of the whole text, and no spans.
    """
    if label_key:
        items = value.get(label_key)
        if _are_classes(items):
            raise OtherTaskError(f"`{label_key}`: {OTHER_TASK}", name, line)
        return SpanField(label_key, None if items is None else _parse_items(items, label_key, name, line), [])
    known = [key for key in SPAN_KEYS if value.get(key) is not None]
    classes = [key for key in known if _are_classes(value[key])]
    if value.get("cats") is not None:
        classes.append("cats")
    lists = [key for key in known if key not in classes]
    filled = [key for key in lists if value[key] != []]
    others = [key for key, items in value.items() if key not in SPAN_KEYS and _are_labeled_spans(items, key)]
    keys = filled or others or lists[:1]
    if len(keys) > 1:
        reason = f"found `{keys[0]}` and `{keys[1]}`, expected one list of spans; name its key (setting data.label_key)"
        raise DataError(reason, name, line)
    if not keys and classes:
        raise OtherTaskError(OTHER_TASK, name, line)
    if not keys:
        return SpanField("", None, [])
    skipped = [_CLASSES_SKIPPED.format(key) for key in classes]
    skipped += [_SPANS_SKIPPED.format(key) for key in others if key not in keys]
    return SpanField(keys[0], _parse_items(value[keys[0]], keys[0], name, line), skipped)


def _are_classes(items: Any) -> bool:
    if isinstance(items, dict):
        return "choices" in items
    if isinstance(items, list) and items:
        if all(isinstance(item, dict) for item in items):
            return all(_STARTS.isdisjoint(item) for item in items)
        return all(isinstance(item, str | int) for item in items)
    return isinstance(items, str | int)


def _are_labeled_spans(items: Any, key: str) -> bool:
    """Return True for spans under any key, as Label Studio names it after the tag.

    A list of numbers and a string is only a span if the key says so: relations may look the same.
    """
    if not isinstance(items, list) or not items:
        return False
    regions = [item for item in items if isinstance(item, dict) and not _STARTS.isdisjoint(item)]
    if regions:
        return any("labels" in item or "label" in item for item in regions)
    first = items[0]
    is_triple = isinstance(first, list) and len(first) in _PARTS_OF_SPAN and isinstance(first[2], str)
    return is_triple and type(first[0]) is type(first[1]) is int and _SPAN_NAME.search(key.lower()) is not None


def _parse_items(items: Any, key: str, name: str, line: int) -> list[RawSpan]:
    if isinstance(items, dict) and all(isinstance(item, dict) for item in items.values()):
        return list(_parse_surfaces(items))
    if not isinstance(items, list):
        raise DataError(f"`{key}`: found {json_type(items)}, expected a list of spans", name, line)
    return [span for item in items for span in parse_item(item, is_label_first=key in ("annotation", "prediction"))]


def _parse_surfaces(items: Mapping[str, Mapping[str, Any]]) -> Iterator[RawSpan]:
    """Yield the spans of CLUENER, whose ends are inclusive: `{label: {surface: [[start, end], ...]}}`."""
    for label, surfaces in items.items():
        for surface, places in surfaces.items():
            for place in places if isinstance(places, list) else [places]:
                if isinstance(place, list) and len(place) == 2 and type(place[1]) is int:
                    yield RawSpan(place[0], place[1] + 1, label, surface)
                else:
                    yield RawSpan(0, 0, label, problem=f"found {json_type(place)}, expected [start, end]")


def parse_item(item: Any, *, is_label_first: bool = False) -> list[RawSpan]:
    """Parse an item of a list of spans.

    Args:
        item: A list with start, end and label, and perhaps the text; or an object.
        is_label_first: A list begins with the label, as Argilla writes it.

    Returns:
        A span for each label of the item, without a check of its values.
    """
    if isinstance(item, list) and len(item) in _PARTS_OF_SPAN:
        if is_label_first and isinstance(item[0], str):
            return [RawSpan(item[1], item[2], item[0])]
        return [RawSpan(*item)]
    if not isinstance(item, dict):
        return [RawSpan(0, 0, "", problem=f"found {json_type(item)}, expected [start, end, type] or an object")]
    start = item.get("start", item.get("start_offset"))
    end = item.get("end", item.get("end_offset"))
    label, labels = item.get("label"), item.get("labels")
    found = labels if label is None and isinstance(labels, list) and labels else [label]
    return [RawSpan(start, end, each, item.get("text")) for each in found]
