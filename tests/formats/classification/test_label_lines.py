"""Lines with and without labels, streams, and files of other tasks."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlp_app.core.errors import DataError, OtherTaskError, SettingsError
from nlp_app.core.types import ClassRecord, TokenRecord
from nlp_app.formats.classification import ClassFile, ClassReadOptions, open_classes, read_class_lines
from nlp_app.formats.io.lines import CHUNK
from nlp_app.formats.tagging import read as read_records

PLAIN = ClassReadOptions()
UNLABELLED = ClassReadOptions(labels=False)


def opened(folder: Path, text: str, options: ClassReadOptions = PLAIN, name: str = "a.txt") -> ClassFile:
    path = folder / name
    path.write_bytes(text.encode())
    return open_classes(path, options)


def test_label_and_text(tmp_path: Path) -> None:
    file = opened(tmp_path, "NUM:dist How far is it ?\nHUM:ind  Who came ?\nNUM:dist\tHow long ?\nNUM:dist x\n")
    assert file.format == "label_text"
    assert list(file)[:3] == [
        ClassRecord("How far is it ?", ("NUM:dist",), 1),
        ClassRecord(" Who came ?", ("HUM:ind",), 2),
        ClassRecord("How long ?", ("NUM:dist",), 3),
    ]
    named = opened(tmp_path, "pos\n\nneg a b\n", ClassReadOptions(format="label_text"))
    assert list(named) == [ClassRecord("", ("pos",), 1), ClassRecord("a b", ("neg",), 3)]
    assert [(repair.what, repair.line) for repair in named.repairs] == [
        ("records without a text", 1),
        ("blank lines, skipped", 2),
    ]


def test_label_and_text_or_prose(tmp_path: Path) -> None:
    labeled = "pos a good film\nneg a bad one\npos fine\nneg boring\n"
    assert opened(tmp_path, labeled).format == "label_text"
    assert opened(tmp_path, labeled, UNLABELLED).format == "text"  # no text may lose its first word
    for prose in (
        "What is it ?\nHow are you ?\nWhat is that ?\nHow come ?\n",
        "One line.\n\nAnother, longer one.\n",
        "x\n",
    ):
        assert opened(tmp_path, prose).format == "text"
    assert opened(tmp_path, "NUM:dist How far ?\nHUM:ind Who ?\n", UNLABELLED).format == "label_text"


def test_fasttext_marks(tmp_path: Path) -> None:
    text = "__label__a __label__b hello you\nno label\n__label__c\n__label__d,e  x\nat the end __label__f\n"
    file = opened(tmp_path, text)
    assert file.format == "fasttext"
    assert list(file) == [
        ClassRecord("hello you", ("a", "b"), 1),
        ClassRecord("no label", None, 2),
        ClassRecord("", ("c",), 3),
        ClassRecord(" x", ("d,e",), 4),
        ClassRecord("at the end", ("f",), 5),
    ]
    assert [(repair.what, repair.count, repair.line) for repair in file.repairs] == [
        ("records without a label", 1, 2),
        ("records without a text", 1, 3),
        ("lines with a label inside the text", 1, 5),
    ]
    assert [record.labels for record in opened(tmp_path, text, UNLABELLED)] == [None] * 5


@given(st.lists(st.tuples(st.lists(st.sampled_from("abc"), unique=True), st.text("xy 马", min_size=1)), min_size=1))
def test_marks_are_separated_from_the_text(rows: list[tuple[list[str], str]]) -> None:
    lines = ["".join(f"__label__{label} " for label in labels) + text for labels, text in rows]
    records = read_class_lines(lines, "-", "\n".join(lines), ClassReadOptions(format="fasttext"))
    assert [(record.labels, record.text) for record in records] == [
        (tuple(labels) or None, text) for labels, text in rows
    ]


def test_texts_alone(tmp_path: Path) -> None:
    file = opened(tmp_path, "One line\u2028still, of text.\n\n{not json\n", UNLABELLED)
    assert list(file) == [
        ClassRecord(text, None, line) for line, text in enumerate(["One line\u2028still, of text.", "", "{not json"], 1)
    ]
    assert not file.repairs


def test_column_options_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="text has no columns"):
        opened(tmp_path, "a b\n", ClassReadOptions(format="text", text_columns=(0,)))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.tsv", "EU\tB-ORG\nrejects\tO\n\nPeter\tB-PER\n"),
        ("a.txt", "-DOCSTART- -X- O\n\nEU NNP O\n"),
        ("a.conll", "EU O\n"),
        ("a.txt", "1\tAda\tAda\tPROPN\tNNP\t_\t0\troot\t_\t_\n"),
        ("a.txt", "the\tDT\ncat\tNN\n\na\tDT\ndog\tNN\n\nthe\tDT\nend\tNN\n\nyes\tUH\n"),
        ("a.tsv", "#FORMAT=WebAnno TSV 3.3\n\n#Text=a\n1-1\t0-1\ta\n"),
        ("a.jsonl", '{"tokens": ["a"], "ner_tags": ["O"]}\n'),
        ("a.jsonl", '{"text": "a", "label": [[0, 1, "X"]]}\n'),
        ("a.jsonl", '{"text": "a", "spans": [{"start": 0, "end": 1, "label": "X"}]}\n'),
    ],
)
def test_sequence_labeling_data_is_refused(tmp_path: Path, name: str, text: str) -> None:
    with pytest.raises(DataError, match=r"sequence labeling data .* use `train ner`"):
        list(opened(tmp_path, text, PLAIN, name))


def test_short_texts_with_classes_are_not_sequences(tmp_path: Path) -> None:
    assert len(list(opened(tmp_path, "".join(f"好片{row}\tpos\n差片{row}\tneg\n" for row in range(9))))) == 18


@pytest.mark.parametrize("end", ["", "\n"])
@pytest.mark.parametrize(
    ("lines", "format"),
    [
        (["text,label", 'one,"x"', "two,y"], "csv"),
        (["one\tx", "two\ty"], "tsv"),
        ([json.dumps({"text": text, "label": label}) for text, label in (("one", "x"), ("two", "y"))], "jsonl"),
        (["[", '{"text": "one", "label": "x"},', '{"text": "two", "label": "y"}', "]"], "jsonl"),
        (["__label__x one", "__label__y two"], "fasttext"),
    ],
)
def test_streams(lines: list[str], format: str, end: str) -> None:
    records = read_class_lines([line + end for line in lines], "standard input", "\n".join(lines) + "\n", PLAIN)
    assert records.format == format
    assert [(record.text, record.labels) for record in records] == [("one", ("x",)), ("two", ("y",))]


def test_a_stream_is_detected_from_its_head() -> None:
    lines = [json.dumps({"text": f"text {number} " + "x" * 90, "label": "a"}) for number in range(2000)]
    taken = 0

    def source() -> list[str]:
        nonlocal taken
        for line in lines:
            taken += 1
            yield line

    records = read_class_lines(source(), "-", "\n".join(lines)[: 1 << 16], PLAIN)  # type: ignore[arg-type]
    assert taken == 0
    assert next(records).text.startswith("text 0")
    assert taken < 3
    assert len(list(records)) == 1999


def test_files_are_streamed(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("text\tlabel\n" + "some text\tx\n" * 50_000 + "two\tmany\tcells\n")
    records = iter(open_classes(path))
    assert [next(records).line for _ in range(3)] == [2, 3, 4]
    with pytest.raises(DataError, match=r"a.tsv:50002: found 3 cells"):
        list(records)


def test_pipes_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="is not a regular file"):
        open_classes(tmp_path / "pipe")
    with pytest.raises(SettingsError, match="hub"):
        read_class_lines([], "-", "", ClassReadOptions(format="hub"))
    with pytest.raises(DataError, match="is empty"):
        read_class_lines([], "-", "", PLAIN)


def test_lines_that_are_sorted_by_class(tmp_path: Path) -> None:
    """The lines that fit into the first chunk have one class."""
    size = CHUNK // 20
    text = "good a fine meal, number {}\n" * size + "poor cold and late, number {}\n" * size
    file = opened(tmp_path, text.format(*range(2 * size)))
    assert file.format == "label_text"
    assert {record.labels for record in file} == {("good",), ("poor",)}


@pytest.mark.parametrize(
    "text",
    [
        "good one meal\n" * (CHUNK // 10),  # one class is no class
        "Dear all, come at {}\n" * (CHUNK // 10) + "".join(f"w{number} is late\n" for number in range(CHUNK // 10)),
        "good one meal\n" * (CHUNK // 10) + "poor\n",
        "good one meal\n" * (CHUNK // 10) + "The end of it\n",
    ],
)
def test_lines_that_begin_with_the_same_word(tmp_path: Path, text: str) -> None:
    assert opened(tmp_path, text).format == "text"
    assert opened(tmp_path, text, UNLABELLED).format == "text"


@pytest.mark.parametrize(
    "text",
    [
        "1\tNo parcel yet\tlate\n2\tTwo days now\tlate\n3\tAll is well\tfine\n4\tVery nice\tfine\n",
        "我的快递是不是丢了，半个月没有影子\t物流\t1\n什么时候能发货呀，等得花儿都谢了\t物流\t2\n谢谢\t退款\t3\n",
    ],
)
def test_tables_are_not_columns_of_tokens(tmp_path: Path, text: str) -> None:
    assert opened(tmp_path, text).format == "tsv"
    with pytest.raises(OtherTaskError, match="text classification data"):
        list(read_records(tmp_path / "a.txt"))


def test_blank_lines_between_rows_are_not_sentence_ends(tmp_path: Path) -> None:
    text = "delivery\tWhere is it?\nrefund\tPay me back\n\nrefund\tMy money!\n\nother\tHi all\n\nother\tBye you\n"
    file = opened(tmp_path, text)
    assert [record.labels for record in file][-1] == ("other",)
    assert file.repairs[0].count == 3


@pytest.mark.parametrize(
    "text",
    [
        "Ada\tB-PER\nNew York\tB-LOC\nleft\tO\n\nin May\tO\nfor\tO\nrest\tO\n\n",
        "1\tAda\tNN\n2\tis\tVB\n3\thome\tNN\n4\tnow\tRB\n",
        "Ada\ta given name\tB-PER\nleft\tto go away\tO\n\nBo\ta short name\tB-PER\nslept\tto be asleep\tO\n\n",
    ],
)
def test_columns_with_a_few_spaces_are_tokens(tmp_path: Path, text: str) -> None:
    opened_lines = text.count("\n") - text.count("\n\n")
    (tmp_path / "a.tsv").write_text(text)
    records = [record for record in read_records(tmp_path / "a.tsv") if isinstance(record, TokenRecord)]
    assert sum(len(record.tokens) for record in records) == opened_lines
