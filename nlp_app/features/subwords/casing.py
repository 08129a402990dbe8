"""How a token is written: what an uncased pretrained model, which reads lower case alone, can't see of it.

0  no token: special pieces, padding       5  McDonald: begins with a capital, others inside
1  paris, covid-19: small letters          6  iPhone: a capital inside
2  I: one capital                          7  1984: digits
3  NATO, COVID-19: capitals                8  3.14, 10%: digits and signs
4  Paris, Jean-Luc: words with a capital   9  signs, and letters that are neither small nor capital
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

KINDS = 10

Kinds = NDArray[np.int8]


def casing_kind(form: str) -> int:
    """The kind of a token's form, 1 to 9."""
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
    """The kind of each form, (forms,)."""
    kinds = {form: casing_kind(form) for form in set(forms)}
    return np.fromiter(map(kinds.__getitem__, forms), dtype=np.int8, count=len(forms))
