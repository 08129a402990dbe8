"""Detect the tag scheme of a corpus, and the spelling of its tags."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from nlp_app.core.errors import DataError
from nlp_app.labels.schemes import NONE, OUTSIDE, SCHEMES, Scheme
from nlp_app.labels.tag_spelling import CANONICAL, IO, LETTERS_ONLY, TagCounts, find_spelling, misfits

_LETTERS = frozenset(itertools.chain.from_iterable(scheme.letters for scheme in SCHEMES.values()))

_TAG = re.compile(r"[^\W\d_]-.+", re.DOTALL)  # any letter, a hyphen and a type


class DetectedScheme(NamedTuple):
    """A detected tag scheme and the reason for the choice.

    Attributes:
        scheme: Name of the scheme, a key of `schemes.SCHEMES`.
        evidence: The evidence in the tags, as one English sentence.
        spelling: The spelling of the tags, see `tag_spelling`; `B-PER` also for tags without a scheme.
        remark: A note for the user if the tags are read in another way than they are written; else empty.
    """

    scheme: str
    evidence: str
    spelling: str = CANONICAL
    remark: str = ""


def detect_scheme(sentences: Iterable[Sequence[str]]) -> DetectedScheme:
    """Detect the tag scheme of a corpus.

    The candidates are the schemes that use all letters of the tags. The candidate with the fewest forbidden
    transitions is selected, so BIO is detected despite a few damaged tags, and tags that never use `B-` are IOB1. Tags
    in another spelling (`B_PER`, `PER-B`, `b-per`, `B`, or names and `O`) are converted first. Tags without a scheme
    (POS tags), and letters without a type or `O`, give "none".

    Args:
        sentences: The tags of each sentence.

    Returns:
        The scheme and the evidence for it.

    Raises:
        DataError: If there are no tags; if tags of a scheme are mixed with tags of no known scheme (`Q-PER` among `B-`
            and `I-`); or if no scheme uses all of the letters.

    Example:
        >>> detect_scheme([["B_PER", "I_PER", "O"]]).spelling
        'B_PER'
    """
    return detect_counted_scheme(TagCounts.of(sentences))


def detect_counted_scheme(counts: TagCounts, expected: str = CANONICAL) -> DetectedScheme:
    """Detect the tag scheme of a corpus from the counts of its tags.

    Args:
        counts: The counts.
        expected: The spelling of the training file, for a file that is too small to show its spelling.

    Returns:
        The scheme and the evidence for it, see `detect_scheme`.

    Raises:
        DataError: See `detect_scheme`.
    """
    if not counts.pairs:
        raise DataError("found no tags; at least one is needed to detect the tag scheme")
    spelling = find_spelling(counts, expected)
    if spelling is None or spelling == CANONICAL:
        return _detect_canonical(counts)
    converted = counts.respell(spelling)
    letters = frozenset(tag[0] for tag in converted.tags if tag != OUTSIDE)
    found = _best_scheme(converted.pairs, letters)
    example = next(tag for tag in counts.tags if tag.upper() != OUTSIDE) if letters else OUTSIDE
    scheme = IO if spelling == IO else found.scheme
    return DetectedScheme(scheme, found.evidence, spelling, _describe(spelling, example))


def _describe(spelling: str, example: str) -> str:
    """Describe how the tags of a spelling are read."""
    if spelling == IO:
        return (
            f"tags are names such as {example}, and O, without B- or I-: neighboring tokens with the same name are "
            "read as one span (IO tags); --set data.scheme=none reads them as one label per token"
        )
    if spelling == LETTERS_ONLY:
        return "tags are letters without a type: spans without a label; --set data.scheme=none reads plain labels"
    return f"tags are spelled {spelling}, such as {example}: read as B-PER, and written in this form"


def _warn_of_outside(counts: TagCounts) -> str:
    """Return a warning if tags without a scheme include `O`, which they rarely do."""
    if OUTSIDE not in counts.tags:
        return ""
    return (
        f"tags of no known scheme, and O ({counts.tags[OUTSIDE]:,} of {counts.tags.total():,}): each is learned as "
        "the label of a token, O as well. If runs of a tag are spans, set data.scheme=IO; data.scheme=none confirms "
        "plain labels"
    )


def _detect_canonical(counted: TagCounts) -> DetectedScheme:
    counts, pairs = Counter(counted.tags), counted.pairs
    counts.pop(OUTSIDE, None)
    typed = {tag for tag in counts if _TAG.fullmatch(tag)}
    known = {tag for tag in typed if tag[0] in _LETTERS}
    unknown = sorted(counts.keys() - known)
    # A POS tag set may contain a tag such as `M-1` by chance; in data with a scheme, most tags have this form.
    in_minority = 2 * len(typed) <= len(counts) and 2 * sum(counts[tag] for tag in typed) < counts.total()
    misspelled = misfits(counted)
    if misspelled is not None:
        spelling, others = misspelled
        examples = ", ".join(others[:5]) + (", ..." if len(others) > 5 else "")
        raise DataError(f"found tags of no known scheme ({examples}) among tags such as {spelling}; correct these tags")
    if unknown and (not known or in_minority):
        return DetectedScheme(NONE, _evidence_for_none(unknown), remark=_warn_of_outside(counted))
    if unknown:
        examples = ", ".join(unknown[:5]) + (", ..." if len(unknown) > 5 else "")
        prefixes = _format_prefixes({tag[0] for tag in known})
        raise DataError(f"found tags of no known scheme ({examples}) among tags with {prefixes}; correct these tags")
    return _best_scheme(pairs, frozenset(tag[0] for tag in known))


def _evidence_for_none(tags: Sequence[str]) -> str:
    examples = ", ".join(tags[:5]) + (", ..." if len(tags) > 5 else "")
    if set(tags) <= _LETTERS:
        return f"The tags are letters without a type ({examples}); name the scheme to read them as spans."
    return f"{len(tags):,} different tags don't have the form of a tag scheme ({examples})."


def _format_prefixes(letters: Iterable[str]) -> str:
    return ", ".join(f"{letter}-" for letter in sorted(letters))


def _best_scheme(pairs: Counter[tuple[str, str]], letters: frozenset[str]) -> DetectedScheme:
    if not letters:
        return DetectedScheme("BIO", "All tags are O, which is valid in BIO as in every other scheme.")
    violations: dict[str, int] = {}
    for scheme in _candidates(letters):
        violations[scheme.name] = sum(count for pair, count in pairs.items() if not scheme.allows(*pair))
    if not violations:
        raise DataError(f"no known scheme has {_format_prefixes(letters)} together; correct the tags")
    best, *others = sorted(violations, key=lambda name: violations[name])
    second = f", {violations[others[0]]:,} break {others[0]}" if others else ""
    summary = f"{violations[best]:,} of {pairs.total():,} transitions break {best}{second}"
    return DetectedScheme(best, f"The tags begin with {_format_prefixes(letters)}; {summary}.")


def _candidates(letters: frozenset[str]) -> Iterator[Scheme]:
    return (scheme for scheme in SCHEMES.values() if letters <= set(scheme.letters))
