"""Read a file into a corpus: sentences with token spans, and a report of all repairs and changed spans."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from nlp_app.core.chunking import chunk_by_size
from nlp_app.core.errors import DataError
from nlp_app.core.types import Record, Sentence, TextRecord, TokenRecord, TokenSpan
from nlp_app.data.tagging.alignment import Alignment, AlignmentReport, TokenEdges, align_spans
from nlp_app.data.tagging.scan import RecordScan, detect_corpus_scheme
from nlp_app.formats import tagging as formats
from nlp_app.formats.tagging import ReadLog, ReadOptions
from nlp_app.labels import schemes
from nlp_app.labels.tag_spelling import CANONICAL, respeller
from nlp_app.text import TOKENIZERS, Tokenizer
from nlp_app.text.spacing import join_tokens


class TagRepair(NamedTuple):
    """A tag that is invalid after the previous tag, and was repaired.

    Attributes:
        line: Line of the tag in the file.
        tag: The tag in the file.
        reason: The reason why it is invalid, and how it was read.
    """

    line: int
    tag: str
    reason: str


@dataclass(frozen=True, slots=True)
class CorpusOptions:
    """Options for reading a corpus.

    Attributes:
        format: File format; None detects it.
        reading: Options of the format's reader.
        scheme: Tag scheme; None detects it. Not all tags of a scheme occur in a small file, so read dev and test with
            the scheme of the training file.
        spelling: Spelling of the tags in the training file, for a file that is too small to show its own.
        tokenizer: Tokenizer for raw texts.
        alignment: How spans of raw texts are aligned with tokens, see `align_spans`.
        strict: Raise an error for an invalid tag sequence instead of repairing it.
    """

    format: str | None = None
    reading: ReadOptions = field(default_factory=ReadOptions)
    scheme: str | None = None
    spelling: str = CANONICAL
    tokenizer: Tokenizer | None = None
    alignment: Alignment = "expand"
    strict: bool = False


@dataclass(slots=True)
class Corpus:
    """The sentences of one file, at least one.

    Attributes:
        path: The file, or the name of a Hub data set.
        format: File format.
        sentences: The sentences.
        scheme: Tag scheme; None if the file has raw text with spans, or no labels.
        evidence: The reason why this scheme was detected; empty if it was given.
        spelling: Spelling of the tags in the file.
        tokenizer: Name of the tokenizer that split the raw texts; None for a pre-tokenized file.
        repairs: The repaired tags; only the first ones if the sentences are cached on disk.
        ledger: Counts of gold spans by outcome. Its entries are only the first ones if the sentences are cached.
        repaired: Number of repaired tags.
        remarks: Properties that the reader detected, such as the encoding.
        detected: Reading options that the file shows, with which the other files of a run are read.
    """

    path: str
    format: str
    sentences: Sequence[Sentence] = field(default_factory=list)
    scheme: str | None = None
    evidence: str = ""
    spelling: str = CANONICAL
    tokenizer: str | None = None
    repairs: list[TagRepair] = field(default_factory=list)
    ledger: AlignmentReport = field(default_factory=AlignmentReport)
    repaired: int = 0
    remarks: list[str] = field(default_factory=list)
    detected: dict[str, str] = field(default_factory=dict)

    @property
    def labeled(self) -> bool:
        """True if the sentences have gold spans; either all of them have or none."""
        return self.sentences[0].spans is not None


@dataclass(frozen=True)
class RecordFile:
    """The records of a file, which is read again for each iteration.

    Attributes:
        path: The file, or the name of a Hub data set.
        format: File format.
        reading: Options of the format's reader.
        log: Log of the reader, filled during the iteration.
    """

    path: str | Path
    format: str
    reading: ReadOptions
    log: ReadLog = field(default_factory=lambda: ReadLog(counting=False))

    def __iter__(self) -> Iterator[Record]:
        return formats.read(self.path, self.format, self.reading, self.log)


def read_corpus(path: str | Path, options: CorpusOptions | None = None) -> Corpus:
    """Read a sequence labeling corpus into memory.

    Args:
        path: A file, a folder, or the name of a Hub data set.
        options: How to read it; None detects format and scheme.

    Returns:
        The corpus.

    Raises:
        DataError: The file has no records, mixes labeled and unlabeled records or tokens and raw texts, has raw texts
            but no tokenizer was given, has an unknown tag, or, with `strict`, an invalid tag sequence. The message
            names file and line.

    Example:
        >>> corpus = read_corpus("train.conll")
        >>> corpus.scheme
        'BIO'
    """
    options = options or CorpusOptions()
    name = options.format or formats.detect_format(path, encoding=options.reading.encoding)
    file = RecordFile(path, name, options.reading)
    corpus = make_corpus(list(file), path, name, options)
    corpus.remarks = [*file.log.remarks, *corpus.remarks]
    corpus.detected = dict(file.log.detected)
    return corpus


def make_corpus(records: Iterable[Record], path: str | Path, format: str, options: CorpusOptions) -> Corpus:
    """Build a corpus from the records of a file.

    Args:
        records: The records, at least one.
        path: The file, for messages.
        format: File format.
        options: How to read the records.

    Returns:
        The corpus, with all sentences in memory.

    Raises:
        DataError: See `read_corpus`.
    """
    corpus, sentences = stream_corpus(records, path, format, options)
    corpus.sentences = list(sentences)
    return corpus


def stream_corpus(
    records: Iterable[Record], path: str | Path, format: str, options: CorpusOptions
) -> tuple[Corpus, Iterator[Sentence]]:
    """Build a corpus whose sentences are made one by one.

    Args:
        records: The records, iterated twice: immediately, to detect the scheme, and as the sentences are consumed.
        path: The file, for messages.
        format: File format.
        options: How to read the records.

    Returns:
        The corpus without sentences, and an iterator over its sentences. Repairs and the counts of gold spans are added
        to the corpus as the sentences are consumed.

    Raises:
        DataError: See `read_corpus`.
    """
    corpus, scan = Corpus(str(path), format), RecordScan()
    scheme = detect_corpus_scheme(scan, records, corpus.path, options.scheme, options.spelling)
    if scan.kind is TextRecord:
        if options.tokenizer is None:
            known = ", ".join(TOKENIZERS)
            raise DataError(f"found raw text, which needs a tokenizer; choose one of {known}", corpus.path)
        corpus.tokenizer = options.tokenizer.name
        texts = (record for record in records if isinstance(record, TextRecord))
        return corpus, _tokenize(corpus, texts, options.tokenizer, options.alignment)
    if scheme is not None:
        corpus.scheme, corpus.evidence, corpus.spelling = scheme.scheme, scheme.evidence, scheme.spelling
        corpus.remarks += [scheme.remark] if scheme.remark else []
    tokens = (record for record in records if isinstance(record, TokenRecord))
    return corpus, _decode_tags(corpus, tokens, scan.spacing(), options.strict)


def _tokenize(
    corpus: Corpus, records: Iterable[TextRecord], tokenizer: Tokenizer, alignment: Alignment
) -> Iterator[Sentence]:
    for chunk in chunk_by_size(records, lambda record: len(record.text)):
        batch = tokenizer.batch([record.text for record in chunk])
        for record, tokens in zip(chunk, batch, strict=True):
            sentence = Sentence(record.text, tokens.starts, tokens.ends, None, [record.line])
            if record.spans is not None:
                edges = TokenEdges(len(record.text), tokens.starts, tokens.ends)
                sentence.spans, sentence.unaligned = align_spans(
                    record.spans, edges, alignment, record.line, corpus.ledger
                )
            yield sentence


def _decode_tags(
    corpus: Corpus, records: Iterable[TokenRecord], has_space: Callable[[str, str], bool], strict: bool
) -> Iterator[Sentence]:
    convert = None if corpus.spelling == CANONICAL else respeller(corpus.spelling)
    for record in records:
        text, starts, ends = _raw_text(record, has_space)
        tags = record.tags if record.tags is None or convert is None else [convert(tag) or tag for tag in record.tags]
        spans = None if tags is None else _decode_sentence(record, tags, corpus, strict)
        yield Sentence(text, starts, ends, spans, record.lines)


def _decode_sentence(record: TokenRecord, tags: list[str], corpus: Corpus, strict: bool) -> list[TokenSpan]:
    scheme = corpus.scheme or schemes.NONE
    try:
        spans, repairs = schemes.decode(tags, scheme)
    except DataError as error:
        raise DataError(str(error), corpus.path, _line_of_unknown(record, tags, scheme)) from error
    if strict and repairs:
        index, _, reason = repairs[0]
        expected = f"expected valid {scheme} tags; correct the file, or turn off strict reading"
        raise DataError(f"found an invalid tag: {reason}; {expected}", corpus.path, record.lines[index])
    corpus.repaired += len(repairs)
    written = record.tags or tags  # as they stand in the file
    corpus.repairs += [TagRepair(record.lines[index], written[index], reason) for index, _, reason in repairs]
    corpus.ledger.gold += len(spans)
    corpus.ledger.kept += len(spans)
    return spans


def _line_of_unknown(record: TokenRecord, tags: Sequence[str], scheme: str) -> int:
    """Return the line of the first tag that is unknown to the scheme."""
    for line, tag in zip(record.lines, tags, strict=True):
        try:
            schemes.decode([tag], scheme)
        except DataError:
            return line
    return record.lines[0]


def _raw_text(record: TokenRecord, has_space: Callable[[str, str], bool]) -> tuple[str, list[int], list[int]]:
    if record.text is None or record.starts is None:
        return join_tokens(record.tokens, has_space)
    starts = record.starts
    return (
        record.text,
        starts,
        [start + len(token) for start, token in zip(starts, record.tokens, strict=True)],
    )
