"""Tag schemes: against enumeration, against seqeval's chunk rules, by round trips."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities

from nlp_app.core.errors import DataError, SettingsError
from nlp_app.core.types import TokenSpan
from nlp_app.labels.scheme_detection import detect_scheme
from nlp_app.labels.schemes import SCHEMES, decode, encode, tag_names
from nlp_app.labels.transitions import allowed_transitions, segment_boundaries

SPAN_SCHEMES = [name for name in SCHEMES if name != "none"]
LABELS = ["A", "B-b", "PER.NAM"]


@st.composite
def sentences(draw: st.DrawFn) -> tuple[list[TokenSpan], int]:
    """Flat spans, often touching, and the sentence's length."""
    spans, position = [], 0
    for _ in range(draw(st.integers(0, 6))):
        position += draw(st.integers(0, 2))
        end = position + draw(st.integers(1, 4))
        spans.append(TokenSpan(position, end, draw(st.sampled_from(LABELS))))
        position = end
    return spans, position + draw(st.integers(0, 2))


def every_annotation(length: int, labels: list[str]) -> list[list[TokenSpan]]:
    """All ways to put flat labeled spans on a sentence."""
    if length == 0:
        return [[]]
    ways = every_annotation(length - 1, labels)  # the last token is outside
    for size, label in itertools.product(range(1, length + 1), labels):
        last = TokenSpan(length - size, length, label)
        ways = ways + [[*way, last] for way in every_annotation(length - size, labels)]
    return ways


@pytest.mark.parametrize("scheme", SPAN_SCHEMES)
@given(sentences())
def test_decode_inverts_encode(scheme: str, sentence: tuple[list[TokenSpan], int]) -> None:
    spans, length = sentence
    tags = encode(reversed(spans), length, scheme)
    assert len(tags) == length
    assert decode(tags, scheme) == (spans, [])
    assert set(tags) <= set(tag_names(LABELS, scheme))


@pytest.mark.parametrize("scheme", SPAN_SCHEMES)
@given(sentences())
def test_conversion_and_back_is_identity(scheme: str, sentence: tuple[list[TokenSpan], int]) -> None:
    bio = encode(*sentence, "BIO")
    other = encode(decode(bio, "BIO")[0], len(bio), scheme)
    assert encode(decode(other, scheme)[0], len(other), "BIO") == bio


def test_the_written_tags_of_each_scheme() -> None:
    spans = [TokenSpan(0, 3, "X"), TokenSpan(3, 4, "X"), TokenSpan(4, 6, "Y"), TokenSpan(7, 8, "Y")]
    expected = {
        "BIO": "B-X I-X I-X B-X B-Y I-Y O B-Y",
        "IOB1": "I-X I-X I-X B-X I-Y I-Y O I-Y",
        "IOE1": "I-X I-X E-X I-X I-Y I-Y O I-Y",
        "IOE2": "I-X I-X E-X E-X I-Y E-Y O E-Y",
        "BIOES": "B-X I-X E-X S-X B-Y E-Y O S-Y",
        "BMES": "B-X M-X E-X S-X B-Y E-Y O S-Y",
        "BMEWO": "B-X M-X E-X W-X B-Y E-Y O W-Y",
        "BILOU": "B-X I-X L-X U-X B-Y L-Y O U-Y",
    }
    assert {name: " ".join(encode(spans, 8, name)) for name in SPAN_SCHEMES} == expected


def seqeval_spans(tags: list[str]) -> list[TokenSpan]:
    return [TokenSpan(start, end + 1, label) for label, start, end in get_entities(tags)]


@given(st.lists(st.sampled_from(["O", "B-X", "I-X", "B-Y-z", "I-Y-z"])))
def test_any_bio_tags_read_as_the_conll_scorer_reads_them(tags: list[str]) -> None:
    assert decode(tags, "BIO")[0] == seqeval_spans(tags)
    assert decode(tags, "IOB1")[0] == seqeval_spans(tags)


@given(st.lists(st.sampled_from(["O", *(f"{letter}-{label}" for letter in "BIES" for label in "XY")])))
def test_any_bioes_tags_read_as_seqeval_reads_them(tags: list[str]) -> None:
    renamed = {
        "BIOES": "BIOES",
        "BMES": "BMOES",
        "BMEWO": "BMOEW",
        "BILOU": "BIOLU",
    }
    for scheme, letters in renamed.items():
        table = dict(zip("BIOES", letters, strict=True))
        own = [table[tag[0]] + tag[1:] for tag in tags]
        assert decode(own, scheme)[0] == seqeval_spans(tags)


@pytest.mark.parametrize("scheme", SPAN_SCHEMES)
@pytest.mark.parametrize("labels", [["X"], ["X", "Y"]])
def test_allowed_transitions_are_those_that_encoding_produces(scheme: str, labels: list[str]) -> None:
    tags = tag_names(labels, scheme)
    index = {tag: position for position, tag in enumerate(tags)}
    start, end = len(tags), len(tags) + 1
    produced = np.zeros((len(tags) + 2, len(tags) + 2), dtype=bool)
    for length in range(5):
        for spans in every_annotation(length, labels):
            row = [start, *(index[tag] for tag in encode(spans, length, scheme)), end]
            for pair in itertools.pairwise(row):
                produced[pair] = True
    np.testing.assert_array_equal(allowed_transitions(tags, scheme), produced)


@pytest.mark.parametrize("scheme", SPAN_SCHEMES)
def test_tags_need_repair_exactly_when_no_encoding_produces_them(scheme: str) -> None:
    tags = tag_names(["X", "Y"] if len(SCHEMES[scheme].letters) < 4 else ["X"], scheme)
    for length in range(4):
        written = {tuple(encode(spans, length, scheme)) for spans in every_annotation(length, ["X", "Y"])}
        for sequence in itertools.product(tags, repeat=length):
            assert (decode(sequence, scheme)[1] == []) == (sequence in written), sequence


@pytest.mark.parametrize("scheme", SPAN_SCHEMES)
def test_boundaries_cut_any_tags_where_decoding_cuts_them(scheme: str) -> None:
    tags = tag_names(["X", "Y"], scheme)
    count = len(tags)
    opens, closes = segment_boundaries(tags, scheme)
    assert opens.shape == (count + 1, count)
    assert closes.shape == (count, count + 1)
    for sequence in itertools.product(range(count), repeat=3):
        around = [count, *sequence, count]
        starts = [i for i in range(3) if opens[around[i], sequence[i]]]
        ends = [i + 1 for i in range(3) if closes[sequence[i], around[i + 2]]]
        spans, _ = decode([tags[i] for i in sequence], scheme)
        assert starts == [span.start for span in spans]
        assert ends == [span.end for span in spans]


def test_no_scheme_is_a_span_a_token() -> None:
    tags = ["NN", "-LRB-", "O", "PRP$"]
    spans, repairs = decode(tags, "none")
    assert spans == [TokenSpan(i, i + 1, tag) for i, tag in enumerate(tags)]
    assert repairs == []
    assert encode(spans, 4, "none") == tags
    assert tag_names(["NN", "VB"], "none") == ["NN", "VB"]
    with pytest.raises(ValueError, match=r"one a token|span of its own"):
        encode(spans[1:], 4, "none")
    allowed = allowed_transitions(["NN", "VB"], "none")
    assert allowed[:3, [0, 1, 3]].all()
    assert not allowed[:, 2].any()
    assert not allowed[3].any()
    opens, closes = segment_boundaries(["NN", "VB"], "none")
    assert opens.all()
    assert closes.all()


def test_repairs_name_the_token_and_the_reason() -> None:
    _, repairs = decode(["I-X", "O", "I-Y"], "BIO")
    assert [(repair.index, repair.tag) for repair in repairs] == [(0, "I-X"), (2, "I-Y")]
    assert "opens the sentence" in repairs[0].reason
    assert "follows O" in repairs[1].reason
    spans, repairs = decode(["O", "B-ORG", "M-ORG"], "BMES")
    assert spans == [TokenSpan(1, 3, "ORG")]
    assert [(repair.index, repair.tag) for repair in repairs] == [(2, "M-ORG")]
    assert "ends in M-ORG" in repairs[0].reason


@pytest.mark.parametrize("tag", ["Q-PER", "PER", "B-", "", "o", "O-PER", "BPER", "M-PER"])
def test_an_unknown_tag_is_an_error(tag: str) -> None:
    with pytest.raises(DataError, match=r"expected B-, I-"):
        decode(["B-PER", tag], "BIO")


@pytest.mark.parametrize("spans", [[(0, 2), (1, 3)], [(0, 0)], [(2, 4)], [(-1, 1)]])
def test_spans_that_overlap_or_leave_the_sentence_cannot_be_encoded(spans: list[tuple[int, int]]) -> None:
    with pytest.raises(ValueError, match=r"flat"):
        encode([TokenSpan(start, end, "X") for start, end in spans], 3, "BIO")


def test_an_unknown_scheme_suggests_the_nearest() -> None:
    assert decode(["B-X", "E-X"], "IOBES") == decode(["B-X", "E-X"], "BIOES")
    with pytest.raises(SettingsError, match=r"did you mean 'BILOU'"):
        decode([], "bilo")


@pytest.mark.parametrize("scheme", SPAN_SCHEMES)
@given(sentences())
def test_recognition_reads_the_same_spans(scheme: str, sentence: tuple[list[TokenSpan], int]) -> None:
    spans, length = sentence
    rich = [TokenSpan(0, 3, "X"), TokenSpan(3, 4, "X"), TokenSpan(5, 6, "X"), TokenSpan(6, 8, "X")]
    written = [encode(spans, length, scheme), encode(rich, 9, scheme)]
    assert detect_scheme(written).scheme == scheme


@pytest.mark.parametrize(
    ("tags", "scheme"),
    [
        ("I-PER O I-ORG I-ORG", "IOB1"),  # never B-
        ("I-PER B-PER O", "IOB1"),
        ("B-PER I-PER O I-LOC O B-LOC O B-PER", "BIO"),  # one damaged
        ("B-PER O B-LOC", "BIO"),
        ("I-PER E-PER O E-LOC", "IOE2"),
        ("I-PER E-PER I-PER O I-LOC", "IOE1"),
        ("O B-A E-A", "BIOES"),
        ("B-A M-A E-A O", "BMES"),
        ("W-A O", "BMEWO"),
        ("U-A O", "BILOU"),
        ("O O", "BIO"),
        ("NN VBD -LRB- PRP$ HYPH WP$ , `` O B-1", "none"),
        ("B M E S", "none"),
        ("B I O", "BIO"),  # spans without a type; tests/labels/test_tag_spelling.py
        ("M-pnpl S-x NN NN VB DT ADJ", "none"),
        ("PER ORG O", "none"),
    ],
)
def test_recognition(tags: str, scheme: str) -> None:
    detection = detect_scheme([tags.split()])
    assert detection.scheme == scheme
    assert detection.evidence.endswith(".")


@pytest.mark.parametrize(
    "tags",
    ["B-PER I-PER Q-PER O", "B-PER Q-LOC Q-LOC", "B-PER I-PER 0 0 0 0 0 0 0", "B-PER I-PER PER", "B-A B I-A"],
)
def test_a_scheme_among_unknown_tags_is_an_error(tags: str) -> None:
    with pytest.raises(DataError, match=r"no known scheme"):
        detect_scheme([tags.split()])


def test_letters_of_no_common_scheme_are_an_error() -> None:
    with pytest.raises(DataError, match=r"M-, U- together"):
        detect_scheme([["M-X", "U-X"]])
    with pytest.raises(DataError, match=r"no tags"):
        detect_scheme([])


def test_letters_without_a_type_are_read_where_the_scheme_is_named() -> None:
    spans = [TokenSpan(0, 2, ""), TokenSpan(2, 3, "")]
    assert decode(["B", "E", "S"], "BMES") == (spans, [])
    assert encode(spans, 3, "BMES") == ["B", "E", "S"]
    assert tag_names([""], "BMES") == ["O", "B", "M", "E", "S"]
