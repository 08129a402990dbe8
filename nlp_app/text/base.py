"""Base classes of the tokenizers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from nlp_app.core.types import Tokens
from nlp_app.text.codepoints import Scan, normal_form, scan_many, scan_norms, scan_one


@dataclass(frozen=True, slots=True)
class FormTokenizer(ABC):
    """A tokenizer whose normal forms are cleaned, and lower-cased without accents if `do_lower_case` is set.

    Attributes:
        do_lower_case: Lower-case the normal forms and strip their accents.
    """

    do_lower_case: bool = False

    @abstractmethod
    def __call__(self, text: str) -> Tokens:
        """Tokenize one text. Ranges are never empty, in text order, and don't overlap."""

    def batch(self, texts: Sequence[str]) -> list[Tokens]:
        """Tokenize many texts.

        Args:
            texts: The texts.

        Returns:
            The tokens of each text, the same as from one call for each text.
        """
        return [self(text) for text in texts]

    def norms(self, texts: Sequence[str]) -> tuple[list[str], list[int]]:
        """Compute the normal forms of many texts' tokens.

        Args:
            texts: The texts.

        Returns:
            The normal forms of all texts, concatenated, and the number of tokens of each text.
        """
        tokens = self.batch(texts)
        return list(chain.from_iterable(each.norms for each in tokens)), list(map(len, tokens))

    def normalize(self, form: str) -> str:
        """Compute the normal form of one token, without splitting it.

        Args:
            form: The token as written in the text.

        Returns:
            The normal form, or `form` itself if nothing of it would remain.
        """
        return normal_form(form, self.do_lower_case)

    def settings(self) -> dict[str, bool]:
        """Return the settings from which `make_tokenizer(name, **settings)` makes an equal tokenizer.

        Returns:
            Setting names and values.
        """
        return {"do_lower_case": self.do_lower_case}


@dataclass(frozen=True, slots=True)
class ScanTokenizer(FormTokenizer):
    """A tokenizer that processes whole columns of code points; many short texts are processed together."""

    @abstractmethod
    def _scan(self, text: str) -> Scan:
        """Compute the norms, starts and ends of the tokens. No token may cross a line end."""

    def __call__(self, text: str) -> Tokens:
        """Tokenize one text. Ranges are never empty, in text order, and don't overlap."""
        return scan_one(self._scan, text)

    def batch(self, texts: Sequence[str]) -> list[Tokens]:
        """Tokenize many texts; much faster than one call for each text if they are short.

        Args:
            texts: The texts.

        Returns:
            The tokens of each text, the same as from one call for each text.
        """
        return scan_many(self._scan, texts)

    def norms(self, texts: Sequence[str]) -> tuple[list[str], list[int]]:
        """Compute the normal forms of many texts' tokens, without their offsets.

        Args:
            texts: The texts.

        Returns:
            The normal forms of all texts, concatenated, and the number of tokens of each text.
        """
        return scan_norms(self._scan, texts)
