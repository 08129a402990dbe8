from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from nlp_app.text import WhitespaceTokenizer

ODDITIES = "aZé .中\t\n\x1c\x85\u0301\u200b\ufeff\x00\ufffd\u3000\xa0\u2028İΣ"
texts = st.one_of(st.text(st.sampled_from(ODDITIES), max_size=20), st.text(max_size=20))


@given(text=texts)
@settings(max_examples=500, deadline=None)
def test_tokens_are_those_of_split(text: str) -> None:
    for tokenizer in (WhitespaceTokenizer(), WhitespaceTokenizer(do_lower_case=True)):
        tokens = tokenizer(text)
        forms = [text[start:end] for start, end in zip(tokens.starts, tokens.ends, strict=True)]
        assert forms == text.split()
        assert tokens.norms == [tokenizer.normalize(form) for form in forms]
        assert all(tokens.norms)
        assert tokens.starts == sorted(tokens.starts)
        assert tokenizer.batch([text, text]) == [tokens, tokens]


def test_norms() -> None:
    text = "Dubai\ufeff wor\u200bld É \u200b"
    assert WhitespaceTokenizer()(text).norms == ["Dubai", "world", "É", "\u200b"]
    assert WhitespaceTokenizer(do_lower_case=True)(text).norms == ["dubai", "world", "e", "\u200b"]


def test_a_form_with_a_space_in_it_keeps_it() -> None:
    assert WhitespaceTokenizer().normalize("10\xa0000") == "10 000"
    assert WhitespaceTokenizer().normalize("") == ""


def test_values() -> None:
    assert WhitespaceTokenizer().name == "whitespace"
    assert WhitespaceTokenizer(do_lower_case=True).settings() == {"do_lower_case": True}
