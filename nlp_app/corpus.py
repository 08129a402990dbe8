"""From a file's records to a corpus: sentences with spans over tokens, and an account of all that was
changed."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from nlp_app import formats, schemes
from nlp_app.alignment import (
    Alignment,
    Ledger,
    TokenEdges,
    align_spans,
    between_words,
    between_written_words,
    is_unspaced,
    join_tokens,
    nowhere,
)
from nlp_app.errors import DataError
from nlp_app.formats import ReadOptions
from nlp_app.text import TOKENIZERS, Tokenizer, agreement, make_tokenizer
from nlp_app.types import Record, Sentence, TextRecord, TokenRecord, TokenSpan

_SAMPLE = 2000  # sentences that are asked for the tokenizer
_SCHEME_TAG = re.compile(r"[BIEMSWLU]-.")


class TagRepair(NamedTuple):
    """A tag that could not follow the tag before it, at `line`, and how it was read."""

    line: int
    tag: str
    reason: str


@dataclass(frozen=True, slots=True)
class CorpusOptions:
    """How a file becomes a corpus.

    `format`, `scheme`: recognised where None. A scheme shows only in tags that occur, so dev and test are
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
    it, where it was recognised. `tokenizer` is the name of the tokenizer that divided raw texts, None for
    pre-tokenised files.
    """

    path: str
    format: str
    sentences: list[Sentence] = field(default_factory=list)
    scheme: str | None = None
    evidence: str = ""
    tokenizer: str | None = None
    repairs: list[TagRepair] = field(default_factory=list)
    ledger: Ledger = field(default_factory=Ledger)

    @property
    def labelled(self) -> bool:
        """Whether the sentences carry gold spans: all of them or none."""
        return self.sentences[0].spans is not None


def read_corpus(path: str | Path, options: CorpusOptions | None = None) -> Corpus:
    """Read a file of sequence labels.

    Raises DataError with path and line for a file without records, one that mixes labelled and unlabelled
    records or tokens and raw texts, raw texts without a tokenizer, an unknown tag, and, with `strict`, an
    invalid tag sequence.
    """
    options = options or CorpusOptions()
    name = options.format or formats.recognise_format(path)
    return make_corpus(list(formats.read(path, name, options.reading)), path, name, options)


def make_corpus(records: Sequence[Record], path: str | Path, format: str, options: CorpusOptions) -> Corpus:
    """The corpus of a file's records, at least one. Raises as `read_corpus` does."""
    _check_alike(records, path)
    corpus = Corpus(str(path), format)
    texts = [record for record in records if isinstance(record, TextRecord)]
    if texts:
        _add_texts(corpus, texts, options)
    else:
        _add_tokens(corpus, [record for record in records if isinstance(record, TokenRecord)], options)
    return corpus


def _check_alike(records: Sequence[Record], path: str | Path) -> None:
    kind, labelled = type(records[0]), _is_labelled(records[0])
    for record in records:
        if type(record) is not kind:
            reason = "found tokens and raw texts in one file, expected one kind: split the file"
            raise DataError(reason, path, _line(record))
        if _is_labelled(record) != labelled:
            found, before = ("none", "labels") if labelled else ("labels", "none")
            reason = f"found {found} where the records before have {before}: label all of them, or split the file"
            raise DataError(reason, path, _line(record))


def _is_labelled(record: Record) -> bool:
    return (record.spans if isinstance(record, TextRecord) else record.tags) is not None


def _line(record: Record) -> int | None:
    if isinstance(record, TextRecord):
        return record.line
    return record.lines[0] if record.lines else None


def _add_texts(corpus: Corpus, records: Sequence[TextRecord], options: CorpusOptions) -> None:
    if options.tokenizer is None:
        known = ", ".join(TOKENIZERS)
        raise DataError(f"found raw text, which needs a tokenizer: choose one of {known}", corpus.path)
    corpus.tokenizer = options.tokenizer.name
    batch = options.tokenizer.batch([record.text for record in records])
    for record, tokens in zip(records, batch, strict=True):
        sentence = Sentence(record.text, tokens.starts, tokens.ends, None, [record.line])
        if record.spans is not None:
            edges = TokenEdges(len(record.text), tokens.starts, tokens.ends)
            sentence.spans, sentence.unaligned = align_spans(
                record.spans, edges, options.alignment, record.line, corpus.ledger
            )
        corpus.sentences.append(sentence)


def _add_tokens(corpus: Corpus, records: Sequence[TokenRecord], options: CorpusOptions) -> None:
    space = spacing(records)
    if records[0].tags is not None:
        corpus.scheme, corpus.evidence = _scheme(corpus.path, records, options.scheme)
    for record in records:
        text, starts, ends = _raw_text(record, space)
        spans = None if record.tags is None else _decode(record, record.tags, corpus, options.strict)
        corpus.sentences.append(Sentence(text, starts, ends, spans, record.lines))


def _scheme(path: str, records: Sequence[TokenRecord], given: str | None) -> tuple[str, str]:
    """The scheme's name, and what speaks for it where it was not given."""
    if given is not None:
        return schemes.scheme_named(given).name, ""
    try:
        return schemes.recognise([record.tags for record in records if record.tags is not None])
    except DataError as error:
        raise DataError(str(error), path, _line_of_strange(records)) from error


def _line_of_strange(records: Sequence[TokenRecord]) -> int | None:
    """The line of the first tag that has the form of no scheme."""
    pairs = (pair for record in records for pair in zip(record.lines, record.tags or (), strict=True))
    return next((line for line, tag in pairs if tag != "O" and not _SCHEME_TAG.match(tag)), None)


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


def spacing(records: Sequence[TokenRecord]) -> Callable[[str, str], bool]:
    """Where spaces stand between the tokens of a file whose raw text is lost, for `join_tokens`.

    Nowhere, if the tokens are the characters of Chinese or Japanese text, a few odd ones aside: letters and
    digits of a word are then tokens too, and no space was lost between them.
    """
    tokens = [token for record in records for token in record.tokens]
    single = [token for token in tokens if len(token) == 1]
    are_characters = len(single) >= 0.99 * len(tokens) and 2 * sum(map(is_unspaced, single)) >= len(tokens)
    return nowhere if are_characters else between_words


def choose_tokenizer(sentences: Sequence[Sentence]) -> tuple[str, dict[str, float]]:
    """The tokenizer that best finds the tokens of pre-tokenised sentences in their raw text, and how well
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
