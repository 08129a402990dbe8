"""Align character spans of raw text with token boundaries.

An `AlignmentReport` counts each gold span as kept, adjusted or dropped, and lists adjusted and dropped spans with line
and reason. No span becomes "outside" without being reported.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from nlp_app.core.types import CharSpan, TokenSpan

Alignment = Literal["strict", "expand", "contract"]

TRIMMED = "edge trimmed to the outermost token"

EXPANDED = "expanded to token edges"

CONTRACTED = "contracted to token edges"

MISFIT = "does not fit token edges"

NO_TOKEN = "covers no token"

NO_WHOLE_TOKEN = "covers no whole token"

OUTSIDE = "lies outside the text"

DUPLICATE = "repeats another span of the same text"

OVERLAP = "overlaps a longer or earlier span"


@dataclass(frozen=True, slots=True)
class AlignmentChange:
    """A gold span that was adjusted or dropped.

    Attributes:
        line: Line of the text in the file.
        span: The gold span.
        aligned: The adjusted span; None if the span was dropped.
        reason: The reason for the change.
    """

    line: int
    span: CharSpan
    aligned: CharSpan | None
    reason: str


@dataclass(slots=True)
class AlignmentReport:
    """Counts of a file's gold spans by outcome; `kept + adjusted + dropped == gold`.

    Attributes:
        gold: Number of gold spans that were read.
        kept: Number of spans that fit the tokens without changes.
        adjusted: Number of spans that were moved to token boundaries.
        dropped: Number of spans that fit no tokens.
        entries: The adjusted and dropped spans.
    """

    gold: int = 0
    kept: int = 0
    adjusted: int = 0
    dropped: int = 0
    entries: list[AlignmentChange] = field(default_factory=list)

    def record(self, entry: AlignmentChange) -> None:
        """Record one adjusted or dropped span.

        Args:
            entry: The span; counted as dropped if `entry.aligned` is None.
        """
        self.entries.append(entry)
        if entry.aligned is None:
            self.dropped += 1
        else:
            self.adjusted += 1

    def reasons(self) -> dict[str, int]:
        """Count the changes by reason.

        Returns:
            The number of spans for each reason, most frequent first.
        """
        return dict(Counter(entry.reason for entry in self.entries).most_common())


@dataclass(slots=True)
class TokenEdges:
    """Token boundaries of one text, as offsets in code points.

    Attributes:
        length: Length of the text.
        starts: Start of each token, ascending; tokens do not overlap.
        ends: End of each token, exclusive.
    """

    length: int
    starts: Sequence[int]
    ends: Sequence[int]

    def touched(self, span: CharSpan) -> tuple[int, int]:
        """Find the tokens that share a character with a span.

        Args:
            span: The character span.

        Returns:
            First token and last token + 1; an empty range if no token does.
        """
        return bisect_right(self.ends, span.start), bisect_left(self.starts, span.end)

    def inside(self, span: CharSpan) -> tuple[int, int]:
        """Find the tokens that lie completely within a span.

        Args:
            span: The character span.

        Returns:
            First token and last token + 1; an empty range if no token does.
        """
        return bisect_left(self.starts, span.start), bisect_right(self.ends, span.end)

    def characters(self, span: TokenSpan) -> CharSpan:
        """Convert a token span to a character span.

        Args:
            span: The token span.

        Returns:
            The span from the start of its first token to the end of its last one.
        """
        return CharSpan(self.starts[span.start], self.ends[span.end - 1], span.label)


def align_spans(
    spans: Sequence[CharSpan], edges: TokenEdges, alignment: Alignment, line: int, report: AlignmentReport
) -> tuple[list[TokenSpan], list[CharSpan]]:
    """Align the gold spans of one text with its tokens.

    A span that cuts no token is kept. If characters at its ends belong to no token (mostly white space), they are
    trimmed, and the span counts as adjusted. This does not depend on `alignment`.

    A span that cuts a token is dropped (`strict`), expanded to all tokens that it touches (`expand`), or reduced to the
    tokens inside it (`contract`). It is dropped if there is no token inside.

    Token spans do not overlap. If several spans share a token, the one with the most characters is kept, then the one
    that starts first, then the first in the file. An exact copy of a span is reported as dropped but is not returned as
    unaligned, so that it does not count as a second gold span.

    Args:
        spans: Gold spans of the text, in characters.
        edges: Token boundaries of the text.
        alignment: `strict`, `expand` or `contract`.
        line: Line of the text in the file, for the report.
        report: Counts the spans by outcome; updated in place.

    Returns:
        The token spans in order, and the spans that could not be aligned.
    """
    report.gold += len(spans)
    order = sorted(range(len(spans)), key=lambda i: (spans[i].start - spans[i].end, spans[i].start, i))
    seen: set[CharSpan] = set()
    occupied = bytearray(len(edges.starts))  # 1 for each token of an aligned span
    aligned: list[TokenSpan] = []
    unaligned: list[CharSpan] = []
    for index in order:
        span = spans[index]
        if span in seen:
            report.record(AlignmentChange(line, span, None, DUPLICATE))
            continue
        seen.add(span)
        fitted, reason = _fit(span, edges, alignment)
        if fitted is not None and occupied.find(1, fitted.start, fitted.end) >= 0:
            fitted, reason = None, OVERLAP
        if fitted is None:
            unaligned.append(span)
            report.record(AlignmentChange(line, span, None, reason))
            continue
        occupied[fitted.start : fitted.end] = b"\x01" * (fitted.end - fitted.start)
        aligned.append(fitted)
        if reason:
            report.record(AlignmentChange(line, span, edges.characters(fitted), reason))
        else:
            report.kept += 1
    return sorted(aligned), sorted(unaligned)


def _fit(span: CharSpan, edges: TokenEdges, alignment: Alignment) -> tuple[TokenSpan | None, str]:
    """Align one span, regardless of other spans; return the reason for a change, or "" without one."""
    if not 0 <= span.start < span.end <= edges.length:
        return None, OUTSIDE
    first, last = edges.touched(span)
    if first >= last:
        return None, NO_TOKEN
    if (first, last) == edges.inside(span):
        fitted = TokenSpan(first, last, span.label)
        return fitted, "" if edges.characters(fitted) == span else TRIMMED
    if alignment == "strict":
        return None, MISFIT
    if alignment == "expand":
        return TokenSpan(first, last, span.label), EXPANDED
    first, last = edges.inside(span)
    if first >= last:
        return None, NO_WHOLE_TOKEN
    return TokenSpan(first, last, span.label), CONTRACTED
