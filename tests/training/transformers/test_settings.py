"""Every setting of [model] and [train] of a transformer has an effect: another value gives another model or run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Small
from setting_effects import Before, Weights, differ, last_weights
from tiny_transformers import tiny_bert

from nlp_app.config import (
    TransformerClassificationTrainSettings,
    TransformerModelSettings,
    TransformerTaggerModelSettings,
    TransformerTaggingTrainSettings,
    TransformerTrainSettings,
    read_task_settings,
)
from nlp_app.training import train_cls, train_ner

BASE = {
    "train.checkpoint_seconds": "0",  # the last checkpoint is looked at
    "train.epochs": "2",
    "train.batch_subwords": "512",
    "train.learning_rate": "0.01",
    "train.precision": "no",
    "train.engine": "loop",
    "track.plots": "false",
}
# A changed value, and what has to be set with it for the value to matter.
SHARED: dict[str, tuple[str, dict[str, str]]] = {
    "model.pretrained": ("@other", {}),
    "model.dropout": ("0.5", {}),
    "model.window_subwords": ("12", {}),
    "model.window_overlap": ("1", {"model.window_subwords": "12"}),
    "model.frozen_layers": ("1", {}),
    "train.epochs": ("3", {}),
    "train.batch_subwords": ("300", {}),
    "train.gradient_accumulation_steps": ("2", {}),
    "train.optimizer": ("adam", {}),
    "train.learning_rate": ("0.02", {}),
    "train.layerwise_lr_decay": ("0.5", {}),
    "train.head_learning_rate": ("0.02", {}),
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
TAGGER = SHARED | {
    "model.head": ("softmax", {}),
    "model.scheme": ("BIO", {}),
    "model.subword_pooling": ("last", {}),
    "model.lstm_hidden_size": ("8", {}),
    "model.casing_embedding": ("no", {}),
    "train.crf_learning_rate": ("0.1", {}),
}
CLASSIFIER: dict[str, tuple[str, dict[str, str]]] = SHARED | {
    "train.loss": ("hinge", {}),
    "train.label_smoothing": ("0.0", {}),
    "train.focal_gamma": ("0.5", {"train.loss": "focal"}),
    "train.class_weights": ("balanced", {}),
    "train.imbalance": ("sampler", {}),
}
# Seen in other tests. Gradient checkpointing computes the same with less memory.
ELSEWHERE = {
    "train.patience", "train.threads", "train.checkpoint_seconds", "train.engine", "train.eval_every_epochs",
    "train.deterministic",
    "train.gradient_checkpointing",
    "model.kind", "model.replace_head", "model.trust_remote_code", "model.allow_missing_weights", "model.initial_model",
}  # fmt: skip


@pytest.fixture(scope="module")
def bodies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    directory = tmp_path_factory.mktemp("bodies")
    words = ["周", "五", "我", "和", "the", "and", "on", "order", "please", "快", "递"]
    return {
        "@body": tiny_bert(directory / "body", words, cased=False, classifier_dropout=0.1),
        "@other": tiny_bert(directory / "other", words, cased=False, hidden=16),
    }


def weights(
    task: str, files: dict[str, str], bodies: dict[str, Path], output: Path, changes: dict[str, str]
) -> Weights:
    chosen = {"model.kind": "transformer", "model.pretrained": "@body"} | BASE | files | changes
    settings: Any = read_task_settings(task, None, [f"{key}={bodies.get(each, each)}" for key, each in chosen.items()])
    (train_ner if task == "ner" else train_cls)(settings, output, quiet=True)
    return last_weights(output)


def files_of_data(data: Small) -> dict[str, str]:
    return {f"data.{split}": str(getattr(data, split)) for split in ("train", "dev")}


@pytest.fixture(scope="module")
def before_tagger(small: Small, bodies: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Before:
    files, directory = files_of_data(small), tmp_path_factory.mktemp("tagger")
    return Before(lambda output, along: weights("ner", files, bodies, output, along), directory)


@pytest.fixture(scope="module")
def before_classifier(
    small_classes: Small, bodies: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Before:
    files, directory = files_of_data(small_classes), tmp_path_factory.mktemp("classifier")
    return Before(lambda output, along: weights("cls", files, bodies, output, along), directory)


def known(*tables: type[TransformerModelSettings] | type[TransformerTrainSettings]) -> set[str]:
    model, train = tables
    return {f"model.{name}" for name in model.model_fields} | {f"train.{name}" for name in train.model_fields}


def test_no_setting_is_left_out() -> None:
    assert known(TransformerTaggerModelSettings, TransformerTaggingTrainSettings) <= TAGGER.keys() | ELSEWHERE
    assert known(TransformerModelSettings, TransformerClassificationTrainSettings) <= CLASSIFIER.keys() | ELSEWHERE


@pytest.mark.slow
@pytest.mark.parametrize("name", TAGGER)
def test_another_value_gives_another_tagger(
    small: Small, bodies: dict[str, Path], before_tagger: Before, tmp_path: Path, name: str
) -> None:
    value, along = TAGGER[name]
    files = files_of_data(small)
    assert differ(before_tagger(along), weights("ner", files, bodies, tmp_path / "after", along | {name: value}))


@pytest.mark.slow
@pytest.mark.parametrize("name", CLASSIFIER)
def test_another_value_gives_another_classifier(
    small_classes: Small, bodies: dict[str, Path], before_classifier: Before, tmp_path: Path, name: str
) -> None:
    value, along = CLASSIFIER[name]
    files = files_of_data(small_classes)
    assert differ(before_classifier(along), weights("cls", files, bodies, tmp_path / "after", along | {name: value}))


@pytest.mark.slow
@pytest.mark.parametrize("task", ["ner", "cls"])
def test_gradient_checkpointing_and_repetition_change_nothing(
    small: Small, small_classes: Small, bodies: dict[str, Path], tmp_path: Path, task: str
) -> None:
    data = small if task == "ner" else small_classes
    files = {f"data.{split}": str(getattr(data, split)) for split in ("train", "dev")}
    once = weights(task, files, bodies, tmp_path / "once", {})
    assert not differ(once, weights(task, files, bodies, tmp_path / "again", {}))
    less = weights(task, files, bodies, tmp_path / "less", {"train.gradient_checkpointing": "true"})
    assert once.keys() == less.keys()
    assert all(np.allclose(once[name], less[name], atol=1e-4) for name in once if name.startswith("model/"))
