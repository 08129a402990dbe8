from __future__ import annotations

import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlp_app.core.errors import SettingsError
from nlp_app.text import TOKENIZERS, BasicTokenizer, Tokenizer, agreement, make_tokenizer, unidata_version


@pytest.mark.parametrize("name", list(TOKENIZERS))
@pytest.mark.parametrize("do_lower_case", [True, False])
def test_name_and_settings_make_the_tokenizer_again(name: str, do_lower_case: bool) -> None:
    tokenizer = make_tokenizer(name, do_lower_case=do_lower_case)
    assert tokenizer.name == name
    assert tokenizer.settings() == {"do_lower_case": do_lower_case}
    assert make_tokenizer(tokenizer.name, **tokenizer.settings()) == tokenizer
    assert make_tokenizer(name).settings() == {"do_lower_case": name == "basic"}


def test_order_of_preference() -> None:
    assert list(TOKENIZERS) == ["basic", "char", "whitespace"]


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("bsic", {}, "unknown tokenizer 'bsic', expected basic, char, whitespace; did you mean 'basic'?"),
        ("chars", {}, "did you mean 'char'?"),
        ("x", {}, "unknown tokenizer 'x', expected basic, char, whitespace; use one of these"),
        ("basic", {"lower_case": True}, "unknown setting 'lower_case' of tokenizer 'basic'"),
        ("char", {"do_lowercase": True}, "did you mean 'do_lower_case'?"),
        ("char", {"do_lower_case": 1}, "tokenizer 'char': do_lower_case is 1, expected true or false"),
    ],
)
def test_mistakes(name: str, settings: dict[str, bool], message: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(message)) as caught:
        make_tokenizer(name, **settings)
    assert "\n" not in str(caught.value)


def test_agreement_is_the_share_of_given_tokens_found() -> None:
    tokenizer: Tokenizer = BasicTokenizer()
    texts = ["U.S. news", "中国 Ünï", ""]
    given = [([0, 5], [4, 9]), ([0, 1, 3], [1, 2, 6]), ([], [])]  # "U.S." is four tokens here
    assert agreement(tokenizer, texts, given) == 4 / 5
    assert agreement(make_tokenizer("whitespace"), texts, given) == 3 / 5
    assert agreement(make_tokenizer("char"), texts, given) == 2 / 5
    assert agreement(tokenizer, [], []) == 1.0
    with pytest.raises(ValueError, match="zip"):
        agreement(tokenizer, texts, given[:2])


def test_unidata_version() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", unidata_version())


def test_import_is_cheap() -> None:
    code = "import sys, nlp_app.text; print(sorted({'torch', 'transformers', 'sklearn'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


any_text = st.text(st.one_of(st.characters(), st.sampled_from("aÉ中ß😀 \u0301\u200d\u200b\n\x00\x1f\x85\ufffdΣ\ud800")))


@pytest.mark.parametrize("name", list(TOKENIZERS))
@given(st.lists(any_text, max_size=8), st.booleans())
def test_norms_are_those_of_each_text(name: str, texts: list[str], do_lower_case: bool) -> None:
    tokenizer = make_tokenizer(name, do_lower_case=do_lower_case)
    norms, counts = tokenizer.norms(texts)
    alone = [tokenizer(text).norms for text in texts]
    assert norms == [norm for each in alone for norm in each]
    assert counts == [len(each) for each in alone]
    assert all(type(count) is int for count in counts)
    # What n-grams are made of: no word is empty or holds a space.
    assert all(norm and " " not in norm for norm in norms)


@pytest.mark.parametrize("name", list(TOKENIZERS))
def test_norms_of_long_texts_and_of_none(name: str) -> None:
    tokenizer = make_tokenizer(name, do_lower_case=True)
    texts = ["", "Ab 中é " * 20_000, " ", "short", "x" * 70_000, "\n", *["Many É"] * 20_000, ""]
    norms, counts = tokenizer.norms(texts)
    alone = [tokens.norms for tokens in tokenizer.batch(texts)]
    assert norms == [norm for each in alone for norm in each]
    assert counts == [len(each) for each in alone]
    assert tokenizer.norms([]) == ([], [])
    assert tokenizer.norms(tuple(texts[:3])) == tokenizer.norms(texts[:3])
