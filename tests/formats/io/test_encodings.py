"""Encodings of class files: each is recognised from its bytes and said, and what is none is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nlp_app.core.errors import DataError, SettingsError
from nlp_app.formats.classification import ClassOptions, open_classes
from nlp_app.formats.io.encodings import find_encoding
from nlp_app.formats.io.lines import CHUNK

CHINESE = "这家餐厅的服务很好\t正面\n手机用了两天就坏了\t负面\n"
FRENCH = "Le café était fermé à Noël, déjà vu\tpos\nÀ bientôt\tneg\n"
CURLY = "She said “yes” – it’s €5\tpos\n"


def write(folder: Path, data: bytes) -> Path:
    path = folder / "a.tsv"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("text", "encoding", "said"),
    [
        (CHINESE, "utf-8", None),
        (CHINESE, "utf-8-sig", None),
        (CHINESE, "gb18030", "GB18030, as byte 0xD5 at offset 0 is not UTF-8"),
        (CHINESE, "utf-16", "UTF-16, by its byte order mark"),
        (FRENCH * 9, "utf-16-le", "UTF-16, by its zero bytes"),
        (FRENCH * 9, "utf-16-be", "UTF-16, by its zero bytes"),
        (FRENCH, "latin-1", "Latin-1, as byte 0xE9 at offset 6"),
        (CURLY, "cp1252", "Windows-1252, as byte 0x93 at offset 9"),
        ("a damaged\xf0hyphen\tpos\nmore\tneg\n", "latin-1", "Latin-1, as byte 0xF0 at offset 9"),
    ],
)
def test_recognised_and_said(tmp_path: Path, text: str, encoding: str, said: str | None) -> None:
    file = open_classes(write(tmp_path, text.encode(encoding)))
    assert "".join(f"{record.text}\t{record.labels[0]}\n" for record in file if record.labels) == text
    remarks = [remark for remark in file.remarks if remark.startswith("encoding: ")]
    assert (not remarks) if said is None else (said in remarks[0] and "data.encoding" in remarks[0])
    assert file.options.encoding is None


def test_evidence_far_into_the_file(tmp_path: Path) -> None:
    lines = "plain text\tpos\n" * (2 * CHUNK // 10)
    path = write(tmp_path, lines.encode() + "caf\xe9\tneg\n".encode("latin-1"))
    assert list(open_classes(path))[-1].text == "caf\xe9"
    assert f"offset {len(lines) + 3}" in find_encoding(path, None).remarks[0]


@pytest.mark.parametrize("text", [CHINESE, FRENCH * 3, CURLY])
def test_damaged_utf8_is_not_taken_for_another_encoding(tmp_path: Path, text: str) -> None:
    data = text.encode().replace(b"\t", b"\xff\t", 1)
    with pytest.raises(DataError, match=rf"a.tsv:1: byte 0xFF at offset {data.index(255)} is not utf-8"):
        open_classes(write(tmp_path, data))


@pytest.mark.parametrize("encoding", ["cp1251", "koi8-r", "big5", "shift_jis"])
def test_what_no_evidence_explains_is_refused(tmp_path: Path, encoding: str) -> None:
    text = {"big5": "這部電影很好看，我們都喜歡\tx\n", "shift_jis": "これは映画です。とても良い\tx\n"}.get(
        encoding, "Привет, как дела у вас\tx\n"
    )
    path = write(tmp_path, text.encode(encoding) * 5)
    with pytest.raises(DataError, match="name its encoding"):
        open_classes(path)
    assert next(iter(open_classes(path, ClassOptions(encoding=encoding)))).text == text[:-3]


def test_binary_files_and_unknown_encodings(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="zero byte at offset 2, as in binary"):
        open_classes(write(tmp_path, b"PK\0\0\x14\0a\0\0\0"))
    with pytest.raises(SettingsError, match="utf-9"):
        open_classes(write(tmp_path, b"a\tb\n"), ClassOptions(encoding="utf-9"))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.text(min_size=1, max_size=80).filter(lambda text: "\0" not in text), st.sampled_from(["utf-8", "utf-16"]))
def test_unicode_is_always_recognised(tmp_path: Path, text: str, encoding: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(text.encode(encoding, "ignore"))
    found = find_encoding(path, None).codec
    assert path.read_bytes().decode(found) == text.encode(encoding, "ignore").decode(encoding).removeprefix("\ufeff")
