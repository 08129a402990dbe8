"""Tag schemes: how labeled spans are written as one tag a token, and read back.

A scheme is a row of a table: the letter it writes for the first, an inner, the last and the only token of a
span, and what it writes instead where two spans of one type touch. Everything else follows from the row:
which tags may follow each other (what writing can produce), and which letters always open or always close a
span.

A tag is a letter, a hyphen and a type (`B-PER.NAM`; only the first hyphen separates, so `B-creative-work` has
the type `creative-work`), or the letter `O` alone. A letter alone (`B M E S` of word segmentation) has the
type "": so it is read where the scheme is named, while `recognize` takes such tags for tags without a scheme.

Reading is lenient and counts entities the way the CoNLL scorer (conlleval) does: a span ends where the type
changes, where a letter closes it or the next letter opens another, and a letter that continues nothing opens
one.

Sources: Ramshaw & Marcus 1995 (IOB1); Tjong Kim Sang & Veenstra 1999 (BIO = IOB2, IOE1, IOE2); Uchimoto et
al. 2000 (BIOES); Ratinov & Roth 2009 (BILOU); Xue 2003 (BMES).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from types import MappingProxyType
from typing import NamedTuple

from nlp_app.core.errors import DataError, SettingsError, did_you_mean
from nlp_app.core.types import TokenSpan

OUTSIDE = "O"


class _Place(NamedTuple):
    """Where a token can stand in a span, and whether the span touches one of its own type."""

    letter: str
    first: bool
    last: bool
    touches_before: bool
    touches_after: bool


@dataclass(frozen=True, eq=False)
class Scheme:
    """A row of the table: the letters a scheme writes.

    `touching_first` and `touching_last` replace the letter of a span's first or last token where the span
    touches one of its own type (IOB1, IOE1).
    """

    name: str
    first: str = ""
    inner: str = ""
    last: str = ""
    only: str = ""
    touching_first: str = ""
    touching_last: str = ""

    def letter(self, first: bool, last: bool, before: bool, after: bool) -> str:
        """The letter of a token that is its span's first or last, or both, or neither.

        `before`, `after`: whether the span touches one of its own type there.
        """
        if first and before and self.touching_first:
            return self.touching_first
        if last and after and self.touching_last:
            return self.touching_last
        if first:
            return self.only if last else self.first
        return self.last if last else self.inner

    @cached_property
    def letters(self) -> tuple[str, ...]:
        """All letters but O, in the order of a span's tokens."""
        row = (self.touching_first, self.first, self.inner, self.last, self.touching_last, self.only)
        return tuple(dict.fromkeys(letter for letter in row if letter))

    @cached_property
    def _places(self) -> tuple[_Place, ...]:
        return tuple(
            _Place(self.letter(first, last, before, after), first, last, before, after)
            for first, last, before, after in itertools.product((False, True), repeat=4)
            if (first or not before) and (last or not after)
        )

    @cached_property
    def opening(self) -> frozenset[str]:
        """Letters that only a span's first token has."""
        return frozenset(self.letters) - {place.letter for place in self._places if not place.first}

    @cached_property
    def closing(self) -> frozenset[str]:
        """Letters that only a span's last token has."""
        return frozenset(self.letters) - {place.letter for place in self._places if not place.last}

    @cached_property
    def _starts(self) -> frozenset[str]:
        """Letters that may follow O, the sentence's start, or a span of another type."""
        return frozenset(place.letter for place in self._places if place.first and not place.touches_before)

    @cached_property
    def _stops(self) -> frozenset[str]:
        """Letters that O, the sentence's end, or a span of another type may follow."""
        return frozenset(place.letter for place in self._places if place.last and not place.touches_after)

    @cached_property
    def _same_type(self) -> frozenset[tuple[str, str]]:
        """Neighboring letters of one type: inside one span, or where two spans touch."""
        return frozenset(
            (one.letter, two.letter)
            for one, two in itertools.product(self._places, repeat=2)
            if (not one.last and not two.first) or (one.last and two.first and one.touches_after and two.touches_before)
        )

    def allows(self, previous: str, tag: str) -> bool:
        """Whether `encode` can write `tag` after `previous`; O stands for the sentence's ends too."""
        (one, one_type), (two, two_type) = _parse(previous), _parse(tag)
        if OUTSIDE not in (one, two) and one_type == two_type:
            return (one, two) in self._same_type
        return (one == OUTSIDE or one in self._stops) and (two == OUTSIDE or two in self._starts)

    def divides(self, previous: str, tag: str) -> bool:
        """Whether no span can hold both `previous` and, after it, `tag`."""
        (one, one_type), (two, two_type) = _parse(previous), _parse(tag)
        if OUTSIDE in (one, two) or one_type != two_type:
            return True
        return one in self.closing or two in self.opening


NONE = "none"

SCHEMES: Mapping[str, Scheme] = MappingProxyType(
    {
        scheme.name: scheme
        for scheme in (  # the order settles ties in `recognize`
            Scheme("BIO", first="B", inner="I", last="I", only="B"),
            Scheme("IOB1", first="I", inner="I", last="I", only="I", touching_first="B"),
            Scheme("IOE1", first="I", inner="I", last="I", only="I", touching_last="E"),
            Scheme("IOE2", first="I", inner="I", last="E", only="E"),
            Scheme("BIOES", first="B", inner="I", last="E", only="S"),
            Scheme("BMES", first="B", inner="M", last="E", only="S"),
            Scheme("BMEWO", first="B", inner="M", last="E", only="W"),
            Scheme("BILOU", first="B", inner="I", last="L", only="U"),
            Scheme(NONE),
        )
    }
)

ALIASES: Mapping[str, str] = MappingProxyType({"IOB2": "BIO", "IOBES": "BIOES", "BMEO": "BMES"})


class SchemeRepair(NamedTuple):
    """A tag that its scheme does not allow where it stands. `index` counts the sentence's tokens from 0."""

    index: int  # type: ignore[assignment]
    tag: str
    reason: str


def find_scheme(name: str) -> Scheme:
    """The scheme of that name. Raises SettingsError if there is none."""
    found = SCHEMES.get(ALIASES.get(name, name))
    if found is None:
        hint = did_you_mean(name.upper(), SCHEMES)
        raise SettingsError(f"unknown tag scheme {name!r}; known: {', '.join(SCHEMES)}{hint}")
    return found


@lru_cache(maxsize=65536)
def _parse(tag: str) -> tuple[str, str]:
    letter, _, label = tag.partition("-")
    return letter, label


@lru_cache(maxsize=65536)
def _check(tag: str, scheme: Scheme) -> tuple[str, str]:
    """The tag's letter and type. Raises DataError if it is none of the scheme's."""
    letter, hyphen, label = tag.partition("-")
    if (letter in scheme.letters and bool(hyphen) == bool(label)) or tag == OUTSIDE:
        return letter, label
    known = ", ".join(f"{letter}-" for letter in scheme.letters)
    raise DataError(f"found the tag {tag!r}, expected {known} with a type, or O, as {scheme.name} has them")


@lru_cache(maxsize=65536)
def _step(previous: str, tag: str, scheme: Scheme) -> tuple[str | None, bool, bool]:
    """The type of `tag` (None: outside), whether it begins a span, and whether it may follow `previous`."""
    letter, label = _check(tag, scheme)
    inside = None if letter == OUTSIDE else label
    return inside, inside is not None and scheme.divides(previous, tag), scheme.allows(previous, tag)


def decode(tags: Sequence[str], scheme: str) -> tuple[list[TokenSpan], list[SchemeRepair]]:
    """A sentence's spans in order, and each tag that the scheme doesn't allow where it stands.

    Entities are counted as conlleval counts them, whatever the repairs. A sentence that ends inside an entity
    is one repair at its last token. `none`: one span a token, its tag the label.

    Raises DataError for a tag that is none of the scheme's.
    """
    rules = find_scheme(scheme)
    if rules.name == NONE:
        return [TokenSpan(index, index + 1, tag) for index, tag in enumerate(tags)], []
    spans: list[TokenSpan] = []
    repairs: list[SchemeRepair] = []
    start, open_label, previous = 0, None, OUTSIDE
    for index, tag in enumerate(tags):
        if tag == OUTSIDE == previous:
            continue
        label, begins, allowed = _step(previous, tag, rules)
        if not allowed:
            place = f"follows {previous}" if index else "opens the sentence"
            repairs.append(SchemeRepair(index, tag, f"{tag} {place}, which {rules.name} never writes"))
        if open_label is not None and (begins or label is None):
            spans.append(TokenSpan(start, index, open_label))
        if begins:
            start = index
        open_label, previous = label, tag
    if open_label is not None:
        spans.append(TokenSpan(start, len(tags), open_label))
        if not rules.allows(previous, OUTSIDE):
            reason = f"the sentence ends in {previous}, which {rules.name} never writes"
            repairs.append(SchemeRepair(len(tags) - 1, previous, reason))
    return spans, repairs


def encode(spans: Iterable[TokenSpan], length: int, scheme: str) -> list[str]:
    """The tags of a sentence of `length` tokens: the inverse of `decode`.

    Raises ValueError for spans that overlap, are empty or leave the sentence; for `none`, unless they are one
    a token.
    """
    rules = find_scheme(scheme)
    ordered = sorted(spans)
    end = 0
    for span in ordered:
        if not end <= span.start < span.end <= length:
            raise ValueError(f"found {span}, expected flat, non-empty spans within {length} tokens")
        end = span.end
    if rules.name == NONE:
        if [(span.start, span.end) for span in ordered] != [(index, index + 1) for index in range(length)]:
            raise ValueError(f"without a scheme each of the {length} tokens has one span of its own")
        return [span.label for span in ordered]
    tags = [OUTSIDE] * length
    touches = [one.end == two.start and one.label == two.label for one, two in itertools.pairwise(ordered)]
    for span, before, after in zip(ordered, [False, *touches], [*touches, False], strict=bool(ordered)):
        for index in range(span.start, span.end):
            letter = rules.letter(index == span.start, index == span.end - 1, before, after)
            tags[index] = f"{letter}-{span.label}" if span.label else letter
    return tags


def tag_names(labels: Sequence[str], scheme: str) -> list[str]:
    """Every tag that `encode` can write for these labels: O, then label by label (`B-LOC`, `I-LOC`).

    `none`: the labels themselves.
    """
    rules = find_scheme(scheme)
    if rules.name == NONE:
        return list(labels)
    pairs = itertools.product(labels, rules.letters)
    return [OUTSIDE, *(f"{letter}-{label}" if label else letter for label, letter in pairs)]
