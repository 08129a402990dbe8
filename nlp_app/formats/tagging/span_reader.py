"""Check the labeled spans of texts. A bad span is dropped and counted, unless most spans of the file are bad."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from nlp_app.core.errors import DataError
from nlp_app.core.types import CharSpan
from nlp_app.formats.tagging.read_log import ReadLog

_SAMPLE = 100  # texts after which a misread file is refused


class RawSpan(NamedTuple):
    """The values of a span before they are checked. Any of them may be missing or have a wrong type.

    Attributes:
        start: Offset of the first character.
        end: Offset after the last character.
        label: The label.
        quoted: The text that the span should hold; not checked if it is no string.
        problem: A message if the span has no known form; its other values don't count then.
        kind: A plural noun phrase for spans with this problem.
    """

    start: Any
    end: Any
    label: Any
    quoted: Any = None
    problem: str = ""
    kind: str = "spans in an unknown form"


class _BadSpan(Exception):
    """A span that can't be used.

    Attributes:
        kind: A plural noun phrase for the log.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class SpanReader:
    """Turn the spans of a file into labeled spans of its texts, and drop the bad ones.

    Call `finish` at the end of the file. An error is raised there, or after 100 texts, if more than half of the spans
    are bad: then the file is in another format than it seems, or its texts were changed.
    """

    def __init__(self, name: str, log: ReadLog, *, strict: bool = False) -> None:
        """Begin a file.

        Args:
            name: The file's name, for messages.
            log: Counts bad spans.
            strict: Raise an error for every bad span.
        """
        self._name, self._log, self._strict = name, log, strict
        self._texts, self._spans, self._bad = 0, 0, 0
        self._first_error: DataError | None = None

    def read(self, text: Sequence[str], raw: Iterable[RawSpan], key: str, line: int) -> list[CharSpan]:
        """Read all spans of a text.

        Args:
            text: The text, or the tokens if spans count them.
            raw: The spans.
            key: The key of the spans, for messages.
            line: The line of the text.

        Returns:
            The spans that are valid, in the same order.

        Raises:
            DataError: A label is a number, most spans are bad, or one is with strict reading. Names the line.
        """
        found = [self.read_one(text, span, f"`{key}`: ", line) for span in raw]
        self.end_text()
        return [span for span in found if span is not None]

    def read_one(
        self, text: Sequence[str], raw: RawSpan, prefix: str, line: int, path: Path | None = None
    ) -> CharSpan | None:
        """Read one span. Call `end_text` after all spans of a text.

        Args:
            text: The text, or the tokens if spans count them.
            raw: The span.
            prefix: The beginning of messages.
            line: The line of the span.
            path: The file with the span; None if it is the file of the reader.

        Returns:
            The span; None if it is bad.

        Raises:
            DataError: The label is a number, or the span is bad and reading is strict. Names the line.
        """
        self._spans += 1
        name = self._name if path is None else path
        if type(raw.label) is int and type(raw.start) is int and not raw.problem:
            reason = "a number without its name; export the labels as text"
            raise DataError(f"{prefix}found the label {raw.label}, {reason}", name, line)
        try:
            return _check(text, raw)
        except _BadSpan as bad:
            error = DataError(f"{prefix}{bad}", name, line)
            if self._strict:
                raise error from bad
            self._bad += 1
            self._first_error = self._first_error or error
            self._log.repair(f"{bad.kind}, dropped", line if path is None else f"{path.name}:{line}")
        return None

    def end_text(self) -> None:
        """Count a text, all of whose spans were read.

        Raises:
            DataError: Most spans of the first 100 texts are bad.
        """
        self._texts += 1
        if self._texts == _SAMPLE:
            self.finish()

    def finish(self) -> None:
        """Check the spans of the whole file.

        Raises:
            DataError: Most spans are bad. The message is that of the first one.
        """
        if self._first_error is not None and 2 * self._bad > self._spans:
            raise self._first_error


def _check(text: Sequence[str], raw: RawSpan) -> CharSpan:
    """Return a valid span. Raises _BadSpan."""
    start, end, label, quoted, problem, kind = raw
    if problem:
        raise _BadSpan(kind, problem)
    if type(start) is not int or type(end) is not int:
        raise _BadSpan("spans without valid offsets", f"found the offsets {start!r} and {end!r}, expected integers")
    if not isinstance(label, str) or not label:
        raise _BadSpan("spans without a label", f"found the label {label!r}, expected a string")
    if not 0 <= start < end <= len(text):
        kind = "empty spans" if start == end else "spans outside their text"
        expected = f"expected 0 <= start < end <= {len(text)}"
        raise _BadSpan(kind, f"found a span {start}..{end}, {expected}, the length")
    if isinstance(quoted, str) and text[start:end] not in (quoted, quoted.replace("\\n", "\n")):
        found = f"the span {start}..{end} holds {text[start:end]!r}, not {quoted!r}"
        expected = "expected offsets in code points, end exclusive"
        raise _BadSpan("spans whose quoted text is not at their offsets", f"{found}; {expected}")
    return CharSpan(start, end, label)
