"""Tag schemes: encode labeled spans as one tag per token and decode them.

A scheme is defined by one row of a table: the letters for the first, inner, last and only token of a span, and the
letters used instead where two spans of the same type touch. The other properties follow from the row: the allowed
transitions (pairs of tags that encoding can produce), and the letters that always start or always end a span.

A tag is a letter, a hyphen and a type (`B-PER.NAM`), or the letter `O` alone. Only the first hyphen is a separator, so
`B-creative-work` has the type `creative-work`. A letter alone (`B M E S` in word segmentation) has the type "". Tags in
another spelling are converted before they are decoded (see `tag_spelling`).

Decoding is lenient and yields the same entities as the CoNLL scorer (conlleval): a span ends where the type changes,
after a letter that always ends a span, and before a letter that always starts one. A letter that continues no span
starts a new one.

Sources: Ramshaw & Marcus 1995 (IOB1); Tjong Kim Sang & Veenstra 1999 (BIO = IOB2, IOE1, IOE2); Uchimoto et al. 2000
(BIOES); Ratinov & Roth 2009 (BILOU); Xue 2003 (BMES).
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


class _SpanPosition(NamedTuple):
    """A token's position in a span, with its letter; `touches_*`: the span touches another one of the same type."""

    letter: str
    first: bool
    last: bool
    touches_before: bool
    touches_after: bool


@dataclass(frozen=True, eq=False)
class Scheme:
    """The letters of a tag scheme.

    Attributes:
        name: Name of the scheme.
        first: Letter of a span's first token.
        inner: Letter of the tokens between the first and the last.
        last: Letter of a span's last token.
        only: Letter of a span of one token.
        touching_first: Letter of the first token if the previous span touches this one and has the same type (IOB1);
            empty: no special letter.
        touching_last: Letter of the last token if the next span touches this one and has the same type (IOE1); empty:
            no special letter.
    """

    name: str
    first: str = ""
    inner: str = ""
    last: str = ""
    only: str = ""
    touching_first: str = ""
    touching_last: str = ""

    def letter(self, first: bool, last: bool, before: bool, after: bool) -> str:
        """Select the letter of a token.

        Args:
            first: The token is the first one of its span.
            last: The token is the last one of its span.
            before: A span of the same type touches this span on the left.
            after: A span of the same type touches this span on the right.

        Returns:
            The letter.
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
        """All letters except O, in the order of a span's tokens."""
        row = (self.touching_first, self.first, self.inner, self.last, self.touching_last, self.only)
        return tuple(dict.fromkeys(letter for letter in row if letter))

    @cached_property
    def _positions(self) -> tuple[_SpanPosition, ...]:
        return tuple(
            _SpanPosition(self.letter(first, last, before, after), first, last, before, after)
            for first, last, before, after in itertools.product((False, True), repeat=4)
            if (first or not before) and (last or not after)
        )

    @cached_property
    def opening(self) -> frozenset[str]:
        """Letters used only for a span's first token."""
        return frozenset(self.letters) - {position.letter for position in self._positions if not position.first}

    @cached_property
    def closing(self) -> frozenset[str]:
        """Letters used only for a span's last token."""
        return frozenset(self.letters) - {position.letter for position in self._positions if not position.last}

    @cached_property
    def _starts(self) -> frozenset[str]:
        """Letters allowed after O, at the start of the sentence and after a span of another type."""
        return frozenset(
            position.letter for position in self._positions if position.first and not position.touches_before
        )

    @cached_property
    def _stops(self) -> frozenset[str]:
        """Letters allowed before O, at the end of the sentence and before a span of another type."""
        return frozenset(
            position.letter for position in self._positions if position.last and not position.touches_after
        )

    @cached_property
    def _same_type(self) -> frozenset[tuple[str, str]]:
        """Allowed pairs of letters for neighboring tags of the same type: within one span, or of two touching spans."""
        return frozenset(
            (one.letter, two.letter)
            for one, two in itertools.product(self._positions, repeat=2)
            if (not one.last and not two.first) or (one.last and two.first and one.touches_after and two.touches_before)
        )

    def allows(self, previous: str, tag: str) -> bool:
        """Check if a tag may follow another one, that is, if `encode` can write this pair.

        Args:
            previous: The previous token's tag; "O" at the start of the sentence.
            tag: The tag that follows; "O" at the end of the sentence.

        Returns:
            True if the transition is allowed.
        """
        (one, one_type), (two, two_type) = _parse(previous), _parse(tag)
        if OUTSIDE not in (one, two) and one_type == two_type:
            return (one, two) in self._same_type
        return (one == OUTSIDE or one in self._stops) and (two == OUTSIDE or two in self._starts)

    def is_boundary(self, previous: str, tag: str) -> bool:
        """Check if a span starts or ends between two neighboring tags.

        Args:
            previous: The previous token's tag.
            tag: The tag that follows.

        Returns:
            True if no span can contain both tokens.
        """
        (one, one_type), (two, two_type) = _parse(previous), _parse(tag)
        if OUTSIDE in (one, two) or one_type != two_type:
            return True
        return one in self.closing or two in self.opening


NONE = "none"

SCHEMES: Mapping[str, Scheme] = MappingProxyType(
    {
        scheme.name: scheme
        for scheme in (  # `detect_scheme` selects the first one in a tie
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

# IO tags (`PER`, `O`) are converted to `I-PER`, `O` before they are decoded.
ALIASES: Mapping[str, str] = MappingProxyType({"IOB2": "BIO", "IOBES": "BIOES", "BMEO": "BMES", "IO": "IOB1"})


class SchemeRepair(NamedTuple):
    """A tag that its scheme does not allow in this place.

    Attributes:
        index: Index of the token in the sentence, from 0.
        tag: The tag as read.
        reason: The violated rule, in words.
    """

    index: int  # type: ignore[assignment]
    tag: str
    reason: str


def find_scheme(name: str) -> Scheme:
    """Look up a tag scheme by name.

    Args:
        name: A key of `SCHEMES` or `ALIASES`.

    Returns:
        The scheme.

    Raises:
        SettingsError: If there is no scheme of this name.
    """
    scheme = SCHEMES.get(ALIASES.get(name, name))
    if scheme is None:
        hint = did_you_mean(name.upper(), SCHEMES)
        raise SettingsError(f"unknown tag scheme {name!r}; known: {', '.join(SCHEMES)}{hint}")
    return scheme


@lru_cache(maxsize=65536)
def _parse(tag: str) -> tuple[str, str]:
    letter, _, label = tag.partition("-")
    return letter, label


@lru_cache(maxsize=65536)
def _check(tag: str, scheme: Scheme) -> tuple[str, str]:
    """Split a tag into letter and type; raise DataError if the tag is not valid in the scheme."""
    letter, hyphen, label = tag.partition("-")
    if (letter in scheme.letters and bool(hyphen) == bool(label)) or tag == OUTSIDE:
        return letter, label
    known = ", ".join(f"{letter}-" for letter in scheme.letters)
    raise DataError(f"tag {tag!r} is not valid in {scheme.name}; expected {known} with a type, or O")


@lru_cache(maxsize=65536)
def _step(previous: str, tag: str, scheme: Scheme) -> tuple[str | None, bool, bool]:
    """Decode a tag: its type (None: outside), True if it starts a span, and True if it may follow `previous`."""
    letter, label = _check(tag, scheme)
    span_type = None if letter == OUTSIDE else label
    return span_type, span_type is not None and scheme.is_boundary(previous, tag), scheme.allows(previous, tag)


def decode(tags: Sequence[str], scheme: str) -> tuple[list[TokenSpan], list[SchemeRepair]]:
    """Decode the tags of a sentence.

    The spans are the entities that conlleval counts, with and without repairs. If the sentence ends inside an entity,
    one repair is reported at its last token.

    Args:
        tags: One tag per token.
        scheme: Name of the scheme. With "none", each token is a span with its tag as the label.

    Returns:
        The spans in order, and a repair for each tag that the scheme does not allow in its place.

    Raises:
        DataError: If a tag is not valid in the scheme.
        SettingsError: If there is no scheme of this name.

    Example:
        >>> decode(["B-PER", "I-PER", "O"], "BIO")
        ([TokenSpan(start=0, end=2, label='PER')], [])
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
        label, starts_span, allowed = _step(previous, tag, rules)
        if not allowed:
            place = f"follows {previous}" if index else "opens the sentence"
            repairs.append(SchemeRepair(index, tag, f"{tag} {place}, which {rules.name} never writes"))
        if open_label is not None and (starts_span or label is None):
            spans.append(TokenSpan(start, index, open_label))
        if starts_span:
            start = index
        open_label, previous = label, tag
    if open_label is not None:
        spans.append(TokenSpan(start, len(tags), open_label))
        if not rules.allows(previous, OUTSIDE):
            reason = f"the sentence ends in {previous}, which {rules.name} never writes"
            repairs.append(SchemeRepair(len(tags) - 1, previous, reason))
    return spans, repairs


def encode(spans: Iterable[TokenSpan], length: int, scheme: str) -> list[str]:
    """Encode the spans of a sentence as tags; the inverse of `decode`.

    Args:
        spans: The spans in any order, without overlap.
        length: Number of tokens of the sentence.
        scheme: Name of the scheme.

    Returns:
        One tag per token.

    Raises:
        ValueError: If spans overlap, are empty or exceed the sentence; with the scheme "none", if there is not exactly
            one span per token.
        SettingsError: If there is no scheme of this name.

    Example:
        >>> encode([TokenSpan(0, 2, "PER")], 3, "BIOES")
        ['B-PER', 'E-PER', 'O']
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
            raise ValueError(f"without a tag scheme, each of the {length} tokens needs a span of its own")
        return [span.label for span in ordered]
    tags = [OUTSIDE] * length
    touches = [one.end == two.start and one.label == two.label for one, two in itertools.pairwise(ordered)]
    for span, before, after in zip(ordered, [False, *touches], [*touches, False], strict=bool(ordered)):
        for index in range(span.start, span.end):
            letter = rules.letter(index == span.start, index == span.end - 1, before, after)
            tags[index] = f"{letter}-{span.label}" if span.label else letter
    return tags


def tag_names(labels: Sequence[str], scheme: str) -> list[str]:
    """List all tags that `encode` can write for the labels.

    Args:
        labels: The span labels.
        scheme: Name of the scheme.

    Returns:
        O, then the tags of each label (`B-LOC`, `I-LOC`); with the scheme "none", the labels themselves.

    Raises:
        SettingsError: If there is no scheme of this name.
    """
    rules = find_scheme(scheme)
    if rules.name == NONE:
        return list(labels)
    pairs = itertools.product(labels, rules.letters)
    return [OUTSIDE, *(f"{letter}-{label}" if label else letter for label, letter in pairs)]
