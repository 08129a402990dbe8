"""Between raw text and tokens: fit character spans to token edges, and give pre-tokenized sentences a text.

Every gold span is accounted for: a `AlignmentReport` counts it as kept, adjusted or dropped, and names it with file,
line and reason unless it was kept. Nothing turns silently into "outside".
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
    """What became of one gold span that was not kept as it was: `aligned` is None where it was dropped."""

    line: int
    span: CharSpan
    aligned: CharSpan | None
    reason: str


@dataclass(slots=True)
class AlignmentReport:
    """The account of a file's gold spans: `kept + adjusted + dropped == gold`, always.

    `gold` is counted from what was read, the three others one span at a time as its outcome is known.
    """

    gold: int = 0
    kept: int = 0
    adjusted: int = 0
    dropped: int = 0
    entries: list[AlignmentChange] = field(default_factory=list)

    def record(self, entry: AlignmentChange) -> None:
        """Book one span that was adjusted (`entry.aligned` is set) or dropped."""
        self.entries.append(entry)
        if entry.aligned is None:
            self.dropped += 1
        else:
            self.adjusted += 1

    def reasons(self) -> dict[str, int]:
        """How often each reason occurs, most frequent first."""
        return dict(Counter(entry.reason for entry in self.entries).most_common())


@dataclass(slots=True)
class TokenEdges:
    """Where the tokens of one text stand: ascending offsets in code points, end exclusive, no overlaps."""

    length: int  # of the text
    starts: Sequence[int]
    ends: Sequence[int]

    def touched(self, span: CharSpan) -> tuple[int, int]:
        """The tokens that share a character with `span`, as a half-open range."""
        return bisect_right(self.ends, span.start), bisect_left(self.starts, span.end)

    def inside(self, span: CharSpan) -> tuple[int, int]:
        """The tokens that lie wholly in `span`, as a half-open range."""
        return bisect_left(self.starts, span.start), bisect_right(self.ends, span.end)

    def characters(self, span: TokenSpan) -> CharSpan:
        return CharSpan(self.starts[span.start], self.ends[span.end - 1], span.label)


def align_spans(
    spans: Sequence[CharSpan], edges: TokenEdges, alignment: Alignment, line: int, ledger: AlignmentReport
) -> tuple[list[TokenSpan], list[CharSpan]]:
    """Fit the gold spans of one text to its tokens; returns the flat token spans in order, and the unaligned
    spans.

    A span whose edges cut no token fits: it is kept, or, where characters that belong to no token (white
    space, mostly) stand at its edges, adjusted by trimming them, whatever the `alignment`. A span that cuts a
    token is dropped (`strict`), widened to the tokens it touches (`expand`) or narrowed to the tokens inside
    it (`contract`; to nothing: dropped). Token spans are flat, so of spans that share a token the one with
    more characters stays, then the one that begins earlier, then the one that stood first in the file. An
    exact repetition of a span is dropped in the ledger but is not gold twice: it is not among the unaligned.
    """
    ledger.gold += len(spans)
    order = sorted(range(len(spans)), key=lambda i: (spans[i].start - spans[i].end, spans[i].start, i))
    seen: set[CharSpan] = set()
    taken = bytearray(len(edges.starts))
    aligned: list[TokenSpan] = []
    unaligned: list[CharSpan] = []
    for index in order:
        span = spans[index]
        if span in seen:
            ledger.record(AlignmentChange(line, span, None, DUPLICATE))
            continue
        seen.add(span)
        found, reason = _fit(span, edges, alignment)
        if found is not None and taken.find(1, found.start, found.end) >= 0:
            found, reason = None, OVERLAP
        if found is None:
            unaligned.append(span)
            ledger.record(AlignmentChange(line, span, None, reason))
            continue
        taken[found.start : found.end] = b"\x01" * (found.end - found.start)
        aligned.append(found)
        if reason:
            ledger.record(AlignmentChange(line, span, edges.characters(found), reason))
        else:
            ledger.kept += 1
    return sorted(aligned), sorted(unaligned)


def _fit(span: CharSpan, edges: TokenEdges, alignment: Alignment) -> tuple[TokenSpan | None, str]:
    """The token span for `span` by itself, and why it differs ("" where it does not)."""
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
