"""The basic tokenizer of Google's BERT, with offsets into the original text.

Specification: Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers", NAACL 2019, and the class
`BasicTokenizer` in its `tokenization.py`. The original rewrites the text in several steps and loses the offsets. Here,
each code point has a kind and an output: the code points that cleaning, lower-casing, decomposition and accent
stripping leave of it. Both are read from a table for the whole text at once. The outputs are then split into tokens,
and each output keeps the position of its character.
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

# Kinds of an output. Their order matters: a token starts at each output whose kind is greater than the number
# `previous kind == _WORD` (0 or 1), and ends at each output whose kind is greater than `next kind == _WORD`.
_SPACE, _WORD, _PUNCTUATION, _CJK = range(4)

_REMOVED = 4  # no output; not part of a token

_STRIPPED = 5  # no output; belongs to the previous character

_EXPANDED = 6  # a _WORD with several outputs

_CONTEXTUAL = 7  # a _WORD whose output, but not the output's length, depends on its neighbors


@dataclass(frozen=True, slots=True)
class BasicTokenizer(ScanTokenizer):
    """Split text into words, punctuation marks and CJK characters, exactly as Google's BERT does.

    Use it to prepare text for a BERT model, or as a general tokenizer for Chinese and for languages that put spaces
    between words. The tokens are the same as those of the `BasicTokenizer` in Google's BERT, for every Unicode code
    point and in every context; in addition, each token has its offsets in the original text. The rules:

    - Control and format characters are deleted, and so is U+FFFD.
    - Text is split at whitespace.
    - Each punctuation mark and each CJK ideograph becomes a token. Kana and Hangul are treated like letters.
    - With `do_lower_case`, normal forms are lower-cased and accents are removed: "Café" becomes "cafe".

    Offsets count code points of the text that was passed in, end exclusive: `text[start:end]` is a token as written,
    and is never empty. Ranges are in text order and don't overlap. A token's range starts at its first character and
    ends after its last one, including accents that were removed after it. Deleted characters are part of a range only
    if they are inside the token. An accent that follows no character of a token belongs to no range.

    Instances are immutable and can be shared by threads.

    Attributes:
        do_lower_case: Lower-case the normal forms and remove accents, like BERT's uncased models.
        name: Name of this tokenizer in settings and saved models, "basic".

    Example:
        >>> tokenizer = BasicTokenizer()
        >>> text = "Café-Bar, 北京!"
        >>> tokens = tokenizer(text)
        >>> tokens.norms
        ['cafe', '-', 'bar', ',', '北', '京', '!']
        >>> [text[start:end] for start, end in zip(tokens.starts, tokens.ends)]
        ['Café', '-', 'Bar', ',', '北', '京', '!']
        >>> BasicTokenizer(do_lower_case=False).tokenize(text)
        ['Café', '-', 'Bar', ',', '北', '京', '!']
    """

    do_lower_case: bool = True
    name: ClassVar[str] = "basic"

    def tokenize(self, text: str | bytes) -> list[str]:
        """Split text into tokens, and return only their normal forms.

        Args:
            text: The text. Bytes are decoded as UTF-8; invalid bytes are ignored, as in BERT.

        Returns:
            The normal forms of the tokens, in text order.

        Raises:
            TypeError: `text` is neither str nor bytes.

        Example:
            >>> BasicTokenizer().tokenize("Don't panic!")
            ['don', "'", 't', 'panic', '!']
        """
        return self(six.ensure_text(text, "utf-8", "ignore")).norms

    def _scan(self, text: str) -> Scan:
        points, table = code_points(text), _table(self.do_lower_case)
        padded = np.zeros(len(points) + 2, dtype=np.uint8)
        kinds = padded[1:-1]
        highest = table.kinds(points, kinds)
        if highest <= _CJK:  # one output for each character: positions are offsets
            norms, starts, lasts = _split_tokens(table.first_outputs(points), padded)
            return norms, starts, lasts + 1
        outputs = _expand(points, kinds, highest, table)
        if highest == _CONTEXTUAL:
            _apply_context(text, outputs)
        norms, starts, lasts = _split_tokens(outputs.points, outputs.padded)
        return norms, outputs.origins[starts], outputs.reaches[lasts]


def _split_tokens(points: CodePoints, padded: Kinds) -> Scan:
    """Split a column of outputs (m,) into norms, and return the indices of each token's first and last output.

    `padded` (m + 2,) has the kinds, with a space before and after them.
    """
    in_word = padded == _WORD
    kinds = padded[1:-1]
    firsts = kinds > in_word[:-2]
    starts = firsts.nonzero()[0]
    lasts = (kinds > in_word[2:]).nonzero()[0]
    return split_before(points, firsts, len(starts)), starts, lasts


class _Outputs(NamedTuple):
    """The outputs of a text: the code points that its tokens' norms consist of.

    Attributes:
        points: (m,) the outputs.
        padded: (m + 2,) kinds of the outputs, at most `_CJK`, with a space before and after them.
        contextual: Indices of the outputs that were `_CONTEXTUAL`.
        origins: (m,) position of the character that each output comes from.
        reaches: (m,) end of the text range that each output covers.
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
    # Test for punctuation after decomposition: "≠" has become "=" and an overlay mark, which was stripped.
    if is_punctuation(output[0]):
        return _PUNCTUATION, output
    # A sigma has another form at the end of a word; adjacent marks that are not stripped are sorted by combining class.
    if char == "Σ" or any(map(unicodedata.combining, output)):
        return _CONTEXTUAL, output
    return (_WORD if len(output) == 1 else _EXPANDED), output


def _expand(points: CodePoints, kinds: Kinds, highest: int, table: CodePointTable) -> _Outputs:
    """Look up the outputs of characters (n,) of any kind."""
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
    reaches[owners[owned]] = marks[owned] + 1  # of several marks, the last one counts: values are assigned in order
    return _Outputs(outputs, padded, contextual, origins, reaches)


def _apply_context(text: str, outputs: _Outputs) -> None:
    """Correct the outputs of each stretch between spaces and ideographs that contains a contextual output.

    BERT lower-cases and decomposes a stretch as a whole. The number of outputs and the punctuation don't change.
    """
    kinds = outputs.padded[1:-1]
    origins = np.append(outputs.origins, len(text))
    breaks = ((kinds == _SPACE) | (kinds == _CJK)).nonzero()[0]
    bounds = np.concatenate(([-1], breaks, [len(kinds)]))
    done = 0
    for index in outputs.contextual.tolist():
        if index < done:
            continue
        after = int(bounds.searchsorted(index))
        low, done = int(bounds[after - 1]) + 1, int(bounds[after])
        stretch = text[int(origins[low]) : int(origins[done])]
        outputs.points[low:done] = code_points(lower_and_strip(clean(stretch)))
