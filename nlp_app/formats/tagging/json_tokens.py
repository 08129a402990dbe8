"""Read the tokens with tags or spans in a JSON object.

* `{"tokens": [...], "ner_tags" or "tags" or "labels": [...]}`: Hugging Face datasets, with tag names;
* `{"tokenized_text": [...], "ner": [[start, end inclusive, label], ...]}`: GLiNER, whose spans count tokens;
* `{"paragraphs": [{"raw", "sentences": [{"tokens": [{"orth", "ner"}, ...]}]}]}`: spaCy 2.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nlp_app.core.errors import DataError
from nlp_app.core.types import CharSpan, TokenRecord
from nlp_app.formats.tagging.conllu import align
from nlp_app.formats.tagging.read_log import ReadLog
from nlp_app.formats.tagging.span_reader import RawSpan, SpanReader

UNALIGNED = "raw texts that don't contain their tokens"

_OVERLAPS = "spans that overlap a longer or earlier span, dropped"

_NO_TAG = "-"  # spaCy: not annotated

_GLINER_PARTS = 3


def token_record(
    tokens: list[Any], tags: Mapping[str, Any], text: Any, name: str, line: int, log: ReadLog
) -> TokenRecord:
    """Build the record of an object with tokens.

    Args:
        tokens: The tokens.
        tags: Lists of tags by key; the first one is used. Empty for unlabeled tokens.
        text: The raw text, if it is a string.
        name: The file's name, for messages.
        line: The object's line.
        log: Counts raw texts that don't contain their tokens.

    Returns:
        The record.

    Raises:
        DataError: Tokens or tags are not non-empty strings, or their numbers differ.
    """
    _check_tokens(tokens, "tokens", name, line)
    starts = align(tokens, text) if isinstance(text, str) else None
    source = text if starts is not None else None
    if isinstance(text, str) and starts is None:
        log.skip(UNALIGNED)
    lines = (line,) * len(tokens)
    if not tags:
        return TokenRecord(tokens, None, lines, source, starts)
    key, values = next(iter(tags.items()))
    if isinstance(values, list) and values and all(type(item) is int for item in values):
        reason = "numbers without their names: write the tags' names"
        raise DataError(f"`{key}`: found {reason}, such as B-PER", name, line)
    if not isinstance(values, list) or not all(isinstance(item, str) and item for item in values):
        raise DataError(f"`{key}`: expected a list of tags that are non-empty strings", name, line)
    if len(values) != len(tokens):
        raise DataError(f"found {len(tokens)} tokens and {len(values)} `{key}`, expected the same number", name, line)
    return TokenRecord(tokens, values, lines, source, starts)


def gliner_record(
    value: Mapping[str, Any], name: str, line: int, spans: SpanReader, log: ReadLog, *, labels: bool
) -> TokenRecord:
    """Build the record of an example for GLiNER.

    Args:
        value: The object with `tokenized_text` and `ner`.
        name: The file's name, for messages.
        line: The object's line.
        spans: Reads the spans.
        log: Counts spans that overlap others, which tags can't hold.
        labels: Read the labels.

    Returns:
        The record, with tags in the scheme BIO.

    Raises:
        DataError: The tokens are not non-empty strings, or `ner` is not a list.
    """
    tokens, items = value["tokenized_text"], value.get("ner")
    _check_tokens(tokens, "tokenized_text", name, line)
    log.skip_keys(value, ("tokenized_text", "ner"))
    lines = (line,) * len(tokens)
    if items is None or not labels:
        return TokenRecord(tokens, None, lines)
    if not isinstance(items, list):
        raise DataError("`ner`: expected a list of [start, end, label], where the end is the last token", name, line)
    found = spans.read(tokens, map(_parse_gliner_span, items), "ner", line)
    return TokenRecord(tokens, _tags(found, len(tokens), log, line), lines)


def spacy_records(
    document: Mapping[str, Any], label_key: str, name: str, line: int, log: ReadLog, *, labels: bool
) -> Iterator[TokenRecord]:
    """Build the records of a document in the JSON format of spaCy 2.

    Args:
        document: The object with `paragraphs`.
        label_key: The key of a token's tag; empty for `ner`.
        name: The file's name, for messages.
        line: The document's line.
        log: Counts tokens without a tag, and the keys that are skipped.
        labels: Read the tags.

    Yields:
        A record for each sentence.

    Raises:
        DataError: The document lacks a part, or a token has no text.
    """
    key = label_key or "ner"
    log.skip_keys(document, ("id", "paragraphs"))
    for paragraph in _objects(document, "paragraphs", name, line):
        log.skip_keys(paragraph, ("raw", "sentences"), "paragraphs.")
        raw = paragraph.get("raw")
        sentences = [_objects(part, "tokens", name, line) for part in _objects(paragraph, "sentences", name, line)]
        words: list[list[Any]] = [[token.get("orth") for token in tokens] for tokens in sentences]
        forms = [form for sentence in words for form in sentence]
        _check_tokens(forms, "orth", name, line)
        starts = align(forms, raw) if isinstance(raw, str) else None
        if isinstance(raw, str) and starts is None:
            log.skip(UNALIGNED)
        first = 0
        for tokens, sentence in zip(sentences, words, strict=True):
            tags = _token_tags(tokens, key, name, line, log) if labels else None
            offsets = None if starts is None else starts[first : first + len(sentence)]
            first += len(sentence)
            text = None
            if offsets and raw is not None:
                begin, end = offsets[0], offsets[-1] + len(sentence[-1])
                text, offsets = raw[begin:end], [start - begin for start in offsets]
            if sentence:
                yield TokenRecord(sentence, tags, (line,) * len(sentence), text, offsets if text else None)


def _check_tokens(tokens: Any, key: str, name: str, line: int) -> None:
    if not isinstance(tokens, list) or not all(isinstance(token, str) and token for token in tokens):
        raise DataError(f"`{key}`: expected non-empty strings", name, line)


def _parse_gliner_span(item: Any) -> RawSpan:
    if not isinstance(item, list) or len(item) != _GLINER_PARTS:
        return RawSpan(0, 0, "", problem=f"found {item!r}, expected [start, end, label]")
    start, end, label = item
    return RawSpan(start, end + 1 if type(end) is int else end, label)


def _tags(spans: Sequence[CharSpan], count: int, log: ReadLog, line: int) -> list[str]:
    """Write spans over tokens as BIO tags; of spans that overlap, the longest and then the first one is kept."""
    tags = ["O"] * count
    for start, end, label in sorted(spans, key=lambda span: (span.start - span.end, span.start)):
        if any(tag != "O" for tag in tags[start:end]):
            log.repair(_OVERLAPS, line)
        else:
            tags[start:end] = [f"B-{label}", *[f"I-{label}"] * (end - start - 1)]
    return tags


def _token_tags(tokens: Sequence[Mapping[str, Any]], key: str, name: str, line: int, log: ReadLog) -> list[str] | None:
    """Return the tags of a sentence; None if no token has one."""
    values = [token.get(key) for token in tokens]
    if all(value is None for value in values):
        return None
    tags = []
    for value in values:
        if value in (None, "", _NO_TAG):
            log.repair("tokens without a tag, read as O", line)
        elif not isinstance(value, str):
            raise DataError(f"`{key}`: found {value!r}, expected a tag", name, line)
        tags.append(value if isinstance(value, str) and value not in ("", _NO_TAG) else "O")
    return tags


def _objects(value: Mapping[str, Any], key: str, name: str, line: int) -> list[dict[str, Any]]:
    items = value.get(key)
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise DataError(f"`{key}`: expected a list of objects, as in the JSON format of spaCy 2", name, line)
    return items
