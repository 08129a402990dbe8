"""Unicode classes, normal forms and code-point columns: what the tokenizers share.

The classes are those of Google's BERT (`tokenization.py` of google-research/bert), by the `unicodedata` of
the running Python: record `unidata_version()` with whatever was trained on the outcome.
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

Scan = tuple[list[str], Offsets, Offsets]  # the normal forms, starts and ends of one text's tokens

_CODE_POINTS = 0x110000

_CODE_UNIT = np.dtype("<u4")

_BREAK = re.compile("[ \n]")

_BLOCK = 256  # code points learned together: scripts come in blocks

_MAX_WIDTH = 4  # the longest full decomposition in Unicode

_UNKNOWN = 255

_LONGEST_KEPT = 64  # characters of a token whose normal form is remembered

_SCAN_CHARS = 1 << 16  # scanned at a time: the columns then stay in the processor's cache

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
    """The version of the Unicode tables that decide classes and normal forms here, such as `14.0.0`."""
    return unicodedata.unidata_version


def is_removed(char: str) -> bool:
    """Whether cleaning deletes the character: U+FFFD, control and format characters but tab and line ends."""
    if char in "\t\n\r":
        return False
    return char == "\ufffd" or unicodedata.category(char) in ("Cc", "Cf")


def is_punctuation(char: str) -> bool:
    """Whether the character is of category P, or an ASCII sign that is neither letter, digit nor space."""
    if char.isascii():
        return char.isprintable() and not char.isalnum() and char != " "
    return unicodedata.category(char).startswith("P")


def is_cjk(char: str) -> bool:
    """Whether the character is an ideograph as BERT draws the line: no kana, no Hangul, eight blocks."""
    return any(first <= ord(char) <= last for first, last in _CJK)


def lower_and_strip(text: str) -> str:
    """Lower-case, decompose (NFD) and drop the nonspacing marks (Mn)."""
    text = text.lower()
    if text.isascii():
        return text
    return "".join(c for c in unicodedata.normalize("NFD", text) if unicodedata.category(c) != "Mn")


def clean(text: str) -> str:
    """Delete what `is_removed` names and make every whitespace character a space."""
    if text.isprintable() and "\ufffd" not in text:
        return text
    return "".join(" " if c.isspace() else c for c in text if not is_removed(c))


def normal_form(form: str, do_lower_case: bool) -> str:
    """The normal form of one token: cleaned, maybe lower-cased without accents; `form` if that is empty."""
    return (_short_form if len(form) <= _LONGEST_KEPT else _normal_form)(form, do_lower_case)


def _normal_form(form: str, do_lower_case: bool) -> str:
    cleaned = clean(form)
    return (lower_and_strip(cleaned) if do_lower_case else cleaned) or form


_short_form = lru_cache(maxsize=1 << 14)(_normal_form)


def code_points(text: str) -> CodePoints:
    """The text's code points (n,), lone surrogates included."""
    return np.frombuffer(utf_32_le_encode(text, "surrogatepass")[0], dtype=_CODE_UNIT)


class CodePointTable:
    """What becomes of each code point, learned a block at a time from `describe` when the block is first met.

    `describe(char)` gives the character's kind (0 to 254) and its output, at most 4 characters. The tables
    are only ever filled with the same values, kinds last, so threads may share one.
    """

    def __init__(self, describe: Callable[[str], tuple[int, str]]) -> None:
        self._describe = describe
        self._kinds = np.full(_CODE_POINTS, _UNKNOWN, dtype=np.uint8)
        self.widths = np.zeros(_CODE_POINTS, dtype=np.uint8)
        self.outputs = np.zeros((_MAX_WIDTH, _CODE_POINTS), dtype=np.uint32)
        self._first = self.outputs[0]

    def kinds(self, points: CodePoints, out: Kinds) -> int:
        """Write the kinds of `points` (n,) into `out` (n,); returns the highest of them, 0 for none."""
        if not len(points):
            return 0
        self._kinds.take(points, out=out, mode="clip")
        highest = int(np.maximum.reduce(out))
        if highest == _UNKNOWN:
            for block in np.unique(points[out == _UNKNOWN] // _BLOCK).tolist():
                self._learn(block * _BLOCK)
            return self.kinds(points, out)
        return highest

    def first_outputs(self, points: CodePoints) -> CodePoints:
        """The first output of each of `points` (n,): the whole output where every width is one."""
        first: CodePoints = self._first.take(points, mode="clip")
        return first

    def _learn(self, start: int) -> None:
        block = slice(start, start + _BLOCK)
        kinds, outputs = zip(*map(self._describe, map(chr, range(start, start + _BLOCK))), strict=True)
        filled = "".join(output.ljust(_MAX_WIDTH, "\0") for output in outputs)
        self.outputs[:, block] = code_points(filled).reshape(_BLOCK, _MAX_WIDTH).T
        self.widths[block] = [len(output) for output in outputs]
        self._kinds[block] = kinds


def split_before(points: CodePoints, firsts: Mask, count: int) -> list[str]:
    """Cut `points` (n,) before each of the `count` True of `firsts` (n,) and at spaces, which are dropped."""
    places = firsts.cumsum()
    places += np.arange(len(points))
    spaced = np.empty(len(points) + count, dtype=_CODE_UNIT)
    spaced.fill(ord(" "))
    spaced[places] = points
    return utf_32_le_decode(spaced.data, "surrogatepass", True)[0].split()


def scan_one(scan: Callable[[str], Scan], text: str) -> Tokens:
    """The scan of one text as lists. No token may cross a space or a line end."""
    if len(text) <= _SCAN_CHARS:
        norms, starts, ends = scan(text)
        return Tokens(norms, starts.tolist(), ends.tolist())
    tokens = Tokens([], [], [])
    low = 0
    while low < len(text):
        high = _cut(text, low)
        norms, starts, ends = scan(text[low:high])
        tokens.norms += norms
        tokens.starts += (starts + low).tolist()
        tokens.ends += (ends + low).tolist()
        low = high
    return tokens


def scan_many(scan: Callable[[str], Scan], texts: Sequence[str]) -> list[Tokens]:
    """Scan many texts, joined by line ends: short ones then cost no more than long ones. `scan` must never
    see a token across a line end."""
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
    """The normal forms that `scan_many` finds, one text after the other, and how many each text has."""
    norms: list[str] = []
    counts: list[int] = []
    for group in _groups(texts):
        if len(group) == 1:  # maybe a long one
            tokens = scan_one(scan, group[0])
            norms += tokens.norms
            counts.append(len(tokens))
            continue
        found, starts, _ = scan("\n".join(group))
        norms += found
        counts += np.diff(starts.searchsorted(_bases(group))).tolist()
    return norms, counts


def _bases(group: Sequence[str]) -> Offsets:
    """Where each text begins when they are joined by line ends, and where the next one would."""
    bases = np.zeros(len(group) + 1, dtype=np.intp)
    np.cumsum(np.fromiter(map(len, group), dtype=np.intp, count=len(group)) + 1, out=bases[1:])
    return bases


def _cut(text: str, low: int) -> int:
    """Past the last space or line end within reach of `low`, else past the next one, else the text's end."""
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
