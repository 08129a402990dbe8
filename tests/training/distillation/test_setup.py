"""Distillation of a fine-tuned transformer into small networks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import SMALL, SMALL_CLASSES, Outcome, class_rows, essence, files_of, refused, sentences, write_csv
from tiny_transformers import tiny_bert

import nlp_app

Cli = Callable[..., Outcome]

TEACHER = [
    f"--set={change}"
    for change in (
        "model.kind=transformer", "train.epochs=25", "train.batch_subwords=256", "train.learning_rate=0.005",
        "train.layerwise_lr_decay=1.0", "train.head_learning_rate=0.02", "train.crf_learning_rate=0.05",
        "train.precision=no",
        "train.ema_decay=0.0", "train.engine=loop",
    )
]  # fmt: skip
STUDENT = [*SMALL, "--set=train.epochs=3", "--set=distill.augmented_copies=2", "--set=train.learning_rate=0.01"]


def words(text: str) -> set[str]:
    return {line.split(" ")[0] for line in text.splitlines() if line}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tagger on a tiny BERT that knows its sixty sentences by heart; `train.conll` beside it holds the first half."""
    from nlp_app.cli import main

    directory = tmp_path_factory.mktemp("teacher")
    text = sentences("train", 60)
    (directory / "all.conll").write_text(text, encoding="utf-8")
    (directory / "train.conll").write_text(sentences("train", 30), encoding="utf-8")
    # The second half without its tags: a token a line.
    rest = text[len(sentences("train", 30)) :]
    bare = "".join(f"{line.split(' ')[0]}\n" if line else "\n" for line in rest.split("\n")).strip("\n")
    (directory / "rest.conll").write_text(bare + "\n", encoding="utf-8")
    body = tiny_bert(directory / "body", words(text))
    data = [f"--train={directory / 'all.conll'}", f"--dev={directory / 'all.conll'}"]
    main(
        ["train", "ner", *data, f"--output={directory / 'run'}", "--quiet", *TEACHER, f"--set=model.pretrained={body}"]
    )
    return directory


def distill(cli: Cli, teacher: Path, output: Path, *more: object) -> Outcome:
    return cli(
        "distill", teacher / "run", "--train", teacher / "train.conll", "--dev", teacher / "all.conll",
        "--output", output, "--quiet", *STUDENT, *more,
    )  # fmt: skip


@pytest.mark.slow
def test_a_student_learns_from_texts_without_labels(cli: Cli, teacher: Path, tmp_path: Path) -> None:
    """The teacher knows the second half of the sentences, of which the student has no label."""
    more = ("--unlabelled", teacher / "rest.conll", "--set=train.epochs=20", "--set=distill.min_count=1")
    before = files_of(teacher)
    assert distill(cli, teacher, tmp_path / "taught", *more).status == 0
    assert files_of(teacher) == before
    files = ("--train", teacher / "train.conll", "--dev", teacher / "all.conll")
    alone = cli(
        "train", "ner", *files, "--output", tmp_path / "alone", "--quiet", *STUDENT[:-2], "--set=train.epochs=40"
    )
    assert alone.status == 0, alone
    scores = [json.loads((tmp_path / name / "metrics.json").read_text())["dev"]["f1"] for name in ("taught", "alone")]
    assert scores[0] > scores[1] + 0.1
    student: Any = nlp_app.load(tmp_path / "taught", backend="torch")
    assert type(student.parts).__name__ == "TaggerParts"
    assert student.tag("周五我和王磊去北京大学听讲座。") is not None


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        "gold_weight=1.0",
        "augmented_copies=1",
        "replacement_rate=0.8",
        "num_neighbors=1",
        "random_replacement_rate=1.0",
        "min_count=1",
    ],
)
def test_every_setting_has_an_effect(cli: Cli, teacher: Path, tmp_path: Path, change: str) -> None:
    assert distill(cli, teacher, tmp_path / "a").status == 0
    assert distill(cli, teacher, tmp_path / "b").status == 0
    assert essence(tmp_path / "a") == essence(tmp_path / "b")
    assert distill(cli, teacher, tmp_path / "c", f"--set=distill.{change}").status == 0
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("a", "c")]
    assert weights[0] != weights[1]


@pytest.mark.slow
def test_a_student_may_have_a_lexicon(cli: Cli, teacher: Path, tmp_path: Path) -> None:
    assert distill(cli, teacher, tmp_path / "run", "--set=model.lexicon=names").status == 0
    student: Any = nlp_app.load(tmp_path / "run")
    assert len(student.parts.encoder.lexicon) > 100_000
    assert [each["name"] for each in student.parts.about["lexicon"]] == ["names"]


def test_what_is_wrong_is_said(cli: Cli, small: Any, teacher: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    refused(distill(cli, teacher, run, "--set=distill.augmented_copies=0"), "unlabeled")
    refused(distill(cli, teacher, run, "--unlabelled", tmp_path / "no.txt"), "no.txt")
    refused(
        distill(cli, teacher, run, "--set=distill.augmented_copy=3"),
        "distill.augmented_copy",
        "did you mean `distill.augmented_copies`",
    )
    refused(cli("distill", teacher / "run", "--output", run, "--quiet", *STUDENT), "data.train", "found none")
    refused(cli("distill", tmp_path / "no", "--train", teacher / "train.conll", "--output", run), "no such directory")
    other = tmp_path / "other.conll"
    other.write_text("a B-ANIMAL\n\nb O\n\n", encoding="utf-8")
    refused(distill(cli, teacher, run, "--train", other, "--dev", other), "ANIMAL", "that the teacher learned")
    refused(distill(cli, teacher, run, f"--set=model.initial_model={small.run}"), "model.initial_model", "a teacher")
    assert not run.exists()


def test_a_small_network_is_no_teacher(cli: Cli, small: Any, teacher: Path, tmp_path: Path) -> None:
    outcome = cli("distill", small.run, "--train", small.train, "--output", tmp_path / "run", "--quiet", *STUDENT)
    refused(outcome, "distill.teacher", "fine-tuned transformer")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["embedding_bag", "textcnn"])
def test_a_classifier_learns_from_its_teacher(cli: Cli, tmp_path: Path, kind: str) -> None:
    rows = class_rows("train", 160)
    everything, half = write_csv(tmp_path / "all.csv", rows), write_csv(tmp_path / "half.csv", rows[:80])
    (tmp_path / "rest.txt").write_text("".join(f"{text}\n" for text, _ in rows[80:]), encoding="utf-8")
    known = {word for text, _ in rows for word in nlp_app.BasicTokenizer()(text).norms}
    body = tiny_bert(tmp_path / "body", known)
    outcome = cli(
        "train", "cls", "--train", everything, "--dev", everything, "--output", tmp_path / "teacher", "--quiet",
        *(change for change in TEACHER if "crf" not in change), f"--set=model.pretrained={body}",
    )  # fmt: skip
    assert outcome.status == 0, outcome
    settings = [*SMALL_CLASSES, f"--set=model.kind={kind}", "--set=train.epochs=30", "--set=distill.augmented_copies=1"]
    outcome = cli(
        "distill", tmp_path / "teacher", "--train", half, "--dev", everything, "--unlabelled", tmp_path / "rest.txt",
        "--output", tmp_path / "taught", "--quiet", *settings, "--set=distill.min_count=1",
    )  # fmt: skip
    assert outcome.status == 0, outcome
    alone = [change for change in settings if "distill" not in change]
    assert (
        cli(
            "train", "cls", "--train", half, "--dev", everything, "--output", tmp_path / "alone", "--quiet", *alone
        ).status
        == 0
    )
    taught, by_itself = (
        json.loads((tmp_path / name / "metrics.json").read_text())["dev"]["accuracy"] for name in ("taught", "alone")
    )
    assert taught > by_itself + 0.05
