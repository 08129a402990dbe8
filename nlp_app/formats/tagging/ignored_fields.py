"""What a file holds besides the tokens, texts and labels that its reader takes: lost when it is converted."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from nlp_app.formats.io.lines import CHUNK, encoding_of, lines_of_bytes
from nlp_app.formats.tagging import hf_rows
from nlp_app.formats.tagging.conll import SAMPLE, is_document_start, layout_of
from nlp_app.formats.tagging.conllu import align
from nlp_app.formats.tagging.options import CONLLU_COLUMNS, ReadOptions

_SPAN_LISTS = ("spans", "entities", "labels", "label")

_KEPT = {*_SPAN_LISTS, "text", "tokens", "ner_tags", "tags", "data", "annotations", "answer"}

_KEPT_IN_SPANS = {"start", "end", "label", "text", "start_offset", "end_offset"}


def not_read(path: str | Path, format: str, options: ReadOptions) -> list[str]:
    """What the reader of that format leaves aside in a file that it can read: phrases with counts."""
    if format == "hub":
        return [f"the column {name}" for name in hf_rows.columns_not_read(str(path), options)]
    source = Path(path)
    if format == "brat":
        return _brat(source)
    with source.open("rb") as stream:
        head = stream.read(CHUNK)
        stream.seek(0)
        lines = lines_of_bytes(stream, str(path), encoding_of(head, options.encoding))
        if format == "conll":
            return _columns(lines, options)
        if format == "conllu":
            return _conllu(lines, options)
        return _json(lines) if format == "jsonl" else []


def _columns(lines: Iterator[str], options: ReadOptions) -> list[str]:
    sample = list(itertools.islice(lines, SAMPLE))
    others = layout_of(sample, options.separator).columns - 2
    documents = sum(map(is_document_start, itertools.chain(sample, lines)))
    found = [f"{others} columns besides token and tag"] if others > 0 else []
    if documents:
        found.append(f"the bounds of {documents:,} documents")
    if options.token_pattern is not None:
        found.append("what stands in the tokens' column besides what the token pattern takes")
    return found


def _conllu(lines: Iterable[str], options: ReadOptions) -> list[str]:
    counts: Counter[str] = Counter()
    for line in lines:
        fields = line.split("\t")
        if line.startswith("#"):
            counts["comments"] += not line.startswith("# text =")
        elif len(fields) > 1 and not fields[0].isdecimal():
            counts["multi-word tokens" if "-" in fields[0] else "empty nodes"] += 1
        elif len(fields) == len(CONLLU_COLUMNS):
            counts.update(
                f"values of the column {column}"
                for column, value in zip(CONLLU_COLUMNS[2:], fields[2:], strict=True)
                if column != options.column and value not in ("_", "SpaceAfter=No")
            )
    return [f"{count:,} {what}" for what, count in counts.items() if count]


def _json(lines: Iterable[str]) -> list[str]:
    keys: Counter[str] = Counter()
    rejected = parted = 0
    for value in _objects(list(lines)):
        rejected += value.get("answer", "accept") != "accept"
        parted += _is_parted(value.get("tokens"), value.get("text"))
        keys.update(_keys_not_read(value))
    found = [f"{rejected:,} objects that their annotator didn't accept"] if rejected else []
    found += [f"{parted:,} raw texts that don't hold their tokens"] if parted else []
    return found + [f"{count:,} values of the key {key}" for key, count in keys.items()]


def _is_parted(tokens: Any, text: Any) -> bool:
    """Whether there are tokens and a text that can't be brought together; the reader drops the text then."""
    return isinstance(text, str) and _are_strings(tokens) and align(tokens, text) is None


def _are_strings(tokens: Any) -> bool:
    return isinstance(tokens, list) and all(isinstance(token, str) for token in tokens)


def _keys_not_read(value: dict[str, Any]) -> Iterator[str]:
    """Keys of the object, and of its spans as `spans.score`. `tokens` that are objects aren't read either."""
    for key, content in value.items():
        if key not in _KEPT or (key == "tokens" and not _are_strings(content)):
            yield key
        if key in _SPAN_LISTS and isinstance(content, list):
            spans = (span for span in content if isinstance(span, dict))
            yield from (f"{key}.{name}" for span in spans for name in span if name not in _KEPT_IN_SPANS)


def _objects(lines: list[str]) -> Iterator[dict[str, Any]]:
    """The objects of JSON lines, or of a document that goes over several lines."""
    decoder = json.JSONDecoder()
    text = "\n".join(lines)
    position = 0
    while position < len(text):
        if text[position] in " \t\r\n,[]":  # between objects, in lines or in one list
            position += 1
            continue
        value, position = decoder.raw_decode(text, position)
        if isinstance(value, dict):
            yield value


def _brat(path: Path) -> list[str]:
    documents = sorted(path.rglob("*.ann")) if path.is_dir() else [path.with_suffix(".ann")]
    others = sum(
        bool(line) and not line.startswith("T")
        for document in documents
        for line in document.read_text("utf-8", errors="replace").split("\n")
    )
    found = [f"the names of {len(documents):,} documents"] if path.is_dir() else []
    if others:
        found.append(f"{others:,} annotations that aren't spans (events, relations, notes)")
    return found
