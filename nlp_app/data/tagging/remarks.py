"""Describe a corpus for the user: what was detected and repaired in it, and labels that a model does not know."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from nlp_app.core.types import Sentence
from nlp_app.data.tagging.corpus import Corpus
from nlp_app.storage.sentences import StoredSentences


def collect_labels(sentences: Iterable[Sentence]) -> set[str]:
    """Collect the labels of gold spans; spans that could not be aligned with tokens are ignored.

    Args:
        sentences: The sentences.

    Returns:
        The labels.
    """
    if isinstance(sentences, StoredSentences):
        return sentences.labels_in("spans")
    return {span.label for sentence in sentences for span in sentence.spans or ()}


def reading_remarks(corpus: Corpus) -> Iterator[str]:
    """Describe what the reader detected and repaired in a corpus.

    Args:
        corpus: The corpus.

    Yields:
        One remark for each detected property, then for repaired tags and for changed spans.
    """
    yield from corpus.remarks
    if corpus.repairs:
        first = corpus.repairs[0]
        yield (
            f"invalid tags, repaired as the CoNLL scorer does: {corpus.repaired:,}; "
            f"the first: {corpus.path}:{first.line}: {first.tag}: {first.reason}"
        )
    if corpus.ledger.adjusted or corpus.ledger.dropped:
        yield (
            f"labeled spans: {corpus.ledger.gold:,}, adjusted to token boundaries: {corpus.ledger.adjusted:,}, "
            f"not aligned with tokens: {corpus.ledger.dropped:,} (in evaluation, they count as missed)"
        )


def unknown_labels_message(known: Iterable[str], corpus: Corpus) -> Iterator[str]:
    """Report labels that the model does not know.

    Args:
        known: The labels of the model.
        corpus: The corpus to evaluate on.

    Yields:
        One message if there are unknown labels, otherwise nothing.
    """
    if isinstance(corpus.sentences, StoredSentences):
        found = corpus.sentences.labels_in("spans", "unaligned")
    else:
        found = {span.label for sentence in corpus.sentences for span in (*(sentence.spans or ()), *sentence.unaligned)}
    unknown = sorted(found.difference(known))
    if unknown:
        yield f"labels that do not occur in the training data: {', '.join(unknown)}; they count as missed"
