"""Detect the tag scheme of a corpus."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from nlp_app.core.errors import DataError
from nlp_app.labels.schemes import NONE, OUTSIDE, SCHEMES, Scheme

_LETTERS = frozenset(itertools.chain.from_iterable(scheme.letters for scheme in SCHEMES.values()))

_TAG = re.compile(r"[^\W\d_]-.+", re.DOTALL)  # one letter, a hyphen and a type, whatever the letter


class DetectedScheme(NamedTuple):
    """A scheme's name, and what in the tags speaks for it: a sentence for people."""

    scheme: str
    evidence: str


def detect_scheme(sentences: Iterable[Sequence[str]]) -> DetectedScheme:
    """The scheme of these tags: of those that have all their letters, the one they break least.

    So a few damaged tags don't hide BIO, and tags that never use `B-` are IOB1. Tags without a scheme (POS)
    are `none`, and so are letters without a type. Raises DataError if there are no tags, if tags of a scheme
    stand among others that no scheme has (`Q-PER` among `B-` and `I-`), or if no scheme has all their
    letters.
    """
    pairs: Counter[tuple[str, str]] = Counter()
    for tags in sentences:
        pairs.update(itertools.pairwise((OUTSIDE, *tags, OUTSIDE)))
    counts: Counter[str] = Counter()
    for (_, tag), count in pairs.items():
        counts[tag] += count
    if not pairs:
        raise DataError("found no tags to recognize a scheme by")
    counts.pop(OUTSIDE, None)
    typed = {tag for tag in counts if _TAG.fullmatch(tag)}
    known = {tag for tag in typed if tag[0] in _LETTERS}
    strange = sorted(counts.keys() - known)
    # A POS tag set may hold a tag such as `M-1` by chance; in a scheme's data most tags look so.
    in_minority = 2 * len(typed) <= len(counts) and 2 * sum(counts[tag] for tag in typed) < counts.total()
    if strange and (not known or in_minority):
        return DetectedScheme(NONE, _no_scheme(strange))
    if strange:
        some = ", ".join(strange[:5]) + (", ..." if len(strange) > 5 else "")
        prefixes = _listed({tag[0] for tag in known})
        raise DataError(f"found tags of no known scheme ({some}) among tags with {prefixes}; correct them")
    return _best_scheme(pairs, frozenset(tag[0] for tag in known))


def _no_scheme(tags: Sequence[str]) -> str:
    some = ", ".join(tags[:5]) + (", ..." if len(tags) > 5 else "")
    if set(tags) <= _LETTERS:
        return f"The tags are letters without a type ({some}); name the scheme to read them as spans."
    return f"{len(tags):,} different tags don't have the form of a tag scheme ({some})."


def _listed(letters: Iterable[str]) -> str:
    return ", ".join(f"{letter}-" for letter in sorted(letters))


def _best_scheme(pairs: Counter[tuple[str, str]], letters: frozenset[str]) -> DetectedScheme:
    if not letters:
        return DetectedScheme("BIO", "All tags are O, which BIO reads as well as any other scheme.")
    broken: dict[str, int] = {}
    for scheme in _covering(letters):
        broken[scheme.name] = sum(count for pair, count in pairs.items() if not scheme.allows(*pair))
    if not broken:
        raise DataError(f"found {_listed(letters)} together, which no known scheme has; correct the tags")
    best, *others = sorted(broken, key=lambda name: broken[name])
    rival = f", {broken[others[0]]:,} break {others[0]}" if others else ""
    breaks = f"{broken[best]:,} of {pairs.total():,} transitions break {best}{rival}"
    return DetectedScheme(best, f"The tags begin with {_listed(letters)}; {breaks}.")


def _covering(letters: frozenset[str]) -> Iterator[Scheme]:
    return (scheme for scheme in SCHEMES.values() if letters <= set(scheme.letters))
