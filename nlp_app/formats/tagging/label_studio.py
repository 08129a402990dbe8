"""Read Label Studio tasks: `{"data": {...}, "annotations": [{"result": [...]}]}`.

Results of the type `labels` are read; `relation`, `textarea` and other types are skipped. The end of a span is
exclusive. Version 0 (key `completions`) wrote it inclusive: the reader recognizes this from `value.text` and corrects
the end. Tasks without a finished annotation are skipped. An error is raised for a file without annotations, several
annotations that differ, or labels in HTML; and for classes (`choices`) if no task has a labeled span.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nlp_app.core.errors import DataError, OtherTaskError
from nlp_app.core.types import CharSpan, TextRecord
from nlp_app.formats.io.label_studio import (
    annotation_results,
    annotations_of,
    is_canceled,
    predictions_of,
    select_annotations,
)
from nlp_app.formats.tagging.annotation_status import AnnotationStatus
from nlp_app.formats.tagging.options import ReadOptions
from nlp_app.formats.tagging.read_log import ReadLog
from nlp_app.formats.tagging.span_reader import RawSpan, SpanReader
from nlp_app.formats.tagging.text_key import TextKey

_CHOICES = "this looks like text classification data (Label Studio `choices`): use `train cls`, or give spans"

_READ_KEYS = ("result", "was_canceled", "was_cancelled", "ground_truth")

_SOURCES = ("annotations", "completions", "predictions")

_Result = dict[str, Any]


class TaskReader:
    """Read the tasks of one file."""

    def __init__(
        self,
        name: str,
        options: ReadOptions,
        log: ReadLog,
        spans: SpanReader,
        text_key: TextKey,
        status: AnnotationStatus,
    ) -> None:
        """Begin a file.

        Args:
            name: The file's name, for messages.
            options: Reading options; `labels` and `predictions` are used.
            log: Collects the parts that are skipped.
            spans: Reads the spans.
            text_key: Finds the key of the text.
            status: Counts the tasks without an annotation.
        """
        self._name, self._options, self._log = name, options, log
        self._spans, self._text_key, self._status = spans, text_key, status
        self._has_regions = False
        self._first_choices: int | None = None

    def read(self, task: dict[str, Any], line: int) -> TextRecord | None:
        """Build the record of a task.

        Args:
            task: The task.
            line: The task's line.

        Returns:
            The task's text with the spans of its annotation; None if there is no finished annotation.

        Raises:
            DataError: The task cannot be read as labeled spans. Names the line.
        """
        if not self._options.labels:
            return TextRecord(task["data"][self._text_key.find(task["data"], (), line)], None, line)
        chosen = select_annotations(task, self._name, line)
        if chosen:
            self._status.count_annotated()
        else:
            chosen = self._predictions(task, line)
        if not chosen:
            return None
        key, text, spans = self._read_annotation(chosen[0], task, line)
        if any(self._read_annotation(other, task, line) != (key, text, spans) for other in chosen[1:]):
            reason = f"found {len(chosen)} annotations that differ, expected one, or one marked as ground truth"
            raise DataError(reason, self._name, line)
        self._log_skipped(task, chosen, key, line)
        return TextRecord(text, spans, line)

    def finish(self) -> None:
        """Check the whole file.

        Raises:
            OtherTaskError: Tasks have classes of the text, and no task has a labeled span.
        """
        if self._first_choices is not None and not self._has_regions:
            raise OtherTaskError(_CHOICES, self._name, self._first_choices)

    def _predictions(self, task: dict[str, Any], line: int) -> list[dict[str, Any]]:
        """Return the predictions that replace a missing annotation; empty if the task is skipped."""
        predictions = [] if annotations_of(task, self._name, line) else predictions_of(task, self._name, line)
        if predictions and self._options.predictions:
            self._status.count_predicted(line)
            return predictions
        self._status.count_skipped(line, has_predictions=bool(predictions))
        return []

    def _read_annotation(
        self, annotation: dict[str, Any], task: dict[str, Any], line: int
    ) -> tuple[str, str, list[CharSpan]]:
        """Return the key of the task's text, the text, and its spans."""
        results = annotation_results(annotation, self._name, line)
        label_key = self._options.label_key
        regions = [
            item for item in results if item.get("type") == "labels" and label_key in ("", item.get("from_name"))
        ]
        kinds = {str(item.get("type")) for item in results}
        if other := sorted(kind for kind in kinds - {"labels"} if kind.endswith("labels")):
            reason = f"found labels in HTML, dialogues or media (`{other[0]}`), expected plain text (<Text>)"
            raise DataError(reason, self._name, line)
        self._has_regions |= bool(regions)
        if not regions and "choices" in kinds:
            self._first_choices = self._first_choices or line
        regions, named = self._select_text(regions, line)
        raw = [span for item in regions for span in _parse_region(item)]
        key = self._find_text(task["data"], raw, line, named)
        text = task["data"][key]
        if "completions" in task:
            self._check_quotes(raw, line)
        exact = [_correct_end(span, text) for span in raw]
        return key, text, sorted(set(self._spans.read(text, exact, "result", line)))

    def _select_text(self, regions: list[_Result], line: int) -> tuple[list[_Result], list[str]]:
        """Return the regions of one text, and the names of this text."""
        names = [_text_name(region) for region in regions]
        named = sorted(set(names))
        wanted = self._options.text_key.removeprefix("data.")
        if len(named) < 2:
            return regions, named
        if wanted not in named:
            reason = f"found spans of several texts ({', '.join(named)}), expected one text"
            raise DataError(f"{reason}; name it (setting data.text_key)", self._name, line)
        return [region for region, name in zip(regions, names, strict=True) if name == wanted], [wanted]

    def _find_text(self, data: dict[str, Any], raw: Sequence[RawSpan], line: int, named: Sequence[str]) -> str:
        try:
            return self._text_key.find(data, raw, line, named)
        except DataError as error:
            if self._first_choices == line and not self._has_regions:
                raise OtherTaskError(_CHOICES, self._name, line) from error
            raise

    def _check_quotes(self, raw: Sequence[RawSpan], line: int) -> None:
        if any(type(span.end) is int and not isinstance(span.quoted, str) for span in raw):
            reason = "found no `value.text` in a task of version 0; can't tell where its spans end"
            raise DataError(reason, self._name, line)

    def _log_skipped(self, task: dict[str, Any], chosen: Sequence[dict[str, Any]], text_key: str, line: int) -> None:
        """Count the parts of a task that its record does not hold. Annotations equal to the first are not counted."""
        log, source = self._log, next(key for key in _SOURCES if task.get(key))
        log.skip_keys(task, ("data", source))
        log.skip_keys(task["data"], (text_key,), "data.")
        others = [item for item in annotations_of(task, self._name, line) if is_canceled(item) or item not in chosen]
        log.skip("annotations that were canceled or are not the ground truth", len(others))
        log.skip_keys(chosen[0], _READ_KEYS, f"{source}.")
        for item in annotation_results(chosen[0], self._name, line):
            if item.get("type") != "labels":
                log.skip("results that aren't labels (relations, notes)")
                continue
            log.skip_keys(item, ("type", "value", "source", "to_name"), f"{source}.result.")
            log.skip_keys(_value(item), ("start", "end", "labels", "text"), f"{source}.result.value.")


def _value(region: _Result) -> _Result:
    value = region.get("value")
    return value if isinstance(value, dict) else {}


def _text_name(region: _Result) -> str:
    """Return the name of a region's text: its key in `data`, or the name of its tag."""
    return str(region.get("source") or region.get("to_name") or "").removeprefix("$")


def _parse_region(region: _Result) -> list[RawSpan]:
    """Return a span for each label of a region."""
    value = _value(region)
    labels = value.get("labels")
    found = labels if isinstance(labels, list) and labels else [None]
    return [RawSpan(value.get("start"), value.get("end"), label, value.get("text")) for label in found]


def _correct_end(span: RawSpan, text: str) -> RawSpan:
    """Make an inclusive end exclusive, which `value.text` shows."""
    if type(span.start) is not int or type(span.end) is not int or not isinstance(span.quoted, str):
        return span
    wanted = (span.quoted, span.quoted.replace("\\n", "\n"))
    is_inclusive = text[span.start : span.end] not in wanted and text[span.start : span.end + 1] in wanted
    return span._replace(end=span.end + 1) if is_inclusive else span
