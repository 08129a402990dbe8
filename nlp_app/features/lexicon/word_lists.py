"""Find and read lists of words: installed or bundled ones by name, files of a user by path."""

from __future__ import annotations

import hashlib
import importlib.util
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from nlp_app.core.errors import DataError, SettingsError
from nlp_app.core.paths import bundled_path
from nlp_app.formats.io.compression import open_bytes

NAMES = ("jieba", "names")  # lists that are known by name; any other string is a path

MAX_CLASSES = 1000  # of a list; more are a column that doesn't hold classes

_MAX_FREQUENCY = 1 << 50  # sums of a million of them still fit into 64 bits

_COLUMNS = ("word", "word frequency", "word frequency class")

_WITH_FREQUENCY = re.compile(r"\S.* \d+( [^ ]+)?")


class WordList(NamedTuple):
    """A list of words.

    Attributes:
        name: The name or path in the settings.
        words: The words, as they are written in the list; a word may occur several times.
        frequencies: Frequency of each word; 1 if the list has none.
        classes: Class of each word; the name of the list if it has none.
        sha256: Checksum of the file, as hexadecimal digits.
    """

    name: str
    words: list[str]
    frequencies: list[int]
    classes: list[str]
    sha256: str


def find_word_list(name: str) -> Path:
    """Locate a list of words.

    Args:
        name: One of NAMES, or a path.

    Returns:
        The path of the file.

    Raises:
        SettingsError: The package of the list is not installed, or the file does not exist.
    """
    if name == "names":
        return bundled_path("data/lexicons/names.txt.gz")
    if name == "jieba":
        spec = importlib.util.find_spec("jieba")  # finds the package without importing it
        if spec is None or not spec.submodule_search_locations:
            raise SettingsError(
                "model.lexicon: 'jieba' is not installed; run pip install 'nlp-app[lexicons]', or remove it"
            )
        return Path(spec.submodule_search_locations[0]) / "dict.txt"
    if not Path(name).is_file():
        raise SettingsError(
            f"model.lexicon: found no file {name!r}, expected a file or one of {', '.join(NAMES)}; correct the path"
        )
    return Path(name)


def read_word_list(name: str) -> WordList:
    """Read a list of words, compressed or not.

    Each line is `word`, `word frequency` or `word frequency class`. The columns are separated by a TAB if the file has
    any, else by a space; with spaces, all lines have the columns of the first one. Empty lines are skipped.

    Args:
        name: One of NAMES, or a path.

    Returns:
        The list.

    Raises:
        SettingsError: The list can't be found.
        DataError: The file has no words, is not UTF-8, or has an invalid line.
    """
    path = find_word_list(name)
    try:
        with open_bytes(path) as stream:
            content = stream.read()
    except OSError as error:
        raise DataError(f"cannot read the list of words ({error}); check the file", path) from error
    parsed = WordList(name, [], [], [], hashlib.sha256(content).hexdigest())
    _parse(_decode(content, path), path, parsed)
    if not parsed.words:
        raise DataError("found no words, expected one on each line; check the file", path)
    return parsed


def _parse(text: str, path: Path, parsed: WordList) -> None:
    lines = text.split("\n")
    split = _split_tabs if "\t" in text else partial(_split_spaces, _count_columns(lines))
    unclassed, known = path.name.split(".")[0] or path.name, set[str]()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            word, frequency, word_class = _check(split(line.strip("\r")))
        except ValueError as error:
            raise DataError(f"{error}; correct or remove the line", path, number) from error
        known.add(word_class or unclassed)
        if len(known) > MAX_CLASSES:
            raise DataError(
                f"found more than {MAX_CLASSES:,} classes, expected few; remove the third column if it has no classes",
                path,
                number,
            )
        parsed.words.append(word)
        parsed.frequencies.append(frequency)
        parsed.classes.append(word_class or unclassed)


def _decode(content: bytes, path: Path) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"byte 0x{content[error.start]:02X} is not UTF-8; save the list of words as UTF-8", path, line
        ) from error


def _split_tabs(line: str) -> Sequence[str]:
    fields = line.split("\t")
    if len(fields) > len(_COLUMNS):
        raise ValueError(f"found {len(fields)} columns, expected `word`, `frequency` and `class` at most")
    return fields


def _count_columns(lines: Sequence[str]) -> int:
    """Count the columns that spaces separate on the first line: words may contain spaces and digits themselves."""
    match = _WITH_FREQUENCY.fullmatch(next((line.strip("\r") for line in lines if line.strip()), ""))
    return 1 if match is None else 2 if match[1] is None else 3


def _split_spaces(columns: int, line: str) -> Sequence[str]:
    fields = line.rsplit(" ", columns - 1) if columns > 1 else [line]
    if len(fields) < columns:
        raise ValueError(
            f"found {line!r}, expected `{_COLUMNS[columns - 1]}` as on the first line (separate columns by a TAB if "
            "words end in numbers)"
        )
    return fields


def _check(fields: Sequence[str]) -> tuple[str, int, str]:
    word, frequency, word_class = (*(field.strip() for field in fields), "", "")[:3]
    if not word:
        raise ValueError("found no word before the frequency")
    if frequency and not (frequency.isascii() and frequency.isdigit()):
        raise ValueError(f"found the frequency {frequency!r}, expected a whole number")
    if len(frequency) > len(str(_MAX_FREQUENCY)) or int(frequency or 1) > _MAX_FREQUENCY:
        raise ValueError(f"found a frequency above {_MAX_FREQUENCY:,}, expected a smaller number")
    return word, int(frequency or 1), word_class
