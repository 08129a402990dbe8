"""Features of a token from the listed words around it: matches of any length, and the likeliest segmentation.

Matches of dictionary words are the features of SoftLexicon (Ma et al. 2020, "Simplify the usage of lexicon in Chinese
NER"), without vectors; classes of names with capitals are those of a gazetteer.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nlp_app.features.feature_index import FeatureIndex, Keys, Rows
from nlp_app.features.lexicon.lexicon import Lexicon, Matches
from nlp_app.features.lexicon.segmentation import segment
from nlp_app.features.lexicon.token_keys import token_keys
from nlp_app.features.tagging.context_features import ContextFeatures, Template

# Columns of a token. Of listed words of two tokens or more: length and class of the longest and the second-longest one
# that begins here, ends here, or goes through here (0: none), and the three lengths of the longest ones.
BEGINS, BEGINS_SECOND, ENDS, ENDS_SECOND, INSIDE, INSIDE_SECOND, MATCH_LENGTHS = range(7)

# With the token's capitals: the class of the token alone, and the class of the longest word that it is part of.
CLASS, LONGER_CLASS = range(7, 9)

# Of the word of the segmentation that contains the token: the token's place in it and its length, its class, the
# classes of the words before and after it, and these words themselves (0: not listed).
PLACE, WORD_CLASS, CLASS_BEFORE, CLASS_AFTER, WORD, WORD_BEFORE, WORD_AFTER = range(9, 16)

COLUMNS = 16

_LENGTHS = 4  # kinds of lengths: 2, 3, 4, 5 or more tokens

_CASES = 4  # kinds of capitals

_FIRST, _OUTSIDE = 2, -1  # the context features' smallest known id, and their id outside of the sentence

_MATCH_TEMPLATES: tuple[Template, ...] = (
    *(((column, 0),) for column in range(BEGINS, MATCH_LENGTHS + 1)),
    *(((column, offset),) for column in (BEGINS, BEGINS_SECOND, ENDS, ENDS_SECOND) for offset in (-1, 1)),
    *(((CLASS, offset),) for offset in (-1, 0, 1)),
    ((LONGER_CLASS, 0),),
)

# A word has one class, so that its pair with the class is the word: as a template with several parts it is looked up by
# its key; for those with one part there are tables of all ids.
_OTHER_TEMPLATES: tuple[Template, ...] = (
    ((CLASS, -1), (CLASS, 0)),
    ((CLASS, 0), (CLASS, 1)),
    *(((column, 0),) for column in (PLACE, WORD_CLASS, CLASS_BEFORE, CLASS_AFTER)),
    ((CLASS_BEFORE, 0), (WORD_CLASS, 0), (CLASS_AFTER, 0)),
    ((WORD, 0), (WORD_CLASS, 0)),
    ((WORD_BEFORE, 0), (CLASS_BEFORE, 0)),
    ((WORD_AFTER, 0), (CLASS_AFTER, 0)),
)

# Matches also get an embedding. Segments don't: their words, embedded, overfit small training sets.
LEXICON_WINDOWS = ContextFeatures((*_MATCH_TEMPLATES, *_OTHER_TEMPLATES), embedded=_MATCH_TEMPLATES, first_number=1000)


class LexiconRows:
    """The rows of a lexicon's features in an index.

    Args:
        lexicon: The lexicon.
        index: Rows of the known features.
    """

    def __init__(self, lexicon: Lexicon, index: FeatureIndex) -> None:
        self._lexicon, self._index = lexicon, index
        limit = _FIRST + (len(lexicon.class_names.symbols) + 1) * _LENGTHS
        self._single = LEXICON_WINDOWS.single_rows(index, max(limit, _FIRST + (_LENGTHS + 1) ** 3))

    def rows(self, forms: Rows, lengths: Sequence[int]) -> Rows:
        """Look up the rows of the lexicon's features at all tokens.

        Args:
            forms: (tokens, WIDTH) columns of the forms of all sentences, concatenated, from `describe_forms`.
            lengths: Number of tokens of each sentence.

        Returns:
            (tokens, templates) rows; 0 for absent and unknown features.
        """
        columns = lexicon_columns(self._lexicon, forms, lengths)
        return LEXICON_WINDOWS.rows_of_ids(self._index, self._single, columns, lengths)


def lexicon_keys(lexicon: Lexicon, rows: Rows, lengths: Sequence[int]) -> Keys:
    """Compute the keys of the lexicon's features at all tokens.

    Args:
        lexicon: The lexicon.
        rows: (tokens, WIDTH) columns of the forms of all sentences, concatenated, from `describe_forms`.
        lengths: Number of tokens of each sentence.

    Returns:
        (tokens, templates) keys; NO_KEY for absent features.
    """
    return LEXICON_WINDOWS.keys(lexicon_columns(lexicon, rows, lengths), lengths)


def lexicon_columns(lexicon: Lexicon, rows: Rows, lengths: Sequence[int]) -> Rows:
    """Describe tokens by the listed words around them.

    Args:
        lexicon: The lexicon.
        rows: (tokens, WIDTH) columns of the forms of all sentences, concatenated, from `describe_forms`.
        lengths: Number of tokens of each sentence.

    Returns:
        (tokens, COLUMNS) ids.
    """
    tokens = token_keys(rows)
    matches = lexicon.match(tokens, lengths)
    columns = np.zeros((COLUMNS, len(rows)), dtype=np.int32)
    _fill_matches(columns, matches, lexicon.class_of_row)
    columns[[CLASS, LONGER_CLASS]] = columns[[CLASS, LONGER_CLASS]] * _CASES + tokens.capitals + _FIRST
    _fill_segments(columns, lexicon, matches, lengths)
    return columns.T


def _fill_matches(columns: Rows, matches: Matches, classes: NDArray[np.int32]) -> None:
    bounds = np.searchsorted(matches.sizes, range(1, 2 + int(matches.sizes.max(initial=1))))
    for size, (first, last) in enumerate(zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True), start=1):
        starts, word_classes = matches.starts[first:last], classes[matches.rows[first:last]]
        if size == 1:
            columns[CLASS, starts] = word_classes
            continue
        ids = _FIRST + word_classes * _LENGTHS + min(size - 2, _LENGTHS - 1)
        places = [(BEGINS, 0), *((INSIDE, inner) for inner in range(1, size - 1)), (ENDS, size - 1)]
        for column, offset in places:  # sizes ascend, so that the longest is the last one
            here = starts + offset
            columns[column + 1, here] = columns[column, here]
            columns[column, here] = ids
            columns[LONGER_CLASS, here] = word_classes
    lengths = [
        np.where(columns[column] > 0, (columns[column] - _FIRST) % _LENGTHS + 1, 0) for column in (BEGINS, ENDS, INSIDE)
    ]
    columns[MATCH_LENGTHS] = (lengths[0] * (_LENGTHS + 1) + lengths[1]) * (_LENGTHS + 1) + lengths[2] + _FIRST


def _fill_segments(columns: Rows, lexicon: Lexicon, matches: Matches, lengths: Sequence[int]) -> None:
    size, classes = columns.shape[1], lexicon.class_of_row
    sizes = segment(lexicon.costs_of(matches, size), lengths)
    starts = np.flatnonzero(sizes)
    sizes = sizes[starts]
    words = _rows_of_words(matches, starts, sizes, size)
    word_of = np.repeat(np.arange(len(starts)), sizes)
    offset = np.arange(size) - starts[word_of]
    place = np.minimum(offset, 1) + 2 * (offset == sizes[word_of] - 1)  # begin, inside, whole word, end
    columns[PLACE] = place * (_LENGTHS + 1) + np.minimum(sizes, _LENGTHS + 1)[word_of] + _FIRST
    sentence = np.repeat(np.arange(len(lengths)), lengths)[starts]
    columns[WORD_CLASS], columns[WORD] = (classes[words] + _FIRST)[word_of], _identity(words)[word_of]
    is_same = np.append(sentence[1:] == sentence[:-1], False)[: len(starts)]  # the next word is in the same sentence
    for shift, class_column, word_column in ((1, CLASS_BEFORE, WORD_BEFORE), (-1, CLASS_AFTER, WORD_AFTER)):
        near, inside = np.roll(words, shift), is_same if shift < 0 else np.roll(is_same, 1)
        columns[class_column] = np.where(inside, classes[near] + _FIRST, _OUTSIDE)[word_of]
        columns[word_column] = np.where(inside, _identity(near), _OUTSIDE)[word_of]


def _rows_of_words(matches: Matches, starts: NDArray[np.intp], sizes: Rows, size: int) -> Rows:
    """Find the row of the word of each segment; 0 for a token that is not listed."""
    rows = np.zeros(size, dtype=np.int32)
    chosen = np.zeros(size, dtype=np.int32)
    chosen[starts] = sizes
    is_chosen = chosen[matches.starts] == matches.sizes
    rows[matches.starts[is_chosen]] = matches.rows[is_chosen]
    return rows[starts]


def _identity(words: Rows) -> Rows:
    return np.where(words > 0, words + (_FIRST - 1), 0).astype(np.int32)
