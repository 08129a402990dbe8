"""What a model says of a run of records, as lines of output."""

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
    """What is asked of a model, in values that JSON holds: the classes wanted, and how the lines are compressed."""

    top_k: int | None = None
    threshold: float | None = None
    compression: str | None = None


def make_predictor(model: Tagger | Classifier, question: PredictionOptions) -> Callable[[Sequence[Item]], bytes]:
    """A function from records to their part of the output."""

    def answer(items: Sequence[Item]) -> bytes:
        lines = (
            tagged_lines(model, items)
            if isinstance(model, Tagger)
            else classified_lines(model, items, question.top_k, question.threshold)
        )
        return compress_frame("".join(f"{line}\n" for line in lines).encode(), question.compression)

    return answer


def out_of_memory_message(line: int | None = None) -> NlpAppError:
    """What is said where memory has run out, at the records after a line."""
    place = "" if line is None else f" near line {line}"
    return NlpAppError(f"memory ran out{place}; use fewer --workers, or a machine with more of it")


def tagged_lines(tagger: Tagger, items: Sequence[Item]) -> Iterator[str]:
    """A JSON line for each record, spans for texts and tags for tokens; columns with a tag appended.

    A bad record is a JSON line of nulls; a sentence of columns that can't be read is tagged `O` throughout, or `_`
    where tags have no scheme.
    """
    good = [item for item in items if "error" not in item]
    spans = iter(tagger.tag([item["text"] for item in good if "text" in item]))
    tags = iter(tagger.tag_tokens([item["tokens"] for item in good if item.get("tokens")]))
    null = "_" if tagger.parts.tag_set.written_scheme == NONE else "O"
    for item in items:
        if "rows" in item:
            yield from item["before"]
            found = [null] * len(item["rows"]) if "error" in item else next(tags) if item["rows"] else []
            yield from (" ".join((*row, tag)) for row, tag in zip(item["rows"], found, strict=True))
        elif "error" in item:
            yield _as_json({"text": None, "spans": None, "error": item["error"]})
        elif "text" in item:
            yield text_line(item["text"], next(spans))
        else:
            yield _as_json({"tokens": item["tokens"], "ner_tags": next(tags) if item["tokens"] else []})


def text_line(text: str, spans: Sequence[Span]) -> str:
    """The JSON line of a text with its spans."""
    found = [
        {"start": span.start, "end": span.end, "label": span.label, "text": span.text, "score": round(span.score, 6)}
        for span in spans
    ]
    return _as_json({"text": text, "spans": found})


def classified_lines(
    classifier: Classifier, items: Sequence[Item], top_k: int | None, threshold: float | None
) -> Iterator[str]:
    """A JSON line for each text; of nulls for a bad record."""
    texts = [item["text"] for item in items if "error" not in item]
    found = iter(classifier.classify(texts, top_k=top_k, threshold=threshold))
    for item in items:
        if "error" in item:
            yield _as_json({"text": None, "label": None, "score": None, "error": item["error"]})
        else:
            yield _class_line(item["text"], next(found))


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
