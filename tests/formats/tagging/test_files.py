"""Files: encodings, format detection, errors with their line, and writing files completely or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlp_app.core.errors import DataError, SettingsError
from nlp_app.core.types import Record, TextRecord, TokenRecord
from nlp_app.formats.io.lines import CHUNK, decode_lines, detect_codec
from nlp_app.formats.tagging import FORMATS, ReadOptions, detect_format, read, read_lines, write

TEXT = "马云\tB-PER\r\n😀\tO\n\nx\u2028y\tO\n"
TOKENS = [["马云", "😀"], ["x\u2028y"]]


def tokens_of(path: Path, options: ReadOptions = ReadOptions()) -> list[list[str]]:  # noqa: B008
    return [record.tokens for record in read(path, None, options) if isinstance(record, TokenRecord)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_detected_encodings(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.conll"
    path.write_bytes(TEXT.encode(encoding))
    assert detect_format(path) == "conll"
    assert tokens_of(path) == TOKENS


@pytest.mark.parametrize("encoding", ["gb18030", "utf-16-le", "utf-16-be", "UTF8"])
def test_encodings_set_by_the_user(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.conll"
    path.write_bytes(TEXT.encode(encoding))
    assert tokens_of(path, ReadOptions(encoding=encoding)) == TOKENS


def test_unknown_encodings_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.conll"
    path.write_text("a\tO\n")
    for name in ("utf-9", "rot13", "base64"):
        with pytest.raises(SettingsError, match=name):
            tokens_of(path, ReadOptions(encoding=name))


@pytest.mark.parametrize("prefix", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("before", [0, 1, CHUNK - 5, CHUNK - 1, CHUNK, 3 * CHUNK + 7])
def test_a_bad_byte_is_reported_with_offset_and_line(tmp_path: Path, prefix: bytes, before: int) -> None:
    good = prefix + ("éé\tOOOO\n" + "é\tO\n" * (before // 5 + 1)).encode()[: max(10, before - before % 5)]
    path = tmp_path / "a.conll"
    path.write_bytes(good + b"a\xf0b\tO\n")
    offset, line = len(good) + 1, good.count(b"\n") + 1
    with pytest.raises(DataError, match=rf"a.conll:{line}: byte 0xF0 at offset {offset} is not utf-8; .*name"):
        tokens_of(path)


def test_a_truncated_file_is_a_bad_byte(tmp_path: Path) -> None:
    path = tmp_path / "a.conll"
    path.write_bytes("a\tO\n马".encode()[:-1])
    with pytest.raises(DataError, match=r"a.conll:2: byte 0xE9 at offset 4"):
        tokens_of(path)
    path.write_bytes("a\tO\n马".encode("utf-16")[:-1])
    with pytest.raises(DataError, match=r"a.conll:2: byte 0x6C at offset 10"):
        tokens_of(path)


def test_binary_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.conll"
    path.write_bytes(b"a\tO\nb\0\tO\n")
    with pytest.raises(DataError, match=r"a.conll:2: found a NUL"):
        tokens_of(path)


@given(st.text("a\r\n\u2028马", max_size=60), st.sampled_from(["utf-8", "utf-16"]))
def test_lines_end_at_line_feeds_alone(text: str, encoding: str) -> None:
    class OneByOne:
        """Returns few bytes at a time, as a pipe may."""

        def __init__(self, content: bytes) -> None:
            self.rest = iter(content)

        def read(self, _: int) -> bytes:
            return bytes(byte for byte in [next(self.rest, None)] if byte is not None)

    content = text.encode(encoding)
    lines = list(decode_lines(OneByOne(content), "f", detect_codec(content, None)))  # type: ignore[arg-type]
    expected = [line.removesuffix("\r") for line in text.split("\n")]
    assert lines == (expected[:-1] if text.endswith("\n") or not text else expected)


@pytest.mark.parametrize(
    ("name", "content", "format"),
    [
        ("a.bmes", "马 B-X\n云 E-X\n", "conll"),
        ("a.tsv", "a\tO\n", "conll"),
        ("a.txt", "a\tO\nb\tB-X\n", "conll"),
        ("a.txt", "-DOCSTART- -X- O O\n\na NN - O\n", "conll"),
        ("a.txt", "a B-X\nb\n", "conll"),
        ("a.txt", "The DT\ncat NN\nsat VB\n", "conll"),
        ("a.txt", "This is a note.\nAnother one, longer than that.\n", "text"),
        ("a.txt", "你好\n世界\n", "text"),
        ("a.annotated", "a\tO\n", "conll"),
        ("a.conll", "1\ta" + "\t_" * 8 + "\n", "conllu"),
        ("a.conllu", "", "conllu"),
        ("a.jsonl", "", "jsonl"),
        ("a.json", "[]", "jsonl"),
        ("a.txt", '{"text": "a"}', "jsonl"),
    ],
)
def test_detection_by_suffix_and_content(tmp_path: Path, name: str, content: str, format: str) -> None:
    path = tmp_path / name
    path.write_text(content, "utf-8")
    assert detect_format(path) == format
    assert detect_format(path, content) == format
    assert format in FORMATS


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.csv", "text,label\na,b\n"), ("a.txt", "LOC:city What is it ?\nNUM:date When was it ?\n")],
)
def test_detection_refuses_files_of_classes(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(DataError, match=rf"{name}: .*(text classification|CSV)"):
        list(read(path))


def test_plain_text_gives_a_record_per_line() -> None:
    records = list(read_lines(["a b", "", "c"], "f", "text"))
    assert records == [TextRecord("a b", None, 1), TextRecord("", None, 2), TextRecord("c", None, 3)]


def test_files_without_content_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none.conll: can't be read: No such file"):
        list(read(tmp_path / "none.conll"))
    for name in ("a.conll", "a.jsonl", "a.conllu", "a.txt"):
        (tmp_path / name).write_text("\n\n" if name != "a.txt" else "")
        with pytest.raises(DataError, match=rf"{name}: found no sentence"):
            list(read(tmp_path / name))


def test_unknown_formats_suggest_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a\tO\n")
    with pytest.raises(SettingsError, match=r"did you mean 'conllu'"):
        list(read(tmp_path / "a", "conlu"))
    for name in ("brat", "text"):
        with pytest.raises(SettingsError, match=r"can't be written"):
            write([], tmp_path / "b", name)
    with pytest.raises(SettingsError, match=r"from its files"):
        read_lines([], "f", "brat")


def test_reading_streams() -> None:
    def endless() -> Iterator[str]:
        while True:
            yield from ("a\tO", "")

    records = read_lines(endless(), "f", "conll")
    assert [next(records) for _ in range(3)][2] == TokenRecord(["a"], ["O"], range(5, 6))


def test_a_pipe_can_be_read(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"a\tO\n")
    os.close(writing)
    assert tokens_of(Path(f"/dev/fd/{reading}")) == [["a"]]
    os.close(reading)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.conll"
    path.write_text("old")

    def failing() -> Iterator[Record]:
        yield TokenRecord(["a"], ["O"], ())
        raise DataError("broken source")

    with pytest.raises(DataError, match=r"broken source"):
        write(failing(), path, "conll")
    with pytest.raises(DataError, match=r"surrogate"):
        write([TokenRecord(["\ud800"], ["O"], ())], path, "conll")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(DataError, match=r"can't be written"):
        write([], tmp_path / "none" / "a.conll", "conll")


def test_a_file_can_be_rewritten_from_itself(tmp_path: Path) -> None:
    path = tmp_path / "a.conll"
    path.write_text("a O\n\nb B-X\n")
    write(read(path), path, "conll")
    assert path.read_bytes() == b"a\tO\n\nb\tB-X\n\n"
