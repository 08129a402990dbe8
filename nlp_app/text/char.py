"""A tokenizer that makes each visible character a token."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import numpy as np

from nlp_app.text.base import ScanTokenizer
from nlp_app.text.codepoints import CodePointTable, Kinds, Scan, code_points, is_removed, normal_form, split_before

# Kinds of a character. Their order matters: a token starts at each character whose kind is greater than the number
# `previous kind > _NONE` (0 or 1).
_NONE, _EXTENDING, _BASE, _SYMBOL, _REPLACEMENT, _JOINER = range(6)

_ZWJ = "\u200d"


@dataclass(frozen=True, slots=True)
class CharTokenizer(ScanTokenizer):
    """Make each visible character a token; whitespace, control and format characters are skipped.

    Characters that modify the previous character stay in its token: marks (M*: accents, vowel signs, variation
    selectors), the zero-width joiner with the symbol that it joins, and emoji modifiers (skin tones). These are most of
    the extending characters of Unicode Standard Annex #29. Its rules for Hangul, conjuncts and flags are not applied,
    so a flag becomes two tokens. Normal forms contain no joiners; with `do_lower_case` they are lower-cased and
    stripped of accents.
    """

    name: ClassVar[str] = "char"

    def _scan(self, text: str) -> Scan:
        points = code_points(text)
        padded = np.zeros(len(points) + 2, dtype=np.uint8)
        kinds = padded[1:-1]
        highest = _table().kinds(points, kinds)
        if highest == _JOINER:
            _join(kinds)
        visible = padded > _NONE
        firsts = kinds > visible[:-2]
        starts = firsts.nonzero()[0]
        ends = (visible[1:-1] & (padded[2:] != _EXTENDING)).nonzero()[0] + 1
        forms = split_before(np.where(visible[1:-1], points, np.uint32(ord(" "))), firsts, len(starts))
        if self.do_lower_case or highest >= _REPLACEMENT:
            forms = [normal_form(form, self.do_lower_case) for form in forms]
        return forms, starts, ends


@cache
def _table() -> CodePointTable:
    return CodePointTable(_describe)


def _describe(char: str) -> tuple[int, str]:
    if char == _ZWJ:
        return _JOINER, char
    if char == "\ufffd":
        return _REPLACEMENT, char
    if char.isspace() or is_removed(char):
        return _NONE, char
    category = unicodedata.category(char)
    if category.startswith("M") or "\U0001f3fb" <= char <= "\U0001f3ff":
        return _EXTENDING, char
    return (_SYMBOL if category.startswith("S") else _BASE), char


def _join(kinds: Kinds) -> None:
    """Attach each joiner that follows a visible character to it, with the next symbol; hide all other joiners."""
    for index in (kinds == _JOINER).nonzero()[0].tolist():
        if index == 0 or kinds[index - 1] == _NONE:
            kinds[index] = _NONE
            continue
        kinds[index] = _EXTENDING
        if index + 1 < len(kinds) and kinds[index + 1] == _SYMBOL:
            kinds[index + 1] = _EXTENDING
