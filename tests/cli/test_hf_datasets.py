"""Data sets on the command line: what is said and made of one is what is said and made of the same file of columns."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest
from conftest import Outcome, Small
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value

from nlp_app.config import TaggingDataSettings
from nlp_app.core.types import TokenRecord
from nlp_app.data.tagging.splits import read_splits
from nlp_app.formats.tagging import read

Cli = Callable[..., Outcome]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()


def part_of(path: Path, column: str = "ner_tags") -> Dataset:
    """A file of columns as a data set whose tags are numbers with names."""
    records = [record for record in read(path) if isinstance(record, TokenRecord)]
    names = sorted({tag for record in records for tag in record.tags or ()})
    tags = [[names.index(tag) for tag in record.tags or ()] for record in records]
    rows = {"id": list(range(len(records))), "tokens": [record.tokens for record in records], column: tags}
    types = {"id": Value("int32"), "tokens": List(Value("string")), column: List(ClassLabel(names=names))}
    return Dataset.from_dict(rows, features=Features(types))


@pytest.fixture
def parts(small: Small, tmp_path: Path) -> Path:
    both = {"train": part_of(small.train), "test": part_of(small.test)}
    DatasetDict(both).save_to_disk(tmp_path / "parts")
    return tmp_path / "parts"


def result(outcome: Outcome) -> Any:
    assert outcome.status == 0, outcome.err
    return json.loads(outcome.out)


def test_training_data(small: Small, parts: Path) -> None:
    found = read_splits(TaggingDataSettings(train=f"hf:{parts}", test=f"hf:{parts}#test"), seed=1)
    expected = read_splits(TaggingDataSettings(train=str(small.train), test=str(small.test)), seed=1)
    for (name, corpus), (_, other) in zip(found.corpora(), expected.corpora(), strict=True):
        assert [(s.text, s.spans) for s in corpus.sentences] == [(s.text, s.spans) for s in other.sentences], name
    assert found.counts()["test"]["file"] == f"hf:{parts}#test"
    assert found.held_out
    assert found.files() == []
    assert parts / "test/state.json" in read_splits(TaggingDataSettings(train=str(parts)), seed=1).files()


def test_evaluation_and_inspection(cli: Cli, small: Small, parts: Path) -> None:
    for path in (f"hf:{parts}#test", f"hf:{parts}#test[:100%]"):
        found = result(cli("evaluate", small.run, path, "--json", "--quiet"))
        assert found == result(cli("evaluate", small.run, small.test, "--json", "--quiet"))
    found, expected = (result(cli("inspect", path, "--json"))["files"][0] for path in (f"hf:{parts}#test", small.test))
    assert found["format"] == "hub"
    for name in ("sentences", "tokens", "labels"):
        assert found[name] == expected[name]


def test_columns_are_those_of_the_data_set_alone(cli: Cli, small: Small, tmp_path: Path) -> None:
    part_of(small.test, "my_tags").to_parquet(tmp_path / "a.parquet")
    part_of(small.test, "mine").add_column("tags", [["O"]] * 40).to_parquet(tmp_path / "b.parquet")
    expected = result(cli("evaluate", small.run, small.test, "--json", "--quiet"))
    assert result(cli("evaluate", small.run, tmp_path / "a.parquet", "--json", "--quiet")) == expected
    named = "--set=data.column=mine"
    assert result(cli("evaluate", small.run, tmp_path / "b.parquet", "--json", "--quiet", named)) == expected


def test_tagging(cli: Cli, small: Small, tagger: Any, parts: Path, tmp_path: Path) -> None:
    tokens = [record.tokens for record in read(small.test) if isinstance(record, TokenRecord)]
    outcome = cli("tag", small.run, "--input", f"hf:{parts}#test", "--quiet")
    lines = [json.loads(line) for line in outcome.out.splitlines()]
    assert lines == [{"tokens": t, "ner_tags": n} for t, n in zip(tokens, tagger.tag_tokens(tokens), strict=True)]
    texts = ["北京", "Ada lives in London."]
    Dataset.from_dict({"n": [1, 2], "text": texts}).to_parquet(tmp_path / "texts.parquet")
    cli("tag", small.run, "--input", tmp_path / "texts.parquet", "--output", tmp_path / "out.jsonl", "--quiet")
    found = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["text"] for line in found] == texts


def test_classes_in_parquet(cli: Cli, small_classes: Small, tmp_path: Path) -> None:
    Dataset.from_csv(str(small_classes.test), cache_dir=str(tmp_path)).to_parquet(tmp_path / "folder.parquet")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder.parquet").rename(tmp_path / "folder/train.parquet")
    options = ("--backend", "torch", "--quiet")  # auto would compute the file by NumPy
    for path in (tmp_path / "folder", tmp_path / "folder/train.parquet"):
        assert result(cli("inspect", path, "--json"))["task"] == "cls"
        evaluated = result(cli("evaluate", small_classes.run, path, "--json", *options))
        assert evaluated == result(cli("evaluate", small_classes.run, small_classes.test, "--json", *options))
        found = cli("classify", small_classes.run, "--input", path, *options).out.splitlines()
        table = cli("classify", small_classes.run, "--input", small_classes.test, *options).out.splitlines()
        keys = ("text", "predicted", "score")  # the table has its other columns, too
        assert [json.loads(line) for line in found] == [{key: json.loads(line)[key] for key in keys} for line in table]
