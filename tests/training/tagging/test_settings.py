"""Every setting of [model] and [train] has an effect: another value gives another model, or another run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import Small, sentences
from setting_effects import Before, Weights, differ, last_weights

from nlp_app.config import TaggerModelSettings, TaggingSettings, TaggingTrainSettings, read_settings
from nlp_app.training import train_ner

BASE = {
    "train.checkpoint_seconds": "0",  # the last checkpoint is looked at
    "train.epochs": "2",
    "train.batch_tokens": "512",
    "train.learning_rate": "0.01",
    "model.word_dim": "8",
    "model.shape_dim": "4",
    "model.affix_dim": "8",
    "model.hidden_size": "8",
    "track.plots": "false",
}
# A changed value, and what has to be set with it for the value to matter.
CHANGES: dict[str, tuple[str, dict[str, str]]] = {
    "model.scheme": ("BIO", {}),
    "model.word_dim": ("9", {}),
    "model.shape_dim": ("5", {}),
    "model.affix_dim": ("9", {}),
    "model.hidden_size": ("9", {}),
    "model.num_layers": ("2", {}),
    "model.input_dropout": ("0.1", {}),
    "model.hidden_dropout": ("0.1", {}),
    "model.feature_dropout": ("0.0", {}),
    "model.wide_dropout": ("0.0", {}),
    "model.singleton_dropout": ("0.0", {}),
    "model.min_count": ("2", {}),
    "model.joint_min_count": ("1", {}),
    "model.vectors": ("@vectors", {}),
    "model.train_vectors": ("true", {"model.vectors": "@vectors"}),
    "model.clusters": ("yes", {"model.vectors": "@vectors", "model.clusters": "no"}),
    "model.lexicon": ("@lexicon", {}),
    "train.epochs": ("3", {}),
    "train.batch_tokens": ("300", {}),
    "train.gradient_accumulation_steps": ("2", {}),
    "train.optimizer": ("adam", {}),
    "train.learning_rate": ("0.02", {}),
    "train.sparse_learning_rate": ("0.05", {}),
    "train.crf_learning_rate": ("0.02", {}),
    "train.weight_decay": ("0.2", {}),
    "train.momentum": ("0.5", {"train.optimizer": "sgd"}),
    "train.lr_schedule": ("cosine", {}),
    "train.warmup_ratio": ("0.5", {}),
    "train.lr_decay_factor": ("0.1", {"train.lr_schedule": "step", "train.lr_step_epochs": "1"}),
    "train.lr_step_epochs": ("1", {"train.lr_schedule": "step"}),
    "train.max_grad_norm": ("0.001", {}),
    "train.precision": ("bf16", {}),
    "train.ema_decay": ("0.5", {}),
    "train.seed": ("7", {}),
}
# Seen in other tests: patience stops a run early; threads change its time, as the engine does; the kind of network
# decides which settings there are; dev scores choose an epoch; the model is made small and shifted after training.
ELSEWHERE = {
    "train.patience", "train.threads", "train.checkpoint_seconds", "train.engine", "train.eval_every_epochs",
    "train.deterministic",
    "train.tune_outside_bias", "model.kind", "model.initial_model", "model.quantize",
}  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A few sentences to train on, fewer for dev, and vectors and a list of words."""
    directory = tmp_path_factory.mktemp("files")
    found = {name: directory / f"{name}.conll" for name in ("train", "dev")}
    for (name, path), count in zip(found.items(), (40, 8), strict=True):
        path.write_text(sentences(name, count), encoding="utf-8")
    tokens = sorted(set(found["train"].read_text(encoding="utf-8").replace("\n", " ").split(" ")) - {""})
    vectors = directory / "vectors.txt"
    vectors.write_text("".join(f"{t} {len(t)}.5 -{ord(t[0]) % 7}.25 1.0\n" for t in tokens), encoding="utf-8")
    lexicon = directory / "lexicon.txt"
    lexicon.write_text("\n".join(tokens[::3]), encoding="utf-8")
    paths = {f"data.{name}": str(path) for name, path in found.items()}
    return paths | {"@vectors": str(vectors), "@lexicon": str(lexicon)}


@pytest.fixture(scope="module")
def before(files: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Before:
    return Before(lambda output, along: weights(files, output, along), tmp_path_factory.mktemp("before"))


def weights(files: dict[str, str], output: Path, changes: dict[str, str]) -> Weights:
    data = {name: path for name, path in files.items() if name.startswith("data.")}
    chosen = BASE | data | changes
    settings = read_settings(
        TaggingSettings, None, [f"{name}={files.get(value, value)}" for name, value in chosen.items()]
    )
    train_ner(settings, output, quiet=True)
    return last_weights(output)


def test_no_setting_is_left_out() -> None:
    known = {f"model.{name}" for name in TaggerModelSettings.model_fields} | {
        f"train.{name}" for name in TaggingTrainSettings.model_fields
    }
    assert known == CHANGES.keys() | ELSEWHERE


@pytest.mark.slow
@pytest.mark.parametrize("name", CHANGES)
def test_another_value_gives_another_model(files: dict[str, str], before: Before, tmp_path: Path, name: str) -> None:
    value, along = CHANGES[name]
    assert differ(before(along), weights(files, tmp_path / "after", along | {name: value}))


def test_patience_stops_a_run(small: Small, tmp_path: Path) -> None:
    files = {f"data.{name}": str(getattr(small, name)) for name in ("train", "dev", "test")}
    weights(files, tmp_path / "run", {"train.epochs": "40", "train.patience": "1", "train.eval_every_epochs": "1"})
    lines = (tmp_path / "run" / "history.jsonl").read_text(encoding="utf-8").splitlines()
    best = [json.loads(line)["best"] for line in lines]
    assert len(best) < 40
    assert best == [True] * (len(best) - 1) + [False]
