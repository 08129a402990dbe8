"""Format predictions as lines of the output file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from nlp_app.core.errors import NlpAppError
from nlp_app.core.types import Label, Span
from nlp_app.formats.io.compression import compress_frame
from nlp_app.inference import Classifier, Tagger
from nlp_app.inference.files.records import Item
from nlp_app.labels.schemes import NONE


@dataclass(frozen=True)
class PredictionOptions:
    """Options that change the predictions or their form, as values that JSON can hold.

    Attributes:
        top_k: The number of classes per text (None: as the model decides).
        threshold: The lowest score of a class (None: as the model decides).
        compression: The compression of the output (None: not compressed).
    """

    top_k: int | None = None
    threshold: float | None = None
    compression: str | None = None


def make_predictor(model: Tagger | Classifier, options: PredictionOptions) -> Callable[[Sequence[Item]], bytes]:
    """Make a function that predicts records and formats the results.

    Args:
        model: The tagger or classifier.
        options: The classes to return, and the compression.

    Returns:
        A function from records to their part of the output file.
    """

    def predict(items: Sequence[Item]) -> bytes:
        lines = (
            tagged_lines(model, items)
            if isinstance(model, Tagger)
            else classified_lines(model, items, options.top_k, options.threshold)
        )
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


def tagged_lines(tagger: Tagger, items: Sequence[Item]) -> Iterator[str]:
    """Tag records and format the results: spans for texts, tags for tokens.

    A record becomes a JSON line, but a sentence in columns stays in columns with the same separator, and the tags are
    the last column. Columns are separated by tabs if a label of the tagger contains a space. A bad record becomes a
    JSON line of nulls. If it is in columns, each of its tokens gets the tag `O`, or `_` if the tags have no scheme.

    Args:
        tagger: The tagger.
        items: The records.

    Yields:
        The lines of the output, without line ends.
    """
    readable = [item for item in items if "error" not in item]
    spans = iter(tagger.tag([item["text"] for item in readable if "text" in item]))
    tags = iter(tagger.tag_tokens([item["tokens"] for item in readable if item.get("tokens")]))
    null = "_" if tagger.parts.tag_set.written_scheme == NONE else "O"
    has_spaces = any(" " in label for label in tagger.labels)
    for item in items:
        if "rows" in item:
            separator = "\t" if has_spaces else item["separator"]
            yield from (each if isinstance(each, str) else separator.join((*each, "O")) for each in item["before"])
            row_tags = [null] * len(item["rows"]) if "error" in item else next(tags) if item["rows"] else []
            yield from (separator.join((*row, tag)) for row, tag in zip(item["rows"], row_tags, strict=True))
        elif "error" in item:
            yield _as_json({"text": None, "spans": None, "error": item["error"]})
        elif "text" in item:
            yield text_line(item["text"], next(spans))
        else:
            yield _as_json({"tokens": item["tokens"], "ner_tags": next(tags) if item["tokens"] else []})


def text_line(text: str, spans: Sequence[Span]) -> str:
    """Format a text and its spans as a JSON line.

    Args:
        text: The raw text.
        spans: The spans that were found in it.

    Returns:
        The line.
    """
    rows = [
        {"start": span.start, "end": span.end, "label": span.label, "text": span.text, "score": round(span.score, 6)}
        for span in spans
    ]
    return _as_json({"text": text, "spans": rows})


def classified_lines(
    classifier: Classifier, items: Sequence[Item], top_k: int | None, threshold: float | None
) -> Iterator[str]:
    """Classify texts and format the results. A bad record and an empty text become a JSON line of nulls.

    Args:
        classifier: The classifier.
        items: The records.
        top_k: The number of classes per text, or None.
        threshold: The lowest score of a class, or None.

    Yields:
        A JSON line for each record.
    """
    texts = [item["text"] for item in items if "error" not in item and item["text"].strip()]
    predictions = iter(classifier.classify(texts, top_k=top_k, threshold=threshold))
    has_lists = top_k is not None or threshold is not None or classifier.parts.class_set.multi_label
    for item in items:
        if "error" in item:
            yield _as_json({"text": None, "label": None, "score": None, "error": item["error"]})
        elif not item["text"].strip():
            line: dict[str, Any] = {"text": item["text"], "label": None, "score": None}
            yield _as_json(line | {"labels": []} if has_lists else line)
        else:
            yield _class_line(item["text"], next(predictions))


def _class_line(text: str, labels: Label | list[Label]) -> str:
    best = labels if isinstance(labels, Label) else labels[0] if labels else None
    line: dict[str, Any] = {
        "text": text,
        "label": None if best is None else best.label,
        "score": None if best is None else round(best.score, 6),
    }
    if not isinstance(labels, Label):
        line["labels"] = [{"label": each.label, "score": round(each.score, 6)} for each in labels]
    return _as_json(line)


def _as_json(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False)
