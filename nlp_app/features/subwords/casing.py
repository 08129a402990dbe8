"""Casing kinds of tokens, for uncased pretrained models, which read lower case only.

0  no token: special subwords, padding     5  McDonald: starts with a capital, more inside
1  paris, covid-19: small letters          6  iPhone: a capital inside
2  I: one capital                          7  1984: digits
3  NATO, COVID-19: capitals                8  3.14, 10%: digits and signs
4  Paris, Jean-Luc: words with a capital   9  signs, and letters without case
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

KINDS = 10

Kinds = NDArray[np.int8]


def casing_kind(form: str) -> int:
    """Determine the casing kind of a token.

    Args:
        form: The token as written in the text.

    Returns:
        The kind, 1 to 9; the module docstring lists them.
    """
    if form.islower():
        return 1
    if form.isupper():
        return 2 if len(form) == 1 else 3
    if form.istitle():
        return 4
    if any(map(str.isupper, form)):
        return 5 if form[0].isupper() else 6
    if form.isdigit():
        return 7
    return 8 if any(map(str.isdigit, form)) else 9


def casing_kinds(forms: Sequence[str]) -> Kinds:
    """Determine the casing kinds of many tokens.

    Args:
        forms: The tokens as written in the text.

    Returns:
        (forms,) the kind of each.
    """
    kinds = {form: casing_kind(form) for form in set(forms)}
    return np.fromiter(map(kinds.__getitem__, forms), dtype=np.int8, count=len(forms))
