"""Convert a file to another format and tag scheme, and report any loss of information."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from nlp_app.core.errors import DataError, SettingsError
from nlp_app.core.types import CharSpan, Record, Sentence, TextRecord, TokenRecord
from nlp_app.data.tagging.alignment import AlignmentReport
from nlp_app.data.tagging.corpus import Corpus, CorpusOptions, TagRepair, make_corpus
from nlp_app.data.tagging.scan import detect_spacing
from nlp_app.formats import tagging as formats
from nlp_app.labels import schemes
from nlp_app.text import make_tokenizer
from nlp_app.text.spacing import join_tokens

Shape = Literal["tokens", "text"]

DEFAULT_SCHEME = "BIO"


@dataclass(frozen=True, slots=True)
class ConversionReport:
    """The result of a conversion.

    Attributes:
        source: The file that was read.
        target: The file that was written.
        source_format: Format of the source.
        target_format: Format of the target.
        source_scheme: Tag scheme of the source; None without tags.
        target_scheme: Tag scheme of the target; None without tags.
        records: Number of records in the target.
        spans: Number of labeled spans in the target.
        losses: The information of the source that the target does not hold, one phrase each.
        repairs: The invalid tags that were repaired while reading.
        ledger: Counts of gold spans by outcome, with the adjusted and dropped ones.
        remarks: Properties that the reader detected in the source, such as its encoding.
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
    """Convert a file to another format or tag scheme. The target is written completely or not at all.

    Args:
        source: The file to read.
        target: The file to write.
        options: How to read the source. If raw text has to be tokenized, `options.tokenizer` is used; without one,
            the basic tokenizer without lower-casing.
        target_format: Format of the target; None detects it from the suffix of the target.
        target_scheme: Tag scheme of the target; None is BIO, or `none` for tags without a scheme.
        shape: For a JSON Lines target, `tokens` writes tokens with tags and `text` writes text with spans; None keeps
            the shape of the source.

    Returns:
        A report on the conversion, with everything that was lost.

    Raises:
        DataError: The source can't be read, or the target can't be written.
        SettingsError: The target's format or scheme can't represent the source.

    Example:
        >>> report = convert("train.conll", "train.jsonl", shape="text")
        >>> report.losses
        ['the token boundaries of 3 tokens', ...]
    """
    options = options or CorpusOptions()
    source_format = options.format or formats.detect_format(source, encoding=options.reading.encoding)
    target_format = target_format or _format_of(target)
    log = formats.ReadLog()
    records = list(formats.read(source, source_format, options.reading, log))
    shape = _choose_shape(shape, target_format, records)
    losses = log.skipped()
    if shape == "text" and all(isinstance(record, TextRecord) for record in records):
        corpus, output = Corpus(str(source), source_format), list(records)
        scheme = None
    else:
        options = replace(options, tokenizer=options.tokenizer or make_tokenizer("basic", do_lower_case=False))
        corpus = make_corpus(records, source, source_format, options)
        scheme = _choose_scheme(target_scheme, corpus, shape)
        output = _texts(corpus) if shape == "text" else _tokens(corpus, records, scheme, target_format)
        losses += _reading_losses(corpus) + _writing_losses(corpus, records, output, target_format)
    formats.write(output, target, target_format)
    return ConversionReport(
        source=str(source),
        target=str(target),
        source_format=source_format,
        target_format=target_format,
        source_scheme=corpus.scheme,
        target_scheme=scheme,
        records=len(output),
        spans=_count_spans(corpus, records),
        losses=losses,
        repairs=corpus.repairs,
        ledger=corpus.ledger,
        remarks=[*log.remarks, *corpus.remarks],
    )


def _format_of(target: str | Path) -> str:
    suffix = Path(target).suffix.lower()
    writable = {name: entry for name, entry in formats.FORMATS.items() if entry.writer is not None}
    for name, entry in writable.items():
        if suffix in entry.suffixes:
            return name
    reason = f"no format has the suffix {suffix!r}; choose one of {', '.join(writable)}"
    raise SettingsError(f"{target}: {reason}")


def _choose_shape(shape: Shape | None, target_format: str, records: Sequence[Record]) -> Shape:
    if target_format != "jsonl":
        if shape == "text":
            reason = f"{target_format} can hold only tokens; choose jsonl as the target format, or --shape tokens"
            raise SettingsError(f"shape: found text, but {reason}")
        return "tokens"
    return shape or ("text" if isinstance(records[0], TextRecord) else "tokens")


def _choose_scheme(requested: str | None, corpus: Corpus, shape: Shape) -> str | None:
    """Return the scheme to write; None for unlabeled files and for text with spans."""
    if shape == "text" or not corpus.labeled:
        return None
    has_plain_tags = corpus.scheme == schemes.NONE
    scheme = schemes.find_scheme(requested or (schemes.NONE if has_plain_tags else DEFAULT_SCHEME)).name
    if (scheme == schemes.NONE) != has_plain_tags:
        found = "tags without a scheme" if has_plain_tags else "labeled spans"
        expected = schemes.NONE if has_plain_tags else f"a tag scheme such as {DEFAULT_SCHEME}"
        raise SettingsError(f"target scheme: found {scheme}, but {corpus.path} has {found}; choose {expected}")
    return scheme


def _tokens(corpus: Corpus, records: Sequence[Record], scheme: str | None, target_format: str) -> list[Record]:
    """Convert sentences to tokens with tags, without empty sentences unless the target is JSON Lines."""
    output: list[Record] = []
    for sentence, record in zip(corpus.sentences, records, strict=True):
        if not len(sentence) and target_format != "jsonl":
            continue
        spans = sentence.spans
        tags = None if spans is None or scheme is None else schemes.encode(spans, len(sentence), scheme)
        is_raw = record.text is not None
        text, starts = (sentence.text, sentence.starts) if is_raw else (None, None)
        output.append(TokenRecord(sentence.tokens, tags, sentence.lines, text, starts))
    if not output:
        raise DataError(f"found no token; a {target_format} file needs at least one", corpus.path)
    return output


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


def _reading_losses(corpus: Corpus) -> list[str]:
    """List the tags and spans that reading changed."""
    losses = [f"{len(corpus.repairs):,} invalid tags (repaired)"] if corpus.repairs else []
    return losses + [f"{count:,} spans ({reason})" for reason, count in corpus.ledger.reasons().items()]


def _writing_losses(
    corpus: Corpus, records: Sequence[Record], output: Sequence[Record], target_format: str
) -> list[str]:
    """List the information that the target's records don't hold."""
    losses = []
    if skipped := len(records) - len(output):
        losses.append(f"{skipped:,} sentences without a token")
    if isinstance(output[0], TextRecord):
        losses.append(f"the token boundaries of {sum(map(len, corpus.sentences)):,} tokens")
        if joined := sum(record.text is None for record in records):
            losses.append(f"the raw text of {joined:,} sentences (not in the source; tokens were joined by rules)")
    elif respaced := _count_respaced([r for r in output if isinstance(r, TokenRecord)], target_format):
        losses.append(f"the raw text of {respaced:,} sentences (the characters between tokens)")
    return losses


def _count_respaced(records: Sequence[TokenRecord], target_format: str) -> int:
    """Count the sentences whose raw text is not in the target and differs from the joined tokens."""
    if target_format == "jsonl":
        return 0
    space = detect_spacing(records)
    texts = [(record.text, record.tokens) for record in records if record.text is not None]
    if target_format == "conllu":  # holds raw text, except for line ends
        texts = [(text, tokens) for text, tokens in texts if "\n" in text or "\r" in text]
    return sum(text != join_tokens(tokens, space)[0] for text, tokens in texts)


def _count_spans(corpus: Corpus, records: Sequence[Record]) -> int:
    if corpus.sentences:
        return sum(len(sentence.spans or ()) for sentence in corpus.sentences)
    return sum(len(record.spans or ()) for record in records if isinstance(record, TextRecord))
