"""brat standoff pairs."""

from __future__ import annotations

from pathlib import Path

import pytest

from nlp_app.core.errors import DataError
from nlp_app.core.types import CharSpan, TextRecord
from nlp_app.formats.tagging import detect_format, read


def pair(folder: Path, name: str, text: str, annotation: str) -> Path:
    (folder / f"{name}.txt").write_bytes(text.encode())
    (folder / f"{name}.ann").write_bytes(annotation.encode())
    return folder / f"{name}.ann"


def test_pairs_and_folders(tmp_path: Path) -> None:
    first = pair(
        tmp_path,
        "a",
        "Ann met\r\nBob",
        "T1\tPer 0 3\tAnn\nE1\tMeet:T2 A:T1\nT2\tMeet 4 12\tmet\r Bob\n#1\tN T1\tx\n",
    )
    (tmp_path / "deep").mkdir()
    pair(tmp_path / "deep", "b", "😀 Bob", "T1\tPer 2 5\tBob\r\n")
    pair(tmp_path, "c", "nothing", "")
    expected = TextRecord("Ann met\r\nBob", [CharSpan(0, 3, "Per"), CharSpan(4, 12, "Meet")], 1)
    for path in (first, first.with_suffix(".txt")):
        assert detect_format(path) == "brat"
        assert list(read(path)) == [expected]
    assert list(read(tmp_path)) == [
        expected,
        TextRecord("nothing", [], 1),
        TextRecord("😀 Bob", [CharSpan(2, 5, "Per")], 1),
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("T1\tPer 0 1;2 3\tA n", "several parts .0 1;2 3."),
        ("T1\tPer 0 4\tAnn ", "found a span 0..4, expected 0 <= start < end <= 3"),
        ("T1\tPer 0 2\tAnn", "holds 'An', not 'Ann'"),
        ("T1\tPer 0\tAnn", "expected `T1<TAB>Type start end<TAB>text`"),
        ("T1 Per 0 3 Ann", "expected `T1<TAB>"),
    ],
)
def test_lines_that_are_refused(tmp_path: Path, line: str, message: str) -> None:
    path = pair(tmp_path, "a", "Ann", "A1\tx T1\n" + line)
    with pytest.raises(DataError, match=rf"a.ann:2: .*{message}"):
        list(read(path))


def test_missing_partners_and_foreign_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"folder without \.ann"):
        list(read(tmp_path))
    (tmp_path / "a.ann").write_text("")
    with pytest.raises(DataError, match=r"a.txt: .*same name"):
        list(read(tmp_path / "a.ann"))
    (tmp_path / "a.txt").write_bytes("马云\n".encode() + b"ab\xff")
    with pytest.raises(DataError, match=r"a.txt:2: byte 0xFF at offset 9"):
        list(read(tmp_path / "a.ann"))
