"""What goes through a command: input that may be a file or standard input, output likewise, a bar, runs of records."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO, TypeVar

from tqdm import tqdm

from nlp_app.errors import DataError
from nlp_app.formats.source import CHUNK
from nlp_app.output import no_bar, standard_output, whole_file

T = TypeVar("T")

STDIN = "standard input"
_CHUNK_RECORDS = 1000  # predicted together: enough to fill batches, few enough to hold
_CHUNK_SIZE = 200_000  # tokens, or characters of raw text, after which a chunk is closed
_SHOW_AFTER = 2.0  # seconds until a bar appears


def check_characters(texts: Sequence[str]) -> None:
    """Raises DataError for a text from the command line that isn't whole characters."""
    for number, text in enumerate(texts, 1):
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise DataError(f"TEXT {number}: found bytes that are not UTF-8; expected UTF-8 text")


def chunks(
    items: Iterable[T], size: Callable[[T], int], most: int = _CHUNK_RECORDS, room: int = _CHUNK_SIZE
) -> Iterator[list[T]]:
    """Runs of items that are small enough, by number and by size, to be held in memory together."""
    chunk: list[T] = []
    held = 0
    for item in items:
        chunk.append(item)
        held += size(item)
        if len(chunk) >= most or held >= room:
            yield chunk
            chunk, held = [], 0
    if chunk:
        yield chunk


def bar_over(quiet: bool, unit: str, source: Iterable[str] = (), total: int | None = None) -> tqdm[str]:
    """A bar over the lines of `source`, or one that is told of its progress; it comes only if there is a wait."""
    off = no_bar(quiet)
    return tqdm(source, total=total, unit=unit, delay=_SHOW_AFTER, disable=off, file=sys.stderr, leave=False)


class Replayed:
    """A stream whose beginning has been looked at, and is still there to be read."""

    def __init__(self, stream: BinaryIO, name: str) -> None:
        try:
            self.head = stream.read(CHUNK)
        except OSError as error:
            raise DataError(f"can't be read: {error.strerror}", name) from error
        self._stream, self._ahead = stream, self.head

    def read(self, size: int) -> bytes:
        ahead, self._ahead = self._ahead, b""
        return ahead or self._stream.read(size)


@contextmanager
def input_of(source: str) -> Iterator[Replayed]:
    """The bytes of a file, or with `-` of standard input."""
    if source == "-":
        if sys.stdin is None:
            raise DataError("is closed; give TEXT or --input FILE", STDIN)
        if sys.stdin.isatty():
            sys.stderr.write("reading standard input: a text a line, then Ctrl-D\n")
        yield Replayed(sys.stdin.buffer, STDIN)
        return
    with _opened(source) as stream:
        yield Replayed(stream, source)


def _opened(path: str) -> BinaryIO:
    try:
        return Path(path).open("rb")
    except OSError as error:
        raise DataError(f"can't be read: {error.strerror}; give a file, or - for standard input", path) from error


def output_to(target: str | None) -> AbstractContextManager[TextIO]:
    """A file that is complete or absent; None or `-`: standard output."""
    return standard_output() if target is None or target == "-" else whole_file(target)
