"""Classification with pretrained transformers: files of a run, engines, several labels, long texts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Outcome, Small, class_rows, essence, write_csv
from tiny_transformers import tiny_bert

import nlp_app
from nlp_app import BasicTokenizer

Cli = Callable[..., Outcome]

SETTINGS = [
    f"--set={change}"
    for change in (
        "model.kind=transformer", "train.epochs=6", "train.batch_subwords=256", "train.learning_rate=0.005",
        "train.head_learning_rate=0.01", "train.checkpoint_seconds=0", "train.precision=no", "train.ema_decay=0.0",
    )
]  # fmt: skip


@pytest.fixture(scope="module")
def body(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT that knows the words of the bundled texts, and no more than that."""
    known = {word for text, _ in class_rows("train", 600) for word in BasicTokenizer()(text).norms}
    return tiny_bert(tmp_path_factory.mktemp("tiny") / "bert", known)


def train(cli: Cli, small_classes: Small, body: Path, output: Path, *more: object) -> Outcome:
    files = ("--train", small_classes.train, "--dev", small_classes.dev, "--test", small_classes.test)
    return cli(
        "train", "cls", *files, "--output", output, "--quiet", *SETTINGS, f"--set=model.pretrained={body}", *more
    )


@pytest.mark.slow
def test_a_run_with_either_engine(cli: Cli, small_classes: Small, body: Path, tmp_path: Path) -> None:
    for engine in ("trainer", "loop"):
        assert train(cli, small_classes, body, tmp_path / engine, f"--set=train.engine={engine}").status == 0
    runs = [essence(tmp_path / engine) for engine in ("trainer", "loop")]
    assert runs[0].pop("config.toml") != runs[1].pop("config.toml")
    assert runs[0] == runs[1]
    names = {path.name for path in (tmp_path / "loop").iterdir()}
    assert names >= {"nlp_app.json", "model.safetensors", "config.json", "tokenizer.json", "confusion.png"}
    metrics = json.loads((tmp_path / "loop/metrics.json").read_text())
    lines = (tmp_path / "loop/predictions.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert sum(row["gold"] == row["predicted"] for row in rows) / len(rows) == metrics["test"]["accuracy"] > 0.2
    classifier = nlp_app.load(tmp_path / "loop")
    found = classifier.classify([row["text"] for row in rows])
    assert [label.label for label in found] == [row["predicted"] for row in rows]
    assert [label.score for label in found] == pytest.approx([row["score"] for row in rows], abs=1e-5)


@pytest.mark.slow
def test_several_labels(cli: Cli, body: Path, tmp_path: Path) -> None:
    rows = class_rows("train", 200)
    pairs = [[f"{a[0]} {b[0]}", "|".join(sorted({a[1], b[1]}))] for a, b in zip(rows[:100], rows[100:], strict=True)]
    data = write_csv(tmp_path / "several.csv", pairs)
    outcome = cli(
        "train", "cls", "--train", data, "--output", tmp_path / "run", "--quiet", *SETTINGS,
        f"--set=model.pretrained={body}", "--set=data.label_separator=|",
    )  # fmt: skip
    assert outcome.status == 0, outcome
    assert json.loads((tmp_path / "run/config.json").read_text())["problem_type"] == "multi_label_classification"
    classifier = nlp_app.load(tmp_path / "run")
    assert classifier.multi_label
    probabilities = classifier.probabilities([pairs[0][0]])
    assert ((probabilities > 0) & (probabilities < 1)).all()


@pytest.mark.slow
def test_long_texts_are_read_in_windows(cli: Cli, small_classes: Small, body: Path, tmp_path: Path) -> None:
    chosen = ("--set=model.window_subwords=12", "--set=model.window_overlap=2")
    assert train(cli, small_classes, body, tmp_path / "run", *chosen).status == 0
    classifier = nlp_app.load(tmp_path / "run")
    text = class_rows("test", 1)[0][0]
    long = " ".join([text] * 400)
    parts = classifier.parts
    encoded = parts.encoder.encode_texts([long, text])
    assert encoded.windows[1] > 100
    assert encoded.pieces.lengths.max() <= 12
    assert np.isclose(classifier.probabilities([long]).sum(), 1)
    # The end counts too: another text there changes the score.
    assert (classifier.probabilities([long]) != classifier.probabilities([long[:-60] + "?" * 60])).any()
