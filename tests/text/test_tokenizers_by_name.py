from __future__ import annotations

import re
import subprocess
import sys

import pytest

from nlp_app.errors import SettingsError
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
