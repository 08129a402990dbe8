"""What has to be known of all records of a file before the first becomes a sentence."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from nlp_app.core.errors import DataError
from nlp_app.core.types import Record, TextRecord, TokenRecord
from nlp_app.labels import schemes
from nlp_app.labels.scheme_detection import detect_scheme
from nlp_app.text.spacing import between_words, is_unspaced, no_spaces

_SCHEME_TAG = re.compile(r"[BIEMSWLU]-.")


class RecordScan:
    """What has to be known of all records before the first becomes a sentence."""

    def __init__(self) -> None:
        self.kind: type[Record] | None = None
        self.labeled = False
        self.complete = False
        self.strange_line: int | None = None  # of the first tag that has the form of no scheme
        self._known = {"O"}  # tags that have the form of a scheme
        self._tokens = self._single = self._unspaced = 0  # all, those of one character, and of these, Chinese and such

    def tags(self, records: Iterable[Record], path: str) -> Iterator[list[str]]:
        """Go through all records, and give the tags of those that have some. Raises DataError if they differ in
        kind."""
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
            reason = "found tokens and raw texts in one file, expected one kind: split the file"
            raise DataError(reason, path, _line(record))
        if is_labeled != self.labeled:
            found, before = ("none", "labels") if self.labeled else ("labels", "none")
            reason = f"found {found} where the records before have {before}: label all of them, or split the file"
            raise DataError(reason, path, _line(record))

    def _count(self, record: TokenRecord) -> None:
        single = [token for token in record.tokens if len(token) == 1]
        self._tokens += len(record.tokens)
        self._single += len(single)
        self._unspaced += sum(map(is_unspaced, single))
        new = set(record.tags or ()) - self._known
        if self.strange_line is None and new:
            strange = {tag for tag in new if not _SCHEME_TAG.match(tag)}
            self._known |= new - strange
            pairs = zip(record.lines, record.tags or (), strict=False)
            self.strange_line = next((line for line, tag in pairs if tag in strange), None)

    def spacing(self) -> Callable[[str, str], bool]:
        """As `spacing`."""
        are_characters = self._single >= 0.99 * self._tokens and 2 * self._unspaced >= self._tokens
        return no_spaces if are_characters else between_words


def detect_corpus_scheme(
    seen: RecordScan, records: Iterable[Record], path: str, given: str | None
) -> tuple[str, str] | None:
    """Go through the records. The scheme's name, and what speaks for it where it was not given; None where there are no
    tags. Raises DataError for records that differ in kind, and tags of no scheme."""
    tags, failure = seen.tags(records, path), None
    try:
        found: tuple[str, str] | None = detect_scheme(tags)
    except DataError as error:
        if not seen.complete:  # not the tags are wrong
            raise
        found, failure = None, error
    if seen.kind is TextRecord or not seen.labeled:
        return None
    if given is not None:
        return schemes.find_scheme(given).name, ""
    if failure is not None:
        raise DataError(str(failure), path, seen.strange_line) from failure
    return found


def _line(record: Record) -> int | None:
    if isinstance(record, TextRecord):
        return record.line
    return record.lines[0] if record.lines else None


def spacing(records: Sequence[TokenRecord]) -> Callable[[str, str], bool]:
    """Where spaces stand between the tokens of a file whose raw text is lost, for `join_tokens`.

    Nowhere, if the tokens are the characters of Chinese or Japanese text, a few odd ones aside: letters and
    digits of a word are then tokens too, and no space was lost between them.
    """
    seen = RecordScan()
    for _ in seen.tags(records, ""):
        pass
    return seen.spacing()
