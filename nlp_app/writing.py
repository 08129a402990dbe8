"""Files that a run leaves beside its model: each complete or absent."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from nlp_app import schemes
from nlp_app.corpus import Corpus
from nlp_app.errors import SettingsError
from nlp_app.types import Sentence, TokenSpan

Spans = Sequence[TokenSpan]


def write_text(path: Path, text: str) -> None:
    """Put a text file in place, whole. Raises SettingsError if it can't be written."""
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with aside.open("x", encoding="utf-8", errors="surrogatepass", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except OSError as error:
        raise SettingsError(f"{path}: can't be written ({error.strerror}); make room or name another place") from error
    finally:
        aside.unlink(missing_ok=True)


def write_predictions(directory: Path, corpus: Corpus, found: Sequence[Spans], scheme: str) -> None:
    """`predictions.conll` (token, gold and predicted tag, as the CoNLL scorer reads them) for data that came with
    tokens, `predictions.jsonl` (text, gold and predicted spans) for raw text."""
    if corpus.tokenizer is None:
        plain = "none" if scheme == "none" else "BIO"
        blocks = ("\n".join(_columns(s, spans, plain)) + "\n" for s, spans in zip(corpus.sentences, found, strict=True))
        write_text(directory / "predictions.conll", "\n".join(blocks))
    else:
        lines = (_record(s, spans) for s, spans in zip(corpus.sentences, found, strict=True))
        write_text(
            directory / "predictions.jsonl",
            "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines),
        )


def _columns(sentence: Sentence, spans: Spans, scheme: str) -> Iterator[str]:
    tokens = sentence.tokens
    gold = schemes.encode(sentence.spans or (), len(tokens), scheme)
    separator = "\t" if any(" " in token for token in tokens) else " "
    for row in zip(tokens, gold, schemes.encode(spans, len(tokens), scheme), strict=True):
        yield separator.join(row)


def _record(sentence: Sentence, spans: Spans) -> dict[str, Any]:
    gold = [*(_raw(sentence, span) for span in sentence.spans or ()), *map(list, sentence.unaligned)]
    return {
        "text": sentence.text,
        "label": sorted(gold),
        "predicted": [_raw(sentence, span) for span in spans],
    }


def _raw(sentence: Sentence, span: TokenSpan) -> list[int | str]:
    return [sentence.starts[span.start], sentence.ends[span.end - 1], span.label]
