"""Taggers on uncased models: casing embeddings let them distinguish words that differ only in case."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Outcome, files_of, refused
from tiny_transformers import tiny_bert

import nlp_app
from nlp_app.core.errors import ModelError
from nlp_app.models import DESCRIPTION, read_model, write_model
from nlp_app.models.directory import own_checksum
from nlp_app.models.transformers.models import TransformerTaggerParts

Cli = Callable[..., Outcome]
NAMES = ("rose", "may", "will", "mark", "grace", "hope", "bill", "jack")
# Only the capital says whether it is a name; in capitals it is an organization.
SENTENCES = [
    (("then", form, "came"), f"S-{label}" if label else "O")
    for name in NAMES
    for form, label in ((name, ""), (name.title(), "PER"), (name.upper(), "ORG"))
]
QUICK = [
    f"--set={change}"
    for change in (
        "model.kind=transformer", "train.epochs=12", "train.batch_subwords=32", "train.learning_rate=0.002",
        "train.head_learning_rate=0.02", "train.crf_learning_rate=0.02", "train.layerwise_lr_decay=1.0",
        "train.precision=no", "train.ema_decay=0",
        "data.tokenizer=basic",
    )
]  # fmt: skip


@pytest.fixture(scope="module")
def bodies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    directory = tmp_path_factory.mktemp("tiny")
    words = [*NAMES, "then", "came"]
    written = [form for name in NAMES for form in (name.title(), name.upper())]
    return {
        "uncased": tiny_bert(directory / "uncased", words, cased=False),
        "cased": tiny_bert(directory / "cased", [*words, *written]),
    }


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "names.conll"
    lines = ["\n".join(f"{word} {tag if place == 1 else 'O'}" for place, word in enumerate(words)) + "\n"
             for words, tag in SENTENCES]  # fmt: skip
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def train(cli: Cli, data: Path, body: Path, output: Path, *more: object) -> Outcome:
    files = (f"--train={data}", f"--dev={data}", f"--output={output}")
    return cli("train", "ner", *files, *QUICK, f"--set=model.pretrained={body}", *more)


def dev_f1(output: Path) -> float:
    found: float = json.loads((output / "metrics.json").read_text())["dev"]["f1"]
    return found


@pytest.mark.slow
def test_capitals_are_learned_where_the_body_is_blind(
    cli: Cli, data: Path, bodies: dict[str, Path], tmp_path: Path
) -> None:
    outcome = train(cli, data, bodies["uncased"], tmp_path / "auto")
    assert outcome.status == 0, outcome
    assert "an embedding of capitals and digits is added" in outcome.err
    assert dev_f1(tmp_path / "auto") > 0.95
    outcome = train(cli, data, bodies["uncased"], tmp_path / "no", "--set=model.casing_embedding=no")
    assert outcome.status == 0, outcome
    assert "capitals and digits" not in outcome.err
    # Of the three ways to write a word, it can at best find one.
    assert dev_f1(tmp_path / "no") < 0.7
    tagger = nlp_app.load(tmp_path / "auto")
    found = tagger.tag("then Grace came. then grace came. then GRACE came")
    assert [(span.text, span.label) for span in found] == [("Grace", "PER"), ("GRACE", "ORG")]
    # It goes on as it is, without being told.
    more = train(
        cli, data, "", tmp_path / "more", f"--set=model.initial_model={tmp_path / 'auto'}", "--set=train.epochs=1"
    )
    assert more.status == 0, more
    assert dev_f1(tmp_path / "more") > 0.9
    assert nlp_app.load(tmp_path / "more").parts.network.dimensions.capitals
    refused(
        train(cli, data, "", tmp_path / "not", f"--set=model.initial_model={tmp_path / 'auto'}",
              "--set=model.casing_embedding=no"),
        "model.initial_model", "model.casing_embedding = 'yes'",
    )  # fmt: skip
    parts = read_model(tmp_path / "auto")
    assert isinstance(parts, TransformerTaggerParts)
    assert parts.encoder.capitals
    write_model(parts, tmp_path / "again")
    assert files_of(tmp_path / "again").items() <= files_of(tmp_path / "auto").items()
    text = "then Grace came. then GRACE came"
    assert [span.label for span in tagger.add_labels(["GPE"]).tag(text)] == ["PER", "ORG"]


@pytest.mark.parametrize(
    ("body", "changes", "embedded"),
    [
        ("cased", [], False),
        ("cased", ["model.casing_embedding=yes"], True),
        ("uncased", [], True),
        ("uncased", ["model.head=softmax"], False),
        ("uncased", ["model.head=softmax", "model.casing_embedding=yes"], True),
        (
            "uncased",
            [
                "model.casing_embedding=yes",
                "model.lstm_hidden_size=4",
                "train.gradient_checkpointing=true",
                "model.frozen_layers=1",
            ],
            True,
        ),
    ],
)
def test_where_capitals_are_embedded(
    cli: Cli, data: Path, bodies: dict[str, Path], tmp_path: Path, body: str, changes: list[str], embedded: bool
) -> None:
    chosen = [f"--set={change}" for change in ["train.epochs=1", *changes]]
    outcome = train(cli, data, bodies[body], tmp_path / "run", *chosen)
    assert outcome.status == 0, outcome
    tagger = nlp_app.load(tmp_path / "run")
    assert ("capitals.weight" in tagger.parts.network.weights()) == embedded
    assert tagger.parts.encoder.capitals == embedded
    if embedded:
        assert tagger.parts.network.weights()["capitals.weight"].any()


def test_descriptions_from_before_and_of_other_kinds(
    cli: Cli, data: Path, bodies: dict[str, Path], tmp_path: Path
) -> None:
    model = tmp_path / "run"
    assert train(cli, data, bodies["cased"], model, "--set=train.epochs=1").status == 0
    before = nlp_app.load(model).tag("then Grace came")
    description = json.loads((model / DESCRIPTION).read_text())

    def sign() -> None:
        description["checksum"] = own_checksum(description)
        (model / DESCRIPTION).write_text(json.dumps(description))

    dimensions = description["network"]["dimensions"]
    assert dimensions.pop("capitals") == 0
    sign()
    assert nlp_app.load(model).tag("then Grace came") == before
    for wrong in (3, 10, -1, True, "yes"):
        dimensions["capitals"] = wrong
        sign()
        with pytest.raises(ModelError):
            nlp_app.load(model)
