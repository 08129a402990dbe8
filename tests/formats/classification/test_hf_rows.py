"""Texts with classes in datasets: local folders and files, which are loaded like those of the Hub."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nlp_app.core.errors import DataError
from nlp_app.formats.classification import ClassReadOptions, open_classes
from nlp_app.formats.io.hf_datasets import DatasetAddress, parse_address

datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def parquet(folder: Path, columns: dict[str, list[Any]], features: dict[str, Any]) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "train.parquet"
    datasets.Dataset.from_dict(columns, features=datasets.Features(features)).to_parquet(path)
    return path


TEXT = datasets.Value("string")


def test_addresses(tmp_path: Path) -> None:
    assert parse_address("hf:trec") == DatasetAddress("trec", None, "train")
    assert parse_address("hf:user/name:big#test") == DatasetAddress("user/name", "big", "test")
    assert parse_address("name#train[:10%]") == DatasetAddress("name", None, "train[:10%]")
    assert parse_address(f"hf:{tmp_path}#test") == DatasetAddress(str(tmp_path), None, "test")


def test_class_numbers_become_class_names(tmp_path: Path) -> None:
    columns = {"text": ["one", "", "three"], "label": [1, 0, -1]}
    parquet(tmp_path / "d", columns, {"text": TEXT, "label": datasets.ClassLabel(names=["neg", "pos"])})
    file = open_classes(f"hf:{tmp_path / 'd'}#train")
    expected = [("one", ("pos",), 1), ("", ("neg",), 2), ("three", None, 3)]
    assert [tuple(record) for record in file] == expected
    assert [(repair.what, repair.line) for repair in file.repairs] == [
        ("records without a text", 2),
        ("records without a label", 3),
    ]
    assert file.format == "hub"
    assert "3 rows" in file.remarks[0]
    assert [tuple(record) for record in open_classes(tmp_path / "d/train.parquet", file.options)] == expected
    assert [record.labels for record in open_classes(file.path, ClassReadOptions(labels=False))] == [None] * 3


def test_lists_strings_and_binary_columns(tmp_path: Path) -> None:
    names = datasets.ClassLabel(names=["a", "b"])
    columns = {"comment": ["x", "y"], "labels": [[0, 1], []], "kind": ["k", None], "on": [1, 0], "off": [0, None]}
    features = {"comment": TEXT, "labels": datasets.List(names), "kind": TEXT, "on": datasets.Value("int8")}
    path = parquet(tmp_path, columns, {**features, "off": datasets.Value("int8")})
    named = ClassReadOptions(text_columns=("comment",))
    assert [record.labels for record in open_classes(f"hf:{path}", named)] == [("a", "b"), ()]
    kind = ClassReadOptions(text_columns=("comment",), label_columns=("kind",))
    assert [record.labels for record in open_classes(f"hf:{path}", kind)] == [("k",), None]
    both = ClassReadOptions(text_columns=("comment", "kind"), label_columns=("on", "off"))
    assert [(r.text, r.labels) for r in open_classes(f"hf:{path}", both)] == [("x k", ("on",)), ("y", ())]


def test_a_folder_of_csv(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/train.csv").write_text('text,label\n"one, two",x\nthree,y\n')
    (tmp_path / "d/test.csv").write_text("text,label\nfour,x\n")
    assert [tuple(r) for r in open_classes(f"hf:{tmp_path / 'd'}")] == [("one, two", ("x",), 1), ("three", ("y",), 2)]
    assert [tuple(r) for r in open_classes(f"hf:{tmp_path / 'd'}#test")] == [("four", ("x",), 1)]
    (tmp_path / "a.tsv").write_text("text\tlabel\none, two\tx\n")
    assert [tuple(record) for record in open_classes(f"hf:{tmp_path / 'a.tsv'}")] == [("one, two", ("x",), 1)]
    with pytest.raises(DataError, match=r"can't be loaded: .*dev"):
        open_classes(f"hf:{tmp_path / 'd'}#dev")


def test_ambiguous_columns(tmp_path: Path) -> None:
    features = {"one": TEXT, "two": TEXT, "n": datasets.Value("int64")}
    path = parquet(tmp_path, {"one": ["a"], "two": ["b"], "n": [1]}, features)
    with pytest.raises(DataError, match="can't tell which column is the text: found 0 'one', 1 'two', 2 'n'"):
        open_classes(f"hf:{path}")
    with pytest.raises(DataError, match="no strings in the text column 'n'"):
        open_classes(f"hf:{path}", ClassReadOptions(text_columns=("n",)))
    tokens = parquet(
        tmp_path, {"tokens": [["a"]], "ner_tags": [["O"]]}, {n: datasets.List(TEXT) for n in ("tokens", "ner_tags")}
    )
    with pytest.raises(DataError, match="sequence labeling data"):
        open_classes(f"hf:{tokens}")


def test_dataset_code_is_never_run(tmp_path: Path) -> None:
    folder = tmp_path / "evil"
    folder.mkdir()
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    with pytest.raises(DataError, match="can't be loaded"):
        open_classes(f"hf:{folder}")
    assert not (tmp_path / "ran").exists()


def test_missing_datasets(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="can't be loaded"):
        open_classes(f"hf:{tmp_path / 'nothing'}")
    (tmp_path / "a.docx").write_text("x")
    with pytest.raises(DataError, match=r"one of the endings .csv"):
        open_classes(f"hf:{tmp_path / 'a.docx'}")


def test_offline_error_is_one_line() -> None:
    code = (
        "import os; os.environ['HF_HUB_OFFLINE'] = '1'\n"
        "from nlp_app.core.errors import DataError\n"
        "from nlp_app.formats.classification import open_classes\n"
        "try: open_classes('hf:someone/something')\n"
        "except DataError as error: print(error)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.count("\n") == 1
    assert run.stdout.startswith("hf:someone/something: can't be loaded: ")
