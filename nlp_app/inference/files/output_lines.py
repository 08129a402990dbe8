"""Format predictions as lines of the output file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nlp_app.core.errors import DataError, NlpAppError
from nlp_app.core.types import AnnotatedText, Label, ScoredLabel, ScoredSpan, Span
from nlp_app.formats.annotated import LINE_SHAPES
from nlp_app.formats.annotated.json_shapes import to_prodigy
from nlp_app.formats.io.compression import compress_frame
from nlp_app.formats.io.table_rows import format_row
from nlp_app.inference import Classifier, Tagger
from nlp_app.inference.files.records import Item
from nlp_app.labels.schemes import NONE

JSON_LINES, TABLE = "jsonl", "csv"

# Keys of the input that hold annotations or the text itself; other keys are metadata for an annotation tool.
_ANNOTATION_KEYS = frozenset(
    (
        "text",
        "tokens",
        "spans",
        "entities",
        "label",
        "labels",
        "ner_tags",
        "cats",
        "answer",
        "annotations",
        "predictions",
    )
)

_GOLD_KEYS = ("spans", "ner_tags")  # keys of the answer that may hold annotations in the input


@dataclass(frozen=True)
class PredictionOptions:
    """Options that change the predictions or their form, as values that JSON can hold.

    Attributes:
        top_k: The number of classes per text (None: as the model decides).
        threshold: The lowest score of a class (None: as the model decides).
        compression: The compression of the output (None: not compressed).
        format: A format of lines: `jsonl`, `csv`, `doccano` or `prodigy`; empty for JSON lines, or columns if the
            input has columns.
        delimiter: The character between the cells of a table.
        header: The first line of a table; empty for none.
    """

    top_k: int | None = None
    threshold: float | None = None
    compression: str | None = None
    format: str = ""
    delimiter: str = ","
    header: str = ""


def make_predictor(model: Tagger | Classifier, options: PredictionOptions) -> Callable[[Sequence[Item]], bytes]:
    """Make a function that predicts records and formats the results.

    Args:
        model: The tagger or classifier.
        options: The classes to return, and the form of the output.

    Returns:
        A function from records to their part of the output file.
    """

    def predict(items: Sequence[Item]) -> bytes:
        if isinstance(model, Tagger):
            lines = tagged_lines(model, items, options)
        else:
            lines = classified_lines(model, items, options)
        return compress_frame("".join(f"{line}\n" for line in lines).encode(), options.compression)

    return predict


def out_of_memory_message(line: int | None = None) -> NlpAppError:
    """Make the error for a job that has run out of memory.

    Args:
        line: The first line of the records that were being predicted, if known.

    Returns:
        The error, to be raised.
    """
    place = "" if line is None else f" near line {line}"
    return NlpAppError(f"out of memory{place}; use fewer --workers, or a machine with more memory")


def tagged_lines(tagger: Tagger, items: Sequence[Item], options: PredictionOptions) -> Iterator[str]:
    """Tag records and format the results: spans for texts, tags for tokens.

    A sentence in columns stays in columns with the same separator, unless another format is named; the tags are the
    last column. Columns are separated by tabs if a label of the tagger contains a space. A bad record becomes a line of
    nulls. If it is in columns, each of its tokens gets the tag `O`, or `_` if the tags have no scheme.

    Args:
        tagger: The tagger.
        items: The records.
        options: The form of the output.

    Yields:
        The lines of the output, without line ends.
    """
    readable = [item for item in items if "error" not in item]
    spans = iter(tagger.tag([item["text"] for item in readable if "text" in item]))
    tags = iter(tagger.tag_tokens([item["tokens"] for item in readable if item.get("tokens")]))
    null = "_" if tagger.parts.tag_set.written_scheme == NONE else "O"
    has_spaces = any(" " in label for label in tagger.labels)
    for item in items:
        if "rows" in item and not options.format:
            row_tags = [null] * len(item["rows"]) if "error" in item else next(tags) if item["rows"] else []
            yield from _column_lines(item, row_tags, "\t" if has_spaces else item["separator"])
        elif "error" in item:
            yield from _error_line({"text": None, "spans": None}, item, options)
        elif "text" in item:
            yield _text_line(tagger, item, next(spans), options)
        elif item["tokens"] or "rows" not in item:
            yield _tokens_line(item, next(tags) if item["tokens"] else [], options)


def _column_lines(item: Item, tags: Sequence[str], separator: str) -> Iterator[str]:
    yield from (each if isinstance(each, str) else separator.join((*each, "O")) for each in item["before"])
    yield from (separator.join((*row, tag)) for row, tag in zip(item["rows"], tags, strict=True))


def _tokens_line(item: Item, tags: Sequence[str], options: PredictionOptions) -> str:
    if options.format not in ("", JSON_LINES):
        reason = f"found tokens, and {options.format} needs texts; write JSON lines, or give texts"
        raise DataError(reason, line=item["line"])
    return _as_json(_answer_line(item, {"tokens": item["tokens"]}, {"ner_tags": tags}))


def _text_line(tagger: Tagger, item: Item, spans: Sequence[Span], options: PredictionOptions) -> str:
    text = item["text"]
    if options.format in ("", JSON_LINES):
        return _as_json(_answer_line(item, {"text": text}, {"spans": span_objects(spans)}))
    if options.format == TABLE:
        return _row(item, [json.dumps(span_objects(spans), ensure_ascii=False)], options)
    tokens = tagger.parts.tokenizer(text)
    annotated = AnnotatedText(
        text,
        spans=[ScoredSpan(span.start, span.end, span.label, round(span.score, 6)) for span in spans],
        tokens=list(zip(tokens.starts, tokens.ends, strict=True)),
        metadata=_metadata(item),
        predicted=True,
    )
    return _as_json(LINE_SHAPES[options.format](annotated))


def span_objects(spans: Sequence[Span]) -> list[dict[str, Any]]:
    """Convert spans to objects that JSON can hold.

    Args:
        spans: The spans.

    Returns:
        `start`, `end`, `label`, `text` and `score` of each span.
    """
    return [
        {"start": span.start, "end": span.end, "label": span.label, "text": span.text, "score": round(span.score, 6)}
        for span in spans
    ]


def classified_lines(classifier: Classifier, items: Sequence[Item], options: PredictionOptions) -> Iterator[str]:
    """Classify texts and format the results. A bad record and an empty text become a line of nulls.

    Args:
        classifier: The classifier.
        items: The records.
        options: The classes to return, and the form of the output.

    Yields:
        A line for each record.
    """
    texts = [item["text"] for item in items if "error" not in item and item["text"].strip()]
    predictions = iter(classifier.classify(texts, top_k=options.top_k, threshold=options.threshold))
    has_lists = options.top_k is not None or options.threshold is not None or classifier.parts.class_set.multi_label
    for item in items:
        if "error" in item:
            yield from _error_line({"text": None, "predicted": None, "score": None}, item, options)
            continue
        found = next(predictions) if item["text"].strip() else [] if has_lists else None
        yield _class_line(classifier, item, found, options)


def _class_line(
    classifier: Classifier, item: Item, found: Label | list[Label] | None, options: PredictionOptions
) -> str:
    answer: dict[str, Any] = {"predicted": None, "score": None}
    if isinstance(found, Label):
        answer = {"predicted": found.label, "score": round(found.score, 6)}
    elif found is not None:
        answer = {"predicted": [each.label for each in found], "score": [round(each.score, 6) for each in found]}
    if options.format in ("", JSON_LINES):
        return _as_json(_answer_line(item, {"text": item["text"]}, answer))
    if options.format == TABLE:
        cells = [json.dumps(cell, ensure_ascii=False) if isinstance(cell, list) else cell for cell in answer.values()]
        return _row(item, cells, options)
    listed = [found] if isinstance(found, Label) else found or []
    labels = [ScoredLabel(label.label, round(label.score, 6)) for label in listed]
    annotated = AnnotatedText(item["text"], labels=labels, metadata=_metadata(item), predicted=True)
    if options.format == "prodigy":
        return _as_json(to_prodigy(annotated, classifier.labels))
    return _as_json(LINE_SHAPES[options.format](annotated))


def _answer_line(item: Item, source: Mapping[str, Any], answer: Mapping[str, Any]) -> dict[str, Any]:
    """Add the answer to the values of the input, which keep their keys.

    Annotations of the input under a key of the answer move to `gold`, other values to `input`.
    """
    line: dict[str, Any] = {}
    taken: dict[str, Any] = {}
    for key, value in item.get("values", {}).items():
        if key in answer:
            taken[key] = value
        else:
            line[key] = value
    for key, value in taken.items():
        if key in _GOLD_KEYS and "gold" not in line:
            line["gold"] = value
        else:
            line["input"] = {**line.get("input", {}), key: value} if isinstance(line.get("input", {}), dict) else value
    missing = {key: value for key, value in source.items() if key not in line}
    return missing | line | dict(answer)


def _metadata(item: Item) -> dict[str, Any]:
    return {key: value for key, value in item.get("values", {}).items() if key not in _ANNOTATION_KEYS}


def _row(item: Item, answer: Sequence[object], options: PredictionOptions) -> str:
    cells = item["values"].values() if "values" in item else [item["text"]]
    shown = (cell if isinstance(cell, str) else json.dumps(cell, ensure_ascii=False) for cell in cells)
    return format_row([*shown, *answer], options.delimiter)


def _error_line(nulls: Mapping[str, None], item: Item, options: PredictionOptions) -> Iterator[str]:
    """Yield the line of a record that can't be read; none for annotation tools, which need a text."""
    if options.format in ("", JSON_LINES):
        yield _as_json({**nulls, "error": item["error"]})
    elif options.format == TABLE:
        yield ""


def _as_json(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False)
