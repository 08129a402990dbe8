from __future__ import annotations

import pickle
import re
import unicodedata

import bert_reference as reference
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nlp_app.core.types import Tokens
from nlp_app.text import BasicTokenizer

CASES = pytest.mark.parametrize("do_lower_case", [True, False])

# Characters that lengthen, vanish, depend on their neighbors or change sides, with plain ones between them.
ODDITIES = (
    "aZ9 .中国,\t\n"
    "ΣσΑ'"  # final sigma, and an apostrophe, which its rule looks through
    "İßẞǅfiÅé"  # case and length
    "\u0301\u0323\u0344\ufe0f\u034f"  # marks that are stripped, among them two that order nothing
    "\u302e\U00016ff0\U0001d165\U0001d16d\u1b44"  # marks that stay and are ordered
    "\U0001d160𝅗한ﬃ\u0bca\u0dde"  # several outputs
    "≠≮;`\u0387"  # punctuation only after decomposing
    "\u200b\ufeff\u200d\x00\x1f\x85\ufffd\u00ad"  # removed
    "\u3000\xa0\u2028\u2029"  # whitespace
    "\uf900\U0002f800\U0002b820\u3042\u30ab"  # ideographs and what is none
    "\U0001f468\ue000\U000e0041\u0378\U000fffff"  # emoji, private use, tag, unassigned
)
texts = st.one_of(st.text(st.sampled_from(ODDITIES), max_size=30), st.text(max_size=30))


def rows(tokens: Tokens) -> list[tuple[str, int, int]]:
    return list(zip(tokens.norms, tokens.starts, tokens.ends, strict=True))


def all_characters() -> list[str]:
    return [chr(point) for point in range(0x110000) if not 0xD800 <= point <= 0xDFFF]


@CASES
@given(text=texts)
@example(text="ΑΣ.Α ΑΣ. ΑΣ中 Σ ΑΣ\u200bΑ Α\u0301Σ\u0301")
@example(text="a\u302e\U0001d165\U00016ff0b\u0301\u302e")
@example(text="\u0301a\u200b\u0301\u200b \u0301 中\u0301!\u0301")
@settings(max_examples=800, deadline=None)
def test_tokens_and_offsets_are_the_reference_s(do_lower_case: bool, text: str) -> None:
    tokenizer = BasicTokenizer(do_lower_case)
    expected = reference.tokens_of(text, do_lower_case)
    assert rows(tokenizer(text)) == expected
    assert tokenizer.tokenize(text) == [norm for norm, _, _ in expected] == reference.tokenize(text, do_lower_case)
    assert [rows(tokens) for tokens in tokenizer.batch([text, "", text])] == [expected, [], expected]


@CASES
@given(text=texts)
@settings(max_examples=300, deadline=None)
def test_ranges_are_in_order_and_lose_nothing(do_lower_case: bool, text: str) -> None:
    tokens = BasicTokenizer(do_lower_case)(text)
    assert all(0 <= start < end <= len(text) for _, start, end in rows(tokens))
    position = 0
    for norm, start, end in [*rows(tokens), ("", len(text), len(text))]:
        assert position <= start
        assert reference.tokenize(text[position:start], do_lower_case) == []  # no token hides in a gap
        alone = reference.tokenize(text[start:end], do_lower_case)
        assert "".join(alone).replace("ς", "σ") == norm.replace("ς", "σ")  # a final sigma is one by its context
        position = end


@CASES
def test_every_code_point_alone(do_lower_case: bool) -> None:
    tokenizer = BasicTokenizer(do_lower_case)
    characters = all_characters()
    assert len(characters) == 1_112_064
    for low in range(0, len(characters), 1 << 16):
        text = " ".join(characters[low : low + (1 << 16)])
        tokens = tokenizer(text)
        assert tokens.norms == reference.tokenize(text, do_lower_case)
        assert all(start % 2 == 0 and end == start + 1 for _, start, end in rows(tokens))


CONTEXTS = "a{}b Α{}Σ{} 中{}\u0301 \u302e{}\U0001d165{}\u0323 !{}\u200b{}"


@CASES
def test_every_particular_code_point_in_context(do_lower_case: bool) -> None:
    """All but what is not assigned and the letters of the large scripts, which behave alike."""
    alike = re.compile("CJK|HANGUL SYLLABLE|TANGUT|NUSHU|CUNEIFORM|EGYPTIAN|YI SYLL|BAMUM|KHITAN|ANATOLIAN")
    particular = [char for char in all_characters() if not alike.match(unicodedata.name(char, "CJK"))]
    check_in_context(CONTEXTS, particular, do_lower_case)


@pytest.mark.slow
@CASES
def test_a_quarter_of_all_code_points_in_context(do_lower_case: bool) -> None:
    """Alone all are compared; in context a quarter, another one for each case."""
    check_in_context("Α{}Σ{}\u0301", all_characters()[do_lower_case::4], do_lower_case)


def check_in_context(context: str, characters: list[str], do_lower_case: bool) -> None:
    tokenizer = BasicTokenizer(do_lower_case)
    for low in range(0, len(characters), 1 << 14):
        text = " ".join(context.replace("{}", char) for char in characters[low : low + (1 << 14)])
        assert rows(tokenizer(text)) == reference.tokens_of(text, do_lower_case)


@pytest.mark.parametrize(
    ("text", "norms", "slices"),
    [
        ("Zoë Ángström", ["zoe", "angstrom"], ["Zoë", "Ángström"]),
        ("İstanbul", ["istanbul"], ["İstanbul"]),
        ("e\u0301e\u0301", ["ee"], ["e\u0301e\u0301"]),
        ("한국", ["\u1112\u1161\u11ab\u1100\u116e\u11a8"], ["한국"]),
        ("ΟΔΟΣ ΟΔΟΣ.", ["οδος", "οδος", "."], ["ΟΔΟΣ", "ΟΔΟΣ", "."]),
        ("x\u200by\u200b z\ufeff", ["xy", "z"], ["x\u200by", "z"]),
        ("\u200b\u0301a\u200b\u0301\u200b", ["a"], ["a\u200b\u0301"]),
        ("中\u0301!\u0301", ["中", "!"], ["中\u0301", "!\u0301"]),
        ("3≠4", ["3", "=", "4"], ["3", "≠", "4"]),
        ("\ud800a 𝒳", ["\ud800a", "𝒳"], ["\ud800a", "𝒳"]),
        ("手机5G很好", ["手", "机", "5g", "很", "好"], ["手", "机", "5G", "很", "好"]),
    ],
)
def test_offsets_by_hand(text: str, norms: list[str], slices: list[str]) -> None:
    tokens = BasicTokenizer()(text)
    assert tokens.norms == norms
    assert [text[start:end] for _, start, end in rows(tokens)] == slices


def test_cased_keeps_case_and_marks() -> None:
    assert BasicTokenizer(do_lower_case=False).tokenize("Ẽ E\u0301. 中\u0301") == [
        "Ẽ",
        "E\u0301",
        ".",
        "中",
        "\u0301",
    ]


def test_bytes_are_utf_8_and_malformed_ones_left_out() -> None:
    tokenizer = BasicTokenizer()
    assert tokenizer.tokenize("中文 Ünï".encode()) == ["中", "文", "uni"]
    assert tokenizer.tokenize(b"ab\xff\xe4\xb8c") == ["abc"]
    with pytest.raises(TypeError):
        tokenizer.tokenize(5)  # type: ignore[arg-type]


@CASES
@given(parts=st.lists(texts, max_size=20))
@settings(max_examples=100, deadline=None)
def test_a_batch_is_its_texts(do_lower_case: bool, parts: list[str]) -> None:
    tokenizer = BasicTokenizer(do_lower_case)
    assert tokenizer.batch(parts) == [tokenizer(part) for part in parts]


def test_a_batch_of_more_than_one_group() -> None:
    tokenizer = BasicTokenizer()
    parts = ["Ab, cd " * (size % 97) + "é\u0301" * (size % 5) for size in range(3000)]
    assert sum(map(len, parts)) > 1 << 19
    assert tokenizer.batch(parts) == [tokenizer(part) for part in parts]
    assert tokenizer.batch([]) == []


@pytest.mark.parametrize("separator", [" ", "\n", ""])
def test_a_text_longer_than_one_scan(separator: str) -> None:
    text = separator.join(["Ünï,中Σ"] * 9000 + ["x" * 70_000, "\u0301", "中" * 70_000] + ["ΑΣ e\u0301"] * 9000)
    tokens = BasicTokenizer()(text)
    assert rows(tokens) == reference.tokens_of(text)


@CASES
@given(form=texts.filter(len))
def test_a_given_form_is_normalized_without_splitting(do_lower_case: bool, form: str) -> None:
    norm = BasicTokenizer(do_lower_case).normalize(form)
    assert norm
    expected = "".join(reference.tokenize(form, do_lower_case)).replace("ς", "σ")
    if expected:
        assert "".join(norm.split()).replace("ς", "σ") == expected


def test_values() -> None:
    tokenizer = BasicTokenizer(do_lower_case=False)
    assert pickle.loads(pickle.dumps(tokenizer)) == tokenizer  # noqa: S301
    assert tokenizer.name == "basic"
    assert tokenizer.settings() == {"do_lower_case": False}
    assert BasicTokenizer().settings() == {"do_lower_case": True}
