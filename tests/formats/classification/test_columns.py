"""Columns and keys that only look like texts, labels or headers, and the ones that are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nlp_app.core.errors import DataError
from nlp_app.formats.classification import ClassFile, ClassReadOptions, open_classes

RIDES = [
    ("The driver came late again", "slow", "2024-02-01", 4),
    ("Clean car and a calm driver", "kind", "2024-02-01", 2),
    ("We waited for half an hour", "slow", "2024-02-03", 7),
    ("He helped with all the bags", "kind", "2024-02-09", 1),
    ("Nobody came to pick us up", "slow", "2024-03-01", 3),
]


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def table(header: str, row: str) -> str:
    lines = [
        row.format(n=n, text=text, label=label, date=date, count=count, truth=n % 2 == 0)
        for n, (text, label, date, count) in enumerate(RIDES)
    ]
    return "\n".join([header, *lines] if header else lines) + "\n"


def check(file: ClassFile) -> None:
    assert [(record.text, record.labels) for record in file] == [(text, (label,)) for text, label, *_ in RIDES]


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("message_id,post,class", "770{n}3,{text},{label}"),
        ("comment_id,remark,label", "c{n}f9,{text},{label}"),
        ("review_date,note,label", "{date},{text},{label}"),
        ("review_date,note,label", "Mon Feb 0{n} 22:19:45 PDT 2024,{text},{label}"),
        ("content_url,note,label", "https://example.org/a/long/path/to/page/{n},{text},{label}"),
        ("text_lang,note,verdict", "en,{text},{label}"),
        ("tweet_author,note,verdict", "Ann Lee,{text},{label}"),
        ("note,label_date,verdict", "{text},{date},{label}"),
        ("note,label_count,verdict", "{text},{count},{label}"),
        ("note,num_labels,verdict", "{text},1,{label}"),
        ("note,multi_label,verdict", "{text},{truth},{label}"),
        ("note,label_confidence,verdict", "{text},0.9{n},{label}"),
        ("note,label_source,verdict", "{text},crowd,{label}"),
        ("note,is_checked,verdict", "{text},{truth},{label}"),
        ("is_late,note,is_checked,verdict", "{truth},{text},{truth},{label}"),
        ("uuid,note,verdict", "9b2f61c0-7d1e-4a52-8c3b-00000000000{n},{text},{label}"),
    ],
)
def test_a_part_of_a_name_must_fit_the_values(tmp_path: Path, header: str, row: str) -> None:
    check(open_classes(write(tmp_path, "a.csv", table(header, row))))


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("review_text,label", "{text},{label}"),
        ("user_comment,final_label", "{text},{label}"),
        ("id,text,target_class,date", "{n},{text},{label},{date}"),
        ("Ride Review,Class Index", "{text},{label}"),
        ("author_note,text,label_name", "Ann Lee,{text},{label}"),
        ("data,message,label", "{date},{text},{label}"),  # `data` is a date in Italian
    ],
)
def test_names_and_parts_that_fit(tmp_path: Path, header: str, row: str) -> None:
    check(open_classes(write(tmp_path, "a.csv", table(header, row))))


def test_numbers_as_labels(tmp_path: Path) -> None:
    rows = "".join(f"{1 + n % 3},a headline of day {n}\n" for n in range(9))
    file = open_classes(write(tmp_path, "a.csv", "Class Index,Headline\n" + rows))
    assert {record.labels for record in file} == {("1",), ("2",), ("3",)}


@pytest.mark.parametrize("header", ["text,label_id,label_name", "text,label_one,label_two"])
def test_two_columns_that_fit_are_ambiguous(tmp_path: Path, header: str) -> None:
    path = write(
        tmp_path, "a.csv", f"{header}\n" + "".join(f"text number {n},{n % 2},{'ab'[n % 2]}\n" for n in range(6))
    )
    with pytest.raises(DataError, match="can't tell which column is the label: found 0 'text'"):
        open_classes(path)


def test_two_columns_of_different_texts_are_ambiguous(tmp_path: Path) -> None:
    rows = "".join(
        f"{text} and that was number {n},{text[:18]} {n},{label}\n" for n, (text, label, *_) in enumerate(RIDES)
    )
    with pytest.raises(DataError, match="can't tell which column is the text: found 0 'premise', 1 'hypothesis'"):
        open_classes(write(tmp_path, "a.csv", "premise,hypothesis,label\n" + rows))


@pytest.mark.parametrize(
    "keys",
    [
        {"comment_id": "c{n}", "remark": "{text}", "category": "{label}"},
        {"text": "{text}", "multi_label": False, "final_label": "{label}"},
        {"text": "{text}", "label_date": "{date}", "my_label": "{label}"},
        {"text": "{text}", "annotation": "{label}", "annotation_id": 7, "prediction": [["slow", 0.9]]},
        {"data": {"tweet_id": "770{n}3", "post": "{text}"}, "label": "{label}"},
        {"lang": "en", "post": "{text}", "label": "{label}", "url": "https://example.org/{n}"},
    ],
)
def test_keys_must_fit_the_values(tmp_path: Path, keys: dict[str, object]) -> None:
    template = json.dumps(keys)
    lines = []
    for n, (text, label, date, _) in enumerate(RIDES):
        line = template
        for name, value in (("n", str(n)), ("text", text), ("label", label), ("date", date)):
            line = line.replace("{" + name + "}", value)
        lines.append(line)
    check(open_classes(write(tmp_path, "a.jsonl", "\n".join(lines))))


def test_keys_of_two_texts_are_ambiguous(tmp_path: Path) -> None:
    lines = [json.dumps({"premise": f"{text} {n}", "reply": f"{text[:15]} {n}"}) for n, (text, *_) in enumerate(RIDES)]
    with pytest.raises(DataError, match="can't tell which key is the text: found premise, reply"):
        open_classes(write(tmp_path, "a.jsonl", "\n".join(lines)))


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("v1,v2,,,", "{label},{text},,,"),
        ("v2,v1", "{text},{label}"),
        ("0,1", "{text},{label}"),
        ("Unnamed: 0,Unnamed: 1", "{text},{label}"),
        ("priority,complaint,dept", "{n},{text},{label}"),
        (",0,1", "{n},{text},{label}"),
        ("text_lang,remark,verdict", "en,{text},{label}"),
        ("post,mood", "{text},{label}"),
        ("ride_note,ride_mood", "{text},{label}"),
    ],
)
def test_names_of_no_known_column(tmp_path: Path, header: str, row: str) -> None:
    check(open_classes(write(tmp_path, "a.csv", table(header, row))))
    options = ClassReadOptions(
        text_columns=(header.split(",").index(header.split(",")[row.split(",").index("{text}")]),)
    )
    check(open_classes(write(tmp_path, "a.csv", table(header, row)), options))


def test_cells_beyond_the_named_ones(tmp_path: Path) -> None:
    """Some rows of a published file continue in columns without a name."""
    text = table("v1,v2,,,", "{label},{text},,,").replace(
        "We waited for half an hour,", "We waited for half an hour, or two"
    )
    check(open_classes(write(tmp_path, "a.csv", text)))


@pytest.mark.parametrize(
    "first",
    [
        "Thanks,praise",
        "Hello,kind",
        "Fine,slow",
        "Wait for me please,v1",
        "Bus7,slow",
        "Bus7,refund",
        "Refund,billing_issue",
    ],
)
def test_first_row_that_is_data(tmp_path: Path, first: str) -> None:
    text, label = first.split(",")
    file = open_classes(write(tmp_path, "a.csv", table(first, "{text},{label}")))
    assert (next(iter(file)).text, next(iter(file)).labels) == (text, (label,))
    assert any("header: none, the first row is data" in remark for remark in file.remarks)


def test_an_ambiguous_table_without_names_shows_its_first_row(tmp_path: Path) -> None:
    rows = "".join(f"is it {n} here yet,it is {n} there now\n" for n in range(4))
    message = "2 columns without names, 0 to 1, which begin with 0 'is it 0 here yet'.*data.header=yes"
    with pytest.raises(DataError, match=message):
        open_classes(write(tmp_path, "a.csv", rows))


@pytest.mark.parametrize(
    ("cell", "labels"),
    [
        ('["slow", "rude"]', ("slow", "rude")),
        ("['slow', 'rude']", ("slow", "rude")),
        ('{"choices":["slow","rude"]}', ("slow", "rude")),
        ('{"slow": 1.0, "rude": 0.0}', ("slow",)),
        ('["slow"]', ("slow",)),
        ("[3, 7]", ("3", "7")),
        ("[]", ()),
    ],
)
def test_a_list_of_labels_in_a_cell(tmp_path: Path, cell: str, labels: tuple[str, ...]) -> None:
    quoted = cell.replace('"', '""')
    file = open_classes(write(tmp_path, "a.csv", f'text,label\nAt last,slow\nNo word,"{quoted}"\n'))
    assert [record.labels for record in file] == [("slow",), labels]
    assert [(repair.what, repair.line) for repair in file.repairs] == [
        ("cells with a list of labels, read as several labels", 3)
    ]


def test_a_list_of_labels_in_a_string(tmp_path: Path) -> None:
    lines = [json.dumps({"text": "No word", "label": label}) for label in ("slow", "['slow', 'rude']", "[slow]")]
    file = open_classes(write(tmp_path, "a.jsonl", "\n".join(lines)))
    assert [record.labels for record in file] == [("slow",), ("slow", "rude"), ("[slow]",)]
    assert [(repair.count, repair.line) for repair in file.repairs] == [(1, 2)]


@pytest.mark.parametrize("cell", ["[slow]", "{slow}", "[slow, rude]", "(slow)", "[1", "[a]b"])
def test_a_label_in_brackets(tmp_path: Path, cell: str) -> None:
    file = open_classes(write(tmp_path, "a.csv", f'text,label\nAt last,slow\nNo word,"{cell}"\n'))
    assert [record.labels for record in file] == [("slow",), (cell,)]


def test_spans_in_a_cell_are_refused(tmp_path: Path) -> None:
    spans = '"[{""start"": 0, ""end"": 3, ""text"": ""Ann"", ""labels"": [""PER""]}]"'
    file = open_classes(write(tmp_path, "a.csv", f"text,id,label\nAnn left,1,{spans}\n"))
    with pytest.raises(DataError, match=r"a.csv:2: `label`: found spans; `train ner` reads them"):
        list(file)
