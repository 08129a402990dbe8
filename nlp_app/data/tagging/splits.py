"""Read the splits of a sequence labeling run, and check that they fit each other."""

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
from nlp_app.data.tagging.corpus import Corpus, CorpusOptions
from nlp_app.data.tagging.hold_out import hold_out_sentences
from nlp_app.data.tagging.remarks import collect_labels, reading_remarks, unknown_labels_message
from nlp_app.data.tagging.tokenizer_choice import LOW_AGREEMENT, choose_tokenizer, refit_tokenizer
from nlp_app.formats.tagging import FORMATS, ReadOptions
from nlp_app.formats.tagging.read_log import new_remarks
from nlp_app.labels.schemes import NONE
from nlp_app.storage.sentences import StoredSentences, select_sentences, to_stored_sentences
from nlp_app.text import Tokenizer, make_tokenizer

_SEPARATORS = {"auto": None, "tab": "\t", "space": " "}


@dataclass
class TaggingData:
    """The splits of a sequence labeling run. Training sentences may be cached on disk; dev and test are in memory.

    Attributes:
        train: The training corpus, without empty sentences.
        dev: The dev corpus.
        test: The test corpus.
        tokenizer: Tokenizer for raw text.
        agreement: Share of the training tokens that each tokenizer reproduces; empty if the training file has raw text.
        settings: The `[data]` settings.
        held_out: If dev was held out from the training file.
        empty: Number of skipped training sentences without a token.
        known: Labels of the initial model, which need not occur in the training file.
        notes: Messages from reading the files.
        warnings: Messages that are shown even if notes are not.
    """

    train: Corpus
    dev: Corpus | None
    test: Corpus | None
    tokenizer: Tokenizer
    agreement: dict[str, float]
    settings: TaggingDataSettings
    held_out: bool
    empty: int
    known: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def corpora(self) -> list[tuple[str, Corpus]]:
        """Return the splits.

        Returns:
            Name and corpus of train, dev and test, as far as they exist.
        """
        splits = (("train", self.train), ("dev", self.dev), ("test", self.test))
        return [(name, corpus) for name, corpus in splits if corpus is not None]

    def scored(self) -> list[tuple[str, Corpus]]:
        """Return the splits that the final model is evaluated on.

        Returns:
            Name and corpus of dev and test, as far as they exist.
        """
        return self.corpora()[1:]

    def scheme_of(self, requested: str) -> str:
        """Return the tag scheme to train with.

        Args:
            requested: The scheme in the settings.

        Returns:
            The requested scheme, or `none` if the training file has tags without a scheme, such as POS tags.
        """
        return NONE if self.train.scheme == NONE else requested

    def counts(self) -> dict[str, dict[str, Any]]:
        """Count the sentences, tokens and labeled spans of each split.

        Returns:
            File name (`file`) and counts (`sentences`, `tokens`, `spans`), by split.
        """
        return {
            name: {
                "file": corpus.path if corpus.path.startswith("hf:") else Path(corpus.path).name,
                "sentences": len(corpus.sentences),
                "tokens": _count_tokens(corpus.sentences),
                "spans": _count_spans(corpus.sentences),
            }
            for name, corpus in self.corpora()
        }

    def about(self) -> dict[str, Any]:
        """Describe how the data was read, for the model directory.

        Returns:
            Values of JSON's types: `data` (format, scheme, tokenizers), `settings` and `splits` (see `counts`).
        """
        return {
            "data": {
                "format": self.train.format,
                "scheme": self.train.scheme,
                "spelling": self.train.spelling,
                "pretokenized": self.train.tokenizer is None,
                "agreement": self.agreement,
            },
            "settings": self.settings.model_dump(exclude={"train", "dev", "test", "format", "dev_share"}),
            "splits": self.counts(),
        }

    def files(self) -> list[Path]:
        """List the files that the corpora were read from.

        Returns:
            Paths of existing files, sorted, including all files in a folder.
        """
        paths = {Path(corpus.path) for _, corpus in self.corpora()}
        inside = {file for path in paths if path.is_dir() for file in path.rglob("*")}
        return sorted(path for path in paths | inside if path.is_file())

    def report(self) -> list[str]:
        """Summarize the splits and list anything unusual in them.

        Returns:
            The lines of a table of the splits, then one line for each note.
        """
        rows = [["data", "sentences", "tokens", "labels", ""]]
        counted = self.counts()
        for name, corpus in self.corpora():
            counts = counted[name]
            source = "held out from train" if self.held_out and name == "dev" else corpus.path
            sizes = (f"{counts[key]:,}" for key in ("sentences", "tokens", "spans"))
            rows.append([name, *sizes, f"{source} ({corpus.format}, {corpus.scheme or 'spans'})"])
        table = format_table([row[:-1] for row in rows])
        lines = [f"{line}  {row[-1]}".rstrip() for line, row in zip(table, rows, strict=True)]
        for name, corpus in self.corpora():
            lines += [f"note: {name}: {remark}" for remark in self._remarks(name, corpus, counted[name]["spans"])]
        if self.agreement:
            share = self.agreement[self.tokenizer.name]
            lines.append(
                f"tokenizer for raw text: {self.tokenizer.name} (reproduces {share:.1%} of the training tokens)"
            )
        return [*lines, *self.notes]

    def _remarks(self, name: str, corpus: Corpus, spans: int) -> Iterator[str]:
        if name == "train" and self.empty:
            yield f"skipped sentences without a token: {self.empty:,}"
        if not (self.held_out and name == "dev"):  # already reported for train
            yield from new_remarks(reading_remarks(corpus), () if name == "train" else self.train.remarks)
        shared = 0 if name == "train" else _count_shared(self.train.sentences, corpus.sentences)
        if shared:
            yield f"sentences that also occur in train: {shared:,}; scores on this file will be too high"
        if not spans:
            yield "no labeled spans; scores on this file are meaningless"
        yield from unknown_labels_message(collect_labels(self.train.sentences) | self.known, corpus)


def read_splits(settings: TaggingDataSettings, seed: int, known: Iterable[str] = ()) -> TaggingData:
    """Read the files of a sequence labeling run, or the bundled corpus if the settings name no files.

    Without a dev file, the share `dev_share` of the training sentences is held out as a dev set, unless it is 0.

    Args:
        settings: The `[data]` settings.
        seed: Seed of the hold-out set.
        known: Labels of the initial model, which need not occur in the training file.

    Returns:
        The splits.

    Raises:
        SettingsError: The settings do not fit the files.
        DataError: A file can't be read, or can't be used for training or evaluation.
    """
    settings = with_bundled_corpus(settings)
    options = corpus_options(settings)
    notes: list[str] = []
    read = _labeled(settings.train, options, notes)
    better, warning = refit_tokenizer(read, options, settings.tokenizer)
    if better is not None:
        notes.append(warning)
        options = replace(options, tokenizer=better)
        read = _labeled(settings.train, options, notes)
        warning = ""
    nonempty = np.flatnonzero(to_stored_sentences(read.sentences).lengths)
    train = replace(read, sentences=select_sentences(read.sentences, nonempty))
    labels = collect_labels(train.sentences)
    if not labels:
        raise DataError("found no labeled span; training needs labeled examples", train.path)
    labels |= {*known}
    dev: Corpus | None = None
    agreement: dict[str, float] = {}
    tokenizer = options.tokenizer
    if train.tokenizer is None:
        best, agreement = choose_tokenizer(train.sentences)
        chosen = best if settings.tokenizer == "auto" else settings.tokenizer
        tokenizer = make_tokenizer(chosen, do_lower_case=settings.lower_case)
        warning = _low_agreement_warning(chosen, agreement[chosen])
    if tokenizer is None:
        raise SettingsError("data.tokenizer: raw text needs a tokenizer")
    # A small dev or test file may not show what the training file shows.
    settings = settings.model_copy(update=train.detected)
    pattern = train.detected.get("token_pattern", options.reading.token_pattern)
    reading = replace(options.reading, token_pattern=pattern)
    options = replace(options, reading=reading, tokenizer=tokenizer, scheme=train.scheme, spelling=train.spelling)
    if settings.dev:
        dev = _in_memory(_labeled(settings.dev, options, notes))
        _check_kind(train, dev, labels)
        if settings.strict:
            _check_labels(train, dev, labels)
    elif settings.dev_share:
        train, dev = hold_out_sentences(train, settings.dev_share, seed)
        dev = _in_memory(dev)
    test = _in_memory(_labeled(settings.test, options, notes)) if settings.test else None
    if test is not None:
        _check_kind(train, test, labels)
    empty = len(read.sentences) - len(nonempty)
    held_out = dev is not None and not settings.dev
    return TaggingData(
        train,
        dev,
        test,
        tokenizer,
        agreement,
        settings,
        held_out,
        empty,
        frozenset(known),
        tuple(dict.fromkeys(notes)),
        (warning,) if warning else (),
    )


def _low_agreement_warning(tokenizer: str, agreement: float) -> str:
    if agreement >= LOW_AGREEMENT:
        return ""
    return (
        f"the tokenizer {tokenizer} reproduces only {agreement:.1%} of the training tokens, so raw text will not be "
        "split like the training data. Check data.token_column and data.token_pattern, or tag tokens instead of text"
    )


def corpus_options(
    settings: TaggingDataSettings, tokenizer: Tokenizer | None = None, scheme: str | None = None
) -> CorpusOptions:
    """Convert the `[data]` settings to options for reading a corpus.

    Args:
        settings: The `[data]` settings.
        tokenizer: Tokenizer to use instead of the one in the settings.
        scheme: Tag scheme to use instead of the one in the settings.

    Returns:
        The options.

    Raises:
        SettingsError: `data.format` is unknown, or another setting is invalid.
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
        comment_prefix=settings.comment_prefix or None,
        tags_file=settings.tags or None,
        column=settings.column,
        text_key=settings.text_key,
        label_key=settings.label_key,
        predictions=settings.predictions,
        strict=settings.strict,
    )
    if settings.tags and settings.format not in ("auto", "parallel"):
        raise SettingsError(f"data.tags: names a parallel file with tags, but data.format is {settings.format!r}")
    if Path(settings.tags).name != settings.tags:
        expected = "expected the name of a file, which is read from the folder of each file with tokens"
        raise SettingsError(f"data.tags: found {settings.tags!r}, {expected}")
    format = "parallel" if settings.tags else settings.format
    name = "basic" if settings.tokenizer == "auto" else settings.tokenizer
    return CorpusOptions(
        format=None if format == "auto" else format,
        reading=reading,
        scheme=scheme or (None if settings.scheme == "auto" else settings.scheme),
        tokenizer=tokenizer or make_tokenizer(name, do_lower_case=settings.lower_case),
        alignment=settings.alignment,
        strict=settings.strict,
    )


def _labeled(path: str, options: CorpusOptions, notes: list[str]) -> Corpus:
    corpus = read_cached_corpus(path, options, notes.append)
    if not corpus.labeled:
        raise DataError("found no labels; training and evaluation need tags or labeled spans", path)
    if not to_stored_sentences(corpus.sentences).lengths.any():
        raise DataError("found no token in any sentence; check the file", path)
    return corpus


def _in_memory(corpus: Corpus) -> Corpus:
    return replace(corpus, sentences=list(corpus.sentences))


def _count_tokens(sentences: Sequence[Sentence]) -> int:
    return int(sentences.lengths.sum()) if isinstance(sentences, StoredSentences) else sum(map(len, sentences))


def _count_spans(sentences: Sequence[Sentence]) -> int:
    if isinstance(sentences, StoredSentences):
        return sentences.count("spans", "unaligned")
    return sum(len(sentence.spans or ()) + len(sentence.unaligned) for sentence in sentences)


def _count_shared(train: Sequence[Sentence], other: Sequence[Sentence]) -> int:
    """Count the sentences of the other corpus that also occur in train, without empty ones."""
    columns = to_stored_sentences(other)
    return int(np.isin(columns.hashes[columns.lengths > 0], to_stored_sentences(train).hashes).sum())


def _check_kind(train: Corpus, other: Corpus, known: set[str]) -> None:
    """Raise an error if the corpora can't be compared: token labels and spans, or no common label."""
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
                    f"label {span.label!r} does not occur in {train.path} (labels there: {', '.join(sorted(known))}); "
                    "correct the label, or move sentences with it to the training file",
                    dev.path,
                    line,
                )
