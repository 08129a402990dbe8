"""Sequence labels in datasets give the same records as the same sentences in other formats."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import datasets
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nlp_app.core.errors import DataError, OtherTaskError, SettingsError
from nlp_app.core.types import CharSpan, Record, TextRecord, TokenRecord
from nlp_app.data.tagging.convert import convert
from nlp_app.data.tagging.corpus import CorpusOptions, read_corpus
from nlp_app.formats.classification import open_classes
from nlp_app.formats.tagging import ReadLog, ReadOptions, detect_format, read, read_lines

TEXT = Value("string")
TAGS = ["O", "B-PER", "I-PER", "B-LOC"]
SENTENCES = [("Ada King lives in London .", "B-PER I-PER O O B-LOC O"), ("她 来 了", "O O O"), ("Rome", "B-LOC")]
CONLL = "".join(
    "".join(f"{token} {tag}\n" for token, tag in zip(tokens.split(), tags.split(), strict=True)) + "\n"
    for tokens, tags in SENTENCES
)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()


@pytest.fixture
def by_name() -> Dataset:
    """Tags as numbers with names, and columns that are not read."""
    rows = {
        "id": ["a", "b", "c"],
        "pos_tags": [[1] * 6, [0] * 3, [1]],
        "tokens": [tokens.split() for tokens, _ in SENTENCES],
        "ner_tags": [[TAGS.index(tag) for tag in tags.split()] for _, tags in SENTENCES],
    }
    types = {"id": TEXT, "tokens": List(TEXT), "pos_tags": List(ClassLabel(names=["X", "NN"]))}
    return Dataset.from_dict(rows, features=Features({**types, "ner_tags": List(ClassLabel(names=TAGS))}))


def parquet(path: Path, rows: dict[str, list[Any]], types: dict[str, Any] | None = None) -> Path:
    Dataset.from_dict(rows, features=Features(types) if types else None).to_parquet(path)
    return path


def content(records: list[Record]) -> list[Any]:
    return [(r.tokens, r.tags) if isinstance(r, TokenRecord) else (r.text, r.spans) for r in records]


EXPECTED = list(read_lines(CONLL.splitlines(), "it", "conll"))


def test_every_source_gives_the_records_of_columns(by_name: Dataset, tmp_path: Path) -> None:
    by_name.to_parquet(tmp_path / "a.parquet")
    by_name.save_to_disk(tmp_path / "one")
    DatasetDict({"train": by_name, "test": by_name.select([2])}).save_to_disk(tmp_path / "several")
    (tmp_path / "folder").mkdir()
    by_name.to_parquet(tmp_path / "folder/train-00000.parquet")
    (arrow,) = (tmp_path / "one").glob("*.arrow")
    places = ["a.parquet", "one", "several", "folder", arrow.relative_to(tmp_path)]
    for place in [tmp_path / each for each in places]:
        for path in (place, f"hf:{place}"):
            assert detect_format(path) == "hub"
            found = list(read(path))
            assert content(found) == content(EXPECTED)
            assert [list(record.lines) for record in found if isinstance(record, TokenRecord)] == [
                [1] * 6,
                [2] * 3,
                [3],
            ]
    for part, rows in {"test": [2], "train[:2]": [0, 1], "train[2:]+test": [2, 2]}.items():
        assert content(list(read(f"hf:{tmp_path / 'several'}#{part}"))) == content([EXPECTED[row] for row in rows])


def test_a_corpus_equals_that_of_columns(by_name: Dataset, tmp_path: Path) -> None:
    by_name.to_parquet(tmp_path / "a.parquet")
    (tmp_path / "a.conll").write_text(CONLL)
    found, expected = (read_corpus(tmp_path / name) for name in ("a.parquet", "a.conll"))
    assert (found.format, found.scheme, found.ledger) == ("hub", expected.scheme, expected.ledger)
    assert [(s.text, s.spans) for s in found.sentences] == [(s.text, s.spans) for s in expected.sentences]


tokens_of_some_length = st.lists(
    st.tuples(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1), st.sampled_from(TAGS))
)


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(tokens_of_some_length, min_size=1, max_size=4))
def test_numbers_names_and_json_lines_agree(tmp_path: Path, sentences: list[list[tuple[str, str]]]) -> None:
    tokens, tags = [[t for t, _ in s] for s in sentences], [[t for _, t in s] for s in sentences]
    lines = [json.dumps({"tokens": t, "ner_tags": n}) for t, n in zip(tokens, tags, strict=True)]
    expected = content(list(read_lines(lines, "it", "jsonl")))
    names = parquet(tmp_path / "n.parquet", {"words": tokens, "tags": tags}, {"words": List(TEXT), "tags": List(TEXT)})
    numbered = [[TAGS.index(tag) for tag in each] for each in tags]
    types = {"words": List(TEXT), "labels": datasets.LargeList(ClassLabel(names=TAGS))}
    numbers = parquet(tmp_path / "c.parquet", {"words": tokens, "labels": numbered}, types)
    assert content(list(read(names))) == content(list(read(numbers))) == expected


def test_the_column_of_tags_can_be_chosen(by_name: Dataset, tmp_path: Path) -> None:
    by_name.to_parquet(tmp_path / "a.parquet")

    def first(**options: Any) -> list[str] | None:
        record = next(read(tmp_path / "a.parquet", options=ReadOptions(**options)))
        assert isinstance(record, TokenRecord)
        return record.tags

    assert first() == SENTENCES[0][1].split()
    assert first(column="pos_tags") == first(tag_column=1) == first(tag_column=-3, token_column=2) == ["NN"] * 6
    assert first(labels=False) is None
    for options, message in {
        "column": ({"column": "ner_tag"}, "found no column 'ner_tag', .*; did you mean 'ner_tags'"),
        "tag": ({"tag_column": 4}, "found no column 4, only 0 to 3: id, pos_tags, tokens, ner_tags"),
        "token": ({"token_column": 9}, "found no column 9"),
        "kind": ({"token_column": 1}, "'pos_tags' contains neither tokens nor texts"),
    }.values():
        with pytest.raises(DataError, match=message):
            first(**options)
    with pytest.raises(SettingsError, match="expected a CoNLL-U column"):
        list(read_lines(["a O"], "it", "conll", ReadOptions(column="pos_tags")))


def test_upos_is_preferred_and_unusual_names_are_found(tmp_path: Path) -> None:
    lists = {"tokens": List(TEXT), "upos": List(TEXT), "tags": List(TEXT)}
    path = parquet(tmp_path / "a.parquet", {"tokens": [["a"]], "upos": [["X"]], "tags": [["O"]]}, lists)
    assert content(list(read(path))) == [(["a"], ["X"])]
    path = parquet(tmp_path / "b.parquet", {"tokens": [["a"]], "lemmas": [["a"]], "slot_tags": [["O"]]})
    assert content(list(read(path))) == [(["a"], ["O"])]
    path = parquet(tmp_path / "c.parquet", {"tokens": [["a"]], "one_tags": [["O"]], "two_tags": [["O"]]})
    with pytest.raises(
        DataError, match=r"which column contains the tags: found one_tags, two_tags; name it .*data.column"
    ):
        list(read(path))


SPANS: list[list[tuple[int, int, str]]] = [[(0, 3, "PER"), (13, 19, "LOC")], []]
TEXTS = ["Ada lives in London.", "Nobody."]


def test_texts_with_spans(tmp_path: Path) -> None:
    expected = [(text, [CharSpan(*span) for span in spans]) for text, spans in zip(TEXTS, SPANS, strict=True)]
    names = ["LOC", "PER"]
    listed = [[{"start": a, "end": b, "label": names.index(c)} for a, b, c in spans] for spans in SPANS]
    item = {"start": Value("int32"), "end": Value("int32"), "label": ClassLabel(names=names)}
    a = parquet(tmp_path / "a.parquet", {"text": TEXTS, "spans": listed}, {"text": TEXT, "spans": List(item)})
    turned = [{key: [each[key] for each in spans] for key in item} for spans in listed]
    types = {"text": TEXT, "entities": {key: List(value) for key, value in item.items()}}
    b = parquet(tmp_path / "b.parquet", {"text": TEXTS, "entities": turned}, types)
    (tmp_path / "c.jsonl").write_text(
        "\n".join(json.dumps({"text": text, "label": spans}) for text, spans in zip(TEXTS, SPANS, strict=True))
    )
    for path in (a, b, f"hf:{tmp_path / 'c.jsonl'}"):
        found = list(read(path))
        assert content(found) == expected
        assert [record.line for record in found if isinstance(record, TextRecord)] == [1, 2]
    odd = parquet(tmp_path / "d.parquet", {"body": TEXTS, "what": listed}, {"body": TEXT, "what": List(item)})
    named = ReadOptions(token_column=-2, column="what")
    assert content(list(read(odd, options=named))) == expected
    assert content(list(read(odd, options=ReadOptions(text_key="body", label_key="what")))) == expected
    with pytest.raises(DataError, match="found no column 'bodi' of texts, only body, what"):
        list(read(odd, options=ReadOptions(text_key="bodi")))


def test_a_bad_span_is_dropped_and_counted(tmp_path: Path) -> None:
    first = [{"start": 0, "end": 3, "label": 1}, {"start": 3, "end": 3, "label": 0}]
    rows = [first, [{"start": 0, "end": 6, "label": 0}]]
    item = {"start": Value("int32"), "end": Value("int32"), "label": ClassLabel(names=["LOC", "PER"])}
    path = parquet(tmp_path / "a.parquet", {"text": TEXTS, "spans": rows}, {"text": TEXT, "spans": List(item)})
    log = ReadLog()
    assert content(list(read(path, log=log))) == [
        (TEXTS[0], [CharSpan(0, 3, "PER")]), (TEXTS[1], [CharSpan(0, 6, "LOC")]),
    ]  # fmt: skip
    assert log.remarks == ["empty spans, dropped: 1 (the first: line 1)"]
    with pytest.raises(DataError, match=r"a.parquet:1: `spans`: found a span 3..3"):
        list(read(path, options=ReadOptions(strict=True)))


def test_rejected_rows_are_skipped(tmp_path: Path) -> None:
    rows = {"text": ["a", "b"], "spans": [[{"start": 0, "end": 1, "label": "X"}]] * 2, "answer": ["reject", "accept"]}
    path = parquet(tmp_path / "a.parquet", rows)
    assert [record.line for record in read(path) if isinstance(record, TextRecord)] == [2]
    assert len(list(read(path, options=ReadOptions(labels=False)))) == 2
    remarks = convert(path, tmp_path / "a.jsonl").remarks
    assert remarks == ["objects that the annotator did not accept, skipped: 1 (the first: line 1)"]


def test_raw_texts_with_tokens(tmp_path: Path) -> None:
    rows = {"tokens": [["Hi", "!"], ["Hi", "!"]], "tags": [["O", "O"]] * 2, "text": ["Hi!", None]}
    first, second = read(parquet(tmp_path / "a.parquet", rows))
    assert isinstance(first, TokenRecord)
    assert (first.text, first.starts, second.text) == ("Hi!", [0, 2], None)


@pytest.mark.parametrize(
    ("rows", "tag", "message"),
    [
        ([[0, 1]], Value("int64"), "1: `ner_tags`: found numbers without their names: write the tags' names"),
        ([[0, 1], [0]], ClassLabel(names=TAGS), "2: found 2 tokens and 1 `ner_tags`, expected the same number"),
        ([["O", None]], TEXT, "1: `ner_tags`: expected a list of tags that are non-empty strings"),
        ([[0, 1], [0, None]], ClassLabel(names=TAGS), "2: `ner_tags`: expected a list of tags"),
        ([[0, -1]], ClassLabel(names=TAGS), "1: `ner_tags`: expected a list of tags"),
    ],
)
def test_tags_that_cannot_be_read(rows: list[Any], tag: Any, message: str, tmp_path: Path) -> None:
    types = {"tokens": List(TEXT), "ner_tags": List(tag)}
    path = parquet(tmp_path / "a.parquet", {"tokens": [["a", "b"]] * len(rows), "ner_tags": rows}, types)
    with pytest.raises(DataError, match=f"{path}:{message}"):
        list(read(path))


def test_no_labels(tmp_path: Path) -> None:
    types = {"tokens": List(TEXT), "ner_tags": List(ClassLabel(names=TAGS))}
    secret = parquet(tmp_path / "a.parquet", {"tokens": [["a"], ["b", "c"]], "ner_tags": [[-1], None]}, types)
    assert content(list(read(secret))) == [(["a"], None), (["b", "c"], None)]
    mixed = parquet(tmp_path / "b.parquet", {"tokens": [["a"], ["b"]], "ner_tags": [[0], None]}, types)
    with pytest.raises(DataError, match=r"b.parquet:2: found no labels, expected labels as in the previous records"):
        read_corpus(mixed)
    only = parquet(tmp_path / "c.parquet", {"text": ["a b"], "id": [1]})
    assert content(list(read(only))) == [("a b", None)]
    for rows, message in (
        ({"tokens": [["a"], None]}, ":2: `tokens`: found no value"),
        ({"text": ["a", None]}, ":2: `text`: found no value"),
    ):
        with pytest.raises(DataError, match=message):
            list(read(parquet(tmp_path / "d.parquet", rows)))


def test_texts_with_classes_are_refused(tmp_path: Path) -> None:
    types = {"text": TEXT, "mood": ClassLabel(names=["a", "b"])}
    classes = parquet(tmp_path / "a.parquet", {"text": ["x", "y"], "mood": [0, 1]}, types)
    with pytest.raises(OtherTaskError, match=r"found the columns text, mood; .*train cls"):
        list(read(classes))
    with pytest.raises(OtherTaskError):
        list(read(parquet(tmp_path / "b.parquet", {"review": ["x"], "stars": [1]})))
    assert [r.labels for r in open_classes(classes)] == [("a",), ("b",)]  # without `hf:`


def test_datasets_that_cannot_be_opened(by_name: Dataset, tmp_path: Path) -> None:
    (tmp_path / "bad.parquet").write_text("nonsense")
    by_name.save_to_disk(tmp_path / "one")
    for path, message in {
        tmp_path / "none.parquet": "none.parquet: can't be read: No such file",
        tmp_path / "bad.parquet": "bad.parquet: can't be loaded: ",
        f"hf:{tmp_path / 'one'}#dev": "can't be loaded: .*dev",
    }.items():
        with pytest.raises(DataError, match=message) as caught:
            list(read(path))
        assert "\n" not in str(caught.value)
    empty = parquet(tmp_path / "e.parquet", {"tokens": []}, {"tokens": List(TEXT)})
    with pytest.raises(DataError, match="corresponds to no data"):
        list(read(empty))
    with pytest.raises(SettingsError, match="hub can't be read from lines"):
        list(read_lines([], "-", "hub"))


def test_a_data_set_can_be_converted(by_name: Dataset, tmp_path: Path) -> None:
    by_name.to_parquet(tmp_path / "a.parquet")
    report = convert(tmp_path / "a.parquet", tmp_path / "b.conll", options=CorpusOptions())
    assert (report.source_format, report.losses) == ("hub", ["the column id", "the column pos_tags"])
    assert content(list(read(tmp_path / "b.conll"))) == content(EXPECTED)
    with pytest.raises(SettingsError, match=r"no format has the suffix"):
        convert(tmp_path / "b.conll", tmp_path / "c.parquet")


def test_offline_error_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "bad.parquet").write_text("nonsense")
    places = ["hf:someone/something", str(tmp_path / "bad.parquet")]
    code = (
        f"from nlp_app.cli import main\nfor place in {places}:\n"
        "    try: main(['convert', place, 'out.conll'])\n    except SystemExit as left: assert left.code == 2"
    )
    environment = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "PATH": ""}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    lines = run.stderr.splitlines()
    assert (run.stdout, len(lines)) == ("", 2), run.stderr
    for line, place in zip(lines, places, strict=True):
        assert line.startswith(f"error: {place}: can't be loaded: ")
