"""Read the annotations of a Label Studio task: `{"data": {...}, "annotations": [{"result": [...]}]}`.

Both tasks read them: results with labeled spans are for tagging, results with choices for classification. The format is
described at labelstud.io/guide/export.
"""

from __future__ import annotations

from typing import Any

from nlp_app.core.errors import DataError

NO_ANNOTATION = "found no task with a finished annotation; annotate some of the tasks, and export again"

ONLY_PREDICTIONS = "found model predictions and no annotation, expected annotations by a person"


def select_annotations(task: dict[str, Any], name: str, line: int) -> list[dict[str, Any]]:
    """Select the annotations of a task that are used.

    Args:
        task: The task.
        name: The file's name, for messages.
        line: The task's line.

    Returns:
        The annotation that is marked as ground truth, else all that were not canceled; may be empty.

    Raises:
        DataError: The annotations are not a list.
    """
    finished = [item for item in annotations_of(task, name, line) if not is_canceled(item)]
    truths = [item for item in finished if item.get("ground_truth")]
    return truths if len(truths) == 1 else finished


def predictions_of(task: dict[str, Any], name: str, line: int) -> list[dict[str, Any]]:
    """Return the model predictions of a task.

    Args:
        task: The task.
        name: The file's name, for messages.
        line: The task's line.

    Returns:
        The predictions, in the form of annotations; may be empty.

    Raises:
        DataError: The predictions are not a list.
    """
    return [item for item in _get_list(task, "predictions", name, line) if isinstance(item, dict)]


def annotations_of(task: dict[str, Any], name: str, line: int) -> list[dict[str, Any]]:
    """Return all annotations of a task, also the canceled ones.

    Args:
        task: The task.
        name: The file's name, for messages.
        line: The task's line.

    Returns:
        The annotations, which version 0 of the format calls completions.

    Raises:
        DataError: The annotations are not a list.
    """
    items = _get_list(task, "annotations", name, line) or _get_list(task, "completions", name, line)
    return [item for item in items if isinstance(item, dict)]


def is_canceled(annotation: dict[str, Any]) -> bool:
    """Check if the annotator skipped the task. Exports have both spellings of the key.

    Args:
        annotation: The annotation.

    Returns:
        True if the annotation was canceled.
    """
    return bool(annotation.get("was_cancelled") or annotation.get("was_canceled"))


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


def _get_list(value: dict[str, Any], key: str, name: str, line: int) -> list[Any]:
    items = value.get(key)
    if items is not None and not isinstance(items, list):
        raise DataError(f"`{key}`: expected a list", name, line)
    return items or []
