"""Read parallel files: one with the tokens of a sentence on each line, and one with their tags (ATIS, SNIPS)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

from nlp_app.core.errors import DataError, SettingsError
from nlp_app.core.types import TokenRecord
from nlp_app.formats.io.compression import open_bytes
from nlp_app.formats.io.encodings import find_encoding
from nlp_app.formats.io.lines import decode_lines, strip_line_ends
from nlp_app.formats.tagging.options import ReadOptions
from nlp_app.formats.tagging.read_log import ReadLog


def tags_path(path: Path, options: ReadOptions) -> Path:
    """Return the file with the tags that belongs to a file with tokens.

    Args:
        path: The file with the tokens.
        options: Reading options, with the name of the file with the tags.

    Returns:
        The file of that name in the same folder.
    """
    return path.parent / Path(options.tags_file or "").name


def read(path: Path, options: ReadOptions, log: ReadLog | None = None) -> Iterator[TokenRecord]:
    """Read the sentences of parallel files. Tokens and tags are separated by spaces or tabs.

    Args:
        path: The file with the tokens.
        options: Reading options: the encoding, and the name of the file with the tags.
        log: Collects remarks.

    Yields:
        A record for each line that is not blank.

    Raises:
        SettingsError: The name of the file with the tags is not set.
        DataError: A file is missing, one of them has more lines, or a line does not have as many tags as tokens.
    """
    if options.tags_file is None:
        raise SettingsError("data.tags: found no value, expected the name of the file with the tags, such as seq.out")
    tags_file = tags_path(path, options)
    if not tags_file.is_file():
        raise DataError(f"found no file {tags_file.name!r} with the tags in the same folder (data.tags)", path)
    for number, (tokens, tags) in enumerate(
        itertools.zip_longest(_rows(path, options, log), _rows(tags_file, options, log)), 1
    ):
        if tokens is None or tags is None:
            shorter, longer = (path, tags_file) if tokens is None else (tags_file, path)
            raise DataError(f"found the end of the file, expected line {number} as in {longer}", shorter, number)
        if len(tokens) != len(tags):
            raise DataError(f"found {len(tokens)} tokens and {len(tags)} tags in {tags_file}:{number}", path, number)
        if tokens:
            yield TokenRecord(tokens, tags, (number,) * len(tokens))
    if log is not None:
        log.remark(f"tags read from {tags_file}")


def _rows(path: Path, options: ReadOptions, log: ReadLog | None) -> Iterator[list[str]]:
    """Yield the words of each line."""
    encoding = find_encoding(path, options.encoding)
    if log is not None:
        for remark in encoding.remarks:
            log.remark(f"{path.name}: {remark}")
    with open_bytes(path) as stream:
        for line in strip_line_ends(decode_lines(stream, str(path), encoding.codec), str(path)):
            yield [word for word in line.replace("\t", " ").split(" ") if word]
