"""Vocabularies: strings to rows, from training data only, kept as a text file that people can read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nlp_app.core.errors import ModelError

PADDING, UNKNOWN = 0, 1

SPECIALS = ("<pad>", "<unk>")

# A symbol may hold anything that a token can, so the characters that would break a line are escaped.
_ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n", "\r": "\\r"})

_UNESCAPES = {"\\": "\\", "n": "\n", "r": "\r"}


class Vocabulary:
    """Distinct strings with a row each: 0 is padding, 1 stands for every unknown string, the rest follow by falling
    count, then by code point; those that were added later, after them."""

    def __init__(self, symbols: Iterable[str]) -> None:
        self.symbols = list(symbols)
        self._rows = {symbol: row for row, symbol in enumerate(self.symbols, start=len(SPECIALS))}
        if len(self._rows) != len(self.symbols):
            raise ValueError(
                f"a vocabulary needs distinct symbols; {len(self.symbols)} were given, {len(self._rows)} differ"
            )

    @classmethod
    def build(cls, counts: Mapping[str, int], min_count: int = 1) -> Vocabulary:
        """The strings seen at least `min_count` times."""
        return cls(()).extended(counts, min_count)

    def extended(self, counts: Mapping[str, int], min_count: int = 1) -> Vocabulary:
        """This vocabulary, each of its strings in its row, and after them the new ones seen at least so many times."""
        new = [symbol for symbol, count in counts.items() if count >= min_count and symbol not in self]
        return Vocabulary([*self.symbols, *sorted(new, key=lambda symbol: (-counts[symbol], symbol))])

    def __len__(self) -> int:
        """Rows, the special ones included: the size of an embedding table."""
        return len(self.symbols) + len(SPECIALS)

    def __contains__(self, symbol: str) -> bool:
        return symbol in self._rows

    def row(self, symbol: str) -> int:
        """The row of a string; UNKNOWN where training data did not have it."""
        return self._rows.get(symbol, UNKNOWN)

    def rows(self, symbols: Iterable[str]) -> NDArray[np.int32]:
        """`row` for each of the strings."""
        find = self._rows.get
        return np.fromiter((find(symbol, UNKNOWN) for symbol in symbols), dtype=np.int32)

    def save(self, path: Path) -> None:
        """One symbol a line, UTF-8, in the order of rows from 2; backslash, line feed and return are escaped."""
        text = "".join(symbol.translate(_ESCAPES) + "\n" for symbol in self.symbols)
        path.write_text(text, encoding="utf-8", errors="surrogatepass", newline="\n")

    @classmethod
    def load(cls, path: Path) -> Vocabulary:
        """What `save` wrote."""
        try:
            text = path.read_text(encoding="utf-8", errors="surrogatepass")
        except (OSError, UnicodeDecodeError) as error:
            raise ModelError(
                f"{path}: found no readable vocabulary ({error}); train again or copy the model again"
            ) from error
        try:
            return cls(_unescape(line) for line in text.split("\n")[:-1])
        except ValueError as error:
            raise ModelError(
                f"{path}: {error}; the file was changed since it was saved: copy the model again"
            ) from error


def _unescape(line: str) -> str:
    if "\\" not in line:
        return line
    pieces = iter(line)
    return "".join(_UNESCAPES[next(pieces)] if piece == "\\" else piece for piece in pieces)
