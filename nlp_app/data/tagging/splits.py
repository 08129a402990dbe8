"""The data of a run: training, dev and test corpora that fit each other, and what is to be known of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nlp_app.config import TaggingDataSettings, with_bundled_corpus
from nlp_app.core.errors import DataError, SettingsError, did_you_mean
from nlp_app.core.text_table import format_names, format_table
from nlp_app.core.types import Sentence
from nlp_app.data.tagging.cached_corpus import read_cached_corpus
from nlp_app.data.tagging.corpus import Corpus, CorpusOptions, choose_tokenizer
from nlp_app.data.tagging.hold_out import hold_out_sentences
from nlp_app.formats.tagging import FORMATS, ReadOptions
from nlp_app.labels.schemes import NONE
from nlp_app.storage.sentences import StoredSentences, select_sentences, to_stored_sentences
from nlp_app.text import Tokenizer, make_tokenizer

_SEPARATORS = {"auto": None, "tab": "\t", "space": " "}


@dataclass
class TaggingData:
    """The corpora of a run; the training sentences may be `StoredSentences`, the others are in memory. `agreement`: how
    much of the training tokens each tokenizer finds by itself, where the data came with tokens of its own."""

    train: Corpus
    dev: Corpus | None
    test: Corpus | None
    tokenizer: Tokenizer
    agreement: dict[str, float]
    settings: TaggingDataSettings
    held_out: bool  # dev was cut from train
    empty: int  # training sentences without a token, left out
    known: frozenset[str] = frozenset()  # labels that a model knows which training goes on from
    notes: tuple[str, ...] = ()  # what was said as the files were read

    def corpora(self) -> list[tuple[str, Corpus]]:
        """The splits with their names."""
        splits = (("train", self.train), ("dev", self.dev), ("test", self.test))
        return [(name, corpus) for name, corpus in splits if corpus is not None]

    def scored(self) -> list[tuple[str, Corpus]]:
        """The splits that the finished model is scored on."""
        return self.corpora()[1:]

    def scheme_of(self, wanted: str) -> str:
        """The scheme to learn in: the wanted one, but none for labels of each token."""
        return NONE if self.train.scheme == NONE else wanted

    def counts(self) -> dict[str, dict[str, Any]]:
        """Sentences, tokens and labeled spans of each split."""
        return {
            name: {
                "file": corpus.path if corpus.path.startswith("hf:") else Path(corpus.path).name,
                "sentences": len(corpus.sentences),
                "tokens": _tokens(corpus.sentences),
                "spans": _spans(corpus.sentences),
            }
            for name, corpus in self.corpora()
        }

    def about(self) -> dict[str, Any]:
        """What a model directory keeps of how the data was read."""
        return {
            "data": {
                "format": self.train.format,
                "scheme": self.train.scheme,
                "pretokenized": self.train.tokenizer is None,
                "agreement": self.agreement,
            },
            "settings": self.settings.model_dump(exclude={"train", "dev", "test", "format", "dev_share"}),
            "splits": self.counts(),
        }

    def files(self) -> list[Path]:
        """The files that the corpora were read from; those in it, where it is a folder."""
        paths = {Path(corpus.path) for _, corpus in self.corpora()}
        inside = {file for path in paths if path.is_dir() for file in path.rglob("*")}
        return sorted(path for path in paths | inside if path.is_file())

    def report(self) -> list[str]:
        """What was read, as a table, and what is odd about it: a line each."""
        rows = [["data", "sentences", "tokens", "labels", ""]]
        counted = self.counts()
        for name, corpus in self.corpora():
            counts = counted[name]
            source = "cut from train" if self.held_out and name == "dev" else corpus.path
            sizes = (f"{counts[key]:,}" for key in ("sentences", "tokens", "spans"))
            rows.append([name, *sizes, f"{source} ({corpus.format}, {corpus.scheme or 'spans'})"])
        table = format_table([row[:-1] for row in rows])
        lines = [f"{line}  {row[-1]}".rstrip() for line, row in zip(table, rows, strict=True)]
        for name, corpus in self.corpora():
            lines += [f"note: {name}: {remark}" for remark in self._remarks(name, corpus, counted[name]["spans"])]
        if self.agreement:
            share = self.agreement[self.tokenizer.name]
            lines.append(f"tokenizer for raw text: {self.tokenizer.name} (it finds {share:.1%} of the training tokens)")
        return [*lines, *self.notes]

    def _remarks(self, name: str, corpus: Corpus, spans: int) -> Iterator[str]:
        if name == "train" and self.empty:
            yield f"{self.empty:,} sentences without a token left out"
        if not (self.held_out and name == "dev"):  # those are train's
            yield from reading_remarks(corpus)
        shared = 0 if name == "train" else _shared(self.train.sentences, corpus.sentences)
        if shared:
            yield f"{shared:,} of its sentences stand in train too; scores on it flatter"
        if not spans:
            yield "has no labeled span, and so its scores say nothing"
        yield from unknown_labels_message(collect_labels(self.train.sentences) | self.known, corpus)


def read_splits(settings: TaggingDataSettings, seed: int, known: Iterable[str] = ()) -> TaggingData:
    """Read the files that the settings name; the bundled corpus where they name none.

    Without a dev file, a share of the training sentences is held out, if it isn't 0. known: labels that training
    needn't have, as the model that it goes on from has them. Raises SettingsError or DataError.
    """
    settings = with_bundled_corpus(settings)
    options = corpus_options(settings)
    notes: list[str] = []
    read = _labeled(settings.train, options, notes)
    filled = np.flatnonzero(to_stored_sentences(read.sentences).lengths)
    train = replace(read, sentences=select_sentences(read.sentences, filled))
    labels = collect_labels(train.sentences)
    if not labels:
        raise DataError("found no labeled span; training needs some to learn from", train.path)
    labels |= {*known}
    dev: Corpus | None = None
    agreement: dict[str, float] = {}
    tokenizer = options.tokenizer
    if train.tokenizer is None:
        best, agreement = choose_tokenizer(train.sentences)
        chosen = best if settings.tokenizer == "auto" else settings.tokenizer
        tokenizer = make_tokenizer(chosen, do_lower_case=settings.lower_case)
    if tokenizer is None:
        raise SettingsError("data.tokenizer: raw text needs one")
    options = replace(options, tokenizer=tokenizer, scheme=train.scheme)
    if settings.dev:
        dev = _in_memory(_labeled(settings.dev, options, notes))
        _check_labels(train, dev, labels)
        _check_kind(train, dev, labels)
    elif settings.dev_share:
        train, dev = hold_out_sentences(train, settings.dev_share, seed)
        dev = _in_memory(dev)
    test = _in_memory(_labeled(settings.test, options, notes)) if settings.test else None
    if test is not None:
        _check_kind(train, test, labels)
    empty = len(read.sentences) - len(filled)
    held_out = dev is not None and not settings.dev
    return TaggingData(
        train, dev, test, tokenizer, agreement, settings, held_out, empty, frozenset(known), tuple(dict.fromkeys(notes))
    )


def corpus_options(
    settings: TaggingDataSettings, tokenizer: Tokenizer | None = None, scheme: str | None = None
) -> CorpusOptions:
    """How files are read by these settings; `tokenizer` and `scheme`, where given, go before the settings'.

    Raises SettingsError if `data.format` is no format, or another setting has no value that a reader can use.
    """
    known = ("auto", *FORMATS)
    if settings.format not in known:
        hint = did_you_mean(settings.format, known)
        raise SettingsError(f"data.format: found {settings.format!r}, expected one of {', '.join(known)}{hint}")
    reading = ReadOptions(
        encoding=None if settings.encoding == "auto" else settings.encoding,
        token_column=settings.token_column,
        tag_column=None if settings.tag_column == -1 else settings.tag_column,
        separator=_SEPARATORS[settings.separator],
        token_pattern=settings.token_pattern or None,
        column=settings.column,
    )
    name = "basic" if settings.tokenizer == "auto" else settings.tokenizer
    return CorpusOptions(
        format=None if settings.format == "auto" else settings.format,
        reading=reading,
        scheme=scheme or (None if settings.scheme == "auto" else settings.scheme),
        tokenizer=tokenizer or make_tokenizer(name, do_lower_case=settings.lower_case),
        alignment=settings.alignment,
        strict=settings.strict,
    )


def _labeled(path: str, options: CorpusOptions, notes: list[str]) -> Corpus:
    corpus = read_cached_corpus(path, options, notes.append)
    if not corpus.labeled:
        raise DataError("found no labels; expected tags or spans to learn from or score against", path)
    if not to_stored_sentences(corpus.sentences).lengths.any():
        raise DataError("found no token in any sentence; check the file", path)
    return corpus


def _in_memory(corpus: Corpus) -> Corpus:
    return replace(corpus, sentences=list(corpus.sentences))


def _tokens(sentences: Sequence[Sentence]) -> int:
    return int(sentences.lengths.sum()) if isinstance(sentences, StoredSentences) else sum(map(len, sentences))


def _spans(sentences: Sequence[Sentence]) -> int:
    if isinstance(sentences, StoredSentences):
        return sentences.count("spans", "unaligned")
    return sum(len(sentence.spans or ()) + len(sentence.unaligned) for sentence in sentences)


def _shared(train: Sequence[Sentence], other: Sequence[Sentence]) -> int:
    """How many of the other sentences, those without tokens aside, stand in train too."""
    columns = to_stored_sentences(other)
    return int(np.isin(columns.hashes[columns.lengths > 0], to_stored_sentences(train).hashes).sum())


def collect_labels(sentences: Iterable[Sentence]) -> set[str]:
    """The labels that gold spans over tokens carry."""
    if isinstance(sentences, StoredSentences):
        return sentences.labels_in("spans")
    return {span.label for sentence in sentences for span in sentence.spans or ()}


def reading_remarks(corpus: Corpus) -> Iterator[str]:
    """What was recognized and had to be changed to read a file."""
    yield from corpus.remarks
    if corpus.repairs:
        first = corpus.repairs[0]
        yield (
            f"{corpus.repaired:,} tags could not follow the tag before them and were read as the CoNLL scorer "
            f"does; the first: {corpus.path}:{first.line}: {first.tag}: {first.reason}"
        )
    if corpus.ledger.adjusted or corpus.ledger.dropped:
        yield (
            f"of {corpus.ledger.gold:,} labeled spans {corpus.ledger.adjusted:,} were moved to token edges and "
            f"{corpus.ledger.dropped:,} fit no tokens (where scores are taken, they count as missed)"
        )


def unknown_labels_message(known: Iterable[str], corpus: Corpus) -> Iterator[str]:
    """That a file has labels which can't be found."""
    if isinstance(corpus.sentences, StoredSentences):
        found = corpus.sentences.labels_in("spans", "unaligned")
    else:
        found = {span.label for sentence in corpus.sentences for span in (*(sentence.spans or ()), *sentence.unaligned)}
    unknown = sorted(found.difference(known))
    if unknown:
        yield f"{', '.join(unknown)}: labels that training never had; they count as missed"


def _check_kind(train: Corpus, other: Corpus, known: set[str]) -> None:
    """Labels of each token and spans can't be compared with one another, nor labels of another kind."""
    if (train.scheme == NONE) != (other.scheme == NONE):
        kinds = ("a label for each token", "labeled spans")
        expected, found = kinds if train.scheme == NONE else kinds[::-1]
        raise DataError(f"found {found}, expected {expected} as in {train.path}", other.path)
    labels = collect_labels(other.sentences)
    if labels and labels.isdisjoint(known):
        raise DataError(
            f"found the labels {format_names(labels)}, expected {format_names(known)} as in {train.path}", other.path
        )


def _check_labels(train: Corpus, dev: Corpus, known: set[str]) -> None:
    for sentence in dev.sentences:
        for span in sentence.spans or ():
            if span.label not in known:
                line = sentence.lines[span.start if len(sentence.lines) > 1 else 0]
                raise DataError(
                    f"found the label {span.label!r}, which {train.path} never has "
                    f"(it has {', '.join(sorted(known))}); correct the label, or move sentences with it to the "
                    "training file",
                    dev.path,
                    line,
                )
