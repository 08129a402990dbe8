"""The tokenizer of Google's BERT, with offsets into the untouched text.

Specification: Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers", NAACL 2019, and the
class `BasicTokenizer` of its `tokenization.py`. The steps there rewrite the text one after the other and
lose the offsets. Here each code point has a kind and an output (what cleaning, lower-casing, decomposing and
accent stripping leave of it), read from a table for the whole text at once; tokens are cut from the column
of outputs, and each output knows its character.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import cache
from typing import ClassVar, NamedTuple

import numpy as np
import six

from nlp_app.text.base import ScanTokenizer
from nlp_app.text.codepoints import (
    CodePoints,
    CodePointTable,
    Kinds,
    Offsets,
    Scan,
    clean,
    code_points,
    is_cjk,
    is_punctuation,
    is_removed,
    lower_and_strip,
    split_before,
)

# Kinds of one output: a position begins a token where its kind is above `previous == _WORD`, and ends one
# where it is above `next == _WORD`.
_SPACE, _WORD, _PUNCTUATION, _CJK = range(4)

_REMOVED = 4  # no output; belongs to no token

_STRIPPED = 5  # no output; belongs to the character before it

_EXPANDED = 6  # a _WORD of several outputs

_CONTEXTUAL = 7  # a _WORD whose output its neighbors can change, but not the output's length


@dataclass(frozen=True, slots=True)
class BasicTokenizer(ScanTokenizer):
    """Tokens as Google's BERT makes them, for every code point alone and in context.

    Control and format characters are deleted; CJK ideographs and punctuation marks are tokens by themselves;
    the rest is split at whitespace. With `do_lower_case`, tokens are lower-cased and stripped of accents.

    A token's range goes from its first character to its last, with the stripped marks that follow. Deleted
    characters inside the range are covered, those at its edges are not; nor are stripped marks that follow no
    character of a token. `text[start:end]` is never empty, and ranges are in order and disjoint.
    """

    do_lower_case: bool = True
    name: ClassVar[str] = "basic"

    def tokenize(self, text: str | bytes) -> list[str]:
        """The normal forms alone. Bytes are read as UTF-8, malformed ones left out, as in BERT.

        Raises TypeError for anything but str and bytes.
        """
        return self(six.ensure_text(text, "utf-8", "ignore")).norms

    def _scan(self, text: str) -> Scan:
        points, table = code_points(text), _table(self.do_lower_case)
        padded = np.zeros(len(points) + 2, dtype=np.uint8)
        kinds = padded[1:-1]
        highest = table.kinds(points, kinds)
        if highest <= _CJK:  # one output for each character: offsets are positions
            norms, starts, lasts = _cut(table.first_outputs(points), padded)
            return norms, starts, lasts + 1
        outputs = _expand(points, kinds, highest, table)
        if highest == _CONTEXTUAL:
            _settle(text, outputs)
        norms, starts, lasts = _cut(outputs.points, outputs.padded)
        return norms, outputs.origins[starts], outputs.reaches[lasts]


def _cut(points: CodePoints, padded: Kinds) -> Scan:
    """The norms of the tokens in a column of outputs (m,), and the places of their first and last outputs.

    `padded` (m + 2,) has the kinds, between two spaces.
    """
    in_word = padded == _WORD
    kinds = padded[1:-1]
    firsts = kinds > in_word[:-2]
    starts = firsts.nonzero()[0]
    lasts = (kinds > in_word[2:]).nonzero()[0]
    return split_before(points, firsts, len(starts)), starts, lasts


class _Outputs(NamedTuple):
    """The column of outputs (m,), the character each comes from, and the end of what each covers of the text.

    `padded` (m + 2,) has their kinds, up to `_CJK`, between two spaces; `contextual` lists those that were of
    that kind.
    """

    points: CodePoints
    padded: Kinds
    contextual: Offsets
    origins: Offsets
    reaches: Offsets


@cache
def _table(do_lower_case: bool) -> CodePointTable:
    return CodePointTable(_describe_lower if do_lower_case else _describe_cased)


def _describe_cased(char: str) -> tuple[int, str]:
    if is_removed(char):
        return _REMOVED, ""
    if char.isspace():
        return _SPACE, " "
    if is_cjk(char):
        return _CJK, char
    return (_PUNCTUATION if is_punctuation(char) else _WORD), char


def _describe_lower(char: str) -> tuple[int, str]:
    kind, output = _describe_cased(char)
    if kind in (_REMOVED, _SPACE):
        return kind, output
    output = lower_and_strip(char)
    if kind == _CJK:
        return kind, output
    if not output:
        return _STRIPPED, ""
    # Punctuation is judged after decomposing: "≠" is "=" by then.
    if is_punctuation(output[0]):
        return _PUNCTUATION, output
    # Sigma has a final form; marks that stay are ordered among each other by combining class.
    if char == "Σ" or any(map(unicodedata.combining, output)):
        return _CONTEXTUAL, output
    return (_WORD if len(output) == 1 else _EXPANDED), output


def _expand(points: CodePoints, kinds: Kinds, highest: int, table: CodePointTable) -> _Outputs:
    """The outputs of characters (n,) of any kind."""
    if highest <= _STRIPPED:
        origins = (kinds <= _CJK).nonzero()[0]
        outputs = table.first_outputs(points[origins])
    else:
        widths = table.widths[points].astype(np.intp)
        origins = np.repeat(np.arange(len(points)), widths)
        inner = np.arange(len(origins)) - (widths.cumsum() - widths)[origins]
        outputs = table.outputs[inner, points[origins]]
    padded = np.zeros(len(origins) + 2, dtype=np.uint8)
    output_kinds = padded[1:-1]
    output_kinds[:] = kinds[origins]
    contextual = (output_kinds == _CONTEXTUAL).nonzero()[0]
    output_kinds[output_kinds > _CJK] = _WORD

    reaches = origins + 1
    marks = (kinds == _STRIPPED).nonzero()[0]
    owners = origins.searchsorted(marks) - 1  # the output before each mark
    owned = owners >= 0
    reaches[owners[owned]] = marks[owned] + 1  # the last of several marks wins: assignment is in order
    return _Outputs(outputs, padded, contextual, origins, reaches)


def _settle(text: str, outputs: _Outputs) -> None:
    """Write the exact outputs of every stretch, between spaces and ideographs, that holds a contextual one.

    BERT lower-cases and decomposes such a stretch as a whole. Its length and its punctuation stay the same.
    """
    kinds = outputs.padded[1:-1]
    origins = np.append(outputs.origins, len(text))
    breaks = ((kinds == _SPACE) | (kinds == _CJK)).nonzero()[0]
    bounds = np.concatenate(([-1], breaks, [len(kinds)]))
    settled = 0
    for place in outputs.contextual.tolist():
        if place < settled:
            continue
        after = int(bounds.searchsorted(place))
        low, settled = int(bounds[after - 1]) + 1, int(bounds[after])
        stretch = text[int(origins[low]) : int(origins[settled])]
        outputs.points[low:settled] = code_points(lower_and_strip(clean(stretch)))
