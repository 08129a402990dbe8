"""Split sentences longer than 8,192 tokens into training windows, each trained like a sentence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from nlp_app.core.types import Sentence, TokenSpan
from nlp_app.labels import schemes
from nlp_app.labels.tag_set import TagSet

MAX_TOKENS = 8192  # limit on the tokens of a row, as memory grows with its length


def window_boundaries(sentence: Sentence, max_tokens: int = MAX_TOKENS) -> list[int]:
    """Find the boundaries of a sentence's windows, which have about the same length.

    No gold span is split, except if it does not fit into one window.

    Args:
        sentence: The sentence.
        max_tokens: Maximum number of tokens in a window.

    Returns:
        Index of the first token of each window, and the number of tokens.
    """
    boundaries = [0]
    while (remaining := len(sentence) - boundaries[-1]) > max_tokens:
        boundary = boundaries[-1] + -(-remaining // -(-remaining // max_tokens))
        # A span across the boundary moves it to the span's start.
        moved = next((span.start for span in sentence.spans or () if span.start < boundary < span.end), boundary)
        boundaries.append(moved if moved > boundaries[-1] else boundary)
    return [*boundaries, len(sentence)]


def window_tag_ids(tag_set: TagSet, spans: Sequence[TokenSpan], boundaries: Sequence[int]) -> Iterator[int]:
    """Encode the gold spans of a sentence in windows; a span across a boundary becomes one span in each window.

    Args:
        tag_set: Tags of the model.
        spans: Gold spans of the sentence.
        boundaries: Boundaries of the windows, as returned by `window_boundaries`.

    Yields:
        Tag id of each token.
    """
    for start, end in pairwise(boundaries):
        inside = [
            TokenSpan(max(span.start, start) - start, min(span.end, end) - start, span.label)
            for span in spans
            if span.start < end and span.end > start
        ]
        yield from (tag_set.ids[tag] for tag in schemes.encode(inside, end - start, tag_set.scheme))
