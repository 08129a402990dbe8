"""Encodings are detected from the bytes of a file and reported; unknown ones are refused."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nlp_app.core.errors import DataError, SettingsError
from nlp_app.core.types import CharSpan, TextRecord, TokenRecord
from nlp_app.data.tagging.cached_corpus import read_cached_corpus
from nlp_app.data.tagging.convert import convert
from nlp_app.data.tagging.corpus import CorpusOptions, read_corpus
from nlp_app.data.tagging.remarks import reading_remarks
from nlp_app.formats.classification import ClassReadOptions, open_classes
from nlp_app.formats.io.encodings import find_encoding
from nlp_app.formats.io.lines import CHUNK
from nlp_app.formats.tagging import ReadLog, ReadOptions, read
from nlp_app.reports.conversion import conversion_text
from nlp_app.reports.tagging_inspection import inspect_corpora, inspection_table

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
        (CHINESE, "utf-16", "UTF-16, from its byte order mark"),
        (FRENCH * 9, "utf-16-le", "UTF-16, from its zero bytes"),
        (FRENCH * 9, "utf-16-be", "UTF-16, from its zero bytes"),
        (FRENCH, "latin-1", "Latin-1, as byte 0xE9 at offset 6"),
        (CURLY, "cp1252", "Windows-1252, as byte 0x93 at offset 9"),
        ("a damaged\xf0hyphen\tpos\nmore\tneg\n", "latin-1", "Latin-1, as byte 0xF0 at offset 9"),
    ],
)
def test_detected_and_reported(tmp_path: Path, text: str, encoding: str, said: str | None) -> None:
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
def test_damaged_utf8_is_not_detected_as_another_encoding(tmp_path: Path, text: str) -> None:
    data = text.encode().replace(b"\t", b"\xff\t", 1)
    with pytest.raises(DataError, match=rf"a.tsv:1: byte 0xFF at offset {data.index(255)} is not utf-8"):
        open_classes(write(tmp_path, data))


@pytest.mark.parametrize("encoding", ["cp1251", "koi8-r", "big5", "shift_jis"])
def test_unknown_encodings_are_refused(tmp_path: Path, encoding: str) -> None:
    text = {"big5": "這部電影很好看，我們都喜歡\tx\n", "shift_jis": "これは映画です。とても良い\tx\n"}.get(
        encoding, "Привет, как дела у вас\tx\n"
    )
    path = write(tmp_path, text.encode(encoding) * 5)
    with pytest.raises(DataError, match="name its encoding"):
        open_classes(path)
    assert next(iter(open_classes(path, ClassReadOptions(encoding=encoding)))).text == text[:-3]


TEXTS = [
    (CHINESE, ("utf-8", "utf-8-sig", "gb18030", "gbk", "utf-16", "utf-16-le", "utf-16-be", "big5")),
    (FRENCH * 9, ("utf-8", "utf-8-sig", "latin-1", "utf-16", "utf-16-le", "utf-16-be", "cp1250")),
    (CURLY * 9, ("utf-8", "cp1252", "utf-16-le")),
    ("Привет, как дела у вас\tx\n", ("utf-8", "cp1251", "koi8-r", "utf-16")),
    ("これは映画です。とても良い\tx\n", ("utf-8", "shift_jis", "euc_jp")),
]


@pytest.mark.parametrize(
    ("text", "encoding"), [(text, encoding) for text, encodings in TEXTS for encoding in encodings]
)
def test_tables_and_columns_get_the_same_encoding(tmp_path: Path, text: str, encoding: str) -> None:
    """The same bytes give the same text or error when read as a table and as columns."""
    data = f"{text}\n".encode(encoding, "ignore")
    table, tokens = write(tmp_path, data), tmp_path / "a.conll"
    tokens.write_bytes(data)
    log = ReadLog()
    remarks, classes, records, errors = [], [], [], []
    try:
        file = open_classes(table)
        remarks = [remark for remark in file.remarks if remark.startswith("encoding: ")]
        classes = [(record.text, record.labels) for record in file]
    except DataError as error:
        errors.append(str(error).replace(str(table), ""))
    try:
        records = list(read(tokens, "conll", ReadOptions(separator="\t"), log))
    except DataError as error:
        errors.append(str(error).replace(str(tokens), ""))
    if errors:
        assert errors == [errors[0]] * 2
        return
    rows = [pair for r in records if isinstance(r, TokenRecord) for pair in zip(r.tokens, r.tags or (), strict=True)]
    stripped = [(text.strip(" "), labels) for text, labels in classes]  # the ends of cells, in columns
    assert [(token, (tag,)) for token, tag in rows] == stripped
    assert [remark for remark in log.remarks if remark.startswith("encoding: ")] == remarks


SENTENCE = {"text": "马云在杭州的餐厅吃饭", "spans": [{"start": 0, "end": 2, "label": "PER"}]}
SPAN = CharSpan(0, 2, "PER")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("suffix", [".txt", ".conll", ".conllu", ".jsonl", ".ann"])
def test_every_format_is_detected_in_every_encoding(tmp_path: Path, encoding: str, suffix: str) -> None:
    text = str(SENTENCE["text"])
    path, named = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    tags = ["B-PER", "I-PER"] + ["O"] * (len(text) - 2)
    word = "\t_" * 5
    contents = {
        ".txt": f"{text}\n" * 3 + "and so on\n",
        ".conll": "".join(f"{token}\t{tag}\n" for token, tag in zip(text, tags, strict=True)) + "\n",
        ".conllu": "".join(f"{i}\t{c}\t_\tX{word}\tSpaceAfter=No\n" for i, c in enumerate(text, 1)) + "\n",
        ".jsonl": json.dumps(SENTENCE, ensure_ascii=False) + "\n",
        ".ann": "T1\tPER 0 2\t马云\n",
    }
    for place in (path, named):
        place.write_bytes(contents[suffix].encode(encoding))
        if suffix == ".ann":
            place.with_suffix(".txt").write_bytes(f"{text}\n".encode(encoding))
    log = ReadLog()
    expected = list(read(named, options=ReadOptions(encoding=encoding)))
    assert list(read(path, log=log)) == expected
    encoded = [remark for remark in log.remarks if "encoding: " in remark]
    assert bool(encoded) == (not encoding.startswith("utf-8"))
    if suffix in (".ann", ".jsonl"):
        (record,) = expected
        assert isinstance(record, TextRecord)
        assert record.text.rstrip("\n") == text
        assert record.spans == [SPAN]
    elif suffix == ".txt":
        assert [record.text for record in expected] == [text] * 3 + ["and so on"]
    else:
        (record,) = expected
        assert isinstance(record, TokenRecord)
        assert record.tokens == list(text)


def test_a_short_annotation_has_the_encoding_of_its_text(tmp_path: Path) -> None:
    """Two rare characters alone would be detected as another encoding."""
    for number, text in enumerate(["镕是一个很少用的字\n", "鑫也是一个字，大家都知道\n"]):
        (tmp_path / f"{number}.txt").write_bytes(text.encode("gb18030"))
        (tmp_path / f"{number}.ann").write_bytes(f"T1\tX 0 1\t{text[0]}\n".encode("gb18030"))
    with pytest.raises(DataError):
        find_encoding(write(tmp_path, "镕".encode("gb18030")), None)
    log = ReadLog()
    assert [r.spans for r in read(tmp_path, log=log) if isinstance(r, TextRecord)] == [[CharSpan(0, 1, "X")]] * 2
    (remark,) = log.remarks
    assert remark.startswith("0.txt: encoding: GB18030")
    assert remark.endswith("(and 1 more files)")


def test_damage_in_columns_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "a.conll"
    path.write_bytes("马\tO\n云\tO\n".encode() + b"a\xff\tO\n")
    with pytest.raises(DataError, match=r"a.conll:3: byte 0xFF at offset 13 is not utf-8"):
        list(read(path))
    with pytest.raises(DataError, match=r"a.conll:3: byte 0xFF at offset 13 is not utf-8"):
        read_corpus(path)


def test_reports_contain_the_encoding(tmp_path: Path) -> None:
    path = tmp_path / "a.conll"
    path.write_bytes("马\tB-PER\n云\tI-PER\n在\tO\n".encode("gb18030"))
    said = "encoding: GB18030, as byte 0xC2 at offset 0 is not UTF-8"
    stored = [read_cached_corpus(path, CorpusOptions()) for _ in range(2)]  # the second one comes from the cache
    for corpus in (read_corpus(path), *stored):
        remark, columns = reading_remarks(corpus)
        assert remark.startswith(said)
        assert columns.startswith("columns: token 0, tag 1 of 2")
    facts = inspect_corpora(read_corpus(path))
    assert facts["files"][0]["remarks"] == [remark, columns]
    assert f"a.conll: {remark}" in inspection_table(facts).split("\n")
    report = convert(path, tmp_path / "b.conll")
    assert f"{path}: {remark}" in conversion_text(report).split("\n")
    assert (tmp_path / "b.conll").read_text(encoding="utf-8") == "马\tB-PER\n云\tI-PER\n在\tO\n\n"
    named = CorpusOptions(reading=ReadOptions(encoding="gb18030"))
    assert read_corpus(path, named).remarks == [columns]


def test_a_pipe_is_decoded_by_its_mark(tmp_path: Path) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("no named pipes")
    os.mkfifo(tmp_path / "pipe")
    data = "马\tO\n".encode("utf-16")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(data,))
    writer.start()
    (record,) = read(tmp_path / "pipe", "conll")
    writer.join()
    assert isinstance(record, TokenRecord)
    assert record.tokens == ["马"]


def test_binary_files_and_unknown_encodings(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="zero byte at offset 2, as in binary"):
        open_classes(write(tmp_path, b"PK\0\0\x14\0a\0\0\0"))
    with pytest.raises(SettingsError, match="utf-9"):
        open_classes(write(tmp_path, b"a\tb\n"), ClassReadOptions(encoding="utf-9"))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.text(min_size=1, max_size=80).filter(lambda text: "\0" not in text), st.sampled_from(["utf-8", "utf-16"]))
def test_unicode_is_always_detected(tmp_path: Path, text: str, encoding: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(text.encode(encoding, "ignore"))
    found = find_encoding(path, None).codec
    assert path.read_bytes().decode(found) == text.encode(encoding, "ignore").decode(encoding).removeprefix("\ufeff")
