"""The data of a run: training, dev and test corpora that fit each other, and what is to be known of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nlp_app.config import DataSettings
from nlp_app.corpus import Corpus, CorpusOptions, choose_tokenizer, read_corpus
from nlp_app.errors import DataError, SettingsError
from nlp_app.formats import ReadOptions
from nlp_app.resources import bundled
from nlp_app.statistics import leaks
from nlp_app.text import Tokenizer, make_tokenizer
from nlp_app.types import Sentence

_SEPARATORS = {"auto": None, "tab": "\t", "space": " "}


@dataclass
class TaggingData:
    """The corpora of a run. `agreement`: how much of the training tokens each tokenizer finds by itself, where the
    data came with tokens of its own."""

    train: Corpus
    dev: Corpus
    test: Corpus | None
    tokenizer: Tokenizer
    agreement: dict[str, float]
    settings: DataSettings
    held_out: bool  # dev was cut from train

    def corpora(self) -> list[tuple[str, Corpus]]:
        """The splits with their names."""
        splits = [("train", self.train), ("dev", self.dev)]
        return splits if self.test is None else [*splits, ("test", self.test)]

    def scored(self) -> list[tuple[str, Corpus]]:
        """The splits that the finished model is scored on."""
        return self.corpora()[1:]

    def counts(self) -> dict[str, dict[str, Any]]:
        """Sentences, tokens and labelled spans of each split."""
        return {
            name: {
                "file": Path(corpus.path).name,
                "sentences": len(corpus.sentences),
                "tokens": sum(map(len, corpus.sentences)),
                "spans": sum(len(s.spans or ()) + len(s.unaligned) for s in corpus.sentences),
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
            "settings": self.settings.model_dump(exclude={"train", "dev", "test", "format"}),
            "splits": self.counts(),
        }

    def checksums(self) -> dict[str, str]:
        """SHA-256 of each file of the run."""
        paths = {corpus.path for _, corpus in self.corpora()}
        return {
            path: hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in sorted(paths) if Path(path).is_file()
        }

    def report(self) -> list[str]:
        """What was read and what is odd about it: a line each."""
        lines = []
        for name, corpus in self.corpora():
            spans = self.counts()[name]["spans"]
            found = f"{len(corpus.sentences):,} sentences, {sum(map(len, corpus.sentences)):,} tokens, {spans:,} spans"
            lines.append(f"{name}: {corpus.path} ({corpus.format}, {corpus.scheme or 'spans'}): {found}")
            if corpus.repairs and not (self.held_out and name == "dev"):
                first = corpus.repairs[0]
                lines.append(
                    f"{name}: {len(corpus.repairs)} tags could not follow the tag before them and were read as the "
                    f"CoNLL scorer does; the first: {corpus.path}:{first.line}: {first.tag}: {first.reason}"
                )
            if corpus.ledger.adjusted or corpus.ledger.dropped:
                lines.append(
                    f"{name}: of {corpus.ledger.gold:,} gold spans {corpus.ledger.adjusted:,} were moved to "
                    f"token edges and {corpus.ledger.dropped:,} fit no tokens (they count as missed)"
                )
            shared = 0 if name == "train" else leaks(self.train.sentences, corpus.sentences).count
            if shared:
                lines.append(f"{name}: {shared} of its sentences stand in train too; scores on it flatter")
            lines += _unknown_labels(self.train, corpus, name)
        if self.agreement:
            share = self.agreement[self.tokenizer.name]
            lines.append(f"tokenizer for raw text: {self.tokenizer.name} (it finds {share:.1%} of the training tokens)")
        return lines


def read_splits(settings: DataSettings, seed: int) -> TaggingData:
    """Read the files that the settings name; the bundled corpus where they name none.

    Without a dev file, a share of the training sentences is held out. Raises SettingsError or DataError.
    """
    if not settings.train:
        if settings.dev or settings.test:
            raise SettingsError("data.train: not given, though dev or test is; give --train FILE")
        bundle = {name: str(bundled(f"data/ner/{name}.conll")) for name in ("train", "dev", "test")}
        settings = settings.model_copy(update=bundle)
    options = corpus_options(settings)
    train = _labelled(settings.train, options)
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
        dev = _labelled(settings.dev, options)
        _check_labels(train, dev)
    else:
        train, dev = hold_out(train, settings.dev_share, seed)
    test = _labelled(settings.test, options) if settings.test else None
    return TaggingData(train, dev, test, tokenizer, agreement, settings, held_out=not settings.dev)


def corpus_options(
    settings: DataSettings, tokenizer: Tokenizer | None = None, scheme: str | None = None
) -> CorpusOptions:
    """How files are read by these settings; `tokenizer` and `scheme`, where given, go before the settings'."""
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


def _labelled(path: str, options: CorpusOptions) -> Corpus:
    corpus = read_corpus(path, options)
    if not corpus.labelled:
        raise DataError("found no labels; expected tags or spans to learn from or score against", path)
    if not any(len(sentence) for sentence in corpus.sentences):
        raise DataError("found no token in any sentence; check the file", path)
    return corpus


def hold_out(train: Corpus, share: float, seed: int) -> tuple[Corpus, Corpus]:
    """Cut a dev part of about `share` of the sentences from a training corpus, equal sentences on one side."""
    groups: dict[tuple[str, ...], list[Sentence]] = {}
    for sentence in train.sentences:
        groups.setdefault(tuple(sentence.tokens), []).append(sentence)
    order = np.random.default_rng(seed).permutation(len(groups))
    texts = list(groups.values())
    wanted = max(1, round(share * len(train.sentences)))
    held: list[Sentence] = []
    for place in order:
        if len(held) >= wanted:
            break
        held += texts[place]
    if len(held) == len(train.sentences):
        raise DataError("found too few different sentences to hold some out as dev; give --dev FILE", train.path)
    taken = {id(sentence) for sentence in held}
    rest = [sentence for sentence in train.sentences if id(sentence) not in taken]
    known = {span.label for sentence in rest for span in sentence.spans or ()}
    # A label that only the held-out part would have is worth more in training.
    back = [sentence for sentence in held if any(span.label not in known for span in sentence.spans or ())]
    held = [sentence for sentence in held if not any(sentence is other for other in back)]
    if not held:
        raise DataError("found too few sentences of each label to hold some out as dev; give --dev FILE", train.path)
    return replace(train, sentences=rest + back), replace(train, sentences=held)


def _labels(sentences: Sequence[Sentence]) -> set[str]:
    return {span.label for sentence in sentences for span in sentence.spans or ()}


def _check_labels(train: Corpus, dev: Corpus) -> None:
    known = _labels(train.sentences)
    for sentence in dev.sentences:
        for span in sentence.spans or ():
            if span.label not in known:
                line = sentence.lines[span.start if len(sentence.lines) > 1 else 0]
                raise DataError(
                    f"found the label {span.label!r}, which {train.path} never has "
                    f"(it has {', '.join(sorted(known))}); correct the label, or move sentences with it to the training file",
                    dev.path,
                    line,
                )


def _unknown_labels(train: Corpus, corpus: Corpus, name: str) -> list[str]:
    unknown = sorted(_labels(corpus.sentences) - _labels(train.sentences))
    return [f"{name}: {', '.join(unknown)}: labels that train never has; they count as missed"] if unknown else []
