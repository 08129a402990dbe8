"""Spellings of tags other than `B-PER`: detect which one a corpus uses, and convert its tags."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

from nlp_app.labels.schemes import OUTSIDE, SCHEMES

CANONICAL = "B-PER"

LETTERS_ONLY = "B"

IO = "IO"

_LETTERS = frozenset(letter for scheme in SCHEMES.values() for letter in scheme.letters)

_CLASS = f"[{''.join(sorted(_LETTERS))}]"

# Group 1 is the letter and group 2 the type, except in PER-B and PER_B.
_PATTERNS: Mapping[str, re.Pattern[str]] = MappingProxyType(
    {
        "B_PER": re.compile(rf"({_CLASS})_(.+)", re.DOTALL),
        "b-per": re.compile(rf"({_CLASS.lower()})-(.+)", re.DOTALL),
        "b_per": re.compile(rf"({_CLASS.lower()})_(.+)", re.DOTALL),
        "PER-B": re.compile(rf"(.+)-({_CLASS})", re.DOTALL),
        "PER_B": re.compile(rf"(.+)_({_CLASS})", re.DOTALL),
    }
)

_PREFIXED = re.compile(rf"(\w+[=:|])({OUTSIDE}|{_CLASS}-.+)", re.DOTALL)

_CANONICAL = re.compile(rf"({_CLASS})-(.+)", re.DOTALL)

_NAME = re.compile(r"(?![^\W\d_]-)[^\W\d_].*", re.DOTALL)  # begins with a letter, but not with `P-`

_MIN_RUNS = 0.05  # share of the tokens of a name that are followed by the same name: COMMA has .02, PERSON .3


@dataclass(frozen=True)
class TagCounts:
    """Counts of the tags of a corpus.

    Attributes:
        tags: The counts of the tags.
        pairs: The counts of pairs of neighboring tags, with `O` before and after each sentence.
    """

    tags: Counter[str]
    pairs: Counter[tuple[str, str]]

    @classmethod
    def of(cls, sentences: Iterable[Sequence[str]]) -> TagCounts:
        """Count the tags of sentences.

        Args:
            sentences: The tags of each sentence.

        Returns:
            The counts.
        """
        pairs: Counter[tuple[str, str]] = Counter()
        ends = 0
        for sentence in sentences:
            ends += 1
            pairs.update(itertools.pairwise((OUTSIDE, *sentence, OUTSIDE)))
        tags: Counter[str] = Counter()
        for (_, tag), times in pairs.items():
            tags[tag] += times
        tags[OUTSIDE] -= ends
        return cls(+tags, pairs)

    def respell(self, spelling: str) -> TagCounts:
        """Convert the tags to the canonical spelling.

        Args:
            spelling: A spelling that fits all tags.

        Returns:
            The counts of the converted tags.
        """
        convert = respeller(spelling)
        tags: Counter[str] = Counter()
        pairs: Counter[tuple[str, str]] = Counter()
        for tag, count in self.tags.items():
            tags[convert(tag) or tag] += count
        for (one, two), count in self.pairs.items():
            pairs[convert(one) or one, convert(two) or two] += count
        return TagCounts(tags, pairs)


def respeller(spelling: str) -> Callable[[str], str | None]:
    """Return a function that converts tags to the canonical spelling.

    Args:
        spelling: The result of `find_spelling`.

    Returns:
        A function from a tag to `O`, `B-PER` or a letter alone; None for a tag that does not have the spelling.

    Example:
        >>> respeller("PER_B")("LOC_I")
        'I-LOC'
    """
    if spelling == CANONICAL:
        return _canonical
    if spelling == LETTERS_ONLY:
        return _letter
    if spelling == IO:
        return _name
    if spelling in _PATTERNS:
        return partial(_by_pattern, spelling)
    return partial(_without_prefix, spelling.removesuffix(CANONICAL))


def find_spelling(counts: TagCounts, expected: str = CANONICAL) -> str | None:
    """Find the spelling that fits all tags of a corpus.

    A spelling needs letters that one scheme has, and `O` or several letters. Names without letters are `IO` tags if `O`
    is the most frequent tag, and names are often followed by the same name.

    Args:
        counts: The counts of the tags.
        expected: The spelling of the training file. It is chosen if no other one is found and the tags fit it.

    Returns:
        The name of the spelling, for `respeller`; None if the tags have no scheme.
    """
    tags = list(counts.tags)
    for spelling in (CANONICAL, LETTERS_ONLY, *_PATTERNS, *_prefixed_spellings(tags)):
        if _has_spelling(tags, spelling):
            return spelling
    if _is_io(counts):
        return IO
    return expected if all(map(respeller(expected), tags)) else None


def misfits(counts: TagCounts) -> tuple[str, list[str]] | None:
    """Find the few tags that do not have the spelling of nearly all others.

    Args:
        counts: The counts of tags without a common spelling.

    Returns:
        The spelling of at least 99% of the tokens with a tag other than `O`, and the other tags; None if no spelling
        fits.
    """
    named = Counter({tag: count for tag, count in counts.tags.items() if tag != OUTSIDE})
    for spelling in _PATTERNS:
        fits = respeller(spelling)
        others = sorted(tag for tag in named if fits(tag) is None)
        rest = [tag for tag in counts.tags if tag not in others]
        is_rare = 100 * sum(named[tag] for tag in others) <= named.total()
        if others and is_rare and _has_spelling(rest, spelling):
            return spelling, others
    return None


def _has_spelling(tags: Sequence[str], spelling: str) -> bool:
    converted = list(map(respeller(spelling), tags))
    if not all(converted):
        return False
    letters = {tag[0] for tag in converted if tag is not None and tag != OUTSIDE}
    is_scheme = any(letters <= set(scheme.letters) for scheme in SCHEMES.values())
    has_outside = OUTSIDE in converted
    if spelling == CANONICAL:
        return True
    if spelling == LETTERS_ONLY:  # without O, word segmentation: one letter for each token
        return is_scheme and has_outside and not letters.isdisjoint("BI")
    return is_scheme and bool(letters) and (has_outside or len(letters) > 1)


def _is_io(counts: TagCounts) -> bool:
    names = [tag for tag in counts.tags if tag != OUTSIDE]
    if not names or OUTSIDE not in counts.tags or not all(map(_NAME.fullmatch, names)):
        return False
    if any(_CANONICAL.fullmatch(name) for name in names) or max(counts.tags.values()) > counts.tags[OUTSIDE]:
        return False
    named = counts.tags.total() - counts.tags[OUTSIDE]
    return sum(counts.pairs[name, name] for name in names) >= _MIN_RUNS * named


def _prefixed_spellings(tags: Sequence[str]) -> Iterator[str]:
    match = _PREFIXED.fullmatch(tags[0]) if tags else None
    if match is not None:
        yield match[1] + CANONICAL


def _canonical(tag: str) -> str | None:
    return tag if tag == OUTSIDE or _CANONICAL.fullmatch(tag) else None


def _letter(tag: str) -> str | None:
    return tag if tag == OUTSIDE or tag in _LETTERS else None


def _name(tag: str) -> str | None:
    return tag if tag == OUTSIDE else f"I-{tag}"


def _by_pattern(spelling: str, tag: str) -> str | None:
    if tag == OUTSIDE or (tag == OUTSIDE.lower() and spelling.startswith("b")):
        return OUTSIDE
    match = _PATTERNS[spelling].fullmatch(tag)
    if match is None:
        return None
    letter, name = match.groups() if spelling[:1].upper() == "B" else match.groups()[::-1]
    return f"{letter.upper()}-{name}"


def _without_prefix(prefix: str, tag: str) -> str | None:
    return _canonical(tag.removeprefix(prefix)) if tag.startswith(prefix) else None
