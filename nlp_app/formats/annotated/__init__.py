"""Write texts with spans or classes in the formats of annotation tools and other programs.

Example:
    >>> write([AnnotatedText("Ada left", [ScoredSpan(0, 3, "PER")])], "tasks.json", "label-studio")
"""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from nlp_app.core.errors import DataError
from nlp_app.core.files import atomic_directory, atomic_file
from nlp_app.core.types import AnnotatedText, ScoredSpan, TokenRecord
from nlp_app.formats.annotated import brat, spacy_docs
from nlp_app.formats.annotated.json_shapes import to_doccano, to_json_lines, to_label_studio, to_prodigy
from nlp_app.formats.tagging import conll, conllu

__all__ = ["CLASS_FORMATS", "LINE_SHAPES", "SPAN_FORMATS", "losses", "to_json", "write"]

LINE_SHAPES: Mapping[str, Callable[..., dict[str, Any]]] = MappingProxyType(
    {"jsonl": to_json_lines, "doccano": to_doccano, "prodigy": to_prodigy}
)

# Formats for texts with spans, and for texts with classes.
SPAN_FORMATS = ("jsonl", "csv", "doccano", "label-studio", "prodigy", "brat", "spacy", "conll", "conllu")

CLASS_FORMATS = ("jsonl", "csv", "doccano", "label-studio", "prodigy", "spacy", "fasttext")

_COLUMNS = {"conll": conll.write, "conllu": conllu.write}

_WIDTH = 6  # digits of a document's number in the names of brat files


def write(texts: Iterable[AnnotatedText], path: str | Path, format: str, classes: Sequence[str] = ()) -> None:
    """Write annotated texts to a file, or to a folder for brat.

    The output is either complete or absent.

    Args:
        texts: The texts. They are read once, except for brat and spaCy in order and in bounded memory.
        path: The file or folder.
        format: A name in `SPAN_FORMATS` or `CLASS_FORMATS`, except `csv`.
        classes: All classes, which Prodigy offers as options.

    Raises:
        DataError: The format can't hold a text (see `losses`), or the output can't be written.
        SettingsError: The package spacy is not installed.
    """
    if format == "brat":
        _write_brat(texts, Path(path))
    elif format == "spacy":
        content = spacy_docs.to_docs(texts)
        with atomic_file(path, binary=True) as stream:
            stream.write(content)
    else:
        with atomic_file(path) as lines:
            for line in _lines(texts, str(path), format, classes):
                lines.write(f"{line}\n")


def _lines(texts: Iterable[AnnotatedText], name: str, format: str, classes: Sequence[str]) -> Iterator[str]:
    if format in _COLUMNS:
        return _COLUMNS[format](map(_to_tokens, texts), name)
    if format == "label-studio":
        return _list_lines(map(to_label_studio, texts))
    if format == "fasttext":
        return (_fasttext_line(text, name) for text in texts)
    if format == "prodigy":
        return (to_json(to_prodigy(text, classes)) for text in texts)
    return (to_json(LINE_SHAPES[format](text)) for text in texts)


def _list_lines(values: Iterable[Any]) -> Iterator[str]:
    """Yield the lines of a JSON list with one value per line."""
    remaining = iter(values)
    yield "["
    value = next(remaining, None)
    while value is not None:
        following = next(remaining, None)
        yield to_json(value) + ("," if following is not None else "")
        value = following
    yield "]"


def to_json(value: Any) -> str:
    """Format a value as JSON on one line.

    Args:
        value: The value.

    Returns:
        The JSON, with characters beyond ASCII as they are.
    """
    return json.dumps(value, ensure_ascii=False)


def _fasttext_line(text: AnnotatedText, name: str) -> str:
    labels = [f"__label__{label.label}" for label in text.labels or ()]
    if any(re.search(r"\s", label) for label in labels) or re.search(r"[\r\n]", text.text):
        reason = "fastText's lines can't hold white space in a label, or a line end in a text"
        raise DataError(f"{reason}: {text.text[:40]!r}; choose another format", name)
    return " ".join((*labels, text.text))


def _to_tokens(text: AnnotatedText) -> TokenRecord:
    """Convert a text to tokens with BIO tags. Spans that overlap or cut a token are left out (see `losses`)."""
    tokens = list(text.tokens or ())
    tags = ["O"] * len(tokens)
    for first, last, span in _token_spans(text):
        tags[first : last + 1] = [f"B-{span.label}", *[f"I-{span.label}"] * (last - first)]
    words = [text.text[start:end] for start, end in tokens]
    return TokenRecord(words, tags, (), text.text, [start for start, _ in tokens])


def _token_spans(text: AnnotatedText) -> Iterator[tuple[int, int, ScoredSpan]]:
    """Yield first and last token of each span, except for spans that cut a token or overlap an earlier one."""
    starts = {start: number for number, (start, _) in enumerate(text.tokens or ())}
    ends = {end: number for number, (_, end) in enumerate(text.tokens or ())}
    end = 0
    for span in sorted(text.spans or (), key=lambda span: (span.start, -span.end)):
        if span.start >= end and span.start in starts and span.end in ends:
            end = span.end
            yield starts[span.start], ends[span.end], span


def _write_brat(texts: Iterable[AnnotatedText], path: Path) -> None:
    if path.exists():
        raise DataError("exists; brat needs a new folder for its documents, choose another name", path)
    with atomic_directory(path) as folder:
        for number, text in enumerate(texts, 1):
            stem = folder / f"{number:0{_WIDTH}}"
            stem.with_suffix(".txt").write_bytes(text.text.encode())
            stem.with_suffix(".ann").write_bytes(brat.annotation_lines(text, f"{path}/{stem.name}").encode())


def losses(texts: Iterable[AnnotatedText], format: str) -> list[str]:
    """List the annotations that a format can't hold.

    Args:
        texts: The texts.
        format: The format.

    Returns:
        A phrase for each kind of annotation that would be lost, with its count.
    """
    counts: Counter[str] = Counter()
    for text in texts:
        if format in _COLUMNS:
            kept = len(list(_token_spans(text)))
            counts["labeled spans that overlap, or begin or end inside a token"] += len(text.spans or ()) - kept
            counts["texts without a token"] += not text.tokens
        elif format == "spacy":
            counts["labeled spans that overlap another one"] += _count_overlapping(text.spans or ())
    return [f"{what}: {count:,}" for what, count in counts.items() if count]


def _count_overlapping(spans: Sequence[ScoredSpan]) -> int:
    ordered = sorted(spans)
    return sum(two.start < one.end for one, two in itertools.pairwise(ordered))
