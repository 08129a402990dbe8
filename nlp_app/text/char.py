"""Every visible character a token."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import numpy as np

from nlp_app.text.base import ScanTokenizer
from nlp_app.text.codepoints import CodePointTable, Kinds, Scan, code_points, is_removed, normal_form, split_before

# A position begins a token where its kind is above `previous is visible`.
_NONE, _EXTENDING, _BASE, _SYMBOL, _REPLACEMENT, _JOINER = range(6)

_ZWJ = "\u200d"


@dataclass(frozen=True, slots=True)
class CharTokenizer(ScanTokenizer):
    """Every visible character is a token; whitespace, control and format characters are none.

    What only shapes the character before it stays with it: marks (M*: accents, vowel signs, variation
    selectors), the zero-width joiner together with a symbol it joins, and emoji modifiers (skin tones).
    These are most of the extending characters of Unicode Standard Annex #29; its rules for Hangul, conjuncts
    and flags are not applied, so a flag is two tokens. Norms leave out joiners; with `do_lower_case` they
    are lower-cased and stripped of accents.
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
    """Make each joiner after a visible character extend it, with the symbol that follows; the others none."""
    for place in (kinds == _JOINER).nonzero()[0].tolist():
        if place == 0 or kinds[place - 1] == _NONE:
            kinds[place] = _NONE
            continue
        kinds[place] = _EXTENDING
        if place + 1 < len(kinds) and kinds[place + 1] == _SYMBOL:
            kinds[place + 1] = _EXTENDING
