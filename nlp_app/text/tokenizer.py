"""What every tokenizer offers, tokenizers by name, and how well one reproduces given tokens."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from nlp_app.core.errors import SettingsError, did_you_mean
from nlp_app.core.types import Tokens
from nlp_app.text.basic import BasicTokenizer
from nlp_app.text.char import CharTokenizer
from nlp_app.text.whitespace import WhitespaceTokenizer


def tokenizer_key(tokenizer: Tokenizer | None) -> str:
    """What tells how a tokenizer divides texts, as a part of a key."""
    settings = None if tokenizer is None else (tokenizer.name, sorted(tokenizer.settings().items()))
    return repr((settings, unicodedata.unidata_version))


class Tokenizer(Protocol):
    """Cuts raw text into tokens: offsets into the untouched text, and a normal form for each."""

    @property
    def name(self) -> str:
        """Its name in `TOKENIZERS`."""

    def __call__(self, text: str) -> Tokens:
        """The tokens of one text: ranges in code points, end exclusive; never empty, in order, disjoint."""

    def batch(self, texts: Sequence[str]) -> list[Tokens]:
        """The tokens of each text, as a call for each would give; the fast way for many."""

    def norms(self, texts: Sequence[str]) -> tuple[list[str], list[int]]:
        """The normal forms of all texts' tokens, one text after the other, and how many each text has."""

    def normalize(self, form: str) -> str:
        """The normal form of one token that was given (pre-tokenized); never empty unless `form` is."""

    def settings(self) -> dict[str, bool]:
        """What `make_tokenizer(name, **settings)` needs to make this tokenizer again."""


# In order of preference where they reproduce a corpus equally well.
TOKENIZERS: Final[Mapping[str, Callable[..., Tokenizer]]] = {
    "basic": BasicTokenizer,
    "char": CharTokenizer,
    "whitespace": WhitespaceTokenizer,
}


def make_tokenizer(name: str, **settings: bool) -> Tokenizer:
    """The tokenizer of that name. Settings left out keep the tokenizer's own default.

    Raises SettingsError for an unknown name or setting, and for a value that is not true or false.
    """
    if name not in TOKENIZERS:
        raise SettingsError(_unknown(f"tokenizer {name!r}", name, list(TOKENIZERS)))
    for setting, value in settings.items():
        if setting != "do_lower_case":
            message = _unknown(f"setting {setting!r} of tokenizer {name!r}", setting, ["do_lower_case"])
            raise SettingsError(message)
        if not isinstance(value, bool):
            found = f"tokenizer {name!r}: {setting} is {value!r}"
            raise SettingsError(f"{found}, expected true or false; write one of the two")
    return TOKENIZERS[name](**settings)


def agreement(tokenizer: Tokenizer, texts: Sequence[str], boundaries: Sequence[tuple[list[int], list[int]]]) -> float:
    """The share of given tokens that the tokenizer yields exactly, from 0 to 1; 1 where none are given.

    `boundaries` holds the given tokens' starts and ends in each of `texts` (code points, end exclusive).
    Raises ValueError where there are not as many boundaries as texts, or ends as starts.
    """
    found = given = 0
    for tokens, (starts, ends) in zip(tokenizer.batch(texts), boundaries, strict=True):
        wanted = set(zip(starts, ends, strict=True))
        found += len(wanted.intersection(zip(tokens.starts, tokens.ends, strict=True)))
        given += len(wanted)
    return found / given if given else 1.0


def _unknown(what: str, name: str, known: list[str]) -> str:
    return f"unknown {what}, expected {', '.join(known)}{did_you_mean(name, known) or '; use one of these'}"
