"""Sentences that are trained a window at a time, each as if it were a sentence: where they are cut, and their tags."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from nlp_app.core.types import Sentence, TokenSpan
from nlp_app.labels import schemes
from nlp_app.labels.tag_set import TagSet

LONGEST = 8192  # tokens of a sentence, or of a window of a longer one, that is trained at once


def window_boundaries(sentence: Sentence, longest: int = LONGEST) -> list[int]:
    """The tokens at which the windows of a sentence begin, and its end: windows of like length, `longest` at most,
    between which no gold span is divided that fits into one."""
    places = [0]
    while (left := len(sentence) - places[-1]) > longest:
        place = places[-1] + -(-left // -(-left // longest))
        divided = next((span.start for span in sentence.spans or () if span.start < place < span.end), place)
        places.append(divided if divided > places[-1] else place)
    return [*places, len(sentence)]


def window_tag_ids(tag_set: TagSet, spans: Sequence[TokenSpan], places: Sequence[int]) -> Iterator[int]:
    """The gold tag ids of a sentence whose windows begin and end at these tokens; a span that a seam divides is one on
    either side of it."""
    for start, end in pairwise(places):
        inside = [
            TokenSpan(max(span.start, start) - start, min(span.end, end) - start, span.label)
            for span in spans
            if span.start < end and span.end > start
        ]
        yield from (tag_set.ids[tag] for tag in schemes.encode(inside, end - start, tag_set.scheme))
