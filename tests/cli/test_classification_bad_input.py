"""Bad input of `train cls` and its companions: one line that says where, what, and what to do, status 2, nothing left
behind; or a repair that is counted and said."""

from __future__ import annotations

import csv
import json
import random
import resource
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import SMALL, SMALL_CLASSES, Outcome, Small, files_of, refused, write_csv
from limited import run_on_full_disk

Cli = Callable[..., Outcome]
GOOD = "text,label\n" + "".join(
    f"{text} {n},{label}\n"
    for n in range(4)
    for text, label in (("a boat at sea", "water"), ("rocks on a hill", "land"), ("a lake", "water"), ("sand", "land"))
)

BAD_FILES = {
    "empty": ("a.csv", b"", "a.csv: is empty"),
    "only blank lines": ("a.csv", b"\n\n \n", "a.csv: is empty"),
    "only a header": ("a.csv", b"text,label\n", "a.csv: found no text"),
    "binary": ("a.csv", bytes(range(1, 256)) * 9, "a.csv"),
    "NUL": ("a.csv", GOOD.encode() + b"a\0b,land\n", "a.csv:18: found a NUL"),
    "no labels": ("a.csv", b"text,label\nsome text,\nand more,\n", "a.csv: found no labels"),
    "one column": ("a.csv", b"text\nsome text\nand more\n", "a.csv: found no labels"),
    "plain text": ("a.txt", b"some plain text\nwithout any labels at all\n", "a.txt: found no labels"),
    "one class": ("a.csv", b"text,label\nsome text,x\nother text,x\nmore,x\n", "a.csv: found only one class ('x')"),
    "a class each": (
        "a.jsonl",
        b"".join(b'{"text": "some text %d", "label": "c%d"}\n' % (n, n) for n in range(9)),
        "a.jsonl: found a different label for each of 9 texts",
    ),
    "all texts empty": ("a.csv", b'text,label\n"",x\n"",y\n"",x\n"",y\n', "a.csv: found no text with a label that"),
    "too few": ("a.csv", b"text,label\nsame text,x\nsame text,y\nsame text,x\n", "a.csv: found too few different"),
    "more cells": ("a.csv", GOOD.replace("text,label", "label,text").encode() + b"x,y,z,w\n", "a.csv"),
    "bad JSON": ("a.jsonl", b'{"text": "ab", "label": "x"}\n{"text": \n', "a.jsonl:2: bad JSON"),
    "deep JSON": ("a.jsonl", b"[" * 100_000, "a.jsonl"),
    "JSON of no records": ("a.jsonl", b"1\n2\n", "a.jsonl:1"),
    "lone surrogate": ("a.jsonl", b'{"text": "a \\ud83d", "label": "x"}\n', "a.jsonl:1: found half of a"),
    "a label that is no label": ("a.jsonl", b'{"text": "ab", "label": {"x": [1]}}\n', "a.jsonl:1"),
    "sequence columns": ("a.txt", b"Anna B-PER\nlives O\nin O\nRome B-LOC\n\nBob B-PER\nx O\n\n", "sequence labeling"),
    "sequence spans": ("a.jsonl", b'{"text": "Anna", "label": [[0, 4, "PER"]]}\n' * 4, "a.jsonl:1"),
    "sequence tokens": ("a.jsonl", b'{"tokens": ["Anna"], "ner_tags": ["B-PER"]}\n' * 4, "a.jsonl: found `tokens`"),
}


def train(cli: Cli, data: Path | str, output: Path, *more: object) -> Outcome:
    return cli("train", "cls", "--train", data, "--output", output, "--quiet", *SMALL_CLASSES, *more)


def loud(cli: Cli, data: Path | str, output: Path, *more: object) -> Outcome:
    return cli("train", "cls", "--train", data, "--output", output, *SMALL_CLASSES, *more)


@pytest.mark.parametrize("case", BAD_FILES)
def test_training_data(cli: Cli, tmp_path: Path, case: str) -> None:
    name, content, said = BAD_FILES[case]
    (tmp_path / name).write_bytes(content)
    before = files_of(tmp_path)
    refused(train(cli, tmp_path / name, tmp_path / "new" / "run"), said)
    assert files_of(tmp_path) == before


LABELLED = ("a class each", "one class", "all texts empty", "too few")  # which a model can be scored on, all the same


@pytest.mark.parametrize("case", [case for case in BAD_FILES if case not in LABELLED])
def test_dev_and_test_data(cli: Cli, tmp_path: Path, case: str) -> None:
    name, content, _ = BAD_FILES[case]
    (tmp_path / name).write_bytes(content)
    (tmp_path / "good.csv").write_text(GOOD)
    before = files_of(tmp_path)
    for option in ("--dev", "--test"):
        refused(train(cli, tmp_path / "good.csv", tmp_path / "run", option, tmp_path / name), tmp_path / name)
    assert files_of(tmp_path) == before


@pytest.mark.parametrize("case", [case for case in BAD_FILES if case not in LABELLED])
def test_a_file_to_evaluate_on(cli: Cli, tmp_path: Path, small_classes: Small, case: str) -> None:
    name, content, _ = BAD_FILES[case]
    (tmp_path / name).write_bytes(content)
    refused(cli("evaluate", small_classes.run, tmp_path / name), tmp_path / name)


@pytest.mark.parametrize(
    "case",
    ["binary", "deep JSON", "JSON of no records", "lone surrogate", "only a header", "sequence columns",
     "sequence tokens"],
)  # fmt: skip
def test_a_file_to_classify(cli: Cli, tmp_path: Path, small_classes: Small, case: str) -> None:
    name, content, said = BAD_FILES[case]
    (tmp_path / name).write_bytes(content)
    before = files_of(tmp_path)
    command = ["classify", small_classes.run, "--input", tmp_path / name, "--output", tmp_path / "out.jsonl"]
    refused(cli(*command), said)
    assert files_of(tmp_path) == before


@pytest.mark.parametrize(("case", "said"), [("NUL", "a.csv:18: found a NUL"), ("bad JSON", "a.jsonl:2: bad JSON")])
def test_a_record_to_classify(cli: Cli, tmp_path: Path, small_classes: Small, case: str, said: str) -> None:
    """One bad record among good ones ends the job only with --strict."""
    name, content, _ = BAD_FILES[case]
    (tmp_path / name).write_bytes(content)
    before = files_of(tmp_path)
    command = ["classify", small_classes.run, "--input", tmp_path / name, "--output", tmp_path / "out.jsonl", "--quiet"]
    refused(cli(*command, "--strict"), said)
    assert files_of(tmp_path) == before
    assert cli(*command).status == 0
    found = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [line["text"] is None for line in found] == [False] * (len(found) - 1) + [True]


def test_labels_of_other_classes(cli: Cli, tmp_path: Path, small_classes: Small) -> None:
    (tmp_path / "other.csv").write_text(GOOD)
    outcome = cli("evaluate", small_classes.run, tmp_path / "other.csv")
    refused(outcome, "found the labels land, water", "expected labels that the model learned")
    outcome = train(cli, small_classes.train, tmp_path / "run", "--test", tmp_path / "other.csv")
    refused(outcome, tmp_path / "other.csv", "found the labels land, water", "expected account")
    assert [path.name for path in tmp_path.iterdir()] == ["other.csv"]


def test_a_directory_or_nothing_for_a_file(cli: Cli, tmp_path: Path, small_classes: Small) -> None:
    place = tmp_path / "folder"
    place.mkdir()
    for path in (place, tmp_path / "missing.csv"):
        refused(train(cli, path, tmp_path / "run"), path)
        refused(train(cli, small_classes.train, tmp_path / "run", "--dev", path), path)
        refused(train(cli, small_classes.train, tmp_path / "run", "--test", path), path)
        refused(cli("evaluate", small_classes.run, path), path)
        refused(cli("classify", small_classes.run, "--input", path), path)
        refused(cli("inspect", path, "--task", "cls"), path)
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_class_that_only_dev_has(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(GOOD)
    dev = tmp_path / "dev.csv"
    dev.write_text("text,label\na lake,water\nin the clouds,sky\n")
    before = files_of(tmp_path)
    outcome = train(cli, tmp_path / "train.csv", tmp_path / "run", "--dev", dev, "--set", "data.strict=true")
    refused(outcome, f"{dev}:3: label 'sky' does not occur in ", "correct the label, or move texts")
    assert files_of(tmp_path) == before


def test_a_class_that_only_test_has_is_missed(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(GOOD)
    (tmp_path / "test.csv").write_text("text,label\na lake,water\nin the clouds,sky\n")
    files = ("--dev", tmp_path / "train.csv", "--test", tmp_path / "test.csv")
    outcome = loud(cli, tmp_path / "train.csv", tmp_path / "run", *files)
    assert outcome.status == 0
    assert "note: test: labels that do not occur in the training data: sky; they count as missed\n" in outcome.err
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    assert metrics["test"]["per_label"]["sky"]["support"] == 1
    assert metrics["test"]["accuracy"] <= 0.5


def test_a_class_seen_once(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(GOOD + "in the clouds,sky\n")
    for more in ([], ["--dev", tmp_path / "a.csv"]):
        outcome = loud(cli, tmp_path / "a.csv", tmp_path / "run", *more)
        assert outcome.status == 0
        assert "note: train: labels with a single example: sky; they will hardly be learned\n" in outcome.err
        assert "sky" in json.loads((tmp_path / "run/nlp_app.json").read_text())["labels"]


def test_repairs_are_counted_and_said(cli: Cli, tmp_path: Path) -> None:
    data = tmp_path / "a.csv"
    data.write_text(GOOD + '"",land\n"  ",land\nno label here,\nonly a text\na lake 0,land\na lake 0,water\n')
    outcome = loud(cli, data, tmp_path / "run", "--dev", data)
    assert outcome.status == 0
    notes = [line for line in outcome.err.splitlines() if line.startswith("note: train: ")]
    for said in (
        "1 rows with a missing cell, the first in line 21",
        "skipped texts without a label: 2, the first in line 20",
        "skipped empty texts: 2, the first in line 18",
        "duplicate texts: 2",
        "texts that occur with different labels: 1",
    ):
        assert f"note: train: {said}" in notes, outcome.err
    counts = json.loads((tmp_path / "run/nlp_app.json").read_text())["about"]["splits"]
    assert counts["train"]["texts"] == 18
    assert counts["dev"]["texts"] == 20  # empty texts are scored like any other
    assert "note: dev: empty texts: 2; they are evaluated like all others\n" in outcome.err
    assert "note: dev: skipped texts without a label: 2\n" in outcome.err
    assert "; scores on this file will be too high" in outcome.err


def test_quotes_and_cells_that_dont_fit_are_said(cli: Cli, tmp_path: Path) -> None:
    data = tmp_path / "a.csv"
    data.write_text(GOOD + '"never closed,land\nmore,land\n')
    outcome = loud(cli, data, tmp_path / "run", "--dev", data)
    assert outcome.status == 0
    assert "note: train: quotes: part of the text" in outcome.err
    found = [json.loads(line)["text"] for line in (tmp_path / "run/predictions.jsonl").read_text().splitlines()]
    assert found[-2:] == ['"never closed', "more"]
    data.write_text("label,text\n" + "".join(f"{n % 2},text {n}, and so on\n" for n in range(20)))
    outcome = loud(cli, data, tmp_path / "run", "--dev", data)
    assert outcome.status == 0
    assert "note: train: 20 rows with extra cells, which were added to the text, the first in line 2\n" in outcome.err
    found = [json.loads(line)["text"] for line in (tmp_path / "run/predictions.jsonl").read_text().splitlines()]
    assert found == [f"text {n}, and so on" for n in range(20)]


def test_empty_texts_get_no_class(cli: Cli, small_classes: Small) -> None:
    outcome = cli("classify", small_classes.run, "", " ", "\u3000\n\t")
    found = [json.loads(line) for line in outcome.out.splitlines()]
    assert outcome.status == 0
    assert [line["text"] for line in found] == ["", " ", "\u3000\n\t"]
    assert all(line["predicted"] is line["score"] is None for line in found)


@pytest.mark.parametrize(("low", "high"), [("0", "1"), ("-1", "1"), ("1.0", "2.5"), ("007", "7"), ("True", "False")])
@pytest.mark.parametrize("shape", ["csv", "jsonl"])
def test_labels_that_look_like_numbers(cli: Cli, tmp_path: Path, low: str, high: str, shape: str) -> None:
    rows = [[f"{word} {n}", label] for n in range(12) for word, label in (("poor", low), ("great", high))]
    data = tmp_path / f"a.{shape}"
    if shape == "csv":
        write_csv(data, rows)
    else:
        data.write_text("".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows))
    outcome = train(cli, data, tmp_path / "run", "--dev", data)
    assert (outcome.status, outcome.err) == (0, "")
    assert json.loads((tmp_path / "run/nlp_app.json").read_text())["labels"] == sorted([low, high])
    found = cli("classify", tmp_path / "run", "great", "poor")
    assert [json.loads(line)["predicted"] for line in found.out.splitlines()] == [high, low]
    scores = json.loads(cli("evaluate", tmp_path / "run", data, "--json", "--quiet").out)
    assert scores["per_label"].keys() == {low, high}


def test_numbers_of_json_are_labels(cli: Cli, tmp_path: Path) -> None:
    data = tmp_path / "a.jsonl"
    lines = [{"text": f"{word} {n}", "label": label} for n in range(9) for word, label in (("poor", 0), ("great", 1))]
    data.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert train(cli, data, tmp_path / "run", "--dev", data).status == 0
    assert json.loads((tmp_path / "run/nlp_app.json").read_text())["labels"] == ["0", "1"]


@pytest.mark.parametrize(
    "label", ["a b", "x,y", 'say "x"', "日本語", "😀", "a|b", "`code`", "<b>", "a=b", "\u202eabc", "x" * 300, "#"]
)
def test_labels_of_any_characters(cli: Cli, tmp_path: Path, label: str) -> None:
    rows = [[f"{word} {n}", each] for n in range(12) for word, each in (("poor", label), ("great", "other"))]
    data = write_csv(tmp_path / "a.csv", rows)
    outcome = train(cli, data, tmp_path / "run", "--dev", data)
    assert (outcome.status, outcome.err) == (0, "")
    found = cli("classify", tmp_path / "run", "poor")
    assert json.loads(found.out)["predicted"] == label
    assert cli("evaluate", tmp_path / "run", data, "--quiet").status == 0


def test_data_of_the_other_task(cli: Cli, small: Small, small_classes: Small, tmp_path: Path) -> None:
    refused(train(cli, small.train, tmp_path / "run"), small.train, "sequence labeling data", "`train ner`")
    refused(train(cli, small_classes.train, tmp_path / "run", "--dev", small.dev), small.dev, "sequence labeling data")
    refused(train(cli, small_classes.train, tmp_path / "run", "--test", small.test), small.test)
    records = tmp_path / "a.jsonl"
    records.write_text("".join(json.dumps({"text": f"t {n}", "label": "xy"[n % 2]}) + "\n" for n in range(9)))
    for data in (small_classes.train, records):
        refused(cli("train", "ner", "--train", data, "--output", tmp_path / "run", "--quiet", *SMALL), data)
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]


def test_formats_that_dont_fit(cli: Cli, small_classes: Small, tmp_path: Path) -> None:
    """Dev in another format than train is read as what it is; as a wrong one that was named, not at all."""
    with small_classes.dev.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    other = tmp_path / "dev.jsonl"
    other.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert train(cli, small_classes.train, tmp_path / "a", "--dev", other).status == 0
    assert train(cli, small_classes.train, tmp_path / "b", "--dev", small_classes.dev).status == 0
    assert (tmp_path / "a/model.safetensors").read_bytes() == (tmp_path / "b/model.safetensors").read_bytes()
    for name in ("jsonl", "fasttext"):
        refused(train(cli, small_classes.train, tmp_path / "c", "--set", f"data.format={name}"), small_classes.train)
    assert not (tmp_path / "c").exists()


CHANGES = {
    "train.epoch=1": "did you mean `train.epochs`",
    "train.batch_size=0": "`train.batch_size` is 0",
    "train.threads=9999999": "train.threads",
    "train.precision=fp16": "fp16",
    "train.loss=binary_focal": "expected one of cross_entropy, focal, hinge",
    "train.loss=foo": "`train.loss` is 'foo'",
    "train.label_smoothing=1": "`train.label_smoothing` is 1",
    "train.focal_gamma=-1": "`train.focal_gamma` is -1",
    "train.class_weights=nope=2": "train.class_weights: found 'nope=2'",
    "train.class_weights=fault=x": "found 'x' for 'fault', expected a number",
    "train.class_weights=fault=-1": "expected numbers of at least 0",
    "train.class_weights=fault=nan": "expected numbers of at least 0",
    "train.class_weights=fault": "train.class_weights: found 'fault'",
    "model.word_ngrams=3-1": "expected the shorter n-grams first",
    "model.word_ngrams=0-2": "`model.word_ngrams` is '0-2'",
    "model.word_ngrams=x": "`model.word_ngrams` is 'x'",
    "model.hidden_size=10000000000": "model",
    "model.kernel_sizes=2,,3": "`model.kernel_sizes` is '2,,3'",
    "model.kind=bilstm": "model.kind: found 'bilstm'",
    "model.vectors=missing.txt": "missing.txt",
    "data.encoding=nope": "nope",
    "data.encoding=utf-16": "utf-16",
    "data.text_column=nope": "nope",
    "data.label_column=7": "7",
    "data.header=maybe": "data.header",
    "data.dev_share=1": "data.dev_share",
    "data.scheme=BIO": "unknown setting `data.scheme`",
    "track.plot=true": "did you mean `track.plots`",
}


@pytest.mark.parametrize("change", CHANGES)
def test_settings(cli: Cli, tmp_path: Path, small_classes: Small, change: str) -> None:
    import torch

    if "fp16" in change and torch.cuda.is_available():
        pytest.skip("this machine can do it")
    refused(train(cli, small_classes.train, tmp_path / "run", "--set", change), CHANGES[change])
    assert not list(tmp_path.iterdir())


PAIRS = {
    ("model.word_ngrams=", "model.char_ngrams="): "found neither words nor characters",
    ("model.wide=no", "model.hidden_size=0"): "model.hidden_size is 0",
    ("model.kind=textcnn", "model.word_dim=0"): "model.word_dim: found 0 and no vectors",
    ("train.loss=hinge", "train.imbalance=focal"): "train.imbalance: found focal",
    ("data.header=no", "data.text_column=text"): "header",
    ("data.multi_label=no", "data.label_separator=e"): "found several labels",
}


@pytest.mark.parametrize("changes", PAIRS)
def test_settings_that_dont_go_together(
    cli: Cli, tmp_path: Path, small_classes: Small, changes: tuple[str, ...]
) -> None:
    more = [f"--set={change}" for change in changes]
    refused(train(cli, small_classes.train, tmp_path / "run", *more), PAIRS[changes])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "cls", "--seed", "abc"], "--seed"),
        (["train", "cls", "--seed", "9" * 30], "train.seed"),
        (["train", "cls", "--threads", "0"], "--threads"),
        (["train", "cls", "--config", "missing.toml"], "missing.toml: can't be read"),
        (["train", "cls", "--dev", "x.csv"], "data.train"),
        (["train", "cls", "--what"], "--what"),
        (["classify"], "MODEL"),
        (["classify", "missing", "text"], "missing"),
        (["classify", "m", "text", "--input", "f"], "TEXT and --input"),
        (["inspect"], "FILE"),
        (["inspect", "x.csv", "--task", "sing"], "--task"),
    ],
)
def test_arguments(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str) -> None:
    monkeypatch.chdir(tmp_path)
    refused(cli(*arguments), said)
    assert not list(tmp_path.iterdir())


def test_arguments_that_are_not_text(cli: Cli, small_classes: Small) -> None:
    refused(cli("classify", small_classes.run, "good", "a\udcffb"), "TEXT 2")


def test_a_foreign_directory_is_left_alone(cli: Cli, tmp_path: Path, small_classes: Small) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "precious.bin").write_bytes(b"x")
    (tmp_path / "history.jsonl").write_text("mine\n")
    before = files_of(tmp_path)
    refused(train(cli, small_classes.train, tmp_path), "holds other files, and no run of nlp_app")
    assert files_of(tmp_path) == before


def test_an_output_that_cant_be_written(cli: Cli, tmp_path: Path, small_classes: Small) -> None:
    (tmp_path / "file").write_text("x")
    before = files_of(tmp_path)
    for place in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/nlp_app")):
        refused(train(cli, small_classes.train, place), place)
    for place in (tmp_path, tmp_path / "file" / "below", Path("/proc/nlp_app"), Path("/dev/full")):
        refused(cli("classify", small_classes.run, "x", "--output", place), place, "can't be written")
    assert files_of(tmp_path) == before


def test_a_failed_start_leaves_a_finished_run_as_it_was(cli: Cli, tmp_path: Path, small_classes: Small) -> None:
    shutil.copytree(small_classes.run, tmp_path / "run")
    (tmp_path / "bad.csv").write_text("text,label\nx,a\ny,a\n")
    before = files_of(tmp_path)
    refused(train(cli, tmp_path / "bad.csv", tmp_path / "run"))
    refused(train(cli, small_classes.train, tmp_path / "run", "--dev", tmp_path / "bad.csv"))
    refused(train(cli, small_classes.train, tmp_path / "run", "--set", "model.hidden_size=10000000000"))
    refused(train(cli, small_classes.train, tmp_path / "run", "--resume"), "--resume: settings differ")
    assert files_of(tmp_path) == before


@pytest.mark.parametrize(
    "change", ["train.learning_rate=1e300", "train.learning_rate=1e30", "train.wide_learning_rate=1e300"]
)
@pytest.mark.parametrize("kind", ["embedding_bag", "textcnn"])
def test_divergence_is_said_and_leaves_nothing(
    cli: Cli, tmp_path: Path, small_classes: Small, change: str, kind: str
) -> None:
    if kind == "textcnn" and "wide" in change:
        return
    more = ["--set", change, "--set", f"model.kind={kind}", "--set", "model.word_dim=4", "--set", "model.num_filters=4"]
    refused(train(cli, small_classes.train, tmp_path / "run", *more), "rate")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # torch's threads are idle: there is only one
@pytest.mark.parametrize("limit", [100, 3_000, 20_000, 200_000])
@pytest.mark.parametrize("encoded", [True, False])
def test_a_full_disk(
    cli: Cli, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, small_classes: Small, limit: int, encoded: bool
) -> None:
    """Files may not grow beyond `limit` bytes: the run's notes, its encoded texts or its model don't fit."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    arguments = ["train", "cls", "--train", str(small_classes.train), "--quiet", *SMALL_CLASSES]
    environment = {} if encoded else {"NLP_APP_CACHE": str(elsewhere / "cache")}
    if encoded:  # then the run's own files are what doesn't fit
        assert cli(*arguments, "--output", str(elsewhere / "run")).status == 0
    outcome = run_on_full_disk([*arguments, "--output", str(tmp_path / "run")], limit, environment)
    refused(outcome, "make room")
    assert not list(tmp_path.iterdir())


def test_standard_output_and_input_that_fail(cli: Cli, small_classes: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    run = small_classes.run
    for command in (
        ["classify", run, "text"],
        ["classify", run, "--input", small_classes.test],
        ["evaluate", run, small_classes.test, "--quiet"],
        ["inspect", small_classes.test],
    ):
        with open("/dev/full", "w") as full, monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", full)
            refused(cli(*command), "standard output: can't be written: No space left on device")
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", None)
            refused(cli(*command), "standard output: is closed")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdin", None)
        refused(cli("classify", run), "standard input: is closed")
    assert cli("classify", run, "--input", small_classes.test, "--output", "/dev/null", "--quiet") == (0, "", "")
    assert Path("/dev/null").is_char_device()


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@pytest.mark.slow
def test_five_thousand_classes(cli: Cli, tmp_path: Path) -> None:
    chance = random.Random(1)
    rows = [[f"w{label} v{label % 71} u{chance.randrange(50)}", f"c{label}"] for label in range(5000) for _ in range(3)]
    data = write_csv(tmp_path / "a.csv", rows)
    dev = write_csv(tmp_path / "dev.csv", rows[::29])
    seconds, before = time.process_time(), peak()
    more = ["--set=train.epochs=2", "--set=train.batch_size=100", "--set=model.hidden_size=16"]
    outcome = train(cli, data, tmp_path / "run", "--dev", dev, *more)
    assert (outcome.status, outcome.err) == (0, "")
    assert time.process_time() - seconds < 120
    assert peak() - before < 3_500  # megabytes: the weights are 670, and a few copies of them
    found = cli("classify", tmp_path / "run", "--input", dev, "--top-k", 3, "--quiet")
    lines = [json.loads(line) for line in found.out.splitlines()]
    assert [line["text"] for line in lines] == [text for text, _ in rows[::29]]
    assert all(len(line["predicted"]) == len(line["score"]) == 3 for line in lines)
    scores = json.loads(cli("evaluate", tmp_path / "run", dev, "--json", "--quiet").out)
    assert scores["accuracy"] > 0.5
    assert len(outcome.out) < 20_000  # the table shows the most frequent
    assert (tmp_path / "run/metrics.json").stat().st_size < 5_000_000
    assert (tmp_path / "run/README.md").stat().st_size < 200_000


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "megabytes"), [("embedding_bag", 1), ("textcnn", 1), ("combined", 4)])
def test_a_text_of_megabytes(cli: Cli, tmp_path: Path, kind: str, megabytes: int) -> None:
    """Time grows with the length, no more: the largest text goes through both parts of a combined network."""
    chance = random.Random(2)
    words = [f"word{n}" for n in range(2000)] + ["北京", "上海", "refund"]
    long = " ".join(chance.choices(words, k=150_000 * megabytes))
    assert len(long.encode()) > 1_000_000 * megabytes
    rows = [[f"{word} {n}", label] for n in range(20) for word, label in (("boat", "sea"), ("rock", "land"))]
    data = write_csv(tmp_path / "a.csv", [*rows, [long, "land"]])
    dev = write_csv(tmp_path / "dev.csv", rows)
    seconds = time.process_time()
    small = [
        "--set=model.kind=" + kind,
        "--set=model.word_dim=8",
        "--set=model.num_filters=8",
        "--set=model.word_ngrams=1-2",
    ]
    outcome = train(cli, data, tmp_path / "run", "--dev", dev, *small)
    assert (outcome.status, outcome.err) == (0, "")
    assert json.loads((tmp_path / "run/nlp_app.json").read_text())["about"]["splits"]["train"]["texts"] == 41
    contents = {"long.csv": f"text\n{long}\nboat\n", "long.txt": f"{long}\nboat\n"}
    for name, content in contents.items() if megabytes == 1 else [("long.csv", contents["long.csv"])]:
        (tmp_path / name).write_text(content, encoding="utf-8")
        target = tmp_path / "out.jsonl"
        found = cli("classify", tmp_path / "run", "--input", tmp_path / name, "--output", target, "--quiet")
        assert found == (0, "", "")
        lines = [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]
        assert [len(line["text"]) for line in lines] == [len(long), 4]
        assert all(0 < line["score"] <= 1 for line in lines)
    assert time.process_time() - seconds < 20 + 10 * megabytes
