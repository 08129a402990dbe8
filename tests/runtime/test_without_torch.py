"""The whole contract in a process where only the packages of the minimal installation can be imported."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import astuple
from pathlib import Path
from typing import Any

import pytest
from conftest import Small
from small_classifiers import SHAPES, TEXTS, classifier_parts
from tiny_models import some_tagger

import nlp_app
from nlp_app.models import write_model

MISSING = (
    "torch", "transformers", "tokenizers", "sklearn", "scipy", "pandas", "accelerate", "datasets", "seqeval",
    "huggingface_hub", "pydantic", "threadpoolctl", "matplotlib",
)  # fmt: skip

PREAMBLE = f"""
import importlib.abc, importlib.util, sys

class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {MISSING}:
            raise ModuleNotFoundError("No module named " + repr(name), name=name)

sys.meta_path.insert(0, Missing())
"""


def run(code: str, *arguments: object, status: int = 0) -> Any:
    """Run code in a process without most packages."""
    command = [sys.executable, "-c", PREAMBLE + code, *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == status, result.stderr
    return result


CALLS = """
import dataclasses, json, nlp_app
model, texts = nlp_app.load(sys.argv[1], backend=sys.argv[2]), json.loads(sys.argv[3])
if isinstance(model, nlp_app.Tagger):
    sentences = [text.split() for text in texts]
    answer = [model.tag(texts), model.tag_tokens(sentences), model.token_spans(sentences)]
else:
    answer = [model.classify(texts), model.classify(texts, top_k=2), model.probabilities(texts).tolist()]
print(json.dumps(answer, default=dataclasses.astuple))
"""

SENTENCES = ["Satya Nadella visited Shanghai .", "", "他在北京工作", "Anna lives in Rome " * 40]


@pytest.mark.parametrize("backend", ["auto", "numpy"])
def test_tagging(small: Small, backend: str) -> None:
    answer = json.loads(run(CALLS, small.run, backend, json.dumps(SENTENCES)).stdout)
    model = nlp_app.load(small.run, backend="torch")
    assert isinstance(model, nlp_app.Tagger)
    words = [text.split() for text in SENTENCES]
    spans, tags, token_spans = answer
    for found, expected in zip(spans, model.tag(SENTENCES), strict=True):
        assert [row[:4] for row in found] == [list(astuple(span)[:4]) for span in expected]
        assert [row[4] for row in found] == pytest.approx([span.score for span in expected], abs=1e-5)
    assert tags == model.tag_tokens(words)
    assert token_spans == [[list(span) for span in row] for row in model.token_spans(words)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("multi_label", [False, True])
def test_classifying(shape: str, multi_label: bool, tmp_path: Path) -> None:
    write_model(classifier_parts(shape, multi_label), tmp_path)
    answer = json.loads(run(CALLS, tmp_path, "auto", json.dumps(TEXTS)).stdout)
    model = nlp_app.load(tmp_path, backend="torch")
    assert isinstance(model, nlp_app.Classifier)
    assert answer[2] == pytest.approx(model.probabilities(TEXTS), abs=1e-5)
    names = [[astuple(label) for label in row] for row in model.classify(TEXTS, top_k=2)]
    assert [[label for label, _ in row] for row in answer[1]] == [[label for label, _ in row] for row in names]


CLI = "from nlp_app.cli import main\nsys.argv[0] = 'nlp-app'\nmain()"


def test_commands(small: Small, small_classes: Small) -> None:
    tagged = run(CLI, "tag", small.run, "Satya Nadella visited Shanghai.")
    assert json.loads(tagged.stdout)["text"] == "Satya Nadella visited Shanghai."
    assert "predicted" in json.loads(run(CLI, "classify", small_classes.run, "手机很好用").stdout)


def test_packages_that_a_command_needs(small: Small) -> None:
    message = run(CLI, "evaluate", small.run, small.test, status=2).stderr
    assert message == ("error: this command needs the package pydantic, which is not installed; pip install pydantic\n")


def test_torch_that_is_not_installed(small: Small, tmp_path: Path) -> None:
    message = run(CLI, "tag", small.run, "Anna", "--backend", "torch", status=2).stderr
    assert "the backend torch needs PyTorch, which is not installed; pip install torch" in message
    write_model(some_tagger(tmp_path), tmp_path / "model")
    message = run(CLI, "tag", tmp_path / "model", "Anna", status=2).stderr
    assert "a pretrained transformer needs PyTorch, which is not installed; pip install torch" in message
    message = run(CLI, "tag", tmp_path / "model", "Anna", "--backend", "numpy", status=2).stderr
    assert "use the backend torch (pip install torch transformers)" in message
