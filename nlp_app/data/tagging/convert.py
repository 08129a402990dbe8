"""From one file format and tag scheme to another: nothing is lost, or it is said what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from nlp_app.core.errors import DataError, SettingsError
from nlp_app.core.types import CharSpan, Record, Sentence, TextRecord, TokenRecord
from nlp_app.data.tagging.alignment import AlignmentReport
from nlp_app.data.tagging.corpus import Corpus, CorpusOptions, TagRepair, make_corpus
from nlp_app.data.tagging.scan import spacing
from nlp_app.formats import tagging as formats
from nlp_app.labels import schemes
from nlp_app.text import make_tokenizer
from nlp_app.text.spacing import join_tokens

Shape = Literal["tokens", "text"]

DEFAULT_SCHEME = "BIO"


@dataclass(frozen=True, slots=True)
class ConversionReport:
    """What was written: from what format and scheme to which, how much, and what of the source is not in it.

    `ledger` and `repairs` name the spans and tags that `losses` counts; `remarks` say how the source was read. A scheme
    is None without tags.
    """

    source: str
    target: str
    source_format: str
    target_format: str
    source_scheme: str | None
    target_scheme: str | None
    records: int
    spans: int
    losses: list[str]
    repairs: list[TagRepair]
    ledger: AlignmentReport
    remarks: list[str]


def convert(
    source: str | Path,
    target: str | Path,
    *,
    options: CorpusOptions | None = None,
    target_format: str | None = None,
    target_scheme: str | None = None,
    shape: Shape | None = None,
) -> ConversionReport:
    """Read `source` as `options` say and write `target`, whole or not at all.

    `target_format`: None takes it from the target's suffix. `target_scheme`: None is BIO, or "none" for tags
    without a scheme. `shape`, of JSON lines: tokens with tags or text with spans; None keeps the source's.
    Raw text that has to be divided is divided by `options.tokenizer`, or else by the basic one without
    lower-casing.

    Raises DataError for what can't be read or written, SettingsError for a target that can't hold the source.
    """
    options = options or CorpusOptions()
    source_format = options.format or formats.detect_format(source, encoding=options.reading.encoding)
    target_format = target_format or _format_of(target)
    log = formats.ReadLog()
    records = list(formats.read(source, source_format, options.reading, log))
    shape = _choose_shape(shape, target_format, records)
    losses = log.skipped()
    if shape == "text" and all(isinstance(record, TextRecord) for record in records):
        corpus, written = Corpus(str(source), source_format), list(records)
        scheme = None
    else:
        options = replace(options, tokenizer=options.tokenizer or make_tokenizer("basic", do_lower_case=False))
        corpus = make_corpus(records, source, source_format, options)
        scheme = _choose_scheme(target_scheme, corpus, shape)
        written = _texts(corpus) if shape == "text" else _tokens(corpus, records, scheme, target_format)
        losses += _changed(corpus) + _not_written(corpus, records, written, target_format)
    formats.write(written, target, target_format)
    return ConversionReport(
        source=str(source),
        target=str(target),
        source_format=source_format,
        target_format=target_format,
        source_scheme=corpus.scheme,
        target_scheme=scheme,
        records=len(written),
        spans=_count_spans(corpus, records),
        losses=losses,
        repairs=corpus.repairs,
        ledger=corpus.ledger,
        remarks=log.remarks,
    )


def _format_of(target: str | Path) -> str:
    suffix = Path(target).suffix.lower()
    writable = {name: entry for name, entry in formats.FORMATS.items() if entry.writer is not None}
    for name, entry in writable.items():
        if suffix in entry.suffixes:
            return name
    reason = f"found the suffix {suffix!r}, which tells no format; name one of {', '.join(writable)}"
    raise SettingsError(f"{target}: {reason}")


def _choose_shape(shape: Shape | None, target_format: str, records: Sequence[Record]) -> Shape:
    if target_format != "jsonl":
        if shape == "text":
            reason = f"{target_format} holds tokens; expected jsonl as the target's format for text with spans"
            raise SettingsError(f"shape: found text, but {reason}")
        return "tokens"
    return shape or ("text" if isinstance(records[0], TextRecord) else "tokens")


def _choose_scheme(named: str | None, corpus: Corpus, shape: Shape) -> str | None:
    """The scheme to write; None for unlabeled files and for text with spans."""
    if shape == "text" or not corpus.labeled:
        return None
    bare = corpus.scheme == schemes.NONE
    scheme = schemes.find_scheme(named or (schemes.NONE if bare else DEFAULT_SCHEME)).name
    if (scheme == schemes.NONE) != bare:
        found = "tags without a scheme" if bare else "labeled spans"
        expected = f"only {schemes.NONE} can hold" if bare else "a tag scheme must hold"
        raise SettingsError(f"target scheme: found {scheme}; {corpus.path} has {found}, which {expected}")
    return scheme


def _tokens(corpus: Corpus, records: Sequence[Record], scheme: str | None, target_format: str) -> list[Record]:
    """The sentences as tokens with tags; only JSON lines hold sentences without a token.

    Raises DataError if nothing is left.
    """
    written: list[Record] = []
    for sentence, record in zip(corpus.sentences, records, strict=True):
        if not len(sentence) and target_format != "jsonl":
            continue
        spans = sentence.spans
        tags = None if spans is None or scheme is None else schemes.encode(spans, len(sentence), scheme)
        is_raw = record.text is not None
        text, starts = (sentence.text, sentence.starts) if is_raw else (None, None)
        written.append(TokenRecord(sentence.tokens, tags, sentence.lines, text, starts))
    if not written:
        raise DataError(f"found no token, expected some: {target_format} holds nothing else", corpus.path)
    return written


def _texts(corpus: Corpus) -> list[Record]:
    return [
        TextRecord(sentence.text, _characters(sentence), sentence.lines[0] if sentence.lines else 0)
        for sentence in corpus.sentences
    ]


def _characters(sentence: Sentence) -> list[CharSpan] | None:
    if sentence.spans is None:
        return None
    starts, ends = sentence.starts, sentence.ends
    return [CharSpan(starts[span.start], ends[span.end - 1], span.label) for span in sentence.spans]


def _changed(corpus: Corpus) -> list[str]:
    """What reading changed."""
    found = [f"{len(corpus.repairs):,} invalid tags (repaired)"] if corpus.repairs else []
    return found + [f"{count:,} spans ({reason})" for reason, count in corpus.ledger.reasons().items()]


def _not_written(corpus: Corpus, records: Sequence[Record], written: Sequence[Record], target_format: str) -> list[str]:
    """What the target's records don't hold."""
    found = []
    if skipped := len(records) - len(written):
        found.append(f"{skipped:,} sentences without a token")
    if isinstance(written[0], TextRecord):
        found.append(f"the division into {sum(map(len, corpus.sentences)):,} tokens")
        if joined := sum(record.text is None for record in records):
            found.append(f"the raw text of {joined:,} sentences (unknown: their tokens were joined by rule)")
    elif respaced := _respaced([r for r in written if isinstance(r, TokenRecord)], target_format):
        found.append(f"the raw text of {respaced:,} sentences (what stands between their tokens)")
    return found


def _respaced(records: Sequence[TokenRecord], target_format: str) -> int:
    """How many sentences have a raw text that the target doesn't hold and joined tokens don't give back."""
    if target_format == "jsonl":
        return 0
    space = spacing(records)
    texts = [(record.text, record.tokens) for record in records if record.text is not None]
    if target_format == "conllu":  # which has no way to write a line's end
        texts = [(text, tokens) for text, tokens in texts if "\n" in text or "\r" in text]
    return sum(text != join_tokens(tokens, space)[0] for text, tokens in texts)


def _count_spans(corpus: Corpus, records: Sequence[Record]) -> int:
    if corpus.sentences:
        return sum(len(sentence.spans or ()) for sentence in corpus.sentences)
    return sum(len(record.spans or ()) for record in records if isinstance(record, TextRecord))
