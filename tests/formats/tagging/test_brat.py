"""brat standoff pairs."""

from __future__ import annotations

from pathlib import Path

import pytest

from nlp_app.core.errors import DataError
from nlp_app.core.types import CharSpan, TextRecord
from nlp_app.formats.tagging import ReadLog, ReadOptions, detect_format, read


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


SAN_MARINO = "Here: San\r\nMarino is, so\nis Lo."


def test_parts_of_a_span_that_white_space_divides_are_one_span(tmp_path: Path) -> None:
    path = pair(tmp_path, "a", SAN_MARINO, "T1\tLOC 6 9;11 17\tSan Marino\nT2\tPER 28 30\tLo\n")
    log = ReadLog()
    assert [record.spans for record in read(path, log=log)] == [[CharSpan(6, 17, "LOC"), CharSpan(28, 30, "PER")]]
    assert log.remarks == []


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("T2\tLOC 6 9;28 30\tSan Lo", "spans in several parts with text between them"),
        ("T2\tLOC 6 9;8 17\tSan n Marino", "spans in several parts with text between them"),
        ("T2\tLOC 6 9;11 17\tSan Paolo", "spans whose quoted text is not at their offsets"),
        ("T2\tLOC 6 6\t", "empty spans"),
        ("T2\tLOC 6 99\tSan", "spans outside their text"),
        ("T2 LOC", "spans in an unknown form"),
    ],
)
def test_a_bad_span_is_dropped_and_counted(tmp_path: Path, line: str, kind: str) -> None:
    pair(tmp_path, "a", SAN_MARINO, "T1\tPER 28 30\tLo\n")
    pair(tmp_path, "b", SAN_MARINO, f"T1\tPER 28 30\tLo\n{line}\n")
    log = ReadLog()
    assert [record.spans for record in read(tmp_path, log=log)] == [[CharSpan(28, 30, "PER")]] * 2
    assert log.remarks == [f"{kind}, dropped: 1 (the first: b.ann:2)"]
    with pytest.raises(DataError, match=r"b.ann:2: found|b.ann:2: the span"):
        list(read(tmp_path, options=ReadOptions(strict=True)))


def test_texts_without_annotations_are_counted(tmp_path: Path) -> None:
    pair(tmp_path, "a", "Ann", "T1\tPer 0 3\tAnn\n")
    (tmp_path / "b.txt").write_text("Bob")
    log = ReadLog()
    assert len(list(read(tmp_path, log=log))) == 1
    assert log.remarks == ["texts without an .ann file, skipped: 1 (the first: b.txt)"]
    with pytest.raises(DataError, match=r"b.txt: found a text without an .ann file"):
        list(read(tmp_path, options=ReadOptions(strict=True)))
