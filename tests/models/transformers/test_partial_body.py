"""Pretrained models that lack weights of their body: an error, unless the setting allows it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from conftest import Outcome, Small, refused
from tiny_transformers import tiny_bert

import nlp_app
from nlp_app.core.errors import SettingsError
from nlp_app.models.transformers.pretrained import make_body, read_pretrained

TAGS = ["O", "B-LOC", "I-LOC"]
LOST, RESHAPED = "encoder.layer.1.output.dense.weight", "embeddings.word_embeddings.weight"


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT without one weight, with another of a different shape and one that no BERT has."""
    directory = tiny_bert(tmp_path_factory.mktemp("tiny") / "bert", ["Rome"])
    path = directory / "model.safetensors"
    weights = safetensors.torch.load_file(path)
    del weights[LOST]
    weights |= {RESHAPED: torch.zeros(3, 3), "strange": torch.zeros(2)}
    safetensors.torch.save_file(weights, path, {"format": "pt"})
    return directory


@pytest.mark.parametrize("kind", ["base", "token", "sequence"])
def test_loaded_and_initialized_weights(damaged: Path, kind: str) -> None:
    pretrained, prefix = read_pretrained(str(damaged)), "" if kind == "base" else "bert."
    with pytest.raises(
        SettingsError, match=r"no fitting weights for 2 of the .*set model\.allow_missing_weights = true"
    ) as caught:
        make_body(pretrained, kind, TAGS)
    assert "\n" not in str(caught.value)
    body, load = make_body(pretrained, kind, TAGS, partial=True)
    assert load.reshaped == (prefix + RESHAPED,)
    assert {prefix + LOST, prefix + RESHAPED} <= set(load.missing)
    assert "strange" in load.left
    assert set(load.taken) | set(load.missing) == set(body.state_dict())
    assert all(torch.isfinite(value).all() for value in body.state_dict().values())
    weights = safetensors.torch.load_file(damaged / "model.safetensors")
    kept = "encoder.layer.0.output.dense.weight"
    assert torch.equal(body.state_dict()[prefix + kept], weights[kept])


def test_run_reports_missing_weights(cli: Callable[..., Outcome], small: Small, damaged: Path, tmp_path: Path) -> None:
    wanted = ["train", "ner", f"--train={small.dev}", f"--dev={small.dev}", f"--output={tmp_path / 'run'}"]
    wanted += ["--set=model.kind=transformer", f"--set=model.pretrained={damaged}", "--set=train.epochs=1"]
    refused(cli(*wanted, "--quiet"), "model.pretrained", LOST, "model.allow_missing_weights = true")
    outcome = cli(*wanted, "--set=model.allow_missing_weights=true")
    assert outcome.status == 0, outcome
    line = next(line for line in outcome.err.splitlines() if line.startswith(f"{damaged}: "))
    assert f"shape differs: bert.{RESHAPED}" in line
    assert f"bert.{LOST}" in line
    nlp_app.load(tmp_path / "run")
