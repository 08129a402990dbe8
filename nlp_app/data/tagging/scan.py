"""Scan a file's records to determine their type, tag scheme and spacing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from nlp_app.core.errors import DataError
from nlp_app.core.types import Record, TextRecord, TokenRecord
from nlp_app.labels import schemes
from nlp_app.labels.scheme_detection import DetectedScheme, detect_counted_scheme
from nlp_app.labels.tag_spelling import CANONICAL, IO, TagCounts, find_spelling
from nlp_app.text.spacing import between_words, is_unspaced, no_spaces

_SCHEME_TAG = re.compile(r"[BIEMSWLU]-.")


class RecordScan:
    """Properties of a file's records that have to be known before the first sentence is made.

    Attributes:
        kind: Type of the records; None before the first record.
        labeled: If the records have tags or spans.
        complete: If all records have been scanned.
        unknown_tag_line: Line of the first tag that has the form of no scheme.
    """

    def __init__(self) -> None:
        self.kind: type[Record] | None = None
        self.labeled = False
        self.complete = False
        self.unknown_tag_line: int | None = None
        self._known = {"O"}  # tags that have the form of a scheme
        self._tokens = 0
        self._single = 0  # tokens of one character
        self._unspaced = 0  # tokens of one character in a script without spaces, such as Chinese

    def tags(self, records: Iterable[Record], path: str) -> Iterator[list[str]]:
        """Scan all records and yield their tags.

        Args:
            records: All records of a file.
            path: The file, for messages.

        Yields:
            The tags of each record that has tags.

        Raises:
            DataError: Tokens and raw texts are mixed, or labeled and unlabeled records.
        """
        for record in records:
            self._check(record, path)
            if isinstance(record, TokenRecord):
                self._count(record)
                if record.tags is not None:
                    yield record.tags
        self.complete = True

    def _check(self, record: Record, path: str) -> None:
        is_labeled = (record.spans if isinstance(record, TextRecord) else record.tags) is not None
        if self.kind is None:
            self.kind, self.labeled = type(record), is_labeled
        if type(record) is not self.kind:
            reason = "found tokens and raw texts in one file, expected only one of them; split the file"
            raise DataError(reason, path, _line(record))
        if is_labeled != self.labeled:
            found, expected = ("no labels", "labels") if self.labeled else ("labels", "no labels")
            reason = f"found {found}, expected {expected} as in the previous records; label all, or split the file"
            raise DataError(reason, path, _line(record))

    def _count(self, record: TokenRecord) -> None:
        single = [token for token in record.tokens if len(token) == 1]
        self._tokens += len(record.tokens)
        self._single += len(single)
        self._unspaced += sum(map(is_unspaced, single))
        new = set(record.tags or ()) - self._known
        if self.unknown_tag_line is None and new:
            unknown = {tag for tag in new if not _SCHEME_TAG.match(tag)}
            self._known |= new - unknown
            pairs = zip(record.lines, record.tags or (), strict=False)
            self.unknown_tag_line = next((line for line, tag in pairs if tag in unknown), None)

    def spacing(self) -> Callable[[str, str], bool]:
        """Return the rule for spaces between the scanned tokens, see `detect_spacing`.

        Returns:
            A function of two adjacent tokens; True if a space belongs between them.
        """
        are_characters = self._single >= 0.99 * self._tokens and 2 * self._unspaced >= self._tokens
        return no_spaces if are_characters else between_words


def detect_corpus_scheme(
    scan: RecordScan, records: Iterable[Record], path: str, scheme: str | None, spelling: str = CANONICAL
) -> DetectedScheme | None:
    """Scan all records and detect their tag scheme.

    Args:
        scan: An empty scan, filled with the records.
        records: All records of a file.
        path: The file, for messages.
        scheme: Name of the scheme, if it is known.
        spelling: Spelling of the tags in the training file.

    Returns:
        The scheme, the reason for it (empty if `scheme` was given) and the spelling of the tags; None if the records
        have no tags.

    Raises:
        DataError: Tokens and raw texts are mixed, labeled and unlabeled records are mixed, or the tags fit no scheme.
    """
    counts = TagCounts.of(scan.tags(records, path))
    if scan.kind is TextRecord or not scan.labeled:
        return None
    if scheme is not None:
        return _with_spelling(schemes.find_scheme(scheme).name, scheme, counts, spelling)
    try:
        return detect_counted_scheme(counts, spelling)
    except DataError as error:
        raise DataError(str(error), path, scan.unknown_tag_line) from error


def _with_spelling(name: str, requested: str, counts: TagCounts, expected: str) -> DetectedScheme:
    """Return a scheme that is known, with the spelling of the tags in this file."""
    if name == schemes.NONE:
        return DetectedScheme(name, "")
    spelling = find_spelling(counts, expected) or CANONICAL
    if requested == IO and spelling == CANONICAL and find_spelling(counts) != CANONICAL:
        spelling = IO  # names that are not recognized as IO tags
    if requested == IO and spelling != IO:
        return detect_counted_scheme(counts)._replace(evidence="")
    return DetectedScheme(IO if spelling == IO else name, "", spelling)


def _line(record: Record) -> int | None:
    if isinstance(record, TextRecord):
        return record.line
    return record.lines[0] if record.lines else None


def detect_spacing(records: Sequence[TokenRecord]) -> Callable[[str, str], bool]:
    """Detect if tokens are separated by spaces, for a file without raw text.

    There are no spaces if at least 99% of the tokens are single characters, and at least half of all tokens are
    characters of a script without spaces, such as Chinese or Japanese. Letters and digits are then single tokens, too,
    and no space belongs between them.

    Args:
        records: All records of the file.

    Returns:
        A function of two adjacent tokens for `join_tokens`; True if a space belongs between them.
    """
    scan = RecordScan()
    for _ in scan.tags(records, ""):
        pass
    return scan.spacing()
