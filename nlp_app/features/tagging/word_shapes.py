"""Features of a token's form: normal form, shape and affixes. They are computed once for each distinct form."""

from __future__ import annotations

import os
import threading
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nlp_app.text.vocab import Vocabulary

AFFIX_LENGTHS = (1, 2, 3, 4)

CLUSTER_LEVELS = 3

# Columns of a form's row: ids in the vocabularies of forms, norms, shapes and affixes (0: the form is too short), and
# the clusters of its pretrained vector, coarse to fine (0: no cluster; the encoder fills them in).
FORM, NORM, SHAPE = 0, 1, 2

PREFIXES = tuple(range(3, 3 + len(AFFIX_LENGTHS)))

SUFFIXES = tuple(range(PREFIXES[-1] + 1, PREFIXES[-1] + 1 + len(AFFIX_LENGTHS)))

CLUSTERS = tuple(range(SUFFIXES[-1] + 1, SUFFIXES[-1] + 1 + CLUSTER_LEVELS))

COLUMNS = CLUSTERS[-1] + 1

_KINDS = ("forms", "norms", "shapes", "affixes")  # the vocabularies; also names of files

_MAX_REPEATS = 2  # of a kind in a shape: "Paris" and "Rio" both become "Xxx", and "dd" means two or more digits

# Limits of distinct forms and their characters in a table. Above them, it is cleared: input may be unlimited.
_TABLE_SIZE, _TABLE_CHARACTERS = 1 << 17, 1 << 24


def shape(form: str) -> str:
    """Compute the shape of a form: letters and digits are replaced by their kind, and repetitions are shortened.

    Args:
        form: The token as written in the text.

    Returns:
        The shape: "X" for an uppercase letter, "x" for lowercase, "d" for a digit, "c" for letters without case, "l"
        for all other letters; all other characters are unchanged. The same kind occurs at most twice in a row.

    Example:
        >>> shape("iPhone-15")
        'xXxx-dd'
    """
    kinds: list[str] = []
    for character in form:
        kind = _kind(character)
        if kinds[-_MAX_REPEATS:] != [kind] * _MAX_REPEATS:
            kinds.append(kind)
    return "".join(kinds)


@lru_cache(maxsize=1 << 16)
def _kind(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Lu":
        return "X"
    if category == "Ll":
        return "x"
    if category[0] == "N":
        return "d"
    return "c" if category == "Lo" else "l" if category[0] == "L" else character


def affixes(norm: str) -> tuple[list[str], list[str]]:
    """List the prefixes and suffixes of a normal form, for each of AFFIX_LENGTHS.

    Args:
        norm: The normal form.

    Returns:
        Prefixes, each followed by "-", and suffixes, each preceded by "-"; all are shorter than the normal form itself.
    """
    lengths = [length for length in AFFIX_LENGTHS if length < len(norm)]
    return [f"{norm[:length]}-" for length in lengths], [f"-{norm[-length:]}" for length in lengths]


class Forms:
    """Vocabularies of forms, normal forms, shapes and affixes.

    Attributes:
        vocabularies: The vocabularies by name.
        normalize: Returns the normal form of a token.
    """

    def __init__(self, vocabularies: dict[str, Vocabulary], normalize: Callable[[str], str]) -> None:
        self.vocabularies = vocabularies
        self.normalize = normalize

    @classmethod
    def empty(cls, normalize: Callable[[str], str]) -> Forms:
        """Create empty vocabularies, to be extended.

        Args:
            normalize: Returns the normal form of a token.

        Returns:
            Vocabularies without entries.
        """
        return cls({kind: Vocabulary(()) for kind in _KINDS}, normalize)

    def extended(self, counts: Counter[str], min_count: int = 1) -> Forms:
        """Return a copy with the frequent entries of more data; the ids of known entries don't change.

        Args:
            counts: Number of occurrences of each form.
            min_count: Minimum number of occurrences of a new entry.

        Returns:
            The extended vocabularies.
        """
        norms: Counter[str] = Counter()
        shapes: Counter[str] = Counter()
        ends: Counter[str] = Counter()
        for form, count in counts.items():
            norm = self.normalize(form)
            norms[norm] += count
            shapes[shape(form)] += count
            prefixes, suffixes = affixes(norm)
            for affix in prefixes + suffixes:
                ends[affix] += count
        new = dict(zip(_KINDS, (counts, norms, shapes, ends), strict=True))
        known = self.vocabularies
        return Forms({kind: known[kind].extended(new[kind], min_count) for kind in _KINDS}, self.normalize)

    def lookup(self, forms: Sequence[str]) -> NDArray[np.int32]:
        """Look up the ids of forms.

        Args:
            forms: The tokens as written in the text.

        Returns:
            (forms, COLUMNS) ids; the columns of clusters are 0.
        """
        return np.array([self._ids(form) for form in forms], dtype=np.int32).reshape(-1, COLUMNS)

    def _ids(self, form: str) -> list[int]:
        norm = self.normalize(form)
        ids = [0] * COLUMNS
        ids[FORM] = self.vocabularies["forms"].row(form)
        ids[NORM] = self.vocabularies["norms"].row(norm)
        ids[SHAPE] = self.vocabularies["shapes"].row(shape(form))
        known = self.vocabularies["affixes"]
        for columns, ends in zip((PREFIXES, SUFFIXES), affixes(norm), strict=True):
            for column, affix in zip(columns, ends, strict=False):
                ids[column] = known.row(affix)
        return ids

    def save(self, directory: Path) -> None:
        """Save each vocabulary as a text file.

        Args:
            directory: Directory to write to; created if it doesn't exist.
        """
        directory.mkdir(exist_ok=True)
        for kind, vocabulary in self.vocabularies.items():
            vocabulary.save(directory / f"{kind}.txt")

    @classmethod
    def load(cls, directory: Path, normalize: Callable[[str], str]) -> Forms:
        """Load vocabularies that `save` wrote.

        Args:
            directory: Directory to read from.
            normalize: Returns the normal form of a token.

        Returns:
            The vocabularies.

        Raises:
            ModelError: A file cannot be read.
        """
        return cls({kind: Vocabulary.load(directory / f"{kind}.txt") for kind in _KINDS}, normalize)


_ADD_LOCK = threading.RLock()  # shared by all tables, so that a fork can wait until no thread adds rows

if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_ADD_LOCK.acquire, after_in_parent=_ADD_LOCK.release, after_in_child=_ADD_LOCK.release)


class FormTable:
    """A cache of rows of numbers for forms, computed when a form first occurs. Threads may share it.

    Args:
        compute: Computes the rows (forms, width) of distinct forms.
        first: (width,) row 0, which belongs to no form.
    """

    def __init__(self, compute: Callable[[Sequence[str]], NDArray[np.int32]], first: NDArray[np.int32]) -> None:
        self._compute, self._first = compute, first
        self._state = _State({}, first[None])

    def __reduce__(self) -> tuple[type[FormTable], tuple[object, ...]]:
        return FormTable, (self._compute, self._first)  # a copy starts empty

    def lookup(self, forms: Sequence[str]) -> tuple[NDArray[np.intp], NDArray[np.int32]]:
        """Look up forms, and compute the rows of new ones.

        Args:
            forms: The tokens as written in the text.

        Returns:
            (forms,) number of each form's row, and the table (rows, width), which may have unused rows at the end.
        """
        state = self._state
        try:
            numbers = state.numbers(forms)
        except KeyError:
            state = self._add_missing(forms)
            numbers = state.numbers(forms)
        return numbers, state.table  # read the table last: it then has all rows that were numbered before

    def _add_missing(self, forms: Sequence[str]) -> _State:
        with _ADD_LOCK:
            if len(self._state.number_of) > _TABLE_SIZE or self._state.characters > _TABLE_CHARACTERS:
                self._state = _State({}, self._first[None])  # other threads may still read the old one
            state = self._state
            new = [form for form in dict.fromkeys(forms) if form not in state.number_of]
            state.append(new, self._compute(new))
        return state

    def add(self, forms: Sequence[str], rows: NDArray[np.int32]) -> None:
        """Add rows that are known already.

        Args:
            forms: Distinct forms that are not in the table.
            rows: (forms, width) their rows.
        """
        with _ADD_LOCK:
            self._state.append(forms, rows)


@dataclass
class _State:
    """Forms and rows of a table, in the order of their first occurrence; nothing is ever removed."""

    number_of: dict[str, int]
    table: NDArray[np.int32]
    characters: int = 0

    def numbers(self, forms: Sequence[str]) -> NDArray[np.intp]:
        return np.fromiter(map(self.number_of.__getitem__, forms), np.intp, len(forms))

    def append(self, forms: Sequence[str], rows: NDArray[np.int32]) -> None:
        """Add rows first and forms second: a thread that finds a form then also finds its row."""
        known = len(self.number_of) + 1
        if known + len(rows) > len(self.table):
            grown = np.zeros((2 * (known + len(rows)), rows.shape[1]), dtype=np.int32)
            grown[:known] = self.table[:known]
            self.table = grown
        self.table[known : known + len(rows)] = rows
        self.characters += sum(map(len, forms))
        self.number_of.update(zip(forms, range(known, known + len(forms)), strict=True))
