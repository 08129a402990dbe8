"""What a token's form alone tells: its normal form, its shape, its affixes. Looked up once for each distinct form."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nlp_app.vocab import Vocabulary

AFFIX_LENGTHS = (1, 2, 3, 4)
# The columns of a form's row: ids in the vocabularies of forms, norms, shapes and affixes (0: no such affix).
FORM, NORM, SHAPE = 0, 1, 2
PREFIXES = tuple(range(3, 3 + len(AFFIX_LENGTHS)))
SUFFIXES = tuple(range(PREFIXES[-1] + 1, PREFIXES[-1] + 1 + len(AFFIX_LENGTHS)))
COLUMNS = SUFFIXES[-1] + 1

_KINDS = ("forms", "norms", "shapes", "affixes")  # of vocabularies
_LONGEST_RUN = 2  # in a shape: "Xx" stands for "Paris" and "Rio" alike, "dd" for two digits or more
_CACHE_SIZE = 1 << 20  # distinct forms; beyond it the cache starts anew, so that endless input needs no endless memory


def shape(form: str) -> str:
    """The form with letters and digits replaced by their kind, runs shortened: `iPhone-15` -> `xXxx-dd`."""
    kinds: list[str] = []
    for character in form:
        kind = _kind(character)
        if kinds[-_LONGEST_RUN:] != [kind] * _LONGEST_RUN:
            kinds.append(kind)
    return "".join(kinds)


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
    """Vocabularies of forms, normal forms, shapes and affixes, and a cache from a form to its row of ids."""

    def __init__(self, vocabularies: dict[str, Vocabulary], normalise: Callable[[str], str]) -> None:
        self.vocabularies = vocabularies
        self.normalise = normalise
        self._clear()

    def _clear(self) -> None:
        self._row_of: dict[str, int] = {}
        self._table = np.zeros((1024, COLUMNS), dtype=np.int32)

    @classmethod
    def build(cls, counts: Counter[str], normalise: Callable[[str], str], min_count: int = 1) -> Forms:
        """Vocabularies of the strings that `counts` (form -> occurrences in training data) holds often enough."""
        return cls({kind: Vocabulary(()) for kind in _KINDS}, normalise).extended(counts, min_count)

    def extended(self, counts: Counter[str], min_count: int = 1) -> Forms:
        """These vocabularies with what more data (form -> occurrences) holds often enough; each id stays."""
        norms: Counter[str] = Counter()
        shapes: Counter[str] = Counter()
        ends: Counter[str] = Counter()
        for form, count in counts.items():
            norm = self.normalise(form)
            norms[norm] += count
            shapes[shape(form)] += count
            prefixes, suffixes = affixes(norm)
            for affix in prefixes + suffixes:
                ends[affix] += count
        found = dict(zip(_KINDS, (counts, norms, shapes, ends), strict=True))
        known = self.vocabularies
        return Forms({kind: known[kind].extended(found[kind], min_count) for kind in _KINDS}, self.normalise)

    def lookup(self, forms: Sequence[str]) -> NDArray[np.int32]:
        """The ids of each form, (forms, COLUMNS)."""
        row_of = self._row_of
        try:
            rows = [row_of[form] for form in forms]
        except KeyError:
            if len(row_of) > _CACHE_SIZE:
                self._clear()
            self._add(set(forms).difference(self._row_of))
            rows = [self._row_of[form] for form in forms]
        return self._table[rows] if rows else np.zeros((0, COLUMNS), dtype=np.int32)

    def _add(self, forms: Iterable[str]) -> None:
        new = [self._analyse(form) for form in forms]
        known = len(self._row_of)
        if known + len(new) > len(self._table):
            grown = np.zeros((2 * (known + len(new)), COLUMNS), dtype=np.int32)
            grown[:known] = self._table[:known]
            self._table = grown
        for row, (form, ids) in enumerate(new, start=known):
            self._table[row] = ids
            self._row_of[form] = row

    def _analyse(self, form: str) -> tuple[str, list[int]]:
        norm = self.normalise(form)
        ids = [0] * COLUMNS
        ids[FORM] = self.vocabularies["forms"].row(form)
        ids[NORM] = self.vocabularies["norms"].row(norm)
        ids[SHAPE] = self.vocabularies["shapes"].row(shape(form))
        known = self.vocabularies["affixes"]
        for columns, ends in zip((PREFIXES, SUFFIXES), affixes(norm), strict=True):
            for column, affix in zip(columns, ends, strict=False):
                ids[column] = known.row(affix)
        return form, ids

    def save(self, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        for kind, vocabulary in self.vocabularies.items():
            vocabulary.save(directory / f"{kind}.txt")

    @classmethod
    def load(cls, directory: Path, normalise: Callable[[str], str]) -> Forms:
        return cls({kind: Vocabulary.load(directory / f"{kind}.txt") for kind in _KINDS}, normalise)
