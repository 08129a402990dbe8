"""Runs on pretrained transformers: what they leave; engine, stopping and long texts change nothing they should not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from conftest import Outcome, Small, essence, refused, sentences
from tiny_transformers import tiny_bert

import nlp_app
from nlp_app.core.paths import bundled_path
from nlp_app.metrics import entity_scores

Cli = Callable[..., Outcome]

SETTINGS = [
    f"--set={change}"
    for change in (
        "model.kind=transformer", "train.epochs=12", "train.layerwise_lr_decay=1.0", "train.crf_learning_rate=0.05",
        "train.batch_subwords=256", "train.learning_rate=0.005", "train.head_learning_rate=0.02",
        "train.checkpoint_seconds=0",
        "train.precision=no", "train.ema_decay=0.0",
    )
]  # fmt: skip
LEARNT = ["--set=train.epochs=25"]


def words() -> set[str]:
    lines = bundled_path("data/ner/train.conll").read_text(encoding="utf-8").splitlines()
    return {line.split(" ")[0] for line in lines if line}


@pytest.fixture(scope="module")
def body(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT that knows the words of the bundled corpus, and no more than that."""
    return tiny_bert(tmp_path_factory.mktemp("tiny") / "bert", words())


def train(cli: Cli, small: Small, body: Path, output: Path, *more: object) -> Outcome:
    files = ("--train", small.train, "--dev", small.dev, "--test", small.test)
    return cli(
        "train", "ner", *files, "--output", output, "--quiet", *SETTINGS, f"--set=model.pretrained={body}", *more
    )


@pytest.fixture(scope="module")
def run(small: Small, body: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with the default head."""
    from nlp_app.cli import main

    output = tmp_path_factory.mktemp("run") / "run"
    files = (f"--train={small.train}", f"--dev={small.dev}", f"--test={small.test}")
    main(["train", "ner", *files, f"--output={output}", "--quiet", *SETTINGS, f"--set=model.pretrained={body}"])
    return output


def test_what_a_run_leaves(run: Path) -> None:
    names = {path.name for path in run.iterdir()}
    assert names == {
        "nlp_app.json", "model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json", "README.md",
        "config.toml", "metrics.json", "history.jsonl", "history.png", "predictions.conll", "checkpoints",
    }  # fmt: skip
    history = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in history] == list(range(1, 13))
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["dev"]["f1"] == max(line["dev"]["f1"] for line in history) > 0
    assert not [path for path in run.rglob("*") if path.suffix in {".pt", ".pth", ".bin", ".pkl"}]


def test_the_predictions_give_the_scores(run: Path) -> None:
    blocks = (run / "predictions.conll").read_text(encoding="utf-8").strip("\n").split("\n\n")
    rows = [[line.split(" ") for line in block.split("\n")] for block in blocks]
    found = [[row[2] for row in sentence] for sentence in rows]
    scores = entity_scores([[row[1] for row in sentence] for sentence in rows], found)
    assert scores == json.loads((run / "metrics.json").read_text())["test"]
    assert nlp_app.load(run).tag_tokens([[row[0] for row in sentence] for sentence in rows]) == found


@pytest.mark.slow
def test_the_engine_makes_no_difference(cli: Cli, small: Small, body: Path, run: Path, tmp_path: Path) -> None:
    assert train(cli, small, body, tmp_path / "run", "--set=train.engine=loop").status == 0
    mine, theirs = essence(tmp_path / "run"), essence(run)
    assert mine.pop("config.toml") != theirs.pop("config.toml")
    assert mine == theirs


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["trainer", "loop"])
def test_a_run_that_was_stopped_goes_on(
    cli: Cli, small: Small, body: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    from nlp_app.training.runs.directory import RunDirectory

    chosen = (f"--set=train.engine={engine}", "--set=train.gradient_accumulation_steps=2")
    whole = train(cli, small, body, tmp_path / "whole", *chosen)
    keep = RunDirectory.record_epoch

    def stop(self: RunDirectory, line: dict[str, Any], *rest: Any) -> None:
        keep(self, line, *rest)
        if line["epoch"] == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RunDirectory, "record_epoch", stop)
        assert train(cli, small, body, tmp_path / "run", *chosen).status == 130
    assert train(cli, small, body, tmp_path / "run", *chosen, "--resume") == whole
    assert essence(tmp_path / "run") == essence(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("head", "lstm", "scheme"),
    [("softmax", 0, "BIOES"), ("crf", 0, "BIO"), ("softmax", 16, "BIO"), ("crf", 16, "BIOES")],
)
def test_every_head_learns_its_sentences(
    cli: Cli, body: Path, tmp_path: Path, head: str, lstm: int, scheme: str
) -> None:
    data = tmp_path / "some.conll"
    data.write_text(sentences("train", 60), encoding="utf-8")
    chosen = [
        f"--set=model.{name}={value}"
        for name, value in (("head", head), ("lstm_hidden_size", lstm), ("scheme", scheme))
    ]
    outcome = cli(
        "train", "ner", "--train", data, "--dev", data, "--output", tmp_path / "run", "--quiet", *SETTINGS, *LEARNT,
        f"--set=model.pretrained={body}", *chosen,
    )  # fmt: skip
    assert outcome.status == 0, outcome
    assert json.loads((tmp_path / "run/metrics.json").read_text())["dev"]["f1"] > 0.7
    tagger = nlp_app.load(tmp_path / "run")
    text = "周五我和王磊去北京大学听讲座。 Satya Nadella visited Shanghai on Monday."
    for span in tagger.tag(text):
        assert text[span.start : span.end] == span.text
        assert 0 < span.score <= 1


def test_transformers_pipeline_finds_the_entities_of_a_softmax_head(cli: Cli, body: Path, tmp_path: Path) -> None:
    from transformers import pipeline

    data = tmp_path / "some.conll"
    data.write_text(sentences("train", 60), encoding="utf-8")
    outcome = cli(
        "train", "ner", "--train", data, "--dev", data, "--output", tmp_path / "run", "--quiet", *SETTINGS, *LEARNT,
        f"--set=model.pretrained={body}", "--set=model.head=softmax",
    )  # fmt: skip
    assert outcome.status == 0, outcome
    tagger = nlp_app.load(tmp_path / "run")
    assert tagger.parts.tag_set.scheme == "BIO"
    pieces = pipeline("token-classification", str(tmp_path / "run"), ignore_labels=[])
    find = pipeline("token-classification", str(tmp_path / "run"), aggregation_strategy="first")
    blocks = [block.splitlines() for block in sentences("train", 60).strip().split("\n\n")]
    words = [[line.split(" ")[0] for line in block] for block in blocks]
    texts = [("" if any(len(word) == 1 and not word.isascii() for word in row) else " ").join(row) for row in words]
    texts = [text for text in texts if len(text) < 40]  # within the window, at which the pipeline cuts
    english, chinese = ([text for text in texts if text.isascii() == wanted] for wanted in (True, False))
    mixed = [f"{a} {b}" for a in english for b in chinese if len(a + b) < 50][:60]
    texts += mixed
    compared = []
    for text in texts:
        # Each word's own best tag, by its first piece. Our path is another one where these are no legal sequence.
        tags = ["O", *(piece["entity"] for piece in pieces(text) if not piece["word"].startswith("##"))]
        if all(b[0] != "I" or a[1:] == b[1:] for a, b in pairwise(tags)):
            groups = [(group["start"], group["end"], group["entity_group"]) for group in find(text)]
            assert groups == [(span.start, span.end, span.label) for span in tagger.tag(text)], text
            compared += [text] * len(groups)
    assert len(compared) > 20
    assert len(set(compared)) > len(texts) / 4
    for some in (english, chinese, mixed):
        assert set(some) & set(compared)  # with entities


def test_labels_without_a_scheme(cli: Cli, body: Path, tmp_path: Path) -> None:
    lines = sentences("train", 60).splitlines()
    data = tmp_path / "pos.conll"
    data.write_text(
        "\n".join(f"{line.split(' ')[0]} {'ABC'[ord(line[0]) % 3]}" if line else "" for line in lines) + "\n",
        encoding="utf-8",
    )
    changes = [*SETTINGS, f"--set=model.pretrained={body}", "--set=train.epochs=12"]
    outcome = cli("train", "ner", "--train", data, "--output", tmp_path / "run", "--quiet", *changes)
    assert outcome.status == 0
    assert json.loads((tmp_path / "run/metrics.json").read_text())["dev"]["accuracy"] > 0.5


LONG = ("--set=model.window_subwords=16", "--set=model.window_overlap=4")


@pytest.mark.slow
def test_long_text_is_read_in_windows(cli: Cli, small: Small, body: Path, tmp_path: Path) -> None:
    """Windows of 16 pieces for sentences of up to 60 tokens: all of them train, score and are tagged."""
    data = tmp_path / "some.conll"
    data.write_text(sentences("train", 60), encoding="utf-8")
    assert train(cli, small, body, tmp_path / "run", *LONG, *LEARNT, "--train", data, "--dev", data).status == 0
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    gold = sum("B-" in line for line in small.test.read_text(encoding="utf-8").splitlines())
    assert sum(each["support"] for each in metrics["test"]["per_type"].values()) == gold
    assert metrics["dev"]["f1"] > 0.7
    tagger = nlp_app.load(tmp_path / "run")
    unit = "周五我和王磊去北京大学听讲座，"
    text = unit * 2000
    assert len(text) == 30_000
    spans = tagger.tag(text)
    assert all(text[span.start : span.end] == span.text for span in spans)
    # Away from the ends each unit has the same windows again and again: what is found in one is found in all of a kind.
    period = {(span.start % len(unit), span.text, span.label) for span in spans[10:-10]}
    assert len(period) <= 40


def test_what_is_wrong_is_said(cli: Cli, small: Small, body: Path, tmp_path: Path) -> None:
    files = ("--train", small.train, "--dev", small.dev, "--output", tmp_path / "run", "--quiet")
    refused(cli("train", "ner", *files, "--set=model.kind=transformer"), "model.pretrained", "found none")
    refused(train(cli, small, tmp_path / "nowhere", tmp_path / "run"), "nowhere")
    refused(
        train(cli, small, body, tmp_path / "run", "--set=model.window_subwords=65"), "model.window_subwords", 65, 64
    )
    refused(train(cli, small, body, tmp_path / "run", "--set=model.window_subwords=2"), "model.window_subwords", 2)
    refused(train(cli, small, body, tmp_path / "run", "--set=model.frozen_layers=3"), "model.frozen_layers", 3, 2)
    refused(train(cli, small, body, tmp_path / "run", "--set=model.hidden_size=3"), "model.hidden_size")
    assert not (tmp_path / "run").exists()


def test_a_changed_body_is_noticed(cli: Cli, small: Small, body: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(body, tmp_path / "bert")
    assert train(cli, small, copy, tmp_path / "run", "--set=train.epochs=1").status == 0
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"hidden_dropout_prob": 0.5}))
    outcome = train(cli, small, copy, tmp_path / "run", "--set=train.epochs=1", "--resume")
    refused(outcome, "config.json", "has changed since the run began")
