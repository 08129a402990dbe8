"""Keys of tokens that can be folded into the key of their sequence.

A key is a polynomial of a token's characters, so that a sequence has the key of its text, wherever tokens divide it:
a listed word matches Chinese text in characters and in words. Only between two letters or digits of scripts with case,
or digits, a boundary counts as a space: "now here" is not "nowhere".
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nlp_app.core.paths import bundled_path
from nlp_app.features.feature_index import Keys, Rows, mix_bits

WIDTH = 5  # columns of a form: halves of its key, halves of its factor, and its flags

_BASE = 0xD1342543DE82EF97  # 3 modulo 4: its powers differ in as many bits as possible

_MASK = (1 << 64) - 1

_STARTS, _ENDS, _CAPITALS = 1, 2, 2  # flags of a form, and the place of its capitals behind them

NO_CASE, LOWER, TITLE, UPPER = range(4)  # capitals of a form


class TokenKeys(NamedTuple):
    """Keys of tokens.

    Attributes:
        keys: (tokens,) key of each token alone.
        factors: (tokens,) factor of the key before a token when the token is appended.
        terms: (tokens,) number added to the product.
        capitals: (tokens,) NO_CASE, LOWER, TITLE or UPPER.
    """

    keys: Keys
    factors: Keys
    terms: Keys
    capitals: NDArray[np.int32]


@cache
def simplified_characters() -> Mapping[int, int]:
    """Load the table of traditional Chinese characters.

    Returns:
        The simplified character of each traditional one, for `str.translate`.
    """
    traditional, simplified = bundled_path("data/lexicons/simplified.txt").read_text(encoding="utf-8").split()
    return str.maketrans(traditional, simplified)


def describe_forms(forms: Sequence[str], norms: Sequence[str]) -> Rows:
    """Compute the columns of forms from which `token_keys` makes the keys of tokens.

    Args:
        forms: The forms, as written in the text.
        norms: Their normal forms.

    Returns:
        (forms, WIDTH) numbers.
    """
    table = simplified_characters()
    texts = [norm.translate(table) or "\0" for norm in norms]
    if not texts:
        return np.zeros((0, WIDTH), dtype=np.int32)
    lengths = np.array([len(text) for text in texts])
    powers = np.cumprod(np.append(np.uint64(1), np.full(lengths.max(), _BASE, dtype=np.uint64)), dtype=np.uint64)
    codes = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.uint64)
    ends = np.cumsum(lengths)
    exponents = np.repeat(ends, lengths) - np.arange(len(codes)) - 1
    keys = np.add.reduceat(_code_keys(codes) * powers[exponents], ends - lengths)
    flags = [
        _STARTS * _is_spaced(text[0]) + _ENDS * _is_spaced(text[-1]) + (_capitals(form) << _CAPITALS)
        for form, text in zip(forms, texts, strict=True)
    ]
    halves = np.stack((keys, powers[lengths]), axis=1).view(np.int32)
    return np.column_stack((halves, np.array(flags, dtype=np.int32))).astype(np.int32)


def _code_keys(codes: Keys) -> Keys:
    return mix_bits(codes + np.uint64(1))


@cache
def _is_spaced(character: str) -> bool:
    """Check if the character is a letter or digit of a script that has spaces between words."""
    return character.isalnum() and unicodedata.category(character) != "Lo"


def _capitals(form: str) -> int:
    if form.lower() == form.upper():
        return NO_CASE
    if form == form.lower():
        return LOWER
    return TITLE if form[1:] == form[1:].lower() else UPPER


def token_keys(rows: Rows) -> TokenKeys:
    """Make the keys of consecutive tokens from the columns of their forms.

    Args:
        rows: (tokens, WIDTH) columns of each token's form.

    Returns:
        The keys.
    """
    halves = np.ascontiguousarray(rows[:, : WIDTH - 1]).view(np.uint64)
    keys, powers, flags = halves[:, 0].copy(), halves[:, 1], rows[:, WIDTH - 1]
    with_space = np.zeros(len(rows), dtype=bool)
    with_space[1:] = (flags[:-1] & _ENDS != 0) & (flags[1:] & _STARTS != 0)
    factors, terms = powers.copy(), keys.copy()
    factors[with_space] *= np.uint64(_BASE)
    terms[with_space] += _code_keys(np.array([ord(" ")], dtype=np.uint64)) * powers[with_space]
    return TokenKeys(keys, factors, terms, flags >> _CAPITALS)
