"""What came in goes out again, and the form of the output is chosen by its name, or refused."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Outcome, Small, refused

from nlp_app.formats.tagging import read

Cli = Callable[..., Outcome]

ROWS = [
    ["1", "Anna lives in Rome, again", "a"],
    ["2", "", "b"],
    ["3", 'two\nlines "here"', "c"],
    ["4", "马云 in Rome", "d"],
]


def write_table(path: Path, delimiter: str = ",", count: int = 1) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(["id", "message", "class"])
        for number in range(count):
            writer.writerows([f"{number}-{row[0]}", *row[1:]] for row in ROWS)
    return path


def table_of(path: Path, delimiter: str = ",") -> list[dict[str, Any]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter=delimiter))


@pytest.mark.parametrize("delimiter", [",", ";"])
def test_a_table_comes_back_as_a_table(
    cli: Cli, small: Small, small_classes: Small, tmp_path: Path, delimiter: str
) -> None:
    source, out = write_table(tmp_path / "a.csv", delimiter), tmp_path / "out.csv"
    assert cli("tag", small.run, "--input", source, "--output", out, "--quiet") == (0, "", "")
    found = table_of(out, delimiter)
    assert [[row["id"], row["message"], row["class"]] for row in found] == [[f"0-{r[0]}", *r[1:]] for r in ROWS]
    for row in found:
        for span in json.loads(row["spans"]):
            assert row["message"][span["start"] : span["end"]] == span["text"]
    assert cli("classify", small_classes.run, "--input", source, "--output", out, "--quiet") == (0, "", "")
    classes = table_of(out, delimiter)
    assert [row["id"] for row in classes] == [row["id"] for row in found]
    lines = cli("classify", small_classes.run, "--input", source, "--quiet").out.splitlines()
    expected = [json.loads(line) for line in lines]
    assert [(row["predicted"] or None, float(row["score"] or -1)) for row in classes] == [
        (line["predicted"], pytest.approx(line["score"] or -1, abs=3e-6)) for line in expected
    ]


def test_other_keys_come_back_and_gold_spans_are_named_so(cli: Cli, small: Small, tmp_path: Path) -> None:
    values = [
        {"id": 7, "text": "Anna lives", "meta": {"x": [1, None]}, "spans": [{"start": 0, "end": 4, "label": "PER"}]},
        {"tokens": ["Anna", "lives"], "ner_tags": ["O", "O"], "doc": "é"},
        {"text": "Rome", "score": 3},
    ]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(value) + "\n" for value in values))
    found = [json.loads(line) for line in cli("tag", small.run, "--input", path, "--quiet").out.splitlines()]
    assert {key: found[0][key] for key in ("id", "meta", "gold")} == {
        "id": 7, "meta": {"x": [1, None]}, "gold": values[0]["spans"]}  # fmt: skip
    assert (found[1]["doc"], found[1]["gold"]) == ("é", ["O", "O"])
    assert found[2]["score"] == 3
    document = tmp_path / "b.json"
    document.write_text(json.dumps(values, indent=1))
    lines = cli("tag", small.run, "--input", document, "--quiet").out.splitlines()
    assert [json.loads(line) for line in lines] == found


@pytest.mark.parametrize(
    ("name", "more", "message"),
    [
        ("out.json", [], "no format with the suffix .json"),
        ("out.xlsx", [], "no format with the suffix .xlsx"),
        ("-", ["--output-format", "label-studio"], "name a file with --output"),
        ("out.json.gz", ["--output-format", "label-studio"], "written uncompressed"),
        ("out", ["--output-format", "fasttext"], "fasttext"),
    ],
)
def test_outputs_that_make_no_sense_are_refused(
    cli: Cli, small: Small, tmp_path: Path, name: str, more: list[str], message: str
) -> None:
    source = tmp_path / "a.txt"
    source.write_text("Anna lives in Rome\n")
    target = name if name == "-" else tmp_path / name
    refused(cli("tag", small.run, "--input", source, "--output", target, *more), message)
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_columns_are_not_texts(cli: Cli, small: Small, tmp_path: Path) -> None:
    source = tmp_path / "a.conll"
    source.write_text("Anna\tX\nlives\tX\n\n")
    refused(cli("tag", small.run, "--input", source, "--output", tmp_path / "out.csv"), "columns of tokens")
    assert cli("tag", small.run, "--input", source, "--output", tmp_path / "out.jsonl", "--quiet").status == 0
    assert json.loads((tmp_path / "out.jsonl").read_text())["tokens"] == ["Anna", "lives"]
    assert cli("tag", small.run, "--input", source, "--output", tmp_path / "out.conll", "--quiet").status == 0
    assert (tmp_path / "out.conll").read_text().startswith("Anna\tX\t")


@pytest.mark.parametrize("format", ["doccano", "label-studio", "prodigy", "brat", "conll", "conllu", "jsonl"])
def test_predictions_go_back_into_the_tools(cli: Cli, small: Small, tmp_path: Path, format: str) -> None:
    source, out = tmp_path / "a.txt", tmp_path / ("out" if format == "brat" else f"out.{format}")
    source.write_text("Anna lives in Rome 😀 today\n马云 left Rome\n", encoding="utf-8")
    command = ["tag", small.run, "--input", source, "--output", out, "--output-format", format, "--quiet"]
    assert cli(*command) == (0, "", "")
    lines = cli("tag", small.run, "--input", source, "--quiet").out.splitlines()
    expected = [{(span["start"], span["end"], span["label"]) for span in json.loads(line)["spans"]} for line in lines]
    assert any(expected)
    if format == "label-studio":
        tasks = json.loads(out.read_text(encoding="utf-8"))
        results = [[item["value"] for item in task["predictions"][0]["result"]] for task in tasks]
        found = [{(value["start"], value["end"], value["labels"][0]) for value in each} for each in results]
        assert found == expected
    elif format in ("conll", "conllu"):
        assert len(list(read(out, format))) == 2
    else:
        target = tmp_path / "back.jsonl"
        assert cli("convert", out, target, "--shape", "text").status == 0
        back = [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]
        assert [{(s["start"], s["end"], s["label"]) for s in value["spans"]} for value in back] == expected
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("out")) == [out.name]


@pytest.mark.parametrize("format", ["doccano", "label-studio", "prodigy", "jsonl", "csv", "fasttext"])
def test_classes_are_converted(cli: Cli, tmp_path: Path, format: str) -> None:
    source = tmp_path / "a.csv"
    source.write_text('id,text,label\n1,"late, again",bad\n2,lovely,good\n3,"so ""so""",bad\n')
    out = tmp_path / {"csv": "out.csv", "fasttext": "out.txt", "label-studio": "out.json"}.get(format, "out.jsonl")
    outcome = cli("convert", source, out, "--to", format)
    assert outcome.status == 0
    assert "lost: the column 'id'" in outcome.err + outcome.out
    back = tmp_path / "back.csv"
    assert (
        cli("convert", out, back, "--to", "csv", *(["--format", "jsonl"] if out.suffix == ".json" else [])).status == 0
    )
    assert back.read_text() == 'text,label\n"late, again",bad\nlovely,good\n"so ""so""",bad\n'


def test_overlapping_spans_are_not_lost_unasked(cli: Cli, tmp_path: Path) -> None:
    source, out = tmp_path / "a.jsonl", tmp_path / "out.spacy"
    spans = [{"start": 0, "end": 4, "label": "A"}, {"start": 0, "end": 10, "label": "B"}]
    source.write_text(json.dumps({"text": "Anna lives", "spans": spans}) + "\n")
    refused(cli("convert", source, out), "spacy can't hold", "--lossy")
    assert not out.exists()


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_workers_shards_and_resumption_keep_everything(cli: Cli, small: Small, tmp_path: Path, suffix: str) -> None:
    source = write_table(tmp_path / "a.csv", count=700)

    def run(name: str, *more: object) -> bytes:
        out = tmp_path / f"{name}{suffix}"
        outcome = cli("tag", small.run, "--input", source, "--output", out, "--threads", 1, "--quiet", *more)
        assert outcome.status == 0, outcome.err
        return out.read_bytes()

    whole = run("whole", "--workers", 1)
    assert run("workers", "--workers", 2) == whole
    assert b"".join(run(f"part{n}", "--shard", f"{n}/3") for n in (1, 2, 3)) == whole
    out = tmp_path / f"killed{suffix}"
    command = [sys.executable, "-m", "nlp_app.cli", "tag", small.run, "--input", source, "--output", out]
    command += ["--threads", "1", "--quiet", "--journal-seconds", "0"]
    process = subprocess.Popen([*map(str, command)])
    journal = out.with_name(out.name + ".journal")
    while process.poll() is None and not journal.exists():
        pass
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert run("killed", "--resume") == whole
