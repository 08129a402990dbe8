"""Read Label Studio tasks: `{"data": {...}, "annotations": [{"result": [...]}]}` (labelstud.io/guide/export).

Results of the type `labels` are read; `relation`, `textarea` and other types are skipped. The end of a span is
exclusive. Version 0 (key `completions`) wrote it inclusive: the reader recognizes this from `value.text` and corrects
the end. An error is raised for a task that has only model predictions, several annotations that differ, classes
(`choices`) or HTML.
"""

from __future__ import annotations

from typing import Any

from nlp_app.core.errors import DataError, OtherTaskError
from nlp_app.core.types import CharSpan, TextRecord
from nlp_app.formats.tagging.read_log import ReadLog


def read_task(task: dict[str, Any], name: str, line: int, log: ReadLog | None = None) -> TextRecord:
    """Build the record of a task.

    Args:
        task: The task.
        name: The file's name, for messages.
        line: The task's line.
        log: Collects the parts that are skipped.

    Returns:
        The task's text with the spans of its annotation; unlabeled if there is no annotation.

    Raises:
        DataError: The task cannot be read as labeled spans.
        OtherTaskError: The task has classes of the text.
    """
    chosen = select_annotations(task, name, line)
    if not chosen:
        key = _only_text_key(task["data"], name, line)
        found: tuple[str, list[CharSpan] | None] = task["data"][key], None
    else:
        read = [_annotation_spans(item, task, name, line) for item in chosen]
        if any(other != read[0] for other in read[1:]):
            reason = f"found {len(read)} annotations that differ, expected one, or one marked as ground truth"
            raise DataError(reason, name, line)
        key, found = read[0]
    if log is not None:
        _log_skipped(task, chosen, key, log)
    return TextRecord(*found, line)


def _log_skipped(task: dict[str, Any], chosen: list[dict[str, Any]], text_key: str, log: ReadLog) -> None:
    """Count the parts of a task that its record does not hold. Annotations equal to the first are not counted."""
    source = "annotations" if task.get("annotations") else "completions"
    log.skip_keys(task, ("data", source))
    log.skip_keys(task["data"], (text_key,), "data.")
    log.skip("annotations that were canceled or are not the ground truth", len(task.get(source) or ()) - len(chosen))
    for annotation in chosen[:1]:
        log.skip_keys(annotation, ("result", "was_canceled", "ground_truth"), f"{source}.")
        for item in annotation.get("result") or ():
            if not isinstance(item, dict) or item.get("type") != "labels":
                log.skip("results that aren't labels (relations, notes)")
                continue
            log.skip_keys(item, ("type", "value", "source", "to_name"), f"{source}.result.")
            log.skip_keys(item["value"], ("start", "end", "labels", "text"), f"{source}.result.value.")


def select_annotations(task: dict[str, Any], name: str, line: int) -> list[dict[str, Any]]:
    """Select the annotations of a task that are used.

    Args:
        task: The task.
        name: The file's name, for messages.
        line: The task's line.

    Returns:
        The annotation that is marked as ground truth, else all that were not canceled; may be empty.

    Raises:
        DataError: The task has only model predictions.
    """
    annotations = _get_list(task, "annotations", name, line) or _get_list(task, "completions", name, line)
    finished = [item for item in annotations if isinstance(item, dict) and not item.get("was_canceled")]
    truths = [item for item in finished if item.get("ground_truth")]
    chosen = truths if len(truths) == 1 else finished
    if not chosen and task.get("predictions"):
        raise DataError("found model predictions and no annotation, expected an annotation by a person", name, line)
    return chosen


def annotation_results(annotation: dict[str, Any], name: str, line: int) -> list[dict[str, Any]]:
    """Return the results of an annotation.

    Args:
        annotation: The annotation.
        name: The file's name, for messages.
        line: The task's line.

    Returns:
        The results that are JSON objects.

    Raises:
        DataError: The key `result` is not a list.
    """
    return [item for item in _get_list(annotation, "result", name, line) if isinstance(item, dict)]


def _annotation_spans(
    annotation: dict[str, Any], task: dict[str, Any], name: str, line: int
) -> tuple[str, tuple[str, list[CharSpan]]]:
    """Return the key of the task's text, and the text with its spans."""
    results = annotation_results(annotation, name, line)
    regions = [item for item in results if item.get("type") == "labels"]
    kinds = {str(item.get("type")) for item in results}
    if not regions and "choices" in kinds:
        reason = "this looks like text classification data (Label Studio `choices`): use `train cls`, or give spans"
        raise OtherTaskError(reason, name, line)
    if "hypertextlabels" in kinds:
        raise DataError("found labels in HTML, expected plain text (<Text>)", name, line)
    key = _find_text_key(regions, task["data"], name, line)
    text = task["data"][key]
    is_old = "completions" in task
    return key, (text, sorted({span for item in regions for span in _region_spans(item, text, is_old, name, line)}))


def _region_spans(item: dict[str, Any], text: str, is_old: bool, name: str, line: int) -> list[CharSpan]:
    """Return the spans of a region: one for each of its labels."""
    value = item.get("value")
    value = value if isinstance(value, dict) else {}
    start, end, labels, quoted = (value.get(key) for key in ("start", "end", "labels", "text"))
    if type(start) is not int or type(end) is not int:
        raise DataError(f"found the offsets {start!r} and {end!r}, expected integers", name, line)
    if not isinstance(labels, list) or not labels or not all(isinstance(label, str) and label for label in labels):
        raise DataError(f"found the labels {labels!r}, expected a list of names", name, line)
    if isinstance(quoted, str):
        wanted = quoted.replace("\\n", "\n")
        if wanted not in (text[start:end], text[start : end + 1]):
            found = f"the span {start}..{end} holds {text[start:end]!r}, not {quoted!r}"
            raise DataError(f"{found}; expected offsets in code points", name, line)
        end += wanted != text[start:end]
    elif is_old:
        raise DataError("found no `value.text` in a task of version 0; can't tell where its spans end", name, line)
    if not 0 <= start < end <= len(text):
        raise DataError(f"found a span {start}..{end}, expected it within 0..{len(text)}", name, line)
    return [CharSpan(start, end, label) for label in labels]


def _find_text_key(regions: list[dict[str, Any]], data: dict[str, Any], name: str, line: int) -> str:
    """Return the key of the annotated text: the one that the regions name, else the only one."""
    sources = {str(region["source"]).removeprefix("$") for region in regions if region.get("source")}
    sources |= {str(region.get("to_name")) for region in regions} if not sources else set()
    named = [source for source in sorted(sources) if isinstance(data.get(source), str)]
    if len(named) == 1:
        return named[0]
    return _only_text_key(data, name, line)


def _only_text_key(data: dict[str, Any], name: str, line: int) -> str:
    if isinstance(data.get("text"), str):
        return "text"
    fields = [key for key, value in data.items() if isinstance(value, str)]
    if len(fields) != 1:
        found = ", ".join(fields) or "none"
        raise DataError(f"can't tell which field of `data` is the text (strings: {found}), expected `text`", name, line)
    return fields[0]


def _get_list(value: dict[str, Any], key: str, name: str, line: int) -> list[Any]:
    items = value.get(key)
    if items is not None and not isinstance(items, list):
        raise DataError(f"`{key}`: expected a list", name, line)
    return items or []
