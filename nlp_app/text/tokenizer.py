"""The tokenizer interface, a registry of tokenizers by name, and their agreement with gold tokens."""

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
    """Describe a tokenizer's behavior as a string, for cache keys.

    Args:
        tokenizer: The tokenizer. None: texts are not tokenized.

    Returns:
        Name, settings and Unicode version.
    """
    settings = None if tokenizer is None else (tokenizer.name, sorted(tokenizer.settings().items()))
    return repr((settings, unicodedata.unidata_version))


class Tokenizer(Protocol):
    """A function that splits raw text into tokens, with offsets into the original text and normal forms."""

    @property
    def name(self) -> str:
        """Name of the tokenizer in `TOKENIZERS`."""

    def __call__(self, text: str) -> Tokens:
        """Tokenize one text. Ranges are in code points, end exclusive; never empty, in order, without overlap."""

    def batch(self, texts: Sequence[str]) -> list[Tokens]:
        """Tokenize many texts, faster than one call for each text.

        Args:
            texts: The texts.

        Returns:
            The tokens of each text, the same as from one call for each text.
        """

    def norms(self, texts: Sequence[str]) -> tuple[list[str], list[int]]:
        """Compute the normal forms of many texts' tokens.

        Args:
            texts: The texts.

        Returns:
            The normal forms of all texts, concatenated, and the number of tokens of each text.
        """

    def normalize(self, form: str) -> str:
        """Compute the normal form of one token of pre-tokenized text, without splitting it.

        Args:
            form: The token as written in the text.

        Returns:
            The normal form; empty only if `form` is.
        """

    def settings(self) -> dict[str, bool]:
        """Return the settings from which `make_tokenizer(name, **settings)` makes an equal tokenizer.

        Returns:
            Setting names and values.
        """


# In order of preference, if several reproduce the tokens of a corpus equally well.
TOKENIZERS: Final[Mapping[str, Callable[..., Tokenizer]]] = {
    "basic": BasicTokenizer,
    "char": CharTokenizer,
    "whitespace": WhitespaceTokenizer,
}


def make_tokenizer(name: str, **settings: bool) -> Tokenizer:
    """Create a tokenizer by name.

    Args:
        name: One of `TOKENIZERS`: "basic", "char" or "whitespace".
        settings: Settings of the tokenizer (`do_lower_case`). The tokenizer's own defaults apply to all others.

    Returns:
        The tokenizer.

    Raises:
        SettingsError: The name or a setting is unknown, or a value is not true or false.

    Example:
        >>> make_tokenizer("basic", do_lower_case=False)("U.S. news").norms
        ['U', '.', 'S', '.', 'news']
    """
    if name not in TOKENIZERS:
        raise SettingsError(_unknown_message(f"tokenizer {name!r}", name, list(TOKENIZERS)))
    for setting, value in settings.items():
        if setting != "do_lower_case":
            message = _unknown_message(f"setting {setting!r} of tokenizer {name!r}", setting, ["do_lower_case"])
            raise SettingsError(message)
        if not isinstance(value, bool):
            raise SettingsError(
                f"tokenizer {name!r}: {setting} is {value!r}, expected true or false; set it to one of them"
            )
    return TOKENIZERS[name](**settings)


def agreement(tokenizer: Tokenizer, texts: Sequence[str], boundaries: Sequence[tuple[list[int], list[int]]]) -> float:
    """Compute the share of gold tokens that a tokenizer reproduces exactly.

    Args:
        tokenizer: The tokenizer.
        texts: The texts.
        boundaries: Starts and ends of the gold tokens in each text, in code points, end exclusive.

    Returns:
        The share, 0 to 1; 1 if there are no gold tokens.

    Raises:
        ValueError: There are not as many boundaries as texts, or not as many ends as starts.
    """
    matching = total = 0
    for tokens, (starts, ends) in zip(tokenizer.batch(texts), boundaries, strict=True):
        gold = set(zip(starts, ends, strict=True))
        matching += len(gold.intersection(zip(tokens.starts, tokens.ends, strict=True)))
        total += len(gold)
    return matching / total if total else 1.0


def _unknown_message(subject: str, name: str, known: list[str]) -> str:
    return f"unknown {subject}, expected {', '.join(known)}{did_you_mean(name, known) or '; use one of these'}"
