"""The facts of `inspect` as JSON, and as a table that is aligned on a terminal."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest

from nlp_app.core.text_table import display_width
from nlp_app.data.tagging.corpus import CorpusOptions, read_corpus
from nlp_app.reports.tagging_inspection import inspect_corpora, inspection_table
from nlp_app.text import make_tokenizer

TRAIN = "Ada\tB-PER\nmet\tO\nEve\tI-PER\n\nin\tO\nRome\tB-LOC\n\nin\tO\nRome\tB-LOC\n"
DEV = "in\tO\nRome\tB-LOC\n\n王\tB-人名\n明\tI-人名\n在\tO\n"
RAW = {"text": "Bob\u3000met Eve!", "label": [[0, 4, "PER"], [8, 10, "PER"]]}


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "train.conll", tmp_path / "dev.conll", tmp_path / "raw.jsonl"]
    contents = [TRAIN, DEV, json.dumps(RAW) + "\n"]
    for path, content in zip(paths, contents, strict=True):
        path.write_text(content, encoding="utf-8")
    return paths


@pytest.fixture
def facts(files: list[Path]) -> dict[str, object]:
    options = CorpusOptions(scheme="BIO", tokenizer=make_tokenizer("basic", do_lower_case=False))
    train, *others = (read_corpus(path, options) for path in files)
    return inspect_corpora(train, others)


def test_the_facts_are_plain_values(facts: dict[str, object], files: list[Path]) -> None:
    train, dev, raw = files
    again = json.loads(json.dumps(facts))
    first, _, last = again["files"]
    assert (first["format"], first["scheme"], first["sentences"], first["tokens"]) == ("conll", "BIO", 3, 7)
    assert first["labels"] == {"PER": 2, "LOC": 2}
    assert first["duplicates"] == {"count": 1, "lines": [[5, 8]]}
    assert (first["repairs"]["count"], first["repairs"]["first"][0]["line"]) == (1, 3)
    assert set(first["agreement"]) == {"basic", "char", "whitespace"}
    assert (last["scheme"], last["tokenizer"], last["agreement"]) == (None, "basic", None)
    ledger = last["ledger"]
    assert [ledger[key] for key in ("gold", "kept", "adjusted", "dropped")] == [2, 0, 2, 0]
    assert ledger["first"][0]["span"] == [0, 4, "PER"]
    assert ledger["first"][0]["aligned"] == [0, 3, "PER"]
    assert again["leaks"] == [
        {"train": str(train), "file": str(dev), "count": 1, "lines": [[5, 1]]},
        {"train": str(train), "file": str(raw), "count": 0, "lines": []},
        {"train": str(dev), "file": str(raw), "count": 0, "lines": []},
    ]
    unseen = {(pair["train"], pair["file"]): (pair["unseen"], pair["share"]) for pair in again["unseen"]}
    assert unseen[str(train), str(dev)] == (1, 0.5)
    assert unseen[str(train), str(raw)] == (1, 0.5)


def test_the_table_has_a_column_for_each_file_and_lists_the_findings(facts: dict[str, object]) -> None:
    table, _, places = inspection_table(facts).partition("\n\n")
    rows = {" ".join(cells[:-3]): cells[-3:] for cells in map(str.split, table.split("\n"))}
    assert rows[""] == ["train.conll", "dev.conll", "raw.jsonl"]
    assert rows["tag scheme"] == ["BIO", "BIO", "-"]
    assert rows["sentences"] == ["3", "2", "1"]
    assert rows["sentences also in first file"] == ["-", "1", "0"]
    assert rows["entities unseen in first file"] == ["-", "50.0%", "50.0%"]
    assert rows["gold/kept/adjusted/dropped"] == ["4/4/0/0", "2/2/0/0", "2/0/2/0"]
    assert rows["PER"] == ["2", "0", "2"]
    assert "train.conll:3: I-PER follows O, which BIO never writes" in places
    assert "train.conll:8: repeats line 5" in places
    assert "dev.conll:1: same sentence as train.conll:5" in places
    assert "raw.jsonl:1: PER 8-10 adjusted: expanded to token edges" in places


def test_the_table_lines_up_with_wide_characters(facts: dict[str, object]) -> None:
    table = inspection_table(facts).partition("\n\n")[0].split("\n")
    assert any("人名" in row for row in table)
    assert len({display_width(row) for row in table}) == 1, "each row ends in a right-aligned column"


def test_width_counts_columns() -> None:
    assert display_width("abc") == 3
    assert display_width("人名ａ") == 6
    assert display_width(unicodedata.normalize("NFD", "é")) == 1


def test_what_a_terminal_cannot_show_is_escaped(tmp_path: Path) -> None:
    path = tmp_path / "a.conll"
    path.write_text("\x1b[2J\u202eAda\tB-P\x07R\n" + "long" * 40 + "\tI-P\x07R\n\n", encoding="utf-8")
    text = inspection_table(inspect_corpora(read_corpus(path)))
    assert all(character.isprintable() or character == "\n" for character in text)
    assert "P\\x07R" in text
    assert "…" in text


def test_files_of_the_same_name_are_shown_with_their_paths(tmp_path: Path) -> None:
    corpora = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        path = tmp_path / folder / "test.conll"
        path.write_text(TRAIN)
        corpora.append(read_corpus(path))
    header = inspection_table(inspect_corpora(corpora[0], corpora[1:])).split("\n")[0]
    assert header.split() == [corpora[0].path, corpora[1].path]
