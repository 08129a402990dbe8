"""Lists of words: their columns, and the messages about lists that can't be read."""

from __future__ import annotations

import gzip
import re
import subprocess
import sys
from pathlib import Path

import pytest

from nlp_app.core.errors import DataError, SettingsError
from nlp_app.features.lexicon.word_lists import MAX_CLASSES, read_word_list

READABLE = {
    "words": ("Aspirin\nvitamin C\n\n", [("Aspirin", 1, "list"), ("vitamin C", 1, "list")]),
    "frequencies": ("苹果 12\n梨 3\n", [("苹果", 12, "list"), ("梨", 3, "list")]),
    "classes": ("new york 40 CITY\nB超 3 n\n", [("new york", 40, "CITY"), ("B超", 3, "n")]),
    "tabs": (
        "Boeing 747\nAirbus\t5\nAspirin\t\tDRUG\r\nvitamin B 12\t7\tFOOD\n",
        [("Boeing 747", 1, "list"), ("Airbus", 5, "list"), ("Aspirin", 1, "DRUG"), ("vitamin B 12", 7, "FOOD")],
    ),
    "byte order mark": ("\ufeff梨\n", [("梨", 1, "list")]),
    "no last line end": ("梨\r\n苹果", [("梨", 1, "list"), ("苹果", 1, "list")]),
}

BROKEN = {
    "empty": (b"", ": found no words, expected one on each line"),
    "blank": (b"\n \n", ": found no words, expected one on each line"),
    "columns": (b"a\t1\tx\ty\n", ":1: found 4 columns"),
    "frequency": (b"a\t1\tx\nb\tDRUG\n", ":2: found the frequency 'DRUG', expected a whole number"),
    "negative": (b"a\t-3\n", ":1: found the frequency '-3'"),
    "huge": (b"a\t" + b"9" * 5000 + b"\n", ":1: found a frequency above"),
    "missing column": (b"a 1 x\nb\n", ":2: found 'b', expected `word frequency class` as on the first line"),
    "mixed": (b"Boeing 747\nAirbus A380\n", ":2: found the frequency 'A380'"),
    "no word": (b"a\t1\n\t2\n", ":2: found no word"),
    "gb18030": ("梨\n苹果\n".encode("gb18030"), ":1: byte 0xC0 is not UTF-8; save the list of words as UTF-8"),
    "utf-16": ("梨\n".encode("utf-16"), ":1: byte 0xFF is not UTF-8"),
    "classes": (
        "".join(f"w\t1\tc{n}\n" for n in range(MAX_CLASSES + 5)).encode(),
        f":{MAX_CLASSES + 1}: found more than 1,000 classes",
    ),
    "damaged": (gzip.compress(b"a\nb\n" * 900)[:20], ": "),
}


@pytest.mark.parametrize("case", READABLE)
@pytest.mark.parametrize("compressed", [False, True])
def test_columns(tmp_path: Path, case: str, compressed: bool) -> None:
    text, entries = READABLE[case]
    path = tmp_path / ("list.txt.gz" if compressed else "list.txt")
    path.write_bytes(gzip.compress(text.encode()) if compressed else text.encode())
    found = read_word_list(str(path))
    assert list(zip(found.words, found.frequencies, found.classes, strict=True)) == entries


@pytest.mark.parametrize("case", BROKEN)
def test_lists_that_cannot_be_read(tmp_path: Path, case: str) -> None:
    content, message = BROKEN[case]
    path = tmp_path / "list.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=re.escape(f"{path}{message}")) as caught:
        read_word_list(str(path))
    assert "\n" not in str(caught.value)


def test_missing_file_names_the_known_lists(tmp_path: Path) -> None:
    for name in (str(tmp_path), "jeiba", ""):
        with pytest.raises(SettingsError, match="expected a file or one of jieba, names"):
            read_word_list(name)


def test_bundled_names() -> None:
    found = read_word_list("names")
    classes = dict(zip(found.words, found.classes, strict=True))
    assert {classes["Reykjavík"], classes["Iceland"], classes["Ohio"]} == {"city", "country", "state"}
    assert len(found.words) > 140_000


def test_jieba_is_read_without_importing_it() -> None:
    pytest.importorskip("jieba")
    code = (
        "import sys; from nlp_app.features.lexicon.word_lists import read_word_list\n"
        "print(len(read_word_list('jieba').words), 'jieba' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["349046", "False"]


def test_message_without_jieba(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [path for path in sys.path if "site-packages" not in path])
    monkeypatch.delitem(sys.modules, "jieba", raising=False)
    with pytest.raises(SettingsError, match=re.escape("'jieba' is not installed; run pip install 'nlp-app[lexicons]'")):
        read_word_list("jieba")
