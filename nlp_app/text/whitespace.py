"""Tokens between whitespace."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from nlp_app.core.types import Tokens
from nlp_app.text.base import FormTokenizer
from nlp_app.text.codepoints import normal_form

_FORM = re.compile(r"\S+")


@dataclass(frozen=True, slots=True)
class WhitespaceTokenizer(FormTokenizer):
    """Tokens as `str.split()` makes them: everything between whitespace, invisible characters included.

    Norms are cleaned of control and format characters; with `do_lower_case` also lower-cased and stripped of
    accents. A token of which nothing would be left keeps its form.
    """

    name: ClassVar[str] = "whitespace"

    def __call__(self, text: str) -> Tokens:
        """The tokens of one text, with their ranges in it: never empty, in order, disjoint."""
        spans = [match.span() for match in _FORM.finditer(text)]
        lower = self.do_lower_case
        norms = [normal_form(form, lower) for form in text.split()]
        return Tokens(norms, [start for start, _ in spans], [end for _, end in spans])
