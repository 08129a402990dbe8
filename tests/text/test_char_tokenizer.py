from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlp_app.core.types import Tokens
from nlp_app.text import CharTokenizer

ODDITIES = (
    "aZé9 .中\t\n\u0301\u0903\ufe0f\u200d\u200d\u200b\ufeff\x00\ufffd👨👩👍\U0001f3fd❤♂+ΣİK\u3000\u2028한\u0378\ue000"
)
texts = st.one_of(st.text(st.sampled_from(ODDITIES), max_size=20), st.text(max_size=20))


def slices(text: str, tokens: Tokens) -> list[str]:
    return [text[start:end] for start, end in zip(tokens.starts, tokens.ends, strict=True)]


def reference(text: str) -> list[tuple[int, int]]:
    """One character after the other, by the words of the tokenizer's own description."""
    spans: list[list[int]] = []
    glue = ""  # what the character before was, if this one may extend its token
    for place, char in enumerate(text):
        category = unicodedata.category(char)
        if char == "\u200d":
            shape = "joiner" if glue else ""
        elif char.isspace() or category in ("Cc", "Cf"):
            shape = ""
        elif category[0] == "M" or char in "🏻🏼🏽🏾🏿":
            shape = "extending"
        elif glue == "joiner" and category[0] == "S" and char != "\ufffd":  # that one stands for anything
            shape = "joined"
        else:
            shape = "base"
        if shape == "base" or (shape == "extending" and not glue):
            spans.append([place, place + 1])
        elif shape:
            spans[-1][1] = place + 1
        glue = shape
    return [(start, end) for start, end in spans]


@given(text=texts)
@settings(max_examples=800, deadline=None)
def test_ranges_are_the_reference_s(text: str) -> None:
    tokenizer = CharTokenizer()
    tokens = tokenizer(text)
    assert list(zip(tokens.starts, tokens.ends, strict=True)) == reference(text)
    assert tokens.norms == [tokenizer.normalize(form) for form in slices(text, tokens)]
    assert tokenizer.batch([text, "", text]) == [tokens, Tokens([], [], []), tokens]
    lower = CharTokenizer(do_lower_case=True)
    assert (lower(text).starts, lower(text).ends) == (tokens.starts, tokens.ends)
    assert lower(text).norms == [lower.normalize(form) for form in slices(text, tokens)]


def test_every_code_point_alone() -> None:
    for low in range(0, 0x110000, 1 << 16):
        points = [point for point in range(low, low + (1 << 16)) if not 0xD800 <= point <= 0xDFFF]
        text = " ".join(map(chr, points))
        visible = [
            place
            for place, char in enumerate(text)
            if not char.isspace() and unicodedata.category(char) not in ("Cc", "Cf")
        ]
        assert CharTokenizer()(text).starts == visible


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("我爱NLP 。", ["我", "爱", "N", "L", "P", "。"]),
        ("e\u0301é", ["e\u0301", "é"]),
        ("हिन्दी", ["हि", "न्", "दी"]),
        ("❤\ufe0f!", ["❤\ufe0f", "!"]),
        ("👨\u200d👩\u200d👧好", ["👨\u200d👩\u200d👧", "好"]),
        ("👍🏽👍", ["👍🏽", "👍"]),
        ("a\u200db", ["a\u200d", "b"]),
        ("\u200d a\u200b\ufeff\x00b", ["a", "b"]),
        ("\u0301a", ["\u0301", "a"]),
        ("丢\ufffd失", ["丢", "\ufffd", "失"]),
        ("\ud83d\n", ["\ud83d"]),
    ],
)
def test_by_hand(text: str, expected: list[str]) -> None:
    assert slices(text, CharTokenizer()(text)) == expected


def test_norms() -> None:
    assert CharTokenizer()("Éx👨\u200d👩\ufffd").norms == ["É", "x", "👨👩", "\ufffd"]
    assert CharTokenizer(do_lower_case=True)("É中\u0301Σ\u0301").norms == ["e", "中", "σ"]
    assert CharTokenizer(do_lower_case=True).normalize("\u0301") == "\u0301"


def test_values() -> None:
    assert CharTokenizer().name == "char"
    assert CharTokenizer().settings() == {"do_lower_case": False}
