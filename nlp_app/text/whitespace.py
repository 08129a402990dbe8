"""A tokenizer that splits at whitespace."""

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
    """Split text at whitespace, like `str.split()`; a token may contain or consist of invisible characters.

    Normal forms don't contain control and format characters; with `do_lower_case` they are also lower-cased and
    stripped of accents. A token whose normal form would be empty keeps its form.
    """

    name: ClassVar[str] = "whitespace"

    def __call__(self, text: str) -> Tokens:
        """Tokenize one text. Ranges are never empty, in text order, and don't overlap."""
        spans = [match.span() for match in _FORM.finditer(text)]
        lower = self.do_lower_case
        norms = [normal_form(form, lower) for form in text.split()]
        return Tokens(norms, [start for start, _ in spans], [end for _, end in spans])
