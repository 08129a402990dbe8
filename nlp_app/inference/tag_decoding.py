"""Decode the best tag sequences of encoded sentences and compute the probabilities of their spans."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from nlp_app.core.errors import ModelError
from nlp_app.core.types import TokenSpan
from nlp_app.inference.tag_scores import Encoded, TagBatch, tag_batches
from nlp_app.numerics.segments import Segments

if TYPE_CHECKING:
    from nlp_app.models import LoadedTaggerParts


Scored = list[tuple[TokenSpan, float]]

_SEGMENT_CELLS = 1 << 20  # size of the arrays for spans whose probabilities are computed together


def _best_paths(parts: LoadedTaggerParts, encoded: Encoded) -> list[list[int]]:
    """Find the best tag ids of each encoded sentence."""
    results: list[list[int]] = [[] for _ in encoded.offsets[1:]]
    for batch in tag_batches(parts, encoded):
        for row, path in zip(batch.rows.tolist(), _paths(batch), strict=True):
            results[row] = path
    return results


def _paths(batch: TagBatch) -> list[list[int]]:
    """Find the best paths; raise ModelError if no path of a sentence has a finite score."""
    try:
        return batch.best_paths()
    except ValueError as error:
        raise ModelError(f"the model can't tag this text: {error}; train the model again, or copy it again") from error


def predict_encoded(parts: LoadedTaggerParts, encoded: Encoded, scores: bool) -> list[Scored]:
    """Predict the spans of encoded sentences.

    Args:
        parts: The tagger.
        encoded: The sentences, encoded by the tagger's encoder.
        scores: Whether to compute the spans' probabilities.

    Returns:
        For each sentence its spans, each with its probability (0.0 without `scores`).

    Raises:
        ModelError: If no path of a sentence has a finite score.
    """
    results: list[Scored] = [[] for _ in encoded.offsets[1:]]
    for batch in tag_batches(parts, encoded):
        paths = _paths(batch)
        spans = [parts.tag_set.spans(path) for path in paths]
        probabilities = _probabilities(parts, batch, paths, spans) if scores else None
        for row, row_spans in zip(batch.rows.tolist(), spans, strict=True):
            results[row] = [(span, next(probabilities) if probabilities else 0.0) for span in row_spans]
    return results


def _probabilities(
    parts: LoadedTaggerParts, batch: TagBatch, paths: list[list[int]], spans: list[list[TokenSpan]]
) -> Iterator[float]:
    """Compute the posterior probability of each span on the best paths, row after row."""
    flat = [(row, span) for row, row_spans in enumerate(spans) for span in row_spans]
    for group in _span_groups(flat, len(parts.tag_set.tags)):
        yield from np.exp(batch.segment_log_probability(_segments(parts, paths, group))).tolist()


def _span_groups(flat: list[tuple[int, TokenSpan]], tags: int) -> Iterator[list[tuple[int, TokenSpan]]]:
    """Group spans so that the arrays of a group have about `_SEGMENT_CELLS` cells.

    An array is as wide as the longest span of its group, or as the number of tags if that is larger.
    """
    first, widest = 0, tags
    for index, (_, span) in enumerate(flat):
        widest = max(widest, span.end - span.start)
        if index > first and widest * (index + 1 - first) > _SEGMENT_CELLS:
            yield flat[first:index]
            first, widest = index, max(tags, span.end - span.start)
    if first < len(flat):
        yield flat[first:]


def _segments(parts: LoadedTaggerParts, paths: list[list[int]], flat: list[tuple[int, TokenSpan]]) -> Segments:
    """Build the lattice's input for spans, each with its row."""
    lengths = np.array([span.end - span.start for _, span in flat])
    tags = np.zeros((len(flat), lengths.max()), dtype=np.int64)
    for index, (row, span) in enumerate(flat):
        tags[index, : lengths[index]] = paths[row][span.start : span.end]
    opens, closes = parts.tag_set.boundaries
    return Segments(
        rows=np.array([row for row, _ in flat]),
        starts=np.array([span.start for _, span in flat]),
        tags=tags,
        lengths=lengths,
        before=opens.T[tags[:, 0]],
        after=closes[tags[np.arange(len(flat)), lengths - 1]],
    )
