"""Choose the tokenizer of raw text: by the tokens of the training file, or by its labeled spans."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from nlp_app.core.types import Record, Sentence, TextRecord
from nlp_app.data.tagging.corpus import Corpus, CorpusOptions, RecordFile
from nlp_app.formats.tagging import is_data_set
from nlp_app.text import TOKENIZERS, Tokenizer, agreement, make_tokenizer
from nlp_app.text.spacing import between_written_words, has_visible_words, join_tokens

_SAMPLE_SIZE = 2000  # sentences that the choice is based on

LOW_AGREEMENT = 0.5  # share of tokens or spans below which the user is warned

_MIN_GAIN = 1.5  # by which `char` has to fit more spans than `basic` to be chosen


class SpanFit(NamedTuple):
    """Numbers of labeled spans whose edges are token edges.

    Attributes:
        spans: Number of spans.
        basic: Number of spans that fit the tokens of `basic`.
        char: Number of spans that fit the tokens of `char`.
        prefers_char: If most letters are of scripts without visible word boundaries, less than half of the spans fit
            `basic`, and clearly more fit `char`.
    """

    spans: int
    basic: int
    char: int
    prefers_char: bool


def measure_span_fit(records: Iterable[Record]) -> SpanFit:
    """Count the spans of raw texts that fit the tokens of `basic` and of `char`.

    Args:
        records: The records of a file; the first 2,000 are read.

    Returns:
        The counts; 0 if the file has tokens.
    """
    texts = [record for record in itertools.islice(records, _SAMPLE_SIZE) if isinstance(record, TextRecord)]
    spans = sum(len(record.spans or ()) for record in texts)
    basic, char = (sum(_fitting(texts, make_tokenizer(name, do_lower_case=False))) for name in ("basic", "char"))
    letters = [character for record in texts for character in record.text if character.isalpha()]
    has_no_words = 2 * sum(not has_visible_words(letter) for letter in letters) > len(letters)
    is_better = basic < LOW_AGREEMENT * spans and char >= _MIN_GAIN * basic and char > basic
    return SpanFit(spans, basic, char, has_no_words and is_better)


def _fitting(records: Sequence[TextRecord], tokenizer: Tokenizer) -> Iterator[int]:
    """Yield the number of spans of each text that begin and end with a token."""
    batch = tokenizer.batch([record.text for record in records])
    for record, tokens in zip(records, batch, strict=True):
        starts, ends = set(tokens.starts), set(tokens.ends)
        yield sum(span.start in starts and span.end in ends for span in record.spans or ())


def refit_tokenizer(corpus: Corpus, options: CorpusOptions, requested: str) -> tuple[Tokenizer | None, str]:
    """Check if the tokenizer of a file of raw texts fits its labeled spans.

    Args:
        corpus: The corpus, read with `options.tokenizer`.
        options: The options that the file was read with.
        requested: The setting `data.tokenizer`.

    Returns:
        A better tokenizer, with which the file should be read again, and a note. If the user has named the tokenizer,
        it stays: None and a warning. None and an empty text if the tokenizer fits, or if the file can't be read again.
    """
    can_read_again = is_data_set(corpus.path) or Path(corpus.path).is_file() or Path(corpus.path).is_dir()
    if options.tokenizer is None or corpus.tokenizer != "basic" or not corpus.labeled or not can_read_again:
        return None, ""
    fit = measure_span_fit(RecordFile(corpus.path, corpus.format, options.reading))
    if not fit.prefers_char:
        return None, ""
    counts = f"basic fits {fit.basic:,} of {fit.spans:,} labeled spans, and char {fit.char:,}"
    if requested != "auto":
        return None, f"{counts}; --set data.tokenizer=char keeps more spans as they are"
    better = make_tokenizer("char", **options.tokenizer.settings())
    return better, f"tokenizer for raw text: char, because {counts}"


def choose_tokenizer(sentences: Sequence[Sentence]) -> tuple[str, dict[str, float]]:
    """Choose the tokenizer that best reproduces the tokens of pre-tokenized sentences from their raw text.

    Compares the tokenizers on up to 2,000 sentences, evenly spaced. If the raw text of a sentence is not known, its
    tokens are joined with punctuation attached as in written text: with a space between all tokens, the whitespace
    tokenizer would always reproduce all of them.

    Args:
        sentences: Pre-tokenized sentences.

    Returns:
        The name of the best tokenizer, in case of a tie the first one in `TOKENIZERS`; and for each tokenizer the share
        of the tokens that it reproduces.
    """
    sample = sentences[:: -(-len(sentences) // _SAMPLE_SIZE)] if sentences else []
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
