"""What the tokenizers have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from nlp_app.core.types import Tokens
from nlp_app.text.codepoints import Scan, normal_form, scan_many, scan_norms, scan_one


@dataclass(frozen=True, slots=True)
class FormTokenizer(ABC):
    """A tokenizer whose normal forms are cleaned and, with `do_lower_case`, lower-cased and stripped of accents."""

    do_lower_case: bool = False

    @abstractmethod
    def __call__(self, text: str) -> Tokens:
        """The tokens of one text, with their ranges in it: never empty, in order, disjoint."""

    def batch(self, texts: Sequence[str]) -> list[Tokens]:
        """The tokens of each text, as a call for each would give."""
        return [self(text) for text in texts]

    def norms(self, texts: Sequence[str]) -> tuple[list[str], list[int]]:
        """The normal forms of all texts' tokens, one text after the other, and how many each text has."""
        tokens = self.batch(texts)
        return list(chain.from_iterable(found.norms for found in tokens)), list(map(len, tokens))

    def normalize(self, form: str) -> str:
        """The normal form of one given token, not split further; `form` itself if nothing would be left."""
        return normal_form(form, self.do_lower_case)

    def settings(self) -> dict[str, bool]:
        """What `make_tokenizer(name, **settings)` needs to make this tokenizer again."""
        return {"do_lower_case": self.do_lower_case}


@dataclass(frozen=True, slots=True)
class ScanTokenizer(FormTokenizer):
    """A tokenizer that scans columns of code points; many short texts are scanned as one."""

    @abstractmethod
    def _scan(self, text: str) -> Scan:
        """The tokens' norms, starts and ends. No token may cross a line end."""

    def __call__(self, text: str) -> Tokens:
        """The tokens of one text, with their ranges in it: never empty, in order, disjoint."""
        return scan_one(self._scan, text)

    def batch(self, texts: Sequence[str]) -> list[Tokens]:
        """The tokens of each text, as a call for each would give; faster for many short texts."""
        return scan_many(self._scan, texts)

    def norms(self, texts: Sequence[str]) -> tuple[list[str], list[int]]:
        """The normal forms of all texts' tokens, one text after the other, and how many each text has."""
        return scan_norms(self._scan, texts)
