"""CSV and TSV of texts and classes: dialects, headers, columns, and rows of the wrong width."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from nlp_app.core.errors import DataError, SettingsError
from nlp_app.core.types import ClassRecord
from nlp_app.formats.classification import ClassFile, ClassReadOptions, open_classes


def opened(folder: Path, name: str, text: str, options: ClassReadOptions | None = None) -> ClassFile:
    path = folder / name
    path.write_bytes(text.encode())
    return open_classes(path, options or ClassReadOptions())


def pairs(file: ClassFile) -> list[tuple[str, tuple[str, ...] | None]]:
    return [(record.text, record.labels) for record in file]


def remark(file: ClassFile, start: str) -> str:
    return next((remark for remark in file.remarks if remark.startswith(start)), "")


TWO = [("good day", ("pos",)), ("a bad one", ("neg",))]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "text,label\ngood day,pos\na bad one,neg\n"),
        ("a.csv", "\ufefftext,label\r\ngood day,pos\r\na bad one,neg"),
        ("a.csv", "label;text\npos;good day\nneg;a bad one\n"),
        ("a.csv", "text\tlabel\ngood day\tpos\na bad one\tneg\n"),
        ("a.csv", 'text, label\n"good day", "pos"\n"a bad one", "neg"\n'),
        ("a.csv", "id,review_text,annotator,Sentiment\n1,good day,x,pos\n2,a bad one,y,neg\n"),
        ("a.csv", "good day,pos\na bad one,neg\n"),
        ("a.txt", "pos\tgood day\nneg\ta bad one\n"),
        ("a.tab", "good day\tpos\na bad one\tneg\n"),
        ("a", "Text,Category\ngood day,pos\na bad one,neg\n"),
        ("a.csv", "文本,标签\ngood day,pos\na bad one,neg\n"),
    ],
)
def test_detected_dialects_and_columns(tmp_path: Path, name: str, text: str) -> None:
    file = opened(tmp_path, name, text)
    assert pairs(file) == TWO
    assert not file.repairs
    assert file.format == ("tsv" if "\t" in text else "csv")
    again = open_classes(file.path, file.options)
    assert list(again) == list(file)
    assert again.options == file.options


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(st.text("ab\"', ;\n\t马\\|", max_size=12), st.sampled_from(["x", "y z"])), min_size=1, max_size=8
    ),
    st.sampled_from([",", ";", "\t"]),
    st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
)
@example([(" ", "x"), (' "', "x")], ",", csv.QUOTE_MINIMAL)  # the space stands inside of the quotes
def test_output_of_csv_writer_is_read(
    tmp_path: Path, rows: list[tuple[str, str]], delimiter: str, quoting: int
) -> None:
    """`lines` are the lines where the `csv` module begins each row."""
    stream = io.StringIO()
    writer = csv.writer(stream, delimiter=delimiter, quoting=quoting, lineterminator="\n")
    writer.writerows([("text", "label"), *rows])
    file = opened(tmp_path, "a.csv", stream.getvalue(), ClassReadOptions(quoting=True, text_columns=("text",)))
    assert pairs(file) == [(text, (label,)) for text, label in rows]
    lines, reader = [], csv.reader(io.StringIO(stream.getvalue(), newline=""), delimiter=delimiter)
    before = 0
    for _ in reader:
        lines.append(before + 1)
        before = reader.line_num
    assert [record.line for record in file] == lines[1:]


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_a_record_begins_where_its_row_begins(tmp_path: Path, ending: str) -> None:
    file = opened(tmp_path, "a.csv", ending.join(["text,label", '"one', 'two"' + ",x", "three,y", ""]))
    assert list(file) == [ClassRecord("one\ntwo", ("x",), 2), ClassRecord("three", ("y",), 4)]


MESSAGES = [
    'ham\t"Hi" she said',
    'ham\t"never closed',
    'spam\tWIN a 5" screen',
    'ham\t"all of it"',
    'spam\tcall now"',
] * 3


def test_quotes_in_tsv_are_characters(tmp_path: Path) -> None:
    file = opened(tmp_path, "a.tsv", "\n".join(MESSAGES) + "\n")
    assert [f"{record.labels[0]}\t{record.text}" for record in file if record.labels] == MESSAGES
    assert "part of the text, as in line 1, found text after a closing quote" in remark(file, "quotes")
    assert file.options.quoting is False


@pytest.mark.parametrize("text", ['ham\t"all of it"\nspam\tcall\n', 'ham\t"Ok\nham\tso it goes"\nspam\tcall\n'])
def test_quotes_in_tsv_that_are_not_needed(tmp_path: Path, text: str) -> None:
    assert [record.text for record in opened(tmp_path, "a.tsv", text)] == [
        line.split("\t")[1] for line in text.splitlines()
    ]


def test_tsv_that_is_quoted(tmp_path: Path) -> None:
    need = opened(tmp_path, "a.tsv", 'text\tlabel\n"He said ""no"""\tx\n"a\ttab"\ty\nplain\tx\n')
    assert [record.text for record in need] == ['He said "no"', "a\ttab", "plain"]
    everywhere = opened(tmp_path, "a.tsv", '"text"\t"label"\n"one"\t"x"\n"two"\t"y"\n')
    assert pairs(everywhere) == [("one", ("x",)), ("two", ("y",))]


def test_csv_beyond_the_rfc(tmp_path: Path) -> None:
    escaped = opened(tmp_path, "a.csv", 'text,label\n"He said \\"no\\", twice",x\nplain,y\n')
    assert pairs(escaped) == [('He said "no", twice', ("x",)), ("plain", ("y",))]
    unquoted = opened(tmp_path, "a.csv", 'text,label\n"No" was said,x\nplain,y\n')
    assert pairs(unquoted) == [('"No" was said', ("x",)), ("plain", ("y",))]
    with pytest.raises(DataError, match=r"a.csv:2: found text after a closing quote; expected RFC 4180"):
        list(opened(tmp_path, "a.csv", 'text,label\n"No" was said,x\n"a, b",y\n'))
    with pytest.raises(DataError, match=r"a.csv:3: a quote opened in the row of line 2 isn't closed"):
        list(opened(tmp_path, "a.csv", 'text,label\n"one,x\ntwo,y,z\n'))
    assert pairs(opened(tmp_path, "a.csv", "text,label\na\rb,x\n")) == [("a\rb", ("x",))]


def test_a_file_without_header_keeps_its_first_row(tmp_path: Path) -> None:
    text = "".join(f"text number {row} of a list\t{row % 3}\n" for row in range(30))
    file = opened(tmp_path, "a.tsv", text)
    assert len(list(file)) == 30
    assert "none, the first row is data" in remark(file, "header")
    named = opened(
        tmp_path, "a.tsv", "v1\tv2\n" + "".join(f"{'ab'[row % 2]}\tlong text {row}, words\n" for row in range(30))
    )
    assert len(list(named)) == 30
    assert "data.header=no" in remark(named, "header")
    number = opened(tmp_path, "a.tsv", "phrase\tkind\n" + text)
    assert len(list(number)) == 30
    assert "as the cells below 'kind' are numbers" in remark(number, "header")


def test_header_option(tmp_path: Path) -> None:
    text = "text,label\nphrase one,x\nphrase two,y\n"
    assert len(list(opened(tmp_path, "a.csv", text, ClassReadOptions(header=False)))) == 3
    other = "phrase one,x\nphrase two,y\nphrase three,x\n"
    assert len(list(opened(tmp_path, "a.csv", other, ClassReadOptions(header=True)))) == 2


@pytest.mark.parametrize(
    ("text_columns", "label_columns"),
    [(("title", "body"), ("kind",)), ((1, 2), (-2,)), (("1", "2"), ("kind",)), (("Title", "BODY"), (3,))],
)
def test_columns_by_name_and_number(
    tmp_path: Path, text_columns: tuple[str | int, ...], label_columns: tuple[str | int, ...]
) -> None:
    text = "id,title,body,kind,note\n1,Hello,there,x,7\n2,,alone,03,8\n"
    options = ClassReadOptions(text_columns=text_columns, label_columns=label_columns)
    file = opened(tmp_path, "a.csv", text, options)
    assert pairs(file) == [("Hello there", ("x",)), ("alone", ("03",))]
    moved = tmp_path / "b.csv"
    moved.write_text("kind,body,title,note,id\ny,b,a,1,1\n")
    assert pairs(open_classes(moved, file.options)) == [("a b", ("y",))]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (ClassReadOptions(text_columns=("titel",)), "no column 'titel', only 0 'id', 1 'title'.*did you mean 'title'"),
        (ClassReadOptions(label_columns=(9,)), "no column 9, only 0 'id'"),
        (ClassReadOptions(text_columns=(1,), label_columns=("title",)), "same column for text and label"),
        (ClassReadOptions(), "can't tell which column is the label: found 0 'id', 1 'title'.*--label-column"),
    ],
)
def test_ambiguous_columns(tmp_path: Path, options: ClassReadOptions, message: str) -> None:
    with pytest.raises(DataError, match=message):
        opened(tmp_path, "a.csv", "id,title,one,two\n1,Hello there,a,b\n2,Bye now all,c,d\n3,Well,a,d\n", options)


def test_two_long_columns_are_ambiguous(tmp_path: Path) -> None:
    text = "".join(f"is this question {row} clear,that is answer {row} then\n" for row in range(9))
    with pytest.raises(DataError, match="can't tell which column is the text: found 2 columns without names"):
        opened(tmp_path, "a.csv", text)
    with pytest.raises(DataError, match="can't tell which column is the label"):
        opened(tmp_path, "b.csv", "coarse_label,fine_label,text\na,b,one two\n")


def test_columns_of_zero_and_one(tmp_path: Path) -> None:
    text = "id,comment_text,toxic,insult\n1,one text,1,0\n2,two text,1,1\n3,three,0,0\n4,four,,1\n5,five,,\n"
    file = opened(tmp_path, "a.csv", text)
    labels = [("toxic",), ("toxic", "insult"), (), ("insult",), None]
    assert [record.labels for record in file] == labels
    assert [(repair.what, repair.count, repair.line) for repair in file.repairs] == [
        ("empty cells among label columns, read as 0", 1, 5),
        ("records without a label", 1, 6),
    ]
    named = ClassReadOptions(label_columns=("insult", "toxic"))
    assert [record.labels for record in opened(tmp_path, "a.csv", text, named)][1] == ("insult", "toxic")
    with pytest.raises(DataError, match=r"a.csv:3: found '2' in the label column 'toxic', expected 0 or 1"):
        list(opened(tmp_path, "a.csv", text.replace("two text,1", "two text,2"), named))
    with pytest.raises(DataError, match="no header, expected column names, which are the labels"):
        opened(tmp_path, "a.csv", "one text,1,0\n", ClassReadOptions(label_columns=(1, 2), header=False))


def test_several_labels_in_a_cell(tmp_path: Path) -> None:
    options = ClassReadOptions(label_separator="|")
    text = "text,labels\none,a|b | a\ntwo,b\nthree,|\n"
    assert [record.labels for record in opened(tmp_path, "a.csv", text, options)] == [("a", "b"), ("b",), None]
    assert next(iter(opened(tmp_path, "a.csv", text))).labels == ("a|b | a",)


def test_missing_and_additional_cells(tmp_path: Path) -> None:
    file = opened(tmp_path, "a.csv", 'text,label,note\none,x,\n"two, and",y,n,,\nthree,\n,z,\nfour\n\n')
    assert pairs(file) == [("one", ("x",)), ("two, and", ("y",)), ("three", None), ("", ("z",)), ("four", None)]
    assert [(repair.what, repair.count, repair.line) for repair in file.repairs] == [
        ("rows with a missing cell", 2, 4),
        ("records without a label", 2, 4),
        ("records without a text", 1, 5),
        ("blank lines, skipped", 1, 7),
    ]
    with pytest.raises(DataError, match=r"a.csv:3: found 3 cells, expected 2 .*commas in quotes"):
        list(opened(tmp_path, "a.csv", 'text,label\n"a, b",x\na, b,y\n'))


def test_extra_cells_belong_to_an_unquoted_last_text(tmp_path: Path) -> None:
    rows = ["x\tone", "y\ttwo\tand\tmore", "x\tthree", "y\tfour\t"]
    file = opened(tmp_path, "a.tsv", "\n".join(rows * 6))
    assert [record.text for record in file][:4] == ["one", "two\tand\tmore", "three", "four"]
    assert file.repairs[0].what == "rows with extra cells, which were added to the text"
    assert (file.repairs[0].count, file.repairs[0].line) == (6, 2)
    with pytest.raises(DataError, match=r"a.tsv:2: found 3 cells, expected 2"):
        list(opened(tmp_path, "a.tsv", "text\tlabel\none\ttwo\tx\nthree\ty\n"))


def test_without_labels_a_record_for_each_row(tmp_path: Path) -> None:
    options = ClassReadOptions(labels=False)
    file = opened(tmp_path, "a.csv", 'text,label\n"one, two",x\n,\nthree,y\n', options)
    assert list(file) == [ClassRecord(text, None, line) for line, text in enumerate(["one, two", "", "three"], 2)]
    assert [record.text for record in opened(tmp_path, "b.csv", "text\nHello, you\nbye\n", options)] == [
        "Hello, you",
        "bye",
    ]


def test_a_cell_of_ten_megabytes(tmp_path: Path) -> None:
    long = "word, " * 2_000_000
    file = opened(tmp_path, "a.csv", f'text,label\n"{long}",x\nshort,y\n')
    assert [len(record.text) for record in file] == [len(long), 5]


def test_nothing_to_read(tmp_path: Path) -> None:
    for text in ("", "\n \n"):
        with pytest.raises(DataError, match="is empty"):
            opened(tmp_path, "a.csv", text)
    with pytest.raises(DataError, match="found no text"):
        list(opened(tmp_path, "a.csv", "text,label\n"))
    with pytest.raises(DataError, match="can't be read: No such file"):
        open_classes(tmp_path / "none.csv")
    with pytest.raises(DataError, match="is a folder"):
        open_classes(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"format": "cvs"}, "found 'cvs', expected one of csv.*did you mean 'csv'"),
        ({"text_columns": "text"}, "text_columns: found 'text'"),
        ({"label_columns": ("a", "a")}, "expected each column once"),
        ({"header": False, "text_columns": ("text",)}, "columns by name and no header"),
    ],
)
def test_invalid_options(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        ClassReadOptions(**arguments)  # type: ignore[arg-type]


EXCEL = [("Too late, again", ("slow",)), ("Kind people", ("kind",)), ("No; not at all", ("slow",))]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.txt", "a"])
@pytest.mark.parametrize(
    "text",
    [
        'sep=,\r\ntext,label\r\n"Too late, again",slow\r\nKind people,kind\r\nNo; not at all,slow\r\n',
        '"sep=;"\ntext;label\nToo late, again;slow\nKind people;kind\n"No; not at all";slow\n',
        "SEP=\t\ntext\tlabel\nToo late, again\tslow\nKind people\tkind\nNo; not at all\tslow\n",
    ],
)
def test_first_line_that_declares_the_delimiter(tmp_path: Path, name: str, text: str) -> None:
    file = opened(tmp_path, name, text)
    assert pairs(file) == EXCEL
    assert next(iter(file)).line == 3
    assert not file.repairs
    assert "as line 1 says" in remark(file, "format")
    assert list(open_classes(file.path, file.options)) == list(file)


@pytest.mark.parametrize("first", ["sep=,x", "sep =,", "sept,oct", "sep=:"])
def test_first_line_that_declares_nothing(tmp_path: Path, first: str) -> None:
    file = opened(tmp_path, "a.csv", f"{first}\nsome text,label\nmore text,label\n", ClassReadOptions(labels=False))
    assert len(list(file)) == 3


SINGLE = [
    ("news", 'It is new; it is "fast".'),
    ("sport", "They won today"),
    ("news", "It said 'no'; nothing else."),
    ("sport", "One; two; three"),
]


def single_quoted(delimiter: str) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, delimiter=delimiter, quotechar="'", lineterminator="\n")
    writer.writerows([(label, text.replace(";", delimiter)) for label, text in SINGLE] * 2)
    return stream.getvalue()


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("options", [ClassReadOptions(), ClassReadOptions(quote_character="'")])
def test_single_quotes(tmp_path: Path, delimiter: str, options: ClassReadOptions) -> None:
    name = "a.tsv" if delimiter == "\t" else "a.csv"
    file = opened(tmp_path, name, single_quoted(delimiter), options)
    assert pairs(file)[:4] == [(text.replace(";", delimiter), (label,)) for label, text in SINGLE]
    assert remark(file, "quotes").startswith("quotes: ' encloses cells")
    assert list(open_classes(file.path, file.options)) == list(file)


def test_a_column_in_single_quotes(tmp_path: Path) -> None:
    file = opened(tmp_path, "a.csv", "'text','label'\n'It is late, again',slow\n'Kind people',kind\n'No','slow'\n")
    assert [label for _, label in pairs(file)] == [("slow",), ("kind",), ("slow",)]


@pytest.mark.parametrize(
    "text",
    [
        "'tis late,slow\n'twas kind,kind\nno,slow\n",
        "'quoted',slow\n'kind',kind\n",  # quotes that no cell needs may be characters
        "text,label\n\"it's late, I say\",slow\n'no',kind\n",
        "it's, late\nthey're, kind\n",
    ],
)
def test_apostrophes_are_characters(tmp_path: Path, text: str) -> None:
    file = opened(tmp_path, "a.csv", text, ClassReadOptions(text_columns=(0,)))
    assert "'" in "".join(record.text for record in file)


def test_unclear_single_quotes_are_an_error_with_the_setting(tmp_path: Path) -> None:
    text = "'Late; again';slow\n'Well' they said;kind\nYes they did;kind\nNo they did not;slow\n" * 3
    with pytest.raises(DataError, match=r"a.csv:1: found 3 cells.*data.quote_character=single"):
        list(opened(tmp_path, "a.csv", text, ClassReadOptions(header=False)))
