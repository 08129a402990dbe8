"""Vocabularies: a row for each string of the training data, saved as a readable text file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nlp_app.core.errors import ModelError

PADDING, UNKNOWN = 0, 1

SPECIALS = ("<pad>", "<unk>")

# A symbol may contain any character, so those that would break a line of the file are escaped.
_ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n", "\r": "\\r"})

_UNESCAPES = {"\\": "\\", "n": "\n", "r": "\r"}


class Vocabulary:
    """Distinct strings, each with a row of an embedding table.

    Row 0 is padding, and row 1 stands for all unknown strings. The other rows are sorted by decreasing count, then by
    code point; strings that were added later follow after them.

    Args:
        symbols: The strings in the order of their rows, which start at 2.
    """

    def __init__(self, symbols: Iterable[str]) -> None:
        self.symbols = list(symbols)
        self._rows = {symbol: row for row, symbol in enumerate(self.symbols, start=len(SPECIALS))}
        if len(self._rows) != len(self.symbols):
            raise ValueError(
                f"found {len(self._rows)} distinct symbols among {len(self.symbols)}, expected no duplicates"
            )

    @classmethod
    def build(cls, counts: Mapping[str, int], min_count: int = 1) -> Vocabulary:
        """Build a vocabulary from counts.

        Args:
            counts: Number of occurrences of each string.
            min_count: Minimum number of occurrences.

        Returns:
            The vocabulary of the strings that occur often enough.
        """
        return cls(()).extended(counts, min_count)

    def extended(self, counts: Mapping[str, int], min_count: int = 1) -> Vocabulary:
        """Return a copy with more strings; the rows of the present ones don't change.

        Args:
            counts: Number of occurrences of each string.
            min_count: Minimum number of occurrences of a new string.

        Returns:
            The extended vocabulary.
        """
        new = [symbol for symbol, count in counts.items() if count >= min_count and symbol not in self]
        return Vocabulary([*self.symbols, *sorted(new, key=lambda symbol: (-counts[symbol], symbol))])

    def __len__(self) -> int:
        """Return the number of rows, including the special ones: the size of an embedding table."""
        return len(self.symbols) + len(SPECIALS)

    def __contains__(self, symbol: str) -> bool:
        return symbol in self._rows

    def row(self, symbol: str) -> int:
        """Look up the row of a string.

        Args:
            symbol: The string.

        Returns:
            Its row; UNKNOWN if it is not in the vocabulary.
        """
        return self._rows.get(symbol, UNKNOWN)

    def rows(self, symbols: Iterable[str]) -> NDArray[np.int32]:
        """Look up the rows of many strings.

        Args:
            symbols: The strings.

        Returns:
            (symbols,) the row of each; UNKNOWN if it is not in the vocabulary.
        """
        find = self._rows.get
        return np.fromiter((find(symbol, UNKNOWN) for symbol in symbols), dtype=np.int32)

    def save(self, path: Path) -> None:
        """Save the vocabulary as UTF-8 text, one symbol per line, starting with row 2.

        Backslash, line feed and carriage return are escaped with a backslash.

        Args:
            path: File to write.
        """
        text = "".join(symbol.translate(_ESCAPES) + "\n" for symbol in self.symbols)
        path.write_text(text, encoding="utf-8", errors="surrogatepass", newline="\n")

    @classmethod
    def load(cls, path: Path) -> Vocabulary:
        """Load a vocabulary that `save` wrote.

        Args:
            path: File to read.

        Returns:
            The vocabulary.

        Raises:
            ModelError: The file cannot be read, or contains duplicates.
        """
        try:
            text = path.read_text(encoding="utf-8", errors="surrogatepass")
        except (OSError, UnicodeDecodeError) as error:
            raise ModelError(
                f"{path}: found no readable vocabulary ({error}); copy the model again, or train again"
            ) from error
        try:
            lines = text.split("\n")[:-1]
            return cls(map(_unescape, lines) if "\\" in text else lines)
        except ValueError as error:
            raise ModelError(
                f"{path}: {error}; the file was changed after it was saved: copy the model again"
            ) from error


def _unescape(line: str) -> str:
    if "\\" not in line:
        return line
    characters = iter(line)
    return "".join(_UNESCAPES[next(characters)] if char == "\\" else char for char in characters)
