"""From a file's records to a corpus: sentences with spans over tokens, and an account of all that was
changed."""

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
from nlp_app.text import TOKENIZERS, Tokenizer, agreement, make_tokenizer
from nlp_app.text.spacing import between_written_words, join_tokens

_SAMPLE = 2000  # sentences that are asked for the tokenizer


class TagRepair(NamedTuple):
    """A tag that could not follow the tag before it, at `line`, and how it was read."""

    line: int
    tag: str
    reason: str


@dataclass(frozen=True, slots=True)
class CorpusOptions:
    """How a file becomes a corpus.

    `format`, `scheme`: recognized where None. A scheme shows only in tags that occur, so dev and test are
    best read with train's. `tokenizer` divides raw texts, and `alignment` fits their spans to its tokens.
    `strict` refuses an invalid sequence of tags instead of repairing it.
    """

    format: str | None = None
    reading: ReadOptions = field(default_factory=ReadOptions)
    scheme: str | None = None
    tokenizer: Tokenizer | None = None
    alignment: Alignment = "expand"
    strict: bool = False


@dataclass(slots=True)
class Corpus:
    """The sentences of one file, at least one.

    `scheme` is None where the file holds spans over raw text, or no labels; `evidence` says what spoke for
    it, where it was recognized. `tokenizer` is the name of the tokenizer that divided raw texts, None for
    pre-tokenized files. `repaired` counts tags; `repairs` and the ledger's entries name each of them, or only the
    first ones, where the sentences are kept in files. `remarks` say how the file was read, its encoding for one.
    """

    path: str
    format: str
    sentences: Sequence[Sentence] = field(default_factory=list)
    scheme: str | None = None
    evidence: str = ""
    tokenizer: str | None = None
    repairs: list[TagRepair] = field(default_factory=list)
    ledger: AlignmentReport = field(default_factory=AlignmentReport)
    repaired: int = 0
    remarks: list[str] = field(default_factory=list)

    @property
    def labeled(self) -> bool:
        """Whether the sentences carry gold spans: all of them or none."""
        return self.sentences[0].spans is not None


@dataclass(frozen=True)
class RecordFile:
    """The records of a file, which is read each time that they are iterated over. `log` has its remarks then."""

    path: str | Path
    format: str
    reading: ReadOptions
    log: ReadLog = field(default_factory=lambda: ReadLog(counting=False))

    def __iter__(self) -> Iterator[Record]:
        return formats.read(self.path, self.format, self.reading, self.log)


def read_corpus(path: str | Path, options: CorpusOptions | None = None) -> Corpus:
    """Read a file of sequence labels.

    Raises DataError with path and line for a file without records, one that mixes labeled and unlabeled
    records or tokens and raw texts, raw texts without a tokenizer, an unknown tag, and, with `strict`, an
    invalid tag sequence.
    """
    options = options or CorpusOptions()
    name = options.format or formats.detect_format(path, encoding=options.reading.encoding)
    file = RecordFile(path, name, options.reading)
    corpus = make_corpus(list(file), path, name, options)
    corpus.remarks = file.log.remarks
    return corpus


def make_corpus(records: Iterable[Record], path: str | Path, format: str, options: CorpusOptions) -> Corpus:
    """The corpus of a file's records, at least one. Raises as `read_corpus` does."""
    corpus, sentences = stream_corpus(records, path, format, options)
    corpus.sentences = list(sentences)
    return corpus


def stream_corpus(
    records: Iterable[Record], path: str | Path, format: str, options: CorpusOptions
) -> tuple[Corpus, Iterator[Sentence]]:
    """A corpus that has no sentences yet, and its sentences one by one; its account grows as they come.

    records: gone through twice, by the second time as the sentences are asked for. Raises as `read_corpus` does.
    """
    corpus, seen = Corpus(str(path), format), RecordScan()
    scheme = detect_corpus_scheme(seen, records, corpus.path, options.scheme)
    if seen.kind is TextRecord:
        if options.tokenizer is None:
            known = ", ".join(TOKENIZERS)
            raise DataError(f"found raw text, which needs a tokenizer: choose one of {known}", corpus.path)
        corpus.tokenizer = options.tokenizer.name
        texts = (record for record in records if isinstance(record, TextRecord))
        return corpus, _divided(corpus, texts, options.tokenizer, options.alignment)
    if scheme is not None:
        corpus.scheme, corpus.evidence = scheme
    tokens = (record for record in records if isinstance(record, TokenRecord))
    return corpus, _tagged(corpus, tokens, seen.spacing(), options.strict)


def _divided(
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


def _tagged(
    corpus: Corpus, records: Iterable[TokenRecord], space: Callable[[str, str], bool], strict: bool
) -> Iterator[Sentence]:
    for record in records:
        text, starts, ends = _raw_text(record, space)
        spans = None if record.tags is None else _decode(record, record.tags, corpus, strict)
        yield Sentence(text, starts, ends, spans, record.lines)


def _decode(record: TokenRecord, tags: list[str], corpus: Corpus, strict: bool) -> list[TokenSpan]:
    scheme = corpus.scheme or schemes.NONE
    try:
        spans, repairs = schemes.decode(tags, scheme)
    except DataError as error:
        raise DataError(str(error), corpus.path, _line_of_unknown(record, tags, scheme)) from error
    if strict and repairs:
        index, _, reason = repairs[0]
        expected = f"expected valid {scheme} tags: correct the file, or read it without strict"
        raise DataError(f"found an invalid tag: {reason}; {expected}", corpus.path, record.lines[index])
    corpus.repaired += len(repairs)
    corpus.repairs += [TagRepair(record.lines[index], tag, reason) for index, tag, reason in repairs]
    corpus.ledger.gold += len(spans)
    corpus.ledger.kept += len(spans)
    return spans


def _line_of_unknown(record: TokenRecord, tags: Sequence[str], scheme: str) -> int:
    """The line of the first tag that the scheme doesn't know."""
    for line, tag in zip(record.lines, tags, strict=True):
        try:
            schemes.decode([tag], scheme)
        except DataError:
            return line
    return record.lines[0]


def _raw_text(record: TokenRecord, space: Callable[[str, str], bool]) -> tuple[str, list[int], list[int]]:
    if record.text is None or record.starts is None:
        return join_tokens(record.tokens, space)
    starts = record.starts
    return (
        record.text,
        starts,
        [start + len(token) for start, token in zip(starts, record.tokens, strict=True)],
    )


def choose_tokenizer(sentences: Sequence[Sentence]) -> tuple[str, dict[str, float]]:
    """The tokenizer that best finds the tokens of pre-tokenized sentences in their raw text, and how well
    each does.

    The figures are shares of the tokens of up to 2,000 sentences, evenly spaced. Where the raw text is lost,
    the spaces that `join_tokens` puts between tokens would prove the whitespace tokenizer right whatever it
    does; so the text is set anew with the punctuation where people write it. Equal figures: the first in the
    order of `TOKENIZERS`.
    """
    sample = sentences[:: -(-len(sentences) // _SAMPLE)] if sentences else []
    texts, edges = [], []
    for sentence in sample:
        text, starts, ends = _as_written(sentence)
        texts.append(text)
        edges.append((starts, ends))
    shares = {name: agreement(make_tokenizer(name, do_lower_case=False), texts, edges) for name in TOKENIZERS}
    return max(shares, key=lambda name: shares[name]), shares


def _as_written(sentence: Sentence) -> tuple[str, list[int], list[int]]:
    tokens = sentence.tokens
    if sentence.text != join_tokens(tokens)[0]:
        return sentence.text, sentence.starts, sentence.ends
    return join_tokens(tokens, between_written_words)
