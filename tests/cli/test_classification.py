"""The command line for classes: what it prints, and that files of any shape and size come back whole and in order."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import SMALL_CLASSES, Outcome, Small, files_of, refused, write_csv

from nlp_app.formats import classification as classes
from nlp_app.inference import Classifier

Cli = Callable[..., Outcome]
TEXTS = [
    "Where is my parcel?",
    "",
    "  ",
    "😀 我的快递到哪里了 👩‍👩‍👧 refund",
    "a\u200bb\u2028c\x85d e\u0301",
    'a "quoted", word; and\ta tab | a bar',
    "last line, no end",
]


def lines_of(outcome: Outcome) -> list[Any]:
    assert (outcome.status, outcome.err) == (0, "")
    return [json.loads(line) for line in outcome.out.split("\n")[:-1]]


def as_json(classifier: Classifier, texts: list[str]) -> list[Any]:
    """What `classify` is to print for texts, with the scores rounded as it does."""
    return [
        {"text": text, "predicted": found.label, "score": round(found.score, 6)}
        if text.strip()
        else {"text": text, "predicted": None, "score": None}
        for text, found in zip(texts, classifier.classify(texts), strict=True)
    ]


def close(found: list[Any], expected: list[Any]) -> bool:
    """Equal, but for the last digit of a score: texts that come together with others are summed in another order.

    Other values of the input are not compared here.
    """
    return len(found) == len(expected) and all(
        {**{key: a[key] for key in b}, "score": 0} == {**b, "score": 0}
        and abs((a["score"] or 0) - (b["score"] or 0)) < 3e-6
        for a, b in zip(found, expected, strict=True)
    )


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def train(cli: Cli, data: object, output: Path, *more: object) -> Outcome:
    return cli("train", "cls", "--train", data, "--output", output, "--quiet", *SMALL_CLASSES, *more)


def test_the_formats_are_those_that_can_be_read(cli: Cli) -> None:
    shown = "".join(cli("classify", "--help").out.split())
    assert f"Formats:{','.join(classes.CLASS_FORMATS)}." in shown
    error = cli("classify", "DIR", "--format", "xml").err
    assert all(repr(name) in error for name in classes.CLASS_FORMATS)


def test_help(cli: Cli) -> None:
    for command in (["train", "cls"], ["classify"], ["evaluate"], ["inspect"]):
        outcome = cli(*command, "--help")
        assert (outcome.status, outcome.err) == (0, "")
        assert outcome.out.startswith("Usage:")
        assert "--text-column" in outcome.out


def test_texts_as_arguments(cli: Cli, small_classes: Small, classifier: Classifier, tmp_path: Path) -> None:
    assert close(lines_of(cli("classify", small_classes.run, *TEXTS)), as_json(classifier, TEXTS))
    assert cli("classify", small_classes.run, *TEXTS, "--output", tmp_path / "out.jsonl") == (0, "", "")
    written = (tmp_path / "out.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
    assert close([json.loads(line) for line in written], as_json(classifier, TEXTS))


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_line_of_output_for_each_line_of_text(
    cli: Cli, small_classes: Small, classifier: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(end.join(TEXTS).encode())
    run = small_classes.run
    found = lines_of(cli("classify", run, "--input", path, "--quiet"))
    assert close(found, as_json(classifier, TEXTS))
    assert cli("classify", run, "--input", path, "--output", tmp_path / "out.jsonl", "--quiet") == (0, "", "")
    written = (tmp_path / "out.jsonl").read_text(encoding="utf-8")
    assert [json.loads(line) for line in written.split("\n")[:-1]] == found
    for arguments in ([], ["--input", "-"], ["--input", "-", "--output", "-"]):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(path.read_bytes())))
        assert lines_of(cli("classify", run, *arguments, "--quiet")) == found


@pytest.mark.parametrize(
    "lines",
    [
        ["", "refund please", ""],
        ["one"],
        ["I love it", "you love it", "we love it"] * 3,
        ["what is this", "what is that", "what was it"] * 20,
        ["refund my money", "refund my order", "fault in the lamp", "fault in the plug"] * 10,
        ["a,b", "c,d", "e,f"],
        ["text,label", "a,b"],
        ["x\ty", "z\tw"],
        ["123", "456"],
        ["[1] see", "{2} see"],
        ["it's B-PER", "x O"],
    ],
)
def test_plain_lines_stay_lines(
    cli: Cli, small_classes: Small, tmp_path: Path, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With --format text nothing is taken for anything else; and what has no marks of a format isn't, without it."""
    path = tmp_path / "a.txt"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    found = lines_of(cli("classify", small_classes.run, "--input", path, "--format", "text", "--quiet"))
    assert [line["text"] for line in found] == lines
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(path.read_bytes())))
    found = lines_of(cli("classify", small_classes.run, "--format", "text", "--quiet"))
    assert [line["text"] for line in found] == lines
    if not any(mark in "".join(lines) for mark in "\t,{["):
        found = lines_of(cli("classify", small_classes.run, "--input", path, "--quiet"))
        assert [line["text"] for line in found] == lines


def test_nothing_in_nothing_out(cli: Cli, small_classes: Small, tmp_path: Path) -> None:
    for name in ("a.txt", "a.csv", "a.jsonl", "a.tsv"):
        (tmp_path / name).write_bytes(b"")
        outcome = cli("classify", small_classes.run, "--input", tmp_path / name)
        assert outcome == (0, "", ""), name


def test_tables_and_records(cli: Cli, small_classes: Small, classifier: Classifier, tmp_path: Path) -> None:
    rows = rows_of(small_classes.test)
    texts = [row["text"] for row in rows] + ["two\nlines", "", 'a "quote", here']
    expected = as_json(classifier, texts)
    run = small_classes.run
    labeled = write_csv(tmp_path / "labeled.csv", [[text, "fault"] for text in texts])
    only = write_csv(tmp_path / "only.csv", [[text] for text in texts[:-2]] + [[texts[-1]]], header=("text",))
    other = write_csv(tmp_path / "other.csv", [["7", text, "x"] for text in texts], header=("id", "body", "note"))
    records = tmp_path / "a.jsonl"
    records.write_text("".join(json.dumps({"id": n, "text": text}) + "\n" for n, text in enumerate(texts)))
    assert close(lines_of(cli("classify", run, "--input", labeled, "--quiet")), expected)
    assert close(lines_of(cli("classify", run, "--input", only, "--quiet")), expected[:-2] + expected[-1:])
    assert close(lines_of(cli("classify", run, "--input", records, "--quiet")), expected)
    for column in ("body", "1"):
        found = lines_of(cli("classify", run, "--input", other, "--text-column", column, "--quiet"))
        assert close(found, expected)
    assert close(lines_of(cli("classify", run, "--input", labeled, "--set", "data.header=yes", "--quiet")), expected)
    outcome = cli("classify", run, "--input", labeled)
    assert close([json.loads(line) for line in outcome.out.split("\n")[:-1]], expected)
    assert all(line.startswith("note: ") for line in outcome.err.splitlines())
    assert "1 records without a text" in outcome.err


def test_lines_with_labels_are_classified_without_them(
    cli: Cli, small_classes: Small, classifier: Classifier, tmp_path: Path
) -> None:
    texts = ["my order came broken", "refund it", "", "where is it"]
    (tmp_path / "a.txt").write_text("".join(f"__label__fault __label__x {text}\n" for text in texts))
    found = lines_of(cli("classify", small_classes.run, "--input", tmp_path / "a.txt", "--quiet"))
    assert close(found, as_json(classifier, texts))


def test_top_k_and_threshold(cli: Cli, small_classes: Small, classifier: Classifier, tmp_path: Path) -> None:
    run, texts = small_classes.run, TEXTS[:4]
    count = len(classifier.labels)
    for more, wanted in (
        (["--top-k", 1], {"top_k": 1}),
        (["--top-k", 3], {"top_k": 3}),
        (["--top-k", count + 5], {"top_k": count + 5}),
        (["--threshold", 0.2], {"threshold": 0.2}),
        (["--threshold", 1], {"threshold": 1.0}),
        (["--threshold", 0], {"threshold": 0.0}),
        (["--top-k", 2, "--threshold", 0.15], {"top_k": 2, "threshold": 0.15}),
    ):
        found = lines_of(cli("classify", run, *texts, *more))
        for line, text in zip(found, texts, strict=True):
            if not text.strip():
                assert (line["predicted"], line["score"]) == ([], [])
                continue
            labels = classifier.classify(texts, **wanted)[texts.index(text)]
            assert line["predicted"] == [each.label for each in labels]
            scores = line["score"]
            assert scores == pytest.approx([each.score for each in labels], abs=2e-6)
            assert scores == sorted(scores, reverse=True)
            assert all(score >= wanted.get("threshold", 0) - 1e-6 for score in scores)
            assert len(scores) <= min(wanted.get("top_k", count), count)
    everything = lines_of(cli("classify", run, "anything", "--top-k", count))[0]
    assert set(everything["predicted"]) == set(classifier.labels)
    assert sum(everything["score"]) == pytest.approx(1, abs=1e-5)
    path = tmp_path / "a.txt"
    path.write_text("\n".join(texts))
    assert lines_of(cli("classify", run, "--input", path, "--top-k", 2, "--quiet")) == lines_of(
        cli("classify", run, *texts, "--top-k", 2)
    )


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--threshold", "1.5"], "threshold: found 1.5, expected a probability from 0 to 1"),
        (["--threshold", "-0.1"], "threshold: found -0.1"),
        (["--threshold", "nan"], "threshold: found nan"),
        (["--threshold", "x"], "--threshold"),
        (["--top-k", "0"], "top_k: found 0, expected 1 or more"),
        (["--top-k", "-3"], "top_k: found -3"),
        (["--top-k", "1.5"], "--top-k"),
        (["--format", "conll"], "--format"),
        (["--set", "train.epochs=2"], "only settings of [data]"),
        (["--set", "data.text_colum=x"], "did you mean `data.text_column`"),
        (["--text-column", "nope"], "nope"),
        (["--text-column", "9"], "9"),
        (["--set", "data.header=no", "--text-column", "text"], "header"),
        (["--set", "data.encoding=nope"], "nope"),
    ],
)
def test_choices_out_of_range(cli: Cli, small_classes: Small, tmp_path: Path, more: list[str], said: str) -> None:
    command = ["classify", small_classes.run, "--input", small_classes.test, "--output", tmp_path / "out.jsonl"]
    refused(cli(*command, *more), said)
    assert not list(tmp_path.iterdir())


def test_text_and_input_are_one_too_many(cli: Cli, small_classes: Small) -> None:
    refused(cli("classify", small_classes.run, "text", "--input", small_classes.test), "TEXT and --input")


def test_models_of_the_other_task(cli: Cli, small: Small, small_classes: Small, tmp_path: Path) -> None:
    refused(cli("tag", small_classes.run, "text"), small_classes.run, "found a classifier", "use `classify`")
    refused(cli("classify", small.run, "text"), small.run, "found a tagger", "use `tag`")
    refused(cli("evaluate", small.run, small_classes.test), small_classes.test)
    refused(cli("evaluate", small_classes.run, small.test), small.test, "sequence labeling")
    refused(cli("classify", small_classes.run, "--input", small.test, "--output", tmp_path / "o"), small.test)
    refused(cli("evaluate", small.run, small.test, "--text-column", "x"), "--text-column")
    refused(cli("evaluate", small.run, small.test, "--format", "csv"), "--format csv")
    assert not list(tmp_path.iterdir())


def test_evaluate_gives_the_scores_of_the_run(cli: Cli, small_classes: Small) -> None:
    metrics = json.loads((small_classes.run / "metrics.json").read_text(encoding="utf-8"))
    for split in ("dev", "test"):
        outcome = cli("evaluate", small_classes.run, getattr(small_classes, split), "--json")
        assert outcome.status == 0
        scores = json.loads(outcome.out)
        for key in ("accuracy", "weighted_f1", "macro_f1", "per_label", "confusion"):
            assert scores[key] == metrics[split][key]
        assert scores["calibration"]["ece"] == pytest.approx(metrics[split]["calibration"]["ece"], abs=1e-5)
    table = cli("evaluate", small_classes.run, small_classes.test, "--quiet")
    assert (table.status, table.err) == (0, "")
    assert f"weighted F1 {metrics['test']['weighted_f1']:.4f}" in table.out
    assert "gold \\ predicted" in table.out


def test_evaluate_counts_all_gold(cli: Cli, small_classes: Small, tmp_path: Path) -> None:
    """A class that the model doesn't know: missed, and said. A text without a label: left out, and said."""
    rows = [["where is my parcel", "delivery"], ["a song", "music"], ["nothing", ""], ["", "fault"], ["x", "music"]]
    path = write_csv(tmp_path / "a.csv", rows)
    outcome = cli("evaluate", small_classes.run, path, "--json")
    scores = json.loads(outcome.out)
    assert outcome.status == 0
    assert scores["per_label"]["music"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 2}
    assert sum(each["support"] for each in scores["per_label"].values()) == 4
    assert "labels that do not occur in the training data: music; they count as missed\n" in outcome.err
    assert "skipped texts without a label: 1" in outcome.err
    assert "empty texts: 1; they are evaluated like all others" in outcome.err
    assert cli("evaluate", small_classes.run, path, "--json", "--quiet") == (0, outcome.out, "")


def test_evaluate_other_columns_and_formats(cli: Cli, small_classes: Small, tmp_path: Path) -> None:
    rows = rows_of(small_classes.test)
    run = small_classes.run
    expected = json.loads(cli("evaluate", run, small_classes.test, "--json", "--quiet").out)
    swapped = write_csv(tmp_path / "a.csv", [["n", row["label"], row["text"]] for row in rows], ("q", "topic", "said"))
    for columns in (("said", "topic"), ("2", "1"), ("-1", "-2")):
        more = ("--text-column", columns[0], "--label-column", columns[1])
        outcome = cli("evaluate", run, swapped, "--json", "--quiet", *more)
        assert json.loads(outcome.out) == expected
    records = tmp_path / "a.jsonl"
    records.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert json.loads(cli("evaluate", run, records, "--json", "--quiet").out) == expected
    marked = tmp_path / "a.txt"
    marked.write_text("".join(f"__label__{row['label']} {row['text']}\n" for row in rows), encoding="utf-8")
    assert json.loads(cli("evaluate", run, marked, "--json", "--quiet").out) == expected


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table without columns of the usual names: number, title, body, topic."""
    words = {"sea": "boat wave sail", "hill": "peak rock climb", "town": "street tram shop"}
    rows = [
        [str(1000 + n), f"{'ABC'[n % 3]} no {n}", f"{words[topic].split()[n % 3]} and number {n}", topic]
        for n, topic in enumerate(list(words) * 30)
    ]
    return write_csv(tmp_path_factory.mktemp("wide") / "a.csv", rows, ("number", "heading", "content_", "kind_"))


@pytest.mark.parametrize(
    ("text", "label"),
    [("content_", "kind_"), ("2", "3"), ("-2", "-1"), ("heading,content_", "kind_"), ("1, 2", "3"), ("1,2", "kind_")],
)
def test_columns_by_name_and_number(cli: Cli, wide: Path, tmp_path: Path, text: str, label: str) -> None:
    outcome = train(cli, wide, tmp_path / "run", "--text-column", text, "--label-column", label)
    assert (outcome.status, outcome.err) == (0, "")
    found = [json.loads(line) for line in (tmp_path / "run/predictions.jsonl").read_text().splitlines()]
    rows = [list(row.values()) for row in rows_of(wide)]
    joined = {f"{row[1]} {row[2]}" if "," in text else row[2]: row[3] for row in rows}
    assert all(joined[line["text"]] == line["gold"] for line in found)
    outcome = cli("evaluate", tmp_path / "run", wide, "--json", "--quiet")
    assert json.loads(outcome.out)["accuracy"] > 0.9
    # The model knows its columns.
    lines = lines_of(cli("classify", tmp_path / "run", "--input", wide, "--quiet"))
    assert [line["text"] for line in lines] == [f"{row[1]} {row[2]}" if "," in text else row[2] for row in rows]
    assert lines_of(cli("classify", tmp_path / "run", "a boat and a wave"))[0]["predicted"] == "sea"


def test_lines_for_a_model_of_a_table(cli: Cli, wide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines have no columns: those of the training data are not looked for in them, but those that are named."""
    run = tmp_path / "run"
    assert train(cli, wide, run, "--text-column", "content_", "--label-column", "kind_").status == 0
    lines = tmp_path / "a.txt"
    for texts in (["a boat, a wave", "", "rock, peak"], ["a boat and a wave"]):
        lines.write_text("\n".join(texts))
        found = lines_of(cli("classify", run, "--input", lines, "--quiet"))
        assert [line["text"] for line in found] == texts
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines.read_bytes())))
        assert lines_of(cli("classify", run, "--quiet")) == found
    refused(cli("classify", run, "--input", lines, "--text-column", "heading"), "has no columns")
    marked = tmp_path / "marked.txt"
    marked.write_text("__label__sea a boat and a wave\n__label__town a street\n")
    scores = json.loads(cli("evaluate", run, marked, "--json", "--quiet").out)
    assert {label: each["support"] for label, each in scores["per_label"].items() if each["support"]} == {
        "sea": 1,
        "town": 1,
    }
    files = ("--text-column", "content_", "--label-column", "kind_", "--dev", marked, "--test", marked)
    assert train(cli, wide, tmp_path / "other", *files).status == 0
    other = write_csv(tmp_path / "other.csv", [["a boat", "sea"]], ("said", "topic"))
    refused(cli("classify", run, "--input", other), other, "content_")


def test_columns_that_arent_there(cli: Cli, wide: Path, tmp_path: Path) -> None:
    for text, label, said in (
        ("content_", "kid_", "kid_"),
        ("9", "kind_", "9"),
        ("kind_", "kind_", "the same column for text and label"),
        ("content_,content_", "kind_", "each column once"),
    ):
        refused(train(cli, wide, tmp_path / "run", "--text-column", text, "--label-column", label), said)
    assert not list(tmp_path.iterdir())


def test_several_label_columns(cli: Cli, tmp_path: Path) -> None:
    words = {"red": "crimson", "big": "huge", "old": "ancient"}
    rows = []
    for n in range(96):
        on = [label for place, label in enumerate(words) if n >> place & 1]
        rows.append([" ".join(words[label] for label in on) + f" thing {n % 5}", *(str(int(x in on)) for x in words)])
    data = write_csv(tmp_path / "a.csv", rows, ("text", *words))
    more = ("--label-column", "red,big,old", "--dev", data, "--set=train.epochs=8", "--set=train.learning_rate=0.02")
    outcome = train(cli, data, tmp_path / "run", *more)
    assert (outcome.status, outcome.err) == (0, "")
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    assert metrics["dev"]["micro_f1"] > 0.9
    found = lines_of(cli("classify", tmp_path / "run", "crimson ancient thing", "thing", "huge"))
    assert [sorted(line["predicted"]) for line in found] == [["old", "red"], [], ["big"]]
    assert found[1]["score"] == []
    every = lines_of(cli("classify", tmp_path / "run", "huge", "--top-k", 3))[0]
    assert set(every["predicted"]) == set(words)
    assert lines_of(cli("classify", tmp_path / "run", "huge", "--threshold", 0))[0] == every


@pytest.mark.slow
def test_the_bundled_corpus_is_the_default(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = cli("train", "cls", "--set", "train.epochs=8")
    assert outcome.status == 0
    assert "train.csv" in outcome.err
    metrics = json.loads(Path("runs/cls/metrics.json").read_text(encoding="utf-8"))
    assert metrics["test"]["weighted_f1"] > 0.7
    found = lines_of(cli("classify", "runs/cls", "I want my money back", "快递什么时候到"))
    assert [line["predicted"] for line in found] == ["refund", "delivery"]
    config = Path("runs/cls/config.toml").read_text(encoding="utf-8")
    assert cli("train", "cls", "--config", "runs/cls/config.toml", "--output", "again", "--quiet").status == 0
    assert Path("again/config.toml").read_text(encoding="utf-8") == config
    assert Path("again/model.safetensors").read_bytes() == Path("runs/cls/model.safetensors").read_bytes()


def test_inspect_classes(cli: Cli, small_classes: Small, tmp_path: Path) -> None:
    rows = rows_of(small_classes.train)
    facts = json.loads(cli("inspect", small_classes.train, "--json").out)
    (file,) = facts["files"]
    assert (facts["task"], file["texts"], file["format"]) == ("cls", len(rows), "csv")
    gold = [row["label"] for row in rows]
    assert file["labels"] == {label: gold.count(label) for label in file["labels"]}
    assert sum(file["labels"].values()) == len(rows)
    lengths = [len(row["text"]) for row in rows]
    assert (file["characters"]["min"], file["characters"]["max"]) == (min(lengths), max(lengths))
    odd = [["same", "x"], ["same", "fault"], ["", "fault"], ["a", ""]]
    odd += [[row["text"], row["label"]] for row in rows[:3]]
    other = write_csv(tmp_path / "other.csv", odd)
    facts = json.loads(cli("inspect", small_classes.train, other, small_classes.train, "--json").out)
    found = facts["files"][1]
    counted = {key: found[key] for key in ("texts", "empty", "unlabelled", "duplicates", "contradictions")}
    assert counted == {"texts": 7, "empty": 1, "unlabelled": 1, "duplicates": 1, "contradictions": 1}
    leaks = {(pair["train"], pair["file"]): pair["count"] for pair in facts["leaks"]}
    assert leaks[str(small_classes.train), str(other)] == 3
    table = cli("inspect", small_classes.train, other)
    assert (table.status, table.err) == (0, "")
    assert "other.csv: labels that do not occur in train.csv: x" in table.out


def test_inspect_finds_the_task(cli: Cli, small: Small, small_classes: Small, tmp_path: Path) -> None:
    pair = ["a pen to write", "tool"], ["a nail of iron", "part"], ["a saw for wood", "tool"], ["a steel bolt", "part"]
    shapes = {
        "a.csv": "".join(f"{text},{label}\n" for text, label in pair),
        "b.jsonl": "".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in pair),
        "c.txt": "".join(f"__label__{label} {text}\n" for text, label in pair),
        "d.jsonl": "".join(json.dumps({"text": text, "cats": {label: 1.0}}) + "\n" for text, label in pair),
    }
    for name, content in shapes.items():
        (tmp_path / name).write_text(content)
        facts = json.loads(cli("inspect", tmp_path / name, "--json").out)
        assert (facts["task"], facts["files"][0]["texts"]) == ("cls", 4), name
        assert facts["files"][0]["labels"] == {"tool": 2, "part": 2}, name
    assert json.loads(cli("inspect", small.train, "--json").out).get("task") != "cls"
    assert cli("inspect", small.train, small.dev).status == 0
    refused(cli("inspect", small.train, "--task", "cls"), small.train, "sequence labeling")
    refused(cli("inspect", small_classes.train, "--task", "ner"), small_classes.train)
    refused(cli("inspect", small_classes.train, small.train), small.train)


@pytest.mark.parametrize(
    "more",
    [
        ["--text-column", "1", "--label-column", "0"],
        ["--set", "data.text_column=1", "--set", "data.label_column=0"],
        ["--set", "data.text_column=1", "--set", "data.label_column=0", "--task", "cls"],
        ["--set", "data.text_column=1", "--set", "data.label_column=0", "--set", "data.header=no", "--format", "csv"],
        ["--set", "data.encoding=utf-8", "--text-column", "1"],
        ["--set", "data.header=no"],
        ["--set", "data.quoting=no"],
    ],
)
def test_inspect_with_settings_of_classes(cli: Cli, tmp_path: Path, more: list[str]) -> None:
    path = tmp_path / "a.csv"
    path.write_text("".join(f"{label},some text of number {n}\n" for n in range(20) for label in ("x", "y")))
    outcome = cli("inspect", path, "--json", *more)
    assert (outcome.status, outcome.err) == (0, "")
    assert json.loads(outcome.out)["files"][0]["labels"] == {"x": 20, "y": 20}
    refused(cli("inspect", path, "--set", "data.headr=no"), "data.headr")
    refused(cli("inspect", path, "--set", "data.scheme=BIO"), "data.scheme")


def test_classes_are_not_converted_to_columns(cli: Cli, small: Small, small_classes: Small, tmp_path: Path) -> None:
    assert cli("convert", small.dev, tmp_path / "a.jsonl").status == 0
    before = files_of(tmp_path)
    refused(cli("convert", small_classes.dev, tmp_path / "b.conll"), "'.conll'", "label-studio")
    assert files_of(tmp_path) == before


def test_data_sets_of_the_hub_from_a_folder(
    cli: Cli, small_classes: Small, classifier: Classifier, tmp_path: Path
) -> None:
    pytest.importorskip("datasets")
    folder = tmp_path / "data"
    folder.mkdir()
    for split in ("train", "test"):
        (folder / f"{split}.csv").write_bytes(getattr(small_classes, split).read_bytes())
    outcome = cli("inspect", f"hf:{folder}", "--json")
    assert json.loads(outcome.out)["files"][0]["texts"] == 240
    outcome = train(cli, f"hf:{folder}", tmp_path / "run")
    assert (outcome.status, outcome.err) == (0, "")
    found = lines_of(cli("classify", small_classes.run, "--input", f"hf:{folder}", "--quiet"))
    assert close(found, as_json(classifier, [row["text"] for row in rows_of(small_classes.train)]))


# Not getrusage's maximum, which remembers the process that this one was started from.
PEAK = (
    "import sys; from pathlib import Path; from nlp_app.cli import main; main(sys.argv[1:]);"
    "sys.stderr.write(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])"
)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads how much memory was used as Linux tells it")
@pytest.mark.parametrize("suffix", [".txt", ".csv", ".jsonl"])
def test_memory_doesnt_grow_with_the_file(small_classes: Small, tmp_path: Path, suffix: str) -> None:
    peaks = {}
    for count in (5_000, 40_000):
        texts = [f"In week {n} the parcel number {n * 7919 % 100_003} 还没有到, refund {n % 97}?" for n in range(count)]
        lines = {
            ".txt": texts,
            ".csv": ["text,label", *(f'"{text}",fault' for text in texts)],
            ".jsonl": [json.dumps({"text": text}) for text in texts],
        }
        path = tmp_path / f"{count}{suffix}"
        path.write_text("\n".join(lines[suffix]) + "\n", encoding="utf-8")
        command = ["classify", str(small_classes.run), "--input", str(path), "--output", f"{path}.out", "--quiet"]
        command += ["--backend", "torch"]  # a small file alone would be computed by NumPy
        done = subprocess.run([sys.executable, "-c", PEAK, *command], capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, done.stderr
        peaks[count] = int(done.stderr) / 1024
        with open(f"{path}.out", encoding="utf-8") as found:
            assert [json.loads(line)["text"] for line in found] == texts
    assert peaks[40_000] < peaks[5_000] + 20, peaks  # megabytes


@pytest.mark.slow
def test_a_reader_that_has_seen_enough(small_classes: Small) -> None:
    app = f"{sys.executable} -c 'from nlp_app.cli import main; main()'"
    line = f"set -o pipefail; yes 'where is my parcel' | head -20000 | {app} classify {small_classes.run} | head -1"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=900)
    assert "Traceback" not in done.stderr
    assert "error" not in done.stderr
    assert done.stdout.startswith('{"text": "where is my parcel"')
    assert done.stdout.count("\n") == 1
