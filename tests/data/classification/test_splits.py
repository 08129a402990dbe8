"""Splits of a classification run: contents, errors and notes."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlp_app.config import ClassificationDataSettings
from nlp_app.core.errors import DataError, NlpAppError, SettingsError
from nlp_app.core.text_table import format_names
from nlp_app.data.classification.options import parse_columns
from nlp_app.data.classification.splits import ClassData, read_class_splits

Row = tuple[str, Sequence[str] | str | None]

TRAIN: list[Row] = [(f"train {number}", "xyz"[number % 3]) for number in range(30)]
DEV: list[Row] = [("dev 1", "x"), ("dev 2", "y")]
TEST: list[Row] = [("test 1", "x"), ("test 2", "z")]


def write(path: Path, rows: Sequence[Row]) -> str:
    path.write_text("".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows))
    return str(path)


def read(
    folder: Path,
    train: Sequence[Row] = TRAIN,
    dev: Sequence[Row] | None = DEV,
    test: Sequence[Row] | None = None,
    **more: Any,
) -> ClassData:
    files = {
        name: write(folder / f"{name}.jsonl", rows)
        for name, rows in (("train", train), ("dev", dev), ("test", test))
        if rows is not None
    }
    return read_class_splits(ClassificationDataSettings(**files, **more), seed=more.pop("seed", 1))


def refused(folder: Path, *files: Any, **more: Any) -> str:
    with pytest.raises(NlpAppError) as caught:
        read(folder, *files, **more)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def notes(data: ClassData, split: str) -> list[str]:
    """The notes on a split, without those on how its file was read."""
    start = f"note: {split}: "
    said = [line.removeprefix(start) for line in data.report() if line.startswith(start)]
    return [line for line in said if line not in data.train.file.remarks]


def test_classes_are_those_of_training(tmp_path: Path) -> None:
    data = read(tmp_path, TRAIN, DEV, TEST)
    assert data.class_set.labels == ("x", "y", "z")
    assert (data.train_size, data.label_counts) == (30, {"x": 10, "y": 10, "z": 10})
    assert [record.text for record in data.dev.records] == ["dev 1", "dev 2"]
    assert data.dev.gold == [("x",), ("y",)]
    assert [name for name, _ in data.scored()] == ["dev", "test"]
    assert data.held_out is None
    assert data.counts()["train"] == {"file": "train.jsonl", "texts": 30, "labels": 3}
    assert data.counts()["dev"] == {"file": "dev.jsonl", "texts": 2, "labels": 2}
    assert data.files() == [tmp_path / name for name in ("dev.jsonl", "test.jsonl", "train.jsonl")]
    json.dumps(data.about())
    assert [record.text for record in data.train] == [text for text, _ in TRAIN]


def test_without_dev_a_share_is_held_out(tmp_path: Path) -> None:
    data = read(tmp_path, dev=None, test=TEST, dev_share=0.3)
    held, left = [record.text for record in data.dev.records], [record.text for record in data.train]
    assert len(held) == 9
    assert sorted(held + left) == sorted(text for text, _ in TRAIN)
    assert (data.train_size, sum(data.label_counts.values())) == (21, 21)
    assert any("held out from train" in line for line in data.report())
    assert notes(data, "dev") == []
    assert data.files() == [tmp_path / "test.jsonl", tmp_path / "train.jsonl"]


def test_the_bundled_corpus_is_read_where_no_file_is_named() -> None:
    data = read_class_splits(ClassificationDataSettings(), seed=1)
    assert data.train_size > 500
    assert not data.class_set.multi_label
    assert notes(data, "dev") == notes(data, "test") == []
    with pytest.raises(SettingsError, match=r"data\.train: not given, though dev or test is; give --train FILE"):
        read_class_splits(ClassificationDataSettings(dev="dev.csv"), seed=1)


def test_a_dev_label_that_training_lacks(tmp_path: Path) -> None:
    dev: list[Row] = [*DEV, ("dev 3", "w"), ("dev 4", "v")]
    found = read(tmp_path, TRAIN, dev)
    assert notes(found, "dev") == ["labels that do not occur in the training data: v, w; they count as missed"]
    assert found.dev is not None
    assert len(found.dev.records) == 4
    said = refused(tmp_path, TRAIN, dev, strict=True)
    assert said.startswith(f"{tmp_path / 'dev.jsonl'}:3: label 'w' does not occur in ")
    assert "(labels there: x, y, z)" in said


def test_a_dev_file_without_any_known_label(tmp_path: Path) -> None:
    assert "found the labels v, w, expected x, y, z as in" in refused(tmp_path, TRAIN, [("dev 1", "w"), ("dev 2", "v")])


def test_labels_of_test_that_training_lacks(tmp_path: Path) -> None:
    data = read(tmp_path, TRAIN, DEV, [*TEST, ("test 3", "w")])
    assert notes(data, "test") == ["labels that do not occur in the training data: w; they count as missed"]
    said = refused(tmp_path, TRAIN, DEV, [("test 1", "X"), ("test 2", "Y")])
    assert said.startswith(f"{tmp_path / 'test.jsonl'}: found the labels X, Y, expected x, y, z as in ")


@pytest.mark.parametrize(
    ("train", "said"),
    [
        ([("a", None), ("b", None)], "found no label"),
        ([("a", "x"), ("b", "x"), ("c", None)], "found only one class ('x'), expected at least two classes"),
        ([("a", "x"), ("b", "x"), ("c", "x"), (" ", "y")], "found only one class ('x'), expected at least two classes"),
        ([("", "x"), (" ", "y"), ("", "x")], "isn't empty"),
        ([(f"text {n}", f"class {n}") for n in range(9)], "found a different label for each of 9 texts ('class 0', "),
    ],
)
@pytest.mark.parametrize("held_out", [True, False])
def test_training_texts_without_classes(tmp_path: Path, train: list[Row], said: str, held_out: bool) -> None:
    found = refused(tmp_path, train, None if held_out else [("d", "x")])
    assert said in found
    assert found.startswith(str(tmp_path / "train.jsonl"))


def test_two_texts_may_have_a_class_each(tmp_path: Path) -> None:
    assert read(tmp_path, [("a", "x"), ("b", "y")]).class_set.labels == ("x", "y")
    assert "without losing a class" in refused(tmp_path, [("a", "x"), ("b", "y")], None)


def test_skipped_texts_are_counted(tmp_path: Path) -> None:
    odd: list[Row] = [
        ("", "x"),
        ("u", None),
        (" ", "y"),
        ("v", None),
        ("train 0", "x"),
        ("train 1", "z"),
        ("o", "once"),
    ]
    data = read(tmp_path, [*TRAIN, *odd], [*DEV, ("", "x"), ("w", None), ("train 0", "x")])
    assert data.train_size == 33
    assert data.label_counts == {"once": 1, "x": 11, "y": 10, "z": 11}
    assert notes(data, "train") == [
        "skipped texts without a label: 2, the first in line 32",
        "skipped empty texts: 2, the first in line 31",
        "duplicate texts: 2",
        "texts that occur with different labels: 1",
        "labels with a single example: once; they will hardly be learned",
    ]
    assert (data.dev.skipped, len(data.dev.records)) == (1, 4)
    said = notes(data, "dev")
    assert "skipped texts without a label: 1" in said
    assert "empty texts: 1; they are evaluated like all others" in said
    assert any(
        "texts that also occur in train: " in line and "; scores on this file will be too high" in line for line in said
    )


SEVERAL: list[Row] = [(f"train {n}", [["x"], ["x", "y"], ["z"], []][n % 4]) for n in range(20)]


def test_multi_label_is_detected_or_set(tmp_path: Path) -> None:
    data = read(tmp_path, SEVERAL, [("d", ["x", "z"]), ("e", [])])
    assert data.class_set.multi_label
    assert data.train_size == 20  # those without labels too
    assert data.dev.gold == [("x", "z"), ()]
    assert "texts may have several labels: each label is predicted independently" in notes(data, "train")
    assert not read(tmp_path).class_set.multi_label
    assert read(tmp_path, multi_label="yes").class_set.multi_label
    said = refused(tmp_path, SEVERAL, multi_label="no")
    assert said.startswith(f"{tmp_path / 'train.jsonl'}:2: found several labels")
    assert not read(tmp_path, multi_label="no").class_set.multi_label


def test_several_labels_where_training_has_one(tmp_path: Path) -> None:
    said = refused(tmp_path, TRAIN, [("d", ["x"]), ("e", ["x", "y"])])
    assert said == f"{tmp_path / 'dev.jsonl'}:2: found 2 labels (x, y), expected one as in the training data"


def test_one_label_or_none_is_a_task_of_several_labels(tmp_path: Path) -> None:
    rows: list[Row] = [(f"train {n}", ["spam"] if n % 3 else []) for n in range(12)]
    data = read(tmp_path, rows, [("d", []), ("e", ["spam"])], multi_label="yes")
    assert data.class_set.labels == ("spam",)
    assert "only one class" in refused(tmp_path, rows, [("e", ["spam"])], multi_label="no")
    all_spam: list[Row] = [(f"train {n}", ["spam"]) for n in range(12)]
    assert "only one class" in refused(tmp_path, all_spam, [("e", ["spam"])], multi_label="yes")


def test_dev_without_labels(tmp_path: Path) -> None:
    assert "dev.jsonl" in refused(tmp_path, TRAIN, [("d", None), ("e", None)])


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.sampled_from("xyz")), min_size=4, max_size=25),
    st.lists(st.tuples(st.integers(0, 15), st.sampled_from("xyz")), min_size=1, max_size=10),
)
def test_notes_equal_brute_force(
    tmp_path_factory: pytest.TempPathFactory, train: list[tuple[int, str]], dev: list[tuple[int, str]]
) -> None:
    train = [(100, "x"), (101, "x"), (102, "y"), (103, "y"), (104, "z"), (105, "z"), *train]
    rows, others = ([(f"text {number}", label) for number, label in pairs] for pairs in (train, dev))
    data = read(tmp_path_factory.mktemp("data"), rows, others)
    texts = [text for text, _ in rows]
    twice = len(texts) - len(set(texts))
    differing = sum(len({label for other, label in rows if other == text}) > 1 for text in set(texts))
    shared = sum(text in texts for text, _ in others)
    expected = [f"duplicate texts: {twice}"] * (twice > 0)
    expected += [f"texts that occur with different labels: {differing}"] * (differing > 0)
    assert notes(data, "train") == expected
    assert notes(data, "dev") == [f"texts that also occur in train: {shared}; scores on this file will be too high"] * (
        shared > 0
    )


def test_some_labels() -> None:
    assert format_names(["a", "b"]) == "a, b"
    assert format_names(f"{n:03}" for n in range(1000)) == "000, 001, 002, 003, 004, 005, 006, 007, ... (1,000 in all)"


@pytest.mark.parametrize(
    ("names", "columns"),
    [("", ()), ("text", ("text",)), ("0", (0,)), ("-1, title ,2", (-1, "title", 2)), ("1a", ("1a",))],
)
def test_columns(names: str, columns: tuple[str | int, ...]) -> None:
    assert parse_columns(names) == columns


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for name in ("train", "dev", "test"):
        files = {each: write(tmp_path / f"{each}.jsonl", TRAIN) for each in ("train", "dev", "test")}
        files[name] = str(tmp_path / "missing.jsonl")
        with pytest.raises(DataError, match=r"missing\.jsonl") as caught:
            read_class_splits(ClassificationDataSettings(**files), seed=1)
        assert "\n" not in str(caught.value)


def test_one_content_read_as_two_formats(tmp_path: Path) -> None:
    rows = "".join(f"__label__{'ab'[number % 2]} word{number} other,{'xyz'[number % 3]}\n" for number in range(40))
    content = gzip.compress(rows.encode(), mtime=0)
    texts = []
    for name in ("a.txt.gz", "a.csv.gz"):
        (tmp_path / name).write_bytes(content)
        data = read_class_splits(ClassificationDataSettings(train=str(tmp_path / name), dev_share=0.3), seed=1)
        texts.append({record.text for record in (*data.train, *data.dev.records)})
        assert set(data.label_counts) == {label for record in data.train for label in record.labels}
    assert texts[0].isdisjoint(texts[1])


def test_texts_that_can_not_be_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NLP_APP_CACHE", str(tmp_path / "file"))
    data = read(tmp_path)
    assert [line for line in data.report() if "encoded texts are used for this run only" in line] == [data.report()[-1]]
