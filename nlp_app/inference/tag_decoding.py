"""Best paths and span probabilities from encoded sentences."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch

from nlp_app.core.errors import ModelError
from nlp_app.core.types import TokenSpan
from nlp_app.inference.tag_scores import Encoded, emission_batches
from nlp_app.nn.crf.lattice import forward_backward
from nlp_app.nn.crf.scores import Scores
from nlp_app.nn.crf.segments import Segments
from nlp_app.nn.crf.viterbi import best_paths

if TYPE_CHECKING:
    from nlp_app.models import AnyTaggerParts


Scored = list[tuple[TokenSpan, float]]

_SEGMENT_CELLS = 1 << 20  # of the spans whose probabilities are computed together


@torch.inference_mode()
def _best_paths(parts: AnyTaggerParts, encoded: Encoded) -> list[list[int]]:
    """The tag ids of each encoded sentence."""
    found: list[list[int]] = [[] for _ in encoded.offsets[1:]]
    for rows, emissions, mask in emission_batches(parts, encoded):
        paths = _paths(parts.network.crf.scores(emissions, mask))
        for row, path in zip(rows.tolist(), paths, strict=True):
            found[row] = path
    return found


def _paths(scores: Scores) -> list[list[int]]:
    """The best paths. Raises ModelError where no path has a score that is a finite number."""
    try:
        return best_paths(scores)
    except ValueError as error:
        raise ModelError(f"the model can't tag this text: {error}; train or get the model again") from error


@torch.inference_mode()
def predict_encoded(parts: AnyTaggerParts, encoded: Encoded, scores: bool) -> list[Scored]:
    """The spans of each encoded sentence, with their probabilities (0.0 throughout without `scores`)."""
    results: list[Scored] = [[] for _ in encoded.offsets[1:]]
    for rows, emissions, mask in emission_batches(parts, encoded):
        scored = parts.network.crf.scores(emissions, mask)
        paths = _paths(scored)
        spans = [parts.tag_set.spans(path) for path in paths]
        chances = _probabilities(parts, scored, paths, spans) if scores else None
        for row, found in zip(rows.tolist(), spans, strict=True):
            results[row] = [(span, next(chances) if chances else 0.0) for span in found]
    return results


def _probabilities(
    parts: AnyTaggerParts, scores: Scores, paths: list[list[int]], spans: list[list[TokenSpan]]
) -> Iterator[float]:
    """The posterior probability of each span that the best paths spell, row after row."""
    flat = [(row, span) for row, row_spans in enumerate(spans) for span in row_spans]
    if not flat:
        return
    lattice = forward_backward(scores)
    for some in _runs(flat, len(parts.tag_set.tags)):
        yield from np.exp(lattice.segment_log_probability(_segments(parts, paths, some))).tolist()


def _runs(flat: list[tuple[int, TokenSpan]], tags: int) -> Iterator[list[tuple[int, TokenSpan]]]:
    """Runs of spans whose arrays, as wide as the longest of them or as there are tags, have `_SEGMENT_CELLS` cells."""
    first, widest = 0, tags
    for place, (_, span) in enumerate(flat):
        widest = max(widest, span.end - span.start)
        if place > first and widest * (place + 1 - first) > _SEGMENT_CELLS:
            yield flat[first:place]
            first, widest = place, max(tags, span.end - span.start)
    if first < len(flat):
        yield flat[first:]


def _segments(parts: AnyTaggerParts, paths: list[list[int]], flat: list[tuple[int, TokenSpan]]) -> Segments:
    """What the lattice takes for some spans, each with its row."""
    lengths = np.array([span.end - span.start for _, span in flat])
    tags = np.zeros((len(flat), lengths.max()), dtype=np.int64)
    for place, (row, span) in enumerate(flat):
        tags[place, : lengths[place]] = paths[row][span.start : span.end]
    opens, closes = parts.tag_set.boundaries
    return Segments(
        rows=np.array([row for row, _ in flat]),
        starts=np.array([span.start for _, span in flat]),
        tags=tags,
        lengths=lengths,
        before=opens.T[tags[:, 0]],
        after=closes[tags[np.arange(len(flat)), lengths - 1]],
    )
