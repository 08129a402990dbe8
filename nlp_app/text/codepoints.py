"""Unicode classes, normal forms and code-point columns, shared by the tokenizers.

The classes are those of Google's BERT (`tokenization.py` of google-research/bert). They come from the `unicodedata`
module of the running Python, so models record `unidata_version()`.
"""

from __future__ import annotations

import re
import unicodedata
from codecs import (
    utf_32_le_decode,  # called directly: looking a codec up costs more
    utf_32_le_encode,  # called directly: looking a codec up costs more
)
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from nlp_app.core.types import Tokens

CodePoints = NDArray[np.uint32]

Kinds = NDArray[np.uint8]

Offsets = NDArray[np.intp]

Mask = NDArray[np.bool_]

Scan = tuple[list[str], Offsets, Offsets]  # normal forms, starts and ends of one text's tokens

_CODE_POINTS = 0x110000

_CODE_UNIT = np.dtype("<u4")

_BREAK = re.compile("[ \n]")

_BLOCK = 256  # code points added to a table at a time: the characters of a text come from few blocks

_MAX_WIDTH = 4  # the longest full decomposition in Unicode

_UNKNOWN = 255  # kind of a code point that is not in the table yet

_MAX_CACHED = 64  # characters of a token whose normal form is cached

_SCAN_CHARS = 1 << 16  # characters scanned at a time: their columns fit in the processor's cache

_CJK = (
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0x2F800, 0x2FA1F),
)


def unidata_version() -> str:
    """Return the version of the Unicode tables that determine classes and normal forms.

    Returns:
        The version, for example "14.0.0".
    """
    return unicodedata.unidata_version


def is_removed(char: str) -> bool:
    """Check for a character that cleaning deletes.

    Args:
        char: One character.

    Returns:
        True for U+FFFD and for control and format characters other than tab and line ends.
    """
    if char in "\t\n\r":
        return False
    return char == "\ufffd" or unicodedata.category(char) in ("Cc", "Cf")


def is_punctuation(char: str) -> bool:
    """Check for a punctuation mark, as defined by BERT.

    Args:
        char: One character.

    Returns:
        True for characters of category P, and for ASCII characters that are neither letter, digit, space nor control.
    """
    if char.isascii():
        return char.isprintable() and not char.isalnum() and char != " "
    return unicodedata.category(char).startswith("P")


def is_cjk(char: str) -> bool:
    """Check for a CJK ideograph, as defined by BERT: eight Unicode blocks, without kana and Hangul.

    Args:
        char: One character.

    Returns:
        True for an ideograph.
    """
    return any(first <= ord(char) <= last for first, last in _CJK)


def lower_and_strip(text: str) -> str:
    """Lower-case a text, decompose it (NFD) and remove nonspacing marks (Mn).

    Args:
        text: The text.

    Returns:
        The text in lower case, without accents.
    """
    text = text.lower()
    if text.isascii():
        return text
    return "".join(c for c in unicodedata.normalize("NFD", text) if unicodedata.category(c) != "Mn")


def clean(text: str) -> str:
    """Delete the characters of `is_removed`, and replace all other whitespace by spaces.

    Args:
        text: The text.

    Returns:
        The cleaned text.
    """
    if text.isprintable() and "\ufffd" not in text:
        return text
    return "".join(" " if c.isspace() else c for c in text if not is_removed(c))


def normal_form(form: str, do_lower_case: bool) -> str:
    """Compute the normal form of one token.

    Args:
        form: The token as written in the text.
        do_lower_case: Also lower-case it and strip accents.

    Returns:
        The cleaned form, or `form` itself if nothing of it would remain.
    """
    return (_short_form if len(form) <= _MAX_CACHED else _normal_form)(form, do_lower_case)


def _normal_form(form: str, do_lower_case: bool) -> str:
    cleaned = clean(form)
    return (lower_and_strip(cleaned) if do_lower_case else cleaned) or form


_short_form = lru_cache(maxsize=1 << 14)(_normal_form)


def code_points(text: str) -> CodePoints:
    """Convert a text to an array of code points.

    Args:
        text: The text; may contain lone surrogates.

    Returns:
        (n,) code points; read-only.
    """
    return np.frombuffer(utf_32_le_encode(text, "surrogatepass")[0], dtype=_CODE_UNIT)


class CodePointTable:
    """A lookup table with the kind and output of each code point.

    It is filled a block of code points at a time, when a character of the block first occurs. Threads may share a
    table: they all write the same values, and write the kinds last.

    Args:
        describe: Returns the kind (0 to 254) and the output (at most 4 characters) of a character.

    Attributes:
        widths: (code points,) number of characters of each output.
        outputs: (4, code points) characters of each output, padded with 0.
    """

    def __init__(self, describe: Callable[[str], tuple[int, str]]) -> None:
        self._describe = describe
        self._kinds = np.full(_CODE_POINTS, _UNKNOWN, dtype=np.uint8)
        self.widths = np.zeros(_CODE_POINTS, dtype=np.uint8)
        self.outputs = np.zeros((_MAX_WIDTH, _CODE_POINTS), dtype=np.uint32)
        self._first = self.outputs[0]

    def kinds(self, points: CodePoints, out: Kinds) -> int:
        """Look up the kinds of code points.

        Args:
            points: (n,) code points.
            out: (n,) array to write the kinds to.

        Returns:
            The highest kind; 0 if there are no code points.
        """
        if not len(points):
            return 0
        self._kinds.take(points, out=out, mode="clip")
        highest = int(np.maximum.reduce(out))
        if highest == _UNKNOWN:
            for block in np.unique(points[out == _UNKNOWN] // _BLOCK).tolist():
                self._add_block(block * _BLOCK)
            return self.kinds(points, out)
        return highest

    def first_outputs(self, points: CodePoints) -> CodePoints:
        """Look up the first character of each code point's output.

        Args:
            points: (n,) code points whose blocks are in the table (see `kinds`).

        Returns:
            (n,) first characters: the whole outputs if each has one character.
        """
        first: CodePoints = self._first.take(points, mode="clip")
        return first

    def _add_block(self, start: int) -> None:
        block = slice(start, start + _BLOCK)
        kinds, outputs = zip(*map(self._describe, map(chr, range(start, start + _BLOCK))), strict=True)
        filled = "".join(output.ljust(_MAX_WIDTH, "\0") for output in outputs)
        self.outputs[:, block] = code_points(filled).reshape(_BLOCK, _MAX_WIDTH).T
        self.widths[block] = [len(output) for output in outputs]
        self._kinds[block] = kinds


def split_before(points: CodePoints, firsts: Mask, count: int) -> list[str]:
    """Split code points at the start of each token and at spaces, which are dropped.

    Args:
        points: (n,) code points.
        firsts: (n,) True at the first code point of each token.
        count: Number of True in `firsts`.

    Returns:
        The tokens.
    """
    targets = firsts.cumsum()
    targets += np.arange(len(points))
    spaced = np.empty(len(points) + count, dtype=_CODE_UNIT)
    spaced.fill(ord(" "))
    spaced[targets] = points
    return utf_32_le_decode(spaced.data, "surrogatepass", True)[0].split()


def scan_one(scan: Callable[[str], Scan], text: str) -> Tokens:
    """Tokenize one text, a part at a time if it is long.

    Args:
        scan: Tokenizes a part; no token may cross a space or a line end.
        text: The text.

    Returns:
        The tokens.
    """
    if len(text) <= _SCAN_CHARS:
        norms, starts, ends = scan(text)
        return Tokens(norms, starts.tolist(), ends.tolist())
    tokens = Tokens([], [], [])
    low = 0
    while low < len(text):
        high = _part_end(text, low)
        norms, starts, ends = scan(text[low:high])
        tokens.norms += norms
        tokens.starts += (starts + low).tolist()
        tokens.ends += (ends + low).tolist()
        low = high
    return tokens


def scan_many(scan: Callable[[str], Scan], texts: Sequence[str]) -> list[Tokens]:
    """Tokenize many texts, joined by line ends; short texts then cost no more per character than long ones.

    Args:
        scan: Tokenizes the joined texts; no token may cross a line end.
        texts: The texts.

    Returns:
        The tokens of each text.
    """
    results: list[Tokens] = []
    for group in _groups(texts):
        norms, starts, ends = scan("\n".join(group))
        bases = _bases(group)
        cuts = starts.searchsorted(bases)
        shift = np.repeat(bases[:-1], np.diff(cuts))
        first, last, edges = (starts - shift).tolist(), (ends - shift).tolist(), cuts.tolist()
        for low, high in pairwise(edges):
            results.append(Tokens(norms[low:high], first[low:high], last[low:high]))
    return results


def scan_norms(scan: Callable[[str], Scan], texts: Sequence[str]) -> tuple[list[str], list[int]]:
    """Tokenize many texts, and return the normal forms only.

    Args:
        scan: Tokenizes the joined texts; no token may cross a space or a line end.
        texts: The texts.

    Returns:
        The normal forms of all texts, concatenated, and the number of tokens of each text.
    """
    norms: list[str] = []
    counts: list[int] = []
    for group in _groups(texts):
        if len(group) == 1:  # it may be long
            tokens = scan_one(scan, group[0])
            norms += tokens.norms
            counts.append(len(tokens))
            continue
        group_norms, starts, _ = scan("\n".join(group))
        norms += group_norms
        counts += np.diff(starts.searchsorted(_bases(group))).tolist()
    return norms, counts


def _bases(group: Sequence[str]) -> Offsets:
    """Return the start of each text when they are joined by line ends, and the start of a text after them."""
    bases = np.zeros(len(group) + 1, dtype=np.intp)
    np.cumsum(np.fromiter(map(len, group), dtype=np.intp, count=len(group)) + 1, out=bases[1:])
    return bases


def _part_end(text: str, low: int) -> int:
    """Find the end of the part that begins at `low`: after a space or line end.

    It is the last one within `_SCAN_CHARS` characters, otherwise the next one, otherwise the end of the text.
    """
    high = low + _SCAN_CHARS
    if high >= len(text):
        return len(text)
    last = max(text.rfind(" ", low, high), text.rfind("\n", low, high))
    if last >= 0:
        return last + 1
    later = _BREAK.search(text, high)
    return later.end() if later else len(text)


def _groups(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    low = size = 0
    for index, text in enumerate(texts):
        size += len(text)
        if size >= _SCAN_CHARS:
            yield texts[low : index + 1]
            low, size = index + 1, 0
    if low < len(texts):
        yield texts[low:]
