"""Read and write JSON Lines, and read JSON documents, with entities or tags as annotation tools export them.

The shape of each object is recognized by its keys:

* `{"text", "label" or "labels": [[start, end, type], ...]}`: doccano;
* `{"text", "spans": [{"start", "end", "label"}, ...]}`: Prodigy, and the output of `tag`. Objects whose `answer` is not
  `accept` were rejected by the annotator and are skipped;
* `{"text", "entities": [{"start_offset", "end_offset", "label"}, ...]}`: doccano with relations, which are skipped;
* `{"tokens": [...], "ner_tags" or "tags" or "labels": [...]}`: Hugging Face datasets, with tag names;
* `{"data": {...}, "annotations": [...]}`: Label Studio (see `label_studio`);
* `{"text"}` and `{"tokens"}` alone: unlabeled.

Offsets count code points, and the end is exclusive. A file that is one list, or whose first object spans several lines,
is read into memory as a whole; JSON Lines are streamed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from nlp_app.core.errors import DataError, OtherTaskError
from nlp_app.core.types import CharSpan, Record, TextRecord, TokenRecord
from nlp_app.formats.io.json_objects import json_type, read_objects
from nlp_app.formats.tagging import label_studio
from nlp_app.formats.tagging.conllu import align
from nlp_app.formats.tagging.options import ReadOptions
from nlp_app.formats.tagging.read_log import ReadLog

REJECTED = "objects that the annotator did not accept"

_UNALIGNED = "raw texts that don't contain their tokens"

_SPAN_KEYS = ("spans", "entities", "label", "labels", "annotations")

_TAG_KEYS = ("ner_tags", "tags", "labels", "label")

# For these keys, null is the same as a missing key.
_OPTIONAL_KEYS = (*_SPAN_KEYS, *_TAG_KEYS, "tokens", "text", "data", "cats", "answer")

_OFFSET_KEYS = ("start", "end", "start_offset", "end_offset", "label", "text")

_OTHER_TASK = (
    "this looks like text classification data (a text and its classes): use `train cls`, or give tokens with "
    "tags, or texts with spans"
)


def read(lines: Iterable[str], name: str, options: ReadOptions, log: ReadLog | None = None) -> Iterator[Record]:
    """Read a record from each object.

    Args:
        lines: The lines of the file, without line ends.
        name: The file's name, for messages.
        options: Reading options; only `labels` is used.
        log: Collects the parts that are skipped.

    Yields:
        A record for each object that its annotator did not reject.

    Raises:
        DataError: Invalid JSON, offsets or types. Names the line.
        OtherTaskError: The file contains texts with classes.
    """
    if log is not None:  # so that whole objects and texts come before keys in the report
        log.skip(REJECTED, 0)
        log.skip(_UNALIGNED, 0)
    for number, value in read_objects(lines, name):
        record = _make_record(value, name, number, options.labels, log)
        if record is not None:
            yield record


def write(records: Iterable[Record], name: str) -> Iterator[str]:
    """Write records as JSON Lines.

    Args:
        records: The records.
        name: Not used; the writers of all formats have the same parameters.

    Yields:
        A line for each record: `{"text", "spans"}` or `{"tokens", "ner_tags"}`, or without the labels if it has none.
    """
    for record in records:
        value: dict[str, Any] = {}
        if isinstance(record, TextRecord):
            value["text"] = record.text
            if record.spans is not None:
                value["spans"] = [span._asdict() for span in record.spans]
        else:
            value["tokens"] = record.tokens
            if record.tags is not None:
                value["ner_tags"] = record.tags
            if record.text is not None:
                value["text"] = record.text
        yield json.dumps(value, ensure_ascii=False)


def _make_record(value: dict[str, Any], name: str, line: int, labels: bool, log: ReadLog | None) -> Record | None:
    """Build the record of an object; None if its annotator rejected it."""
    whole = value
    if not labels:
        value = {key: value[key] for key in ("tokens", "text", "data") if key in value}
    elif value.get("answer", "accept") != "accept":
        if log is not None:
            log.skip(REJECTED)
        return None
    if isinstance(value.get("data"), dict):
        return label_studio.read_task(value, name, line, log)
    tokens, text = value.get("tokens"), value.get("text")
    tag_keys = [key for key in _TAG_KEYS if value.get(key) is not None]
    if isinstance(tokens, list) and (text is None or not any(isinstance(token, dict) for token in tokens)):
        if log is not None:
            _log_keys(whole, {"tokens", *tag_keys[:1]} | ({"text"} if isinstance(text, str) else set()), log)
        return token_record(tokens, {key: value[key] for key in tag_keys}, text, name, line, log)
    if not isinstance(text, str):
        keys = ", ".join(map(str, value)) or "none"
        found = "no `text`" if text is None else f"a `text` that is {json_type(text)}"
        raise DataError(f"found {found} (keys: {keys}), expected `text` or `tokens`", name, line)
    record = text_record(value, text, name, line, log)
    if log is not None:
        _log_keys(whole, {"text", *(key for key in _SPAN_KEYS if value.get(key) is not None)}, log)
    return record


def _log_keys(value: dict[str, Any], read: set[str], log: ReadLog) -> None:
    """Count the keys of an object that were not read."""
    log.skip_keys(value, {"answer", *read, *(key for key in _OPTIONAL_KEYS if value.get(key) is None)})


def token_record(
    tokens: list[Any], tags: Mapping[str, Any], text: Any, name: str, line: int, log: ReadLog | None = None
) -> TokenRecord:
    """Build the record of an object with tokens.

    Args:
        tokens: The tokens.
        tags: Lists of tags by key; the first one is used. Empty for unlabeled tokens.
        text: The raw text, if it is a string.
        name: The file's name, for messages.
        line: The object's line.
        log: Counts raw texts that don't contain their tokens.

    Returns:
        The record.

    Raises:
        DataError: Tokens or tags are not non-empty strings, or their numbers differ.
    """
    if not all(isinstance(token, str) and token for token in tokens):
        raise DataError("`tokens`: expected non-empty strings", name, line)
    starts = align(tokens, text) if isinstance(text, str) else None
    source = text if starts is not None else None
    if log is not None and isinstance(text, str) and starts is None:
        log.skip(_UNALIGNED)
    lines = (line,) * len(tokens)
    if not tags:
        return TokenRecord(tokens, None, lines, source, starts)
    key, values = next(iter(tags.items()))
    if isinstance(values, list) and values and all(type(item) is int for item in values):
        reason = "numbers without their names: write the tags' names"
        raise DataError(f"`{key}`: found {reason}, such as B-PER", name, line)
    if not isinstance(values, list) or not all(isinstance(item, str) and item for item in values):
        raise DataError(f"`{key}`: expected a list of tags that are non-empty strings", name, line)
    if len(values) != len(tokens):
        raise DataError(f"found {len(tokens)} tokens and {len(values)} `{key}`, expected the same number", name, line)
    return TokenRecord(tokens, values, lines, source, starts)


def text_record(value: dict[str, Any], text: str, name: str, line: int, log: ReadLog | None = None) -> TextRecord:
    """Build the record of an object with a text, and with spans under one key.

    Args:
        value: The object.
        text: Its text.
        name: The file's name, for messages.
        line: The object's line.
        log: Collects the keys of spans that are skipped.

    Returns:
        The record.

    Raises:
        DataError: The spans or their offsets are invalid.
        OtherTaskError: The object contains classes of the whole text.
    """
    if value.get("cats") is not None and value.get("spans") is None:
        raise OtherTaskError(_OTHER_TASK, name, line)
    keys = [key for key in _SPAN_KEYS if value.get(key) is not None]
    if not keys:
        return TextRecord(text, [] if "answer" in value else None, line)
    if len(keys) > 1:
        raise DataError(f"found `{keys[0]}` and `{keys[1]}`, expected one list of spans", name, line)
    items = value[keys[0]]
    if _contains_classes(items):
        raise OtherTaskError(_OTHER_TASK, name, line)
    if not isinstance(items, list):
        raise DataError(f"`{keys[0]}`: found {json_type(items)}, expected a list of spans", name, line)
    spans = [_parse_span(item, text, keys[0], name, line) for item in items]
    if log is not None:
        for item in items:
            if isinstance(item, dict):
                labels = ("labels",) if item.get("label") is None else ()
                log.skip_keys(item, (*_OFFSET_KEYS, *labels), f"{keys[0]}.")
    return TextRecord(text, spans, line)


def _contains_classes(items: Any) -> bool:
    if isinstance(items, list) and items:
        if all(isinstance(item, dict) for item in items):
            return all(not {"start", "start_offset"} & item.keys() for item in items)
        return all(isinstance(item, str | int) for item in items)
    return isinstance(items, str | int)


def _parse_span(item: Any, text: str, key: str, name: str, line: int) -> CharSpan:
    if isinstance(item, list) and len(item) == 3:
        start, end, label = item
        quoted = None
    elif isinstance(item, dict):
        start = item.get("start", item.get("start_offset"))
        end = item.get("end", item.get("end_offset"))
        label, quoted = item.get("label"), item.get("text")
        labels = item.get("labels")
        if label is None and isinstance(labels, list) and len(labels) == 1:
            label = labels[0]
    else:
        raise DataError(f"`{key}`: found {json_type(item)}, expected [start, end, type] or an object", name, line)
    if type(start) is not int or type(end) is not int:
        raise DataError(f"`{key}`: found the offsets {start!r} and {end!r}, expected integers", name, line)
    if type(label) is int:
        reason = "a number without its name; export the labels as text"
        raise DataError(f"`{key}`: found the label {label}, {reason}", name, line)
    if not isinstance(label, str) or not label:
        raise DataError(f"`{key}`: found the label {label!r}, expected a string", name, line)
    if not 0 <= start < end <= len(text):
        expected = f"expected 0 <= start < end <= {len(text)}"
        raise DataError(f"`{key}`: found a span {start}..{end}, {expected}, the text's length", name, line)
    if isinstance(quoted, str) and quoted != text[start:end]:
        found = f"the span {start}..{end} holds {text[start:end]!r}, not {quoted!r}"
        raise DataError(f"`{key}`: {found}; expected offsets in code points, end exclusive", name, line)
    return CharSpan(start, end, label)
