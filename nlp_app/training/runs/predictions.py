"""Files that a run leaves beside its model: each complete or absent."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from nlp_app.core.files import atomic_file, write_text
from nlp_app.core.types import ClassRecord, Sentence, TokenSpan
from nlp_app.data.tagging.corpus import Corpus
from nlp_app.labels import schemes

Spans = Sequence[TokenSpan]

COLUMNS, RECORDS = "predictions.conll", "predictions.jsonl"


def write_predictions(directory: Path, corpus: Corpus, found: Sequence[Spans], scheme: str) -> None:
    """What was found beside what is right, and nothing that an earlier run left in its place.

    `predictions.conll` (token, gold and predicted tag, as the CoNLL scorer reads them) for data that came with
    tokens; `predictions.jsonl` for raw text, and for tokens that columns can't hold.
    """
    pairs = list(zip(corpus.sentences, found, strict=True))
    separator = _separator(corpus.sentences) if corpus.tokenizer is None else None
    if separator is not None:
        blocks = ("".join(f"{line}\n" for line in _columns(*pair, scheme, separator)) for pair in pairs)
        write_text(directory / COLUMNS, "\n".join(blocks))
    else:
        lines = (_record(*pair) if corpus.tokenizer else _token_record(*pair, scheme) for pair in pairs)
        write_text(directory / RECORDS, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    (directory / (COLUMNS if separator is None else RECORDS)).unlink(missing_ok=True)


def write_class_predictions(
    directory: Path, records: Sequence[ClassRecord], found: Sequence[tuple[str, ...]], scores: Sequence[float]
) -> None:
    """`predictions.jsonl`: each text, its gold label or labels, those predicted, and the score of the best one."""
    with atomic_file(directory / RECORDS) as file:
        for record, labels, score in zip(records, found, scores, strict=True):
            gold = record.labels or ()
            several = len(gold) != 1 or len(labels) != 1
            line = {
                "text": record.text,
                "label": list(gold) if several else gold[0],
                "predicted": list(labels) if several else labels[0],
                "score": round(score, 6),
            }
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


def _separator(sentences: Sequence[Sentence]) -> str | None:
    """What can stand between the columns of all sentences; None if nothing can."""
    fields = [field for s in sentences for field in (*s.tokens, *(span.label for span in s.spans or ()))]
    if not any(mark in field for field in fields for mark in " \t\n\r"):
        return " "
    return "\t" if not any(mark in field for field in fields for mark in "\t\n\r") else None


def _columns(sentence: Sentence, spans: Spans, scheme: str, separator: str) -> Iterator[str]:
    gold, predicted = _tags(sentence, spans, scheme)
    for row in zip(sentence.tokens, gold, predicted, strict=True):
        yield separator.join(row)


def _token_record(sentence: Sentence, spans: Spans, scheme: str) -> dict[str, Any]:
    gold, predicted = _tags(sentence, spans, scheme)
    return {"tokens": sentence.tokens, "ner_tags": gold, "predicted": predicted}


def _tags(sentence: Sentence, spans: Spans, scheme: str) -> tuple[list[str], list[str]]:
    size = len(sentence)
    return schemes.encode(sentence.spans or (), size, scheme), schemes.encode(spans, size, scheme)


def _record(sentence: Sentence, spans: Spans) -> dict[str, Any]:
    gold = [*(_raw(sentence, span) for span in sentence.spans or ()), *map(list, sentence.unaligned)]
    return {
        "text": sentence.text,
        "label": sorted(gold),
        "predicted": [_raw(sentence, span) for span in spans],
    }


def _raw(sentence: Sentence, span: TokenSpan) -> list[int | str]:
    return [sentence.starts[span.start], sentence.ends[span.end - 1], span.label]
