"""A label that only the dev file has counts as missed, in every kind of training run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import SMALL, Outcome, Small, write_csv
from tiny_transformers import tiny_bert

Cli = Callable[..., Outcome]


def metrics_of(outcome: Outcome, run: Path) -> dict[str, Any]:
    assert outcome.status == 0, outcome.err
    found: dict[str, Any] = json.loads((run / "metrics.json").read_text())
    return found["dev"]


def dev_with_an_unknown_type(small: Small, folder: Path) -> Path:
    path = folder / "dev.conll"
    path.write_text(small.dev.read_text() + "\nZeus B-GOD\nruled O\n\nHera B-GOD\n\n")
    return path


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bilstm_crf", "transformer", "trainer"])
def test_spans_of_an_unknown_type_are_missed(cli: Cli, small: Small, tmp_path: Path, kind: str) -> None:
    dev, run = dev_with_an_unknown_type(small, tmp_path), tmp_path / "run"
    changes = SMALL
    if kind != "bilstm_crf":
        body = tiny_bert(tmp_path / "bert", {"Zeus", "Anna", "in"})
        changes = ["--set=model.kind=transformer", f"--set=model.pretrained={body}", "--set=train.epochs=1"]
        changes += ["--set=train.engine=trainer"] if kind == "trainer" else []
    outcome = cli("train", "ner", "--train", small.train, "--dev", dev, "--output", run, *changes)
    assert "labels that do not occur in the training data: GOD; they count as missed" in outcome.err
    scores = metrics_of(outcome, run)
    assert scores["per_type"]["GOD"]["support"] == 2
    assert scores["per_type"]["GOD"]["recall"] == 0
    refusal = cli("train", "ner", "--train", small.train, "--dev", dev, "--output", tmp_path / "strict", *changes,
                  "--set=data.strict=true")  # fmt: skip
    assert refusal.status == 2
    assert "label 'GOD' does not occur in" in refusal.err


ROWS = [[f"{word} {number}", label] for number in range(12) for word, label in (("sun", "warm"), ("ice", "cold"))]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["embedding_bag", "textcnn", "combined", "transformer", "multi-label"])
def test_texts_of_an_unknown_class_are_missed(cli: Cli, tmp_path: Path, kind: str) -> None:
    run = tmp_path / "run"
    train = write_csv(tmp_path / "train.csv", ROWS if kind != "multi-label" else [*ROWS, ["sun ice", "warm|cold"]])
    dev = write_csv(tmp_path / "dev.csv", [["sun 1", "warm"], ["ice 2", "cold"], ["fog 1", "grey"], ["fog 2", "grey"]])
    changes = ["--set=train.epochs=2"]
    if kind == "transformer":
        body = tiny_bert(tmp_path / "bert", {"sun", "ice", "fog"})
        changes += ["--set=model.kind=transformer", f"--set=model.pretrained={body}"]
    elif kind == "multi-label":
        changes += ["--set=data.label_separator=|"]
    else:
        changes += [f"--set=model.kind={kind}"]
    outcome = cli("train", "cls", "--train", train, "--dev", dev, "--output", run, *changes)
    assert "labels that do not occur in the training data: grey; they count as missed" in outcome.err
    scores = metrics_of(outcome, run)
    assert scores["per_label"]["grey"]["recall"] == 0
    assert scores["per_label"]["grey"]["support"] == 2
    if kind != "multi-label":
        assert scores["accuracy"] <= 0.5
