"""The modules that a prediction with one of our own networks imports; each costs time and memory at every start."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from small_classifiers import SHAPES, classifier_parts

from nlp_app.models import write_model

if TYPE_CHECKING:
    from conftest import Small

HEAVY = {"torch._dynamo", "torch._inductor", "sympy", "scipy", "sklearn", "pandas", "matplotlib", "transformers"}
NOT_FOR_NUMPY = HEAVY | {"torch", "tokenizers", "huggingface_hub", "accelerate", "datasets", "seqeval"}
# The modules go to standard error: the answer has standard output.
SCRIPT = """
import sys
from nlp_app.cli import program
try:
    program(sys.argv[1:])
finally:
    print(*sys.modules, sep="\\n", file=sys.stderr)
"""


def modules_after(*arguments: object) -> set[str]:
    """Run a command in a process of its own; the modules it has imported."""
    command = [sys.executable, "-c", SCRIPT, *map(str, arguments)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert run.stdout.startswith("{")  # it answered
    return set(run.stderr.split("\n"))


def test_tagging_a_text_imports_nothing_heavy(small: Small) -> None:
    text = "Satya Nadella visited Shanghai."
    loaded = modules_after("tag", small.run, text, "--backend", "torch")
    assert "nlp_app.nn.tagger" in loaded
    assert not loaded & HEAVY
    assert not modules_after("tag", small.run, text) & NOT_FOR_NUMPY


def test_tagging_a_small_file_imports_no_torch(small: Small, tmp_path: Path) -> None:
    (tmp_path / "texts.jsonl").write_text('{"text": "Satya Nadella visited Shanghai."}\n', encoding="utf-8")
    assert not modules_after("tag", small.run, "--input", tmp_path / "texts.jsonl") & {"torch", "sklearn"}


@pytest.mark.parametrize("shape", SHAPES)
def test_classifying_a_text_imports_nothing_heavy(shape: str, tmp_path: Path) -> None:
    write_model(classifier_parts(shape), tmp_path)
    loaded = modules_after("classify", tmp_path, "good phone", "--backend", "torch")
    assert "nlp_app.nn.classifier" in loaded
    assert not loaded & HEAVY
    assert not modules_after("classify", tmp_path, "good phone") & NOT_FOR_NUMPY
