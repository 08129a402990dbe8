"""Alignment of character spans with tokens, compared to a reference over sets of positions; joined tokens."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple, get_args

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nlp_app.core.types import CharSpan, TokenSpan
from nlp_app.data.tagging import alignment
from nlp_app.data.tagging.alignment import Alignment, AlignmentReport, TokenEdges, align_spans
from nlp_app.text.spacing import between_words, between_written_words, join_tokens, no_spaces

MIXED = "ab Z9.,-'\t\n\u00a0\u3000\u200b\ufeff\u0301éß马云杭州，。𠀀가🙂\ud800"


class Document(NamedTuple):
    text: str
    starts: list[int]
    ends: list[int]
    spans: list[CharSpan]


@st.composite
def documents(draw: st.DrawFn) -> Document:
    """A text, tokens with gaps, and spans: unordered, nested, repeated, out of bounds."""
    text = draw(st.text(st.sampled_from(MIXED) | st.characters(), max_size=30))
    cuts = sorted(draw(st.sets(st.integers(0, len(text)), max_size=14)))
    tokens = [(start, end) for start, end in pairwise(cuts) if draw(st.integers(0, 4))]
    offsets = st.integers(-2, len(text) + 3)
    span = st.builds(CharSpan, offsets, offsets, st.sampled_from(["PER", "ORG", "creative-work"]))
    spans = draw(st.lists(span, max_size=10))
    repeated = draw(st.lists(st.sampled_from(spans), max_size=3)) if spans else []
    return Document(text, [start for start, _ in tokens], [end for _, end in tokens], spans + repeated)


def align(document: Document, mode: Alignment) -> tuple[list[TokenSpan], list[CharSpan], AlignmentReport]:
    ledger = AlignmentReport()
    edges = TokenEdges(len(document.text), document.starts, document.ends)
    aligned, unaligned = align_spans(document.spans, edges, mode, 7, ledger)
    return aligned, unaligned, ledger


def reference(document: Document, mode: Alignment) -> tuple[set[TokenSpan], list[CharSpan]]:
    """Reference implementation of the docstring, with sets of positions and a loop over pairs of spans."""
    tokens = [set(range(start, end)) for start, end in zip(document.starts, document.ends, strict=True)]
    distinct = list(dict.fromkeys(document.spans))
    stands_for: dict[CharSpan, set[int]] = {}
    for span in distinct:
        covered = set(range(span.start, span.end))
        touched = {i for i, token in enumerate(tokens) if token & covered}
        inside = {i for i, token in enumerate(tokens) if token <= covered}
        if not covered or not covered <= set(range(len(document.text))):
            continue
        chosen = {"strict": touched if touched == inside else set(), "expand": touched, "contract": inside}[mode]
        if chosen:
            stands_for[span] = chosen

    def precedes(a: CharSpan, b: CharSpan) -> bool:
        return (a.start - a.end, a.start, distinct.index(a)) < (b.start - b.end, b.start, distinct.index(b))

    def stays(span: CharSpan) -> bool:
        rivals = [o for o in stands_for if o != span and stands_for[o] & stands_for[span] and precedes(o, span)]
        return not any(stays(rival) for rival in rivals)

    flat = {span for span in stands_for if stays(span)}
    token_spans = {TokenSpan(min(stands_for[s]), max(stands_for[s]) + 1, s.label) for s in flat}
    return token_spans, sorted(span for span in distinct if span not in flat)


@settings(max_examples=600, deadline=None)
@given(documents(), st.sampled_from(get_args(Alignment)))
@example(Document("", [], [], [CharSpan(0, 0, "PER"), CharSpan(0, 1, "PER")]), "strict")
def test_every_gold_span_is_kept_adjusted_or_dropped(document: Document, mode: Alignment) -> None:
    aligned, unaligned, ledger = align(document, mode)

    assert ledger.kept + ledger.adjusted + ledger.dropped == ledger.gold == len(document.spans)
    assert ledger.adjusted + ledger.dropped == len(ledger.entries) == sum(ledger.reasons().values())
    assert ledger.kept + ledger.adjusted == len(aligned)
    assert len(aligned) + len(unaligned) == len(set(document.spans)), "gold to score: each distinct span once"
    assert all(entry.line == 7 and entry.reason for entry in ledger.entries)
    assert all(before.end <= after.start for before, after in pairwise(aligned)), "flat, and in order"
    if mode == "strict":
        assert not {entry.reason for entry in ledger.entries} & {alignment.EXPANDED, alignment.CONTRACTED}


@settings(max_examples=400, deadline=None)
@given(documents(), st.sampled_from(get_args(Alignment)))
def test_alignment_equals_the_reference_by_positions(document: Document, mode: Alignment) -> None:
    aligned, unaligned, ledger = align(document, mode)
    assert (set(aligned), unaligned) == reference(document, mode)

    kept = {
        span
        for span in document.spans
        if span not in unaligned  # another span, trimmed, may stand on its tokens
        and TokenSpan(
            document.starts.index(span.start) if span.start in document.starts else -1,
            document.ends.index(span.end) + 1 if span.end in document.ends else -1,
            span.label,
        )
        in aligned
    }
    assert ledger.kept == len(kept), "kept means to the very character"


Space = Callable[[str, str], bool]
SPACES: list[Space] = [between_words, between_written_words, no_spaces]
TEXT = "Marie Curie-Sklodowska died"
STARTS, ENDS = [0, 6, 23], [5, 22, 27]


@pytest.mark.parametrize(
    ("start", "end", "mode", "tokens", "reason"),
    [
        (0, 22, "strict", (0, 2), None),
        (0, 23, "strict", (0, 2), alignment.TRIMMED),
        (5, 23, "contract", (1, 2), alignment.TRIMMED),
        (0, 11, "strict", None, alignment.MISFIT),
        (0, 11, "expand", (0, 2), alignment.EXPANDED),
        (0, 11, "contract", (0, 1), alignment.CONTRACTED),
        (7, 11, "contract", None, alignment.NO_WHOLE_TOKEN),
        (5, 6, "expand", None, alignment.NO_TOKEN),
        (3, 3, "expand", None, alignment.OUTSIDE),
        (20, 99, "expand", None, alignment.OUTSIDE),
    ],
)
def test_the_reason_is_reported(
    start: int, end: int, mode: Alignment, tokens: tuple[int, int] | None, reason: str | None
) -> None:
    span = CharSpan(start, end, "PER")
    aligned, unaligned, ledger = align(Document(TEXT, STARTS, ENDS, [span]), mode)
    assert aligned == ([TokenSpan(*tokens, "PER")] if tokens else [])
    assert unaligned == ([] if tokens else [span])
    assert [entry.reason for entry in ledger.entries] == ([reason] if reason else [])


def test_of_overlapping_spans_the_longer_then_the_earlier_stays() -> None:
    nested = [CharSpan(0, 5, "GIVEN"), CharSpan(0, 22, "PER"), CharSpan(6, 22, "PER"), CharSpan(0, 22, "ORG")]
    aligned, unaligned, ledger = align(Document(TEXT, STARTS, ENDS, [*nested, CharSpan(23, 27, "EVENT")]), "strict")
    assert aligned == [TokenSpan(0, 2, "PER"), TokenSpan(2, 3, "EVENT")]
    assert unaligned == sorted([nested[0], nested[2], nested[3]])
    assert ledger.reasons() == {alignment.OVERLAP: 3}


def test_a_span_annotated_twice_is_gold_once() -> None:
    span = CharSpan(0, 5, "PER")
    aligned, unaligned, ledger = align(Document(TEXT, STARTS, ENDS, [span, span]), "expand")
    assert (aligned, unaligned) == ([TokenSpan(0, 1, "PER")], [])
    assert (ledger.gold, ledger.kept, ledger.dropped) == (2, 1, 1)
    assert ledger.reasons() == {alignment.DUPLICATE: 1}


TOKEN = st.text(st.sampled_from(MIXED) | st.characters(), min_size=1, max_size=6)


@settings(max_examples=300)
@given(st.lists(TOKEN), st.sampled_from(SPACES))
def test_joined_tokens_are_found_at_their_offsets(tokens: list[str], space: Space) -> None:
    text, starts, ends = join_tokens(tokens, space)
    assert [text[start:end] for start, end in zip(starts, ends, strict=True)] == tokens
    edges = [0, *(edge for token in zip(starts, ends, strict=True) for edge in token), len(text)]
    assert edges == sorted(edges), "tokens stand in order and do not overlap"
    gaps = {text[end:start] for end, start in zip(ends, starts[1:], strict=False)}
    assert gaps <= ({""} if space is no_spaces else {"", " "})


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        (["EU", "rejects", "call"], "EU rejects call"),
        (["马", "云", "在", "A", "B", "C", "工作", "。"], "马云在A B C工作。"),
        (["（", "2007", "）", "，", "New York", "ok"], "（2007），New York ok"),
        (["so", "🙂", "🙂"], "so 🙂 🙂"),
        (["서울", "에서"], "서울 에서"),
        (["カ", "タ", "ｶ", "ﾅ"], "カタｶﾅ"),
        (["𠀀", "𠀁"], "𠀀𠀁"),
        ([], ""),
    ],
)
def test_spaces_depend_on_the_script(tokens: list[str], text: str) -> None:
    assert join_tokens(tokens)[0] == text


def test_a_corpus_of_characters_is_joined_without_spaces() -> None:
    assert join_tokens(list("在ABC工作2007年"), no_spaces)[0] == "在ABC工作2007年"


def test_punctuation_is_attached_as_in_written_text() -> None:
    tokens = ["I", "do", "n't", "(", "EU", ")", ",", "it", "'s", "100", "%", ":", "马", "!"]
    assert join_tokens(tokens, between_written_words)[0] == "I don't (EU), it's 100%:马!"
