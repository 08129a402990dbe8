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
from nlp_app.data.tagging.remarks import collect_labels, reading_remarks, unknown_labels_message
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
    """Evaluate a classifier on a labeled file.

    Args:
        classifier: A trained classifier.
        path: The file, or the name of a Hugging Face data set.
        settings: Settings for reading the file.
        quiet: Show no progress.

    Returns:
        The scores, in a form that can be saved as JSON, and notes for the user on the file.

    Raises:
        DataError: The file can't be read, has no labels, or has only labels that the model does not know.
    """
    parts = classifier.parts
    split = read_split(path, class_reading_options(classifier, settings), parts.class_set.multi_label)
    gold = {label for labels in split.gold for label in labels}
    if gold and gold.isdisjoint(classifier.labels):
        raise DataError(
            f"found the labels {format_names(sorted(gold))}; expected labels that the model learned "
            f"({format_names(list(classifier.labels))}); choose another file or another model",
            path,
        )
    with progress_bar(quiet, unit=" texts", total=len(split.records)) as bar:

        def texts() -> Iterator[list[str]]:
            for chunk in chunk_by_size(split.records, _size):
                yield [record.text for record in chunk]
                bar.update(len(chunk))

        predictions = decide_chunks(parts, texts(), len(split.records))
    scores = score_classes(parts.class_set, split.gold, predictions.labels, predictions.probabilities)
    return scores, list(split_remarks(split, parts.class_set, np.zeros(0, dtype=np.uint64)))


def evaluate_file(
    tagger: Tagger, path: Path, format: str | None, changes: Sequence[str], quiet: bool
) -> tuple[dict[str, Any], list[str]]:
    """Evaluate a tagger on a labeled file, which is read like the training data of the tagger.

    Args:
        tagger: A trained tagger.
        path: The file, or the name of a Hugging Face data set.
        format: The format of the file; None to detect it.
        changes: Changes of the [data] settings, as `data.key=value`.
        quiet: Show no progress.

    Returns:
        The scores, in a form that can be saved as JSON, and notes for the user on the file. The entry "gold" of the
        scores counts the gold spans and the repairs.

    Raises:
        DataError: The file can't be read, has no labels, or has labels of another kind than the model.
        SettingsError: A change is invalid.
    """
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
    """Read a labeled file, and check that its labels are of the same kind as those of the model."""
    options = tagging_reading_options(tagger, path, format, changes)
    corpus = read_corpus(path, options)
    if not corpus.labeled:
        raise DataError("found no labels; expected gold tags or spans for the evaluation", path)
    plain, learned = tagger.parts.tag_set.scheme == NONE, tagger.parts.about["data"].get("scheme")
    other_scheme = corpus.scheme not in (None, NONE, learned) and learned is not None
    if options.scheme is None and other_scheme and not plain and (path.is_file() or _names_data_set(path, format)):
        corpus = _read_with_scheme(corpus, path, options, learned)
    labels = collect_labels(corpus.sentences)
    if (corpus.scheme == NONE) != plain or (labels and labels.isdisjoint(tagger.labels)):
        kind = "a label for each token" if plain else "labeled spans"
        raise DataError(
            f"found the labels {format_names(labels)}; expected {kind}, as the model learned "
            f"({format_names(tagger.labels)}); choose another file or another model",
            path,
        )
    return corpus


def _read_with_scheme(corpus: Corpus, path: Path, options: CorpusOptions, scheme: str) -> Corpus:
    """Read the file again with the scheme of the training data, since the detected scheme of a short file may be wrong.

    The corpus with the detected scheme is returned if it needs fewer repairs.
    """
    try:
        other = read_corpus(path, replace(options, scheme=scheme))
    except DataError:
        return corpus
    return other if len(other.repairs) <= len(corpus.repairs) else corpus
