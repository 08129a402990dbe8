"""Evaluate a model on a labeled file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nlp_app.commands.model_options import _names_data_set, class_reading_options, tagging_reading_options
from nlp_app.commands.predict import _size
from nlp_app.config import ClassificationDataSettings
from nlp_app.core.chunking import chunk_by_size
from nlp_app.core.errors import DataError
from nlp_app.core.progress_bar import progress_bar
from nlp_app.core.text_table import format_names
from nlp_app.data.classification.splits import read_split, split_remarks
from nlp_app.data.tagging.corpus import Corpus, CorpusOptions, read_corpus
from nlp_app.data.tagging.splits import collect_labels, reading_remarks, unknown_labels_message
from nlp_app.inference import Tagger
from nlp_app.inference.class_scores import decide_chunks
from nlp_app.inference.classifier import Classifier
from nlp_app.labels.schemes import NONE
from nlp_app.metrics import TagCounts
from nlp_app.metrics.classes import score_classes
from nlp_app.metrics.spans import count_spans, span_scores


def evaluate_classes(
    classifier: Classifier, path: str, settings: ClassificationDataSettings, quiet: bool
) -> tuple[dict[str, Any], list[str]]:
    """Scores on a labeled file, and what is to be said of the file."""
    parts = classifier.parts
    split = read_split(path, class_reading_options(classifier, settings), parts.class_set.multi_label)
    gold = {label for labels in split.gold for label in labels}
    if gold and gold.isdisjoint(classifier.labels):
        raise DataError(
            f"found the labels {format_names(sorted(gold))}; expected those that the model learned "
            f"({format_names(list(classifier.labels))}); name a file or a model that fits",
            path,
        )
    with progress_bar(quiet, unit=" texts", total=len(split.records)) as bar:

        def texts() -> Iterator[list[str]]:
            for chunk in chunk_by_size(split.records, _size):
                yield [record.text for record in chunk]
                bar.update(len(chunk))

        found = decide_chunks(parts, texts(), len(split.records))
    scores = score_classes(parts.class_set, split.gold, found.labels, found.probabilities)
    return scores, list(split_remarks(split, parts.class_set, np.zeros(0, dtype=np.uint64)))


def evaluate_file(
    tagger: Tagger, path: Path, format: str | None, changes: Sequence[str], quiet: bool
) -> tuple[dict[str, Any], list[str]]:
    """Scores on a labeled file, read as the training data was, `changes` to the [data] settings aside; and what is
    to be said of the file."""
    corpus = _gold_corpus(tagger, path, format, changes)
    counts = TagCounts()
    with progress_bar(quiet, unit=" sentences", total=len(corpus.sentences)) as bar:
        for chunk in chunk_by_size(corpus.sentences, len):
            count_spans(
                tagger.parts.tag_set, counts, chunk, tagger.token_spans([sentence.tokens for sentence in chunk])
            )
            bar.update(len(chunk))
    scores = span_scores(tagger.parts.tag_set, counts)
    remarks = [*reading_remarks(corpus), *unknown_labels_message(tagger.labels, corpus)]
    return scores | {"gold": _gold(corpus)}, remarks


def _gold(corpus: Corpus) -> dict[str, int]:
    ledger = corpus.ledger
    return {
        "spans": ledger.gold,
        "kept": ledger.kept,
        "adjusted": ledger.adjusted,
        "dropped": ledger.dropped,
        "repaired_tags": len(corpus.repairs),
    }


def _gold_corpus(tagger: Tagger, path: Path, format: str | None, changes: Sequence[str]) -> Corpus:
    """A file with labels that the model can be scored on."""
    options = tagging_reading_options(tagger, path, format, changes)
    corpus = read_corpus(path, options)
    if not corpus.labeled:
        raise DataError("found no labels; expected tags or spans to score against", path)
    plain, learned = tagger.parts.tag_set.scheme == NONE, tagger.parts.about["data"].get("scheme")
    other_scheme = corpus.scheme not in (None, NONE, learned) and learned is not None
    if options.scheme is None and other_scheme and not plain and (path.is_file() or _names_data_set(path, format)):
        corpus = _as_learned(corpus, path, options, learned)
    labels = collect_labels(corpus.sentences)
    if (corpus.scheme == NONE) != plain or (labels and labels.isdisjoint(tagger.labels)):
        kind = "a label for each token" if plain else "labeled spans"
        raise DataError(
            f"found the labels {format_names(labels)}; expected {kind}, as the model learned "
            f"({format_names(tagger.labels)}); name a file or a model that fits",
            path,
        )
    return corpus


def _as_learned(corpus: Corpus, path: Path, options: CorpusOptions, scheme: str) -> Corpus:
    """The file read in the training data's scheme, unless that breaks more tags than the scheme recognized in it:
    a short file may not show its scheme."""
    try:
        other = read_corpus(path, replace(options, scheme=scheme))
    except DataError:
        return corpus
    return other if len(other.repairs) <= len(corpus.repairs) else corpus
