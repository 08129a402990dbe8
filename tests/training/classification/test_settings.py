"""Every setting of [model] and [train] of `train cls` has an effect: another value gives another model, or run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import Small, class_rows, write_csv
from setting_effects import Before, Weights, differ, last_weights

from nlp_app.config import ClassificationSettings, ClassificationTrainSettings, ClassifierModelSettings, read_settings
from nlp_app.training import train_cls

BASE = {
    "train.epochs": "2",
    "train.batch_size": "40",
    "train.checkpoint_seconds": "0",
    "model.kind": "embedding_bag",
    "model.char_ngrams": "2-3",
    "model.hidden_size": "4",
    "model.word_dim": "6",
    "model.num_filters": "6",
    "track.plots": "false",
}
CNN = {"model.kind": "textcnn"}
# A changed value, and what has to be set with it for the value to matter.
CHANGES: dict[str, tuple[str, dict[str, str]]] = {
    "model.kind": ("combined", {}),
    "model.word_ngrams": ("1-3", {}),
    "model.char_ngrams": ("2-4", {}),
    "model.char_ngram_weight": ("0.5", {}),
    "model.skip_gram_weight": ("0.25", {}),
    "model.ngram_weighting": ("count", {}),
    "model.ngram_class_weighting": ("false", {}),
    "model.mode": ("mean", {}),
    "model.min_count": ("2", {}),
    "model.max_ngrams": ("500", {}),
    "model.hash_buckets": ("300", {}),
    "model.wide": ("no", {}),
    "model.hidden_size": ("5", {}),
    "model.ngram_dropout": ("0.0", {}),
    "model.hidden_dropout": ("0.0", {}),
    "model.word_dim": ("7", CNN),
    "model.num_filters": ("7", CNN),
    "model.kernel_sizes": ("2,3", CNN),
    "model.stacked_layers": ("2", CNN),
    "model.word_min_count": ("2", CNN),
    "model.word_dropout": ("0.0", CNN),
    "model.filter_dropout": ("0.0", CNN),
    "model.vectors": ("@vectors", CNN),
    "model.train_vectors": ("true", CNN | {"model.vectors": "@vectors"}),
    "train.epochs": ("3", {}),
    "train.batch_size": ("30", {}),
    "train.gradient_accumulation_steps": ("2", {}),
    "train.optimizer": ("adam", {"train.weight_decay": "0.5"}),
    "train.learning_rate": ("0.02", {}),
    "train.wide_learning_rate": ("1.0", {}),
    "train.deep_learning_rate": ("0.3", {}),
    "train.weight_decay": ("0.2", {}),
    "train.momentum": ("0.5", {"train.optimizer": "sgd"}),
    "train.lr_schedule": ("cosine", {}),
    "train.warmup_ratio": ("0.5", {}),
    "train.lr_decay_factor": ("0.1", {"train.lr_schedule": "step", "train.lr_step_epochs": "1"}),
    "train.lr_step_epochs": ("1", {"train.lr_schedule": "step"}),
    "train.max_grad_norm": ("0.001", {}),
    "train.precision": ("bf16", CNN),
    "train.ema_decay": ("0.5", {}),
    "train.seed": ("7", {}),
    "train.loss": ("focal", {}),
    "train.label_smoothing": ("0.3", {}),
    "train.focal_gamma": ("0.5", {"train.loss": "focal"}),
    "train.class_weights": ("fault=3", {}),
    "train.imbalance": ("sampler", {}),
}
# Seen in other tests: patience stops a run early; threads change its time, checkpoint_seconds what it leaves meanwhile.
ELSEWHERE = {
    "train.patience", "train.threads", "train.checkpoint_seconds", "train.engine", "train.eval_every_epochs",
    "train.deterministic",
}  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Texts to train on, fewer for dev, and vectors of the words."""
    directory = tmp_path_factory.mktemp("files")
    rows = class_rows("train", 120)
    train = write_csv(directory / "train.csv", rows)
    dev = write_csv(directory / "dev.csv", class_rows("dev", 30))
    tokens = sorted({token.lower() for text, _ in rows for token in text.split()})
    vectors = directory / "vectors.txt"
    vectors.write_text("".join(f"{t} {len(t)}.5 -{ord(t[0]) % 7}.25 1.0\n" for t in tokens), encoding="utf-8")
    return {"data.train": str(train), "data.dev": str(dev), "@vectors": str(vectors)}


@pytest.fixture(scope="module")
def before(files: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Before:
    return Before(lambda output, along: weights(files, output, along), tmp_path_factory.mktemp("before"))


def weights(files: dict[str, str], output: Path, changes: dict[str, str]) -> Weights:
    data = {name: path for name, path in files.items() if name.startswith("data.")}
    chosen = BASE | data | changes
    settings = read_settings(
        ClassificationSettings, None, [f"{name}={files.get(value, value)}" for name, value in chosen.items()]
    )
    train_cls(settings, output, quiet=True)
    return last_weights(output)


def test_no_setting_is_left_out() -> None:
    known = {f"model.{name}" for name in ClassifierModelSettings.model_fields} | {
        f"train.{name}" for name in ClassificationTrainSettings.model_fields
    }
    assert known == CHANGES.keys() | ELSEWHERE


@pytest.mark.slow
@pytest.mark.parametrize("name", CHANGES)
def test_another_value_gives_another_model(files: dict[str, str], before: Before, tmp_path: Path, name: str) -> None:
    value, along = CHANGES[name]
    assert differ(before(along), weights(files, tmp_path / "after", along | {name: value}))


def test_patience_stops_a_run(small_classes: Small, tmp_path: Path) -> None:
    files = {f"data.{name}": str(getattr(small_classes, name)) for name in ("train", "dev")}
    weights(files, tmp_path / "run", {"train.epochs": "40", "train.patience": "1"})
    lines = (tmp_path / "run" / "history.jsonl").read_text(encoding="utf-8").splitlines()
    best = [json.loads(line)["best"] for line in lines]
    assert len(best) < 40
    assert best == [True] * (len(best) - 1) + [False]


def test_checkpoints_are_as_far_apart_as_is_wanted(small_classes: Small, tmp_path: Path) -> None:
    files = {f"data.{name}": str(getattr(small_classes, name)) for name in ("train", "dev")}
    changes = BASE | files | {"train.checkpoint_seconds": "1000"}
    settings = read_settings(ClassificationSettings, None, [f"{name}={value}" for name, value in changes.items()])
    train_cls(settings, tmp_path / "run", quiet=True)
    assert not list((tmp_path / "run" / "checkpoints").glob("checkpoint-*"))
