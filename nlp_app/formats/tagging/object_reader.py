"""Turn objects of annotation tools into records: tasks, texts with spans, or tokens with tags."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from nlp_app.core.types import Record, TextRecord
from nlp_app.formats.tagging.annotation_status import AnnotationStatus
from nlp_app.formats.tagging.json_shapes import SPAN_KEYS, find_spans
from nlp_app.formats.tagging.json_tokens import gliner_record, spacy_records, token_record
from nlp_app.formats.tagging.label_studio import TaskReader
from nlp_app.formats.tagging.options import ReadOptions
from nlp_app.formats.tagging.read_log import ReadLog
from nlp_app.formats.tagging.span_reader import SpanReader
from nlp_app.formats.tagging.text_key import TextKey

REJECTED = "objects that the annotator did not accept, skipped"

_TAG_KEYS = ("ner_tags", "tags", "labels", "label")

# For these keys, null is the same as a missing key.
_OPTIONAL_KEYS = (*SPAN_KEYS, *_TAG_KEYS, "tokens", "text", "data", "cats", "answer")

_OFFSET_KEYS = ("start", "end", "start_offset", "end_offset", "label", "text")

_FINISHED = ("Validated", "Edited")  # states of records in Argilla

_DISCARDED = "Discarded"


class ObjectReader:
    """Read the objects of one file."""

    def __init__(self, name: str, options: ReadOptions, log: ReadLog) -> None:
        """Begin a file.

        Args:
            name: The file's name, for messages.
            options: Reading options.
            log: Collects remarks, repairs and skipped parts.
        """
        self._name, self._options, self._log = name, options, log
        self._spans = SpanReader(name, log, strict=options.strict)
        self._text_key = TextKey(name, options.text_key, log)
        self._status = AnnotationStatus(name, log)
        self._tasks = TaskReader(name, options, log, self._spans, self._text_key, self._status)

    def read_all(self, objects: Iterable[tuple[int, dict[str, Any]]]) -> Iterator[Record]:
        """Read all objects of the file.

        Args:
            objects: The objects, each with its line.

        Yields:
            The records; none for an object that its annotator rejected or did not annotate.

        Raises:
            DataError: An object is invalid, most spans are bad, or nothing is annotated. Names the line.
            OtherTaskError: The file contains texts with classes.
        """
        for line, value in objects:
            yield from self._read(value, line)
        self._spans.finish()
        self._tasks.finish()
        self._status.finish()

    def _read(self, value: dict[str, Any], line: int) -> Iterator[Record]:
        name, log, labels = self._name, self._log, self._options.labels
        if labels and value.get("answer", "accept") != "accept":
            log.repair(REJECTED, line)
        elif isinstance(value.get("data"), dict):
            task = self._tasks.read(value, line)
            if task is not None:
                yield task
        elif isinstance(value.get("paragraphs"), list):
            yield from spacy_records(value, self._options.label_key, name, line, log, labels=labels)
        elif isinstance(value.get("tokenized_text"), list):
            yield gliner_record(value, name, line, self._spans, log, labels=labels)
        elif _is_argilla(value):
            yield from self._read_argilla(value, line)
        elif _is_tokenized(value):
            yield self._read_tokens(value, line)
        else:
            yield self._read_text(value, line)

    def _read_tokens(self, value: dict[str, Any], line: int) -> Record:
        text, label_key = value.get("text"), self._options.label_key
        keys = [key for key in ((label_key,) if label_key else _TAG_KEYS) if value.get(key) is not None]
        if not self._options.labels:
            keys = []
        self._log_keys(value, {"tokens", *keys[:1]} | ({"text"} if isinstance(text, str) else set()))
        return token_record(value["tokens"], {key: value[key] for key in keys}, text, self._name, line, self._log)

    def _read_text(self, value: dict[str, Any], line: int) -> Record:
        if not self._options.labels:
            return TextRecord(value[self._text_key.find(value, (), line)], None, line)
        field = find_spans(value, self._options.label_key, self._name, line)
        for what in field.skipped:
            self._log.repair(what, line)
        key = self._text_key.find(value, field.spans or (), line)
        text = value[key]
        if field.spans is None:
            self._log_keys(value, {key})
            is_finished = "answer" in value or value.get("annotation_id") is not None
            return TextRecord(text, [] if is_finished else None, line)
        spans = self._spans.read(text, field.spans, field.key, line)
        self._log_span_keys(value[field.key], field.key)
        self._log_keys(value, {key, field.key})
        return TextRecord(text, spans, line)

    def _read_argilla(self, value: dict[str, Any], line: int) -> Iterator[Record]:
        """Read a record of Argilla: its annotation, or its prediction if that was asked for."""
        if not self._options.labels:
            yield TextRecord(value["text"], None, line)
            return
        key, status = "annotation", value.get("status")
        if status == _DISCARDED or (value.get(key) is None and status not in _FINISHED):
            has_prediction = value.get("prediction") is not None and status != _DISCARDED
            if not has_prediction or not self._options.predictions:
                self._status.count_skipped(line, has_predictions=has_prediction)
                return
            key = "prediction"
            self._status.count_predicted(line)
        else:
            self._status.count_annotated()
        chosen = {"text": value["text"], key: value.get(key) if value.get(key) is not None else []}
        field = find_spans(chosen, key, self._name, line)
        self._log_span_keys(chosen[key], key)
        self._log_keys(value, {"text", key})
        yield TextRecord(value["text"], self._spans.read(value["text"], field.spans or (), key, line), line)

    def _log_keys(self, value: Mapping[str, Any], read: set[str]) -> None:
        """Count the keys of an object that were not read."""
        if not self._log.counting:
            return
        nulls = (key for key in _OPTIONAL_KEYS if value.get(key) is None)
        self._log.skip_keys(value, {"answer", *read, *nulls})

    def _log_span_keys(self, items: Any, key: str) -> None:
        if not self._log.counting or not isinstance(items, list):
            return
        for item in items:
            if isinstance(item, dict):
                labels = ("labels",) if item.get("label") is None else ()
                self._log.skip_keys(item, (*_OFFSET_KEYS, *labels), f"{key}.")


def _is_tokenized(value: Mapping[str, Any]) -> bool:
    """Return True if tags belong to tokens. Tools also add tokens to a text with spans."""
    tokens, text = value.get("tokens"), value.get("text")
    if not isinstance(tokens, list):
        return False
    if text is None:
        return True
    has_tags = any(isinstance(value.get(key), list) for key in _TAG_KEYS)
    has_spans = bool(value.get("spans") or value.get("entities"))
    return not any(isinstance(token, dict) for token in tokens) and (has_tags or not has_spans)


def _is_argilla(value: Mapping[str, Any]) -> bool:
    if not isinstance(value.get("text"), str) or any(isinstance(value.get(key), list) for key in SPAN_KEYS):
        return False
    return "annotation" in value and ("status" in value or "prediction" in value)
