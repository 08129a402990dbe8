"""Write the predictions of a run. Each file is written completely or not at all."""

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

CONLL_FILE, JSONL_FILE = "predictions.conll", "predictions.jsonl"


def write_predictions(directory: Path, corpus: Corpus, predicted: Sequence[Spans], scheme: str) -> None:
    """Write gold and predicted spans side by side, and remove the predictions of a previous run.

    Data that came with tokens go to `predictions.conll` (token, gold tag and predicted tag, the format of the CoNLL
    scorer). Raw text, and tokens that contain separators, go to `predictions.jsonl`.

    Args:
        directory: The run directory.
        corpus: The sentences with their gold spans.
        predicted: The predicted spans of each sentence.
        scheme: The tag scheme of the file.
    """
    pairs = list(zip(corpus.sentences, predicted, strict=True))
    separator = _separator(corpus.sentences) if corpus.tokenizer is None else None
    if separator is not None:
        blocks = ("".join(f"{line}\n" for line in _columns(*pair, scheme, separator)) for pair in pairs)
        write_text(directory / CONLL_FILE, "\n".join(blocks))
    else:
        lines = (_record(*pair) if corpus.tokenizer else _token_record(*pair, scheme) for pair in pairs)
        write_text(directory / JSONL_FILE, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    (directory / (CONLL_FILE if separator is None else JSONL_FILE)).unlink(missing_ok=True)


def write_class_predictions(
    directory: Path, records: Sequence[ClassRecord], predicted: Sequence[tuple[str, ...]], scores: Sequence[float]
) -> None:
    """Write `predictions.jsonl`: each text with its gold labels, its predicted labels and the best score.

    Args:
        directory: The run directory.
        records: The texts with their gold labels.
        predicted: The predicted labels of each text.
        scores: The score of the best label of each text.
    """
    with atomic_file(directory / JSONL_FILE) as file:
        for record, labels, score in zip(records, predicted, scores, strict=True):
            gold = record.labels or ()
            as_lists = len(gold) != 1 or len(labels) != 1
            line = {
                "text": record.text,
                "gold": list(gold) if as_lists else gold[0],
                "predicted": list(labels) if as_lists else labels[0],
                "score": round(score, 6),
            }
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


def _separator(sentences: Sequence[Sentence]) -> str | None:
    """Choose a column separator that no token or label contains: space, tab, or None if neither is possible."""
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
    return {"tokens": sentence.tokens, "gold": gold, "predicted": predicted}


def _tags(sentence: Sentence, spans: Spans, scheme: str) -> tuple[list[str], list[str]]:
    size = len(sentence)
    return schemes.encode(sentence.spans or (), size, scheme), schemes.encode(spans, size, scheme)


def _record(sentence: Sentence, spans: Spans) -> dict[str, Any]:
    gold = [*(_raw(sentence, span) for span in sentence.spans or ()), *map(list, sentence.unaligned)]
    return {
        "text": sentence.text,
        "gold": sorted(gold),
        "predicted": [_raw(sentence, span) for span in spans],
    }


def _raw(sentence: Sentence, span: TokenSpan) -> list[int | str]:
    return [sentence.starts[span.start], sentence.ends[span.end - 1], span.label]
