"""What a token's form alone tells: its normal form, its shape, its affixes. Looked up once for each distinct form."""

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

# The columns of a form's row: ids in the vocabularies of forms, norms, shapes and affixes (0: no such affix), and of
# the clusters that its pretrained vector is in, coarse to fine (0: none; the encoder fills them in).
FORM, NORM, SHAPE = 0, 1, 2

PREFIXES = tuple(range(3, 3 + len(AFFIX_LENGTHS)))

SUFFIXES = tuple(range(PREFIXES[-1] + 1, PREFIXES[-1] + 1 + len(AFFIX_LENGTHS)))

CLUSTERS = tuple(range(SUFFIXES[-1] + 1, SUFFIXES[-1] + 1 + CLUSTER_LEVELS))

COLUMNS = CLUSTERS[-1] + 1

_KINDS = ("forms", "norms", "shapes", "affixes")  # of vocabularies

_LONGEST_RUN = 2  # in a shape: "Xx" stands for "Paris" and "Rio" alike, "dd" for two digits or more

# Distinct forms, and their characters; beyond, a table starts anew, so that endless input needs no endless memory.
_TABLE_SIZE, _TABLE_CHARACTERS = 1 << 17, 1 << 24


def shape(form: str) -> str:
    """The form with letters and digits replaced by their kind, runs shortened: `iPhone-15` -> `xXxx-dd`."""
    kinds: list[str] = []
    for character in form:
        kind = _kind(character)
        if kinds[-_LONGEST_RUN:] != [kind] * _LONGEST_RUN:
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
    """The prefixes and suffixes shorter than the normal form itself, of each of AFFIX_LENGTHS."""
    lengths = [length for length in AFFIX_LENGTHS if length < len(norm)]
    return [f"{norm[:length]}-" for length in lengths], [f"-{norm[-length:]}" for length in lengths]


class Forms:
    """Vocabularies of forms, normal forms, shapes and affixes."""

    def __init__(self, vocabularies: dict[str, Vocabulary], normalize: Callable[[str], str]) -> None:
        self.vocabularies = vocabularies
        self.normalize = normalize

    @classmethod
    def empty(cls, normalize: Callable[[str], str]) -> Forms:
        """Vocabularies without entries, to be extended."""
        return cls({kind: Vocabulary(()) for kind in _KINDS}, normalize)

    def extended(self, counts: Counter[str], min_count: int = 1) -> Forms:
        """These vocabularies with what more data (form -> occurrences) holds often enough; each id stays."""
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
        found = dict(zip(_KINDS, (counts, norms, shapes, ends), strict=True))
        known = self.vocabularies
        return Forms({kind: known[kind].extended(found[kind], min_count) for kind in _KINDS}, self.normalize)

    def lookup(self, forms: Sequence[str]) -> NDArray[np.int32]:
        """The ids of each form, (forms, COLUMNS)."""
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
        directory.mkdir(exist_ok=True)
        for kind, vocabulary in self.vocabularies.items():
            vocabulary.save(directory / f"{kind}.txt")

    @classmethod
    def load(cls, directory: Path, normalize: Callable[[str], str]) -> Forms:
        return cls({kind: Vocabulary.load(directory / f"{kind}.txt") for kind in _KINDS}, normalize)


_ADDING = threading.RLock()  # one for all tables, so that a fork can wait for whoever adds

if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_ADDING.acquire, after_in_parent=_ADDING.release, after_in_child=_ADDING.release)


class FormTable:
    """Rows of numbers for forms, computed when a form is first met. Threads may share a table.

    compute: distinct forms -> (forms, width). Row 0 is `first`, for no form.
    """

    def __init__(self, compute: Callable[[Sequence[str]], NDArray[np.int32]], first: NDArray[np.int32]) -> None:
        self._compute, self._first = compute, first
        self._state = _State({}, first[None])

    def __reduce__(self) -> tuple[type[FormTable], tuple[object, ...]]:
        return FormTable, (self._compute, self._first)  # a copy begins empty

    def lookup(self, forms: Sequence[str]) -> tuple[NDArray[np.intp], NDArray[np.int32]]:
        """The number of each form's row, (forms,), and the table that has them, (more than enough, width)."""
        state = self._state
        try:
            numbers = state.numbers(forms)
        except KeyError:
            state = self._with(forms)
            numbers = state.numbers(forms)
        return numbers, state.table  # in this order: a table that is read later has all rows that were numbered before

    def _with(self, forms: Sequence[str]) -> _State:
        with _ADDING:
            if len(self._state.number_of) > _TABLE_SIZE or self._state.characters > _TABLE_CHARACTERS:
                self._state = _State({}, self._first[None])  # whoever still reads the old one reads on
            state = self._state
            new = [form for form in dict.fromkeys(forms) if form not in state.number_of]
            state.append(new, self._compute(new))
        return state

    def add(self, forms: Sequence[str], rows: NDArray[np.int32]) -> None:
        """Rows that are known already, of distinct forms that the table doesn't have."""
        with _ADDING:
            self._state.append(forms, rows)


@dataclass
class _State:
    """The forms of a table and its rows, in the order in which they came; only ever added to."""

    number_of: dict[str, int]
    table: NDArray[np.int32]
    characters: int = 0

    def numbers(self, forms: Sequence[str]) -> NDArray[np.intp]:
        return np.fromiter(map(self.number_of.__getitem__, forms), np.intp, len(forms))

    def append(self, forms: Sequence[str], rows: NDArray[np.int32]) -> None:
        """First the rows, then the forms: who finds a form finds its row."""
        known = len(self.number_of) + 1
        if known + len(rows) > len(self.table):
            grown = np.zeros((2 * (known + len(rows)), rows.shape[1]), dtype=np.int32)
            grown[:known] = self.table[:known]
            self.table = grown
        self.table[known : known + len(rows)] = rows
        self.characters += sum(map(len, forms))
        self.number_of.update(zip(forms, range(known, known + len(forms)), strict=True))
