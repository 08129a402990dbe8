"""Convert annotated texts to the JSON objects of annotation tools.

All of these tools count offsets in code points, with an exclusive end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nlp_app.core.types import AnnotatedText, ScoredLabel, ScoredSpan

# Names of the tags in Label Studio's templates for named entities and text classification.
SPAN_TAG, CLASS_TAG, TEXT_TAG = "label", "sentiment", "text"


def to_json_lines(annotated: AnnotatedText) -> dict[str, Any]:
    """Convert an annotated text to an object of our own JSON Lines.

    Args:
        annotated: The text with its annotations.

    Returns:
        The metadata, `text`, and `spans` (`start`, `end`, `label`, `text` and perhaps `score`), or `label` with
        the class or a list of classes.
    """
    value: dict[str, Any] = {**annotated.metadata, "text": annotated.text}
    if annotated.spans is not None:
        quoted = ({"text": annotated.text[span.start : span.end]} for span in annotated.spans)
        value["spans"] = [_span_object(span) | text for span, text in zip(annotated.spans, quoted, strict=True)]
    if annotated.labels is not None:
        names = [label.label for label in annotated.labels]
        value["label"] = names[0] if len(names) == 1 else names
        scores = [label.score for label in annotated.labels if label.score is not None]
        if scores:
            value["score"] = scores[0] if len(names) == 1 else scores
    return value


def to_doccano(annotated: AnnotatedText) -> dict[str, Any]:
    """Convert an annotated text to an object that doccano imports as JSONL.

    doccano keeps other keys as metadata of the example. It has no place for scores.

    Args:
        annotated: The text with its annotations.

    Returns:
        `text` and `label` with spans or classes; with both, the keys of doccano's projects for both, `entities` and
        `cats`.
    """
    spans = None if annotated.spans is None else [[span.start, span.end, span.label] for span in annotated.spans]
    classes = None if annotated.labels is None else [label.label for label in annotated.labels]
    value: dict[str, Any] = {**annotated.metadata, "text": annotated.text}
    if spans is not None and classes is not None:
        return value | {"entities": spans, "cats": classes}
    return value | {"label": classes if spans is None else spans}


def to_prodigy(annotated: AnnotatedText, classes: Sequence[str] = ()) -> dict[str, Any]:
    """Convert an annotated text to a Prodigy task (prodi.gy/docs/api-interfaces).

    Predictions are tasks to be annotated; annotations by a person are accepted answers.

    Args:
        annotated: The text with its annotations.
        classes: All classes, which become the options of a choice.

    Returns:
        `text`, `meta`, and `spans` with `tokens` (interfaces `ner`, `ner_manual` and `spans_manual`), or `options` and
        `accept` (interface `choice`).
    """
    value: dict[str, Any] = {"text": annotated.text}
    if annotated.metadata:
        value["meta"] = dict(annotated.metadata)
    if annotated.spans is not None:
        value |= _prodigy_spans(annotated.text, annotated.spans, annotated.tokens)
    if annotated.labels is not None:
        value |= _prodigy_choice(annotated.labels, classes)
    return value if annotated.predicted else value | {"answer": "accept"}


def to_label_studio(annotated: AnnotatedText, model_version: str = "") -> dict[str, Any]:
    """Convert an annotated text to a Label Studio task (labelstud.io/guide/tasks, labelstud.io/guide/predictions).

    The results refer to a labeling configuration with the tags of Label Studio's templates: `<Text name="text"
    value="$text"/>`, `<Labels name="label" toName="text">` and `<Choices name="sentiment" toName="text">`.

    Args:
        annotated: The text with its annotations.
        model_version: A name for the model, which Label Studio shows with its predictions.

    Returns:
        `data`, and `predictions` with scores, or `annotations`.
    """
    results = [_region(span, number, annotated.text) for number, span in enumerate(annotated.spans or (), 1)]
    if annotated.labels:
        results.append(_choices(annotated.labels))
    entry: dict[str, Any] = {"result": results}
    if not annotated.predicted:
        return {"data": {**annotated.metadata, "text": annotated.text}, "annotations": [entry]}
    scores = [span.score for span in annotated.spans or () if span.score is not None]
    scores += [label.score for label in annotated.labels or () if label.score is not None]
    if scores:
        entry["score"] = min(scores)  # Label Studio sorts tasks by it: the least certain ones first
    if model_version:
        entry["model_version"] = model_version
    return {"data": {**annotated.metadata, "text": annotated.text}, "predictions": [entry]}


def _span_object(span: ScoredSpan) -> dict[str, Any]:
    value: dict[str, Any] = {"start": span.start, "end": span.end, "label": span.label}
    return value if span.score is None else value | {"score": span.score}


def _prodigy_spans(
    text: str, spans: Sequence[ScoredSpan], tokens: Sequence[tuple[int, int]] | None
) -> dict[str, list[dict[str, Any]]]:
    objects = [_span_object(span) for span in spans]
    if tokens is None:
        return {"spans": objects}
    starts = {start: number for number, (start, _) in enumerate(tokens)}
    ends = {end: number for number, (_, end) in enumerate(tokens)}
    for value in objects:
        if value["start"] in starts and value["end"] in ends:
            value |= {"token_start": starts[value["start"]], "token_end": ends[value["end"]]}
    next_starts = [start for start, _ in tokens[1:]] + [len(text)]
    listed = [
        {"text": text[start:end], "start": start, "end": end, "id": number, "ws": following > end}
        for number, ((start, end), following) in enumerate(zip(tokens, next_starts, strict=True))
    ]
    return {"tokens": listed, "spans": objects}


def _prodigy_choice(labels: Sequence[ScoredLabel], classes: Sequence[str]) -> dict[str, list[Any]]:
    names = [label.label for label in labels]
    scores = {label.label: label.score for label in labels}
    options: list[dict[str, Any]] = []
    for name in dict.fromkeys((*classes, *names)):
        score = scores.get(name)
        options.append({"id": name, "text": name} | ({} if score is None else {"meta": f"{score:.2f}"}))
    return {"options": options, "accept": names}


def _region(span: ScoredSpan, number: int, text: str) -> dict[str, Any]:
    quoted = text[span.start : span.end]
    value = {"start": span.start, "end": span.end, "text": quoted, "labels": [span.label]}
    region = {"id": f"span-{number}", "from_name": SPAN_TAG, "to_name": TEXT_TAG, "type": "labels", "value": value}
    return region if span.score is None else region | {"score": span.score}


def _choices(labels: Sequence[ScoredLabel]) -> dict[str, Any]:
    value = {"choices": [label.label for label in labels]}
    result = {"id": "class-1", "from_name": CLASS_TAG, "to_name": TEXT_TAG, "type": "choices", "value": value}
    scores = [label.score for label in labels if label.score is not None]
    return result | {"score": min(scores)} if scores else result
