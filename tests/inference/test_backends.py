"""The choice of a backend: by hand, by the size of a call, and by the size of a file."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Outcome, Small

import nlp_app
from nlp_app.core.errors import ModelError, SettingsError
from nlp_app.inference import backends, classifier, load_for_file, tagger
from nlp_app.inference.backends import is_large_file
from nlp_app.models import NumpyTaggerParts

Cli = Callable[..., Outcome]


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_a_chosen_backend(small: Small, small_classes: Small, backend: str) -> None:
    for run in (small.run, small_classes.run):
        assert nlp_app.load(run, backend=backend).backend == backend
    assert nlp_app.Tagger.from_pretrained(small.run, backend=backend).backend == backend


def test_auto_is_numpy(small: Small) -> None:
    assert nlp_app.load(small.run).backend == "numpy"


def test_an_unknown_backend(small: Small, cli: Cli) -> None:
    with pytest.raises(SettingsError, match=r"backend: found 'nump', expected one of auto, numpy, torch.*numpy"):
        nlp_app.load(small.run, backend="nump")
    assert cli("tag", small.run, "a", "--backend", "onnx").status == 2


@pytest.mark.parametrize("backend", ["auto", "numpy", "torch"])
def test_no_model(tmp_path: Path, backend: str) -> None:
    with pytest.raises(ModelError, match="no such directory"):
        nlp_app.load(tmp_path / "none", backend=backend)
    with pytest.raises(ModelError, match=r"found no nlp_app.json"):
        nlp_app.load(tmp_path, backend=backend)


def test_large_calls_are_computed_by_torch(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tagger, "BULK_TOKENS", 8)
    monkeypatch.setattr(tagger, "BULK_CHARACTERS", 30)
    auto, full, lean = (nlp_app.load(small.run, backend=name) for name in ("auto", "torch", "numpy"))
    for model in (auto, full, lean):
        assert isinstance(model, nlp_app.Tagger)
    for text, same in (("Anna lives in Rome", lean), ("Anna lives in Rome and works in Shanghai", full)):
        sentences = [text.split()]
        assert auto.tag(text) == same.tag(text)
        assert auto.scored_spans(sentences) == same.scored_spans(sentences)
        assert auto.tag_tokens(sentences) == same.tag_tokens(sentences)


def test_large_calls_of_a_classifier(small_classes: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classifier, "BULK_CHARACTERS", 30)
    auto, full, lean = (nlp_app.load(small_classes.run, backend=name) for name in ("auto", "torch", "numpy"))
    for texts, same in ((["手机很好用"], lean), (["手机很好用", "a much longer text than that"], full)):
        np.testing.assert_array_equal(auto.probabilities(texts), same.probabilities(texts))


def test_both_networks_share_their_weights(small: Small) -> None:
    model = nlp_app.load(small.run)
    assert isinstance(model, nlp_app.Tagger)
    assert isinstance(model.parts, NumpyTaggerParts)
    network = model._torch_parts("test").network
    table: Any = network.wide.weight
    assert table.data_ptr() == model.parts.network.weights["wide.weight"].ctypes.data


def test_labels_are_added_in_torch(small: Small, tmp_path: Path) -> None:
    model = nlp_app.load(small.run)
    assert isinstance(model, nlp_app.Tagger)
    larger = model.add_labels(["PRODUCT"])
    assert larger.backend == "torch"
    larger.save_pretrained(tmp_path)
    assert "PRODUCT" in nlp_app.load(tmp_path, backend="numpy").labels
    lean = nlp_app.load(small.run, backend="numpy")
    assert isinstance(lean, nlp_app.Tagger)
    with pytest.raises(ModelError, match=r'add_labels: needs torch; .* backend="torch"'):
        lean.add_labels(["PRODUCT"])


def test_large_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "_BULK_BYTES", {"ner": 100, "cls": 10})
    path = tmp_path / "text.txt"
    path.write_text("a" * 50)
    assert (is_large_file(str(path), "ner"), is_large_file(str(path), "cls")) == (False, True)
    (tmp_path / "text.txt.gz").write_bytes(gzip.compress(bytes(range(256))))
    assert is_large_file(str(tmp_path / "text.txt.gz"), "ner")
    assert is_large_file("hf:owner/name", "ner")
    assert not is_large_file("-", "cls")
    assert not is_large_file(str(tmp_path / "missing"), "cls")


def test_a_file_has_one_backend(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_for_file(small.run, str(small.test)).backend == "numpy"
    monkeypatch.setattr(backends, "_BULK_BYTES", {"ner": 100, "cls": 100})
    assert load_for_file(small.run, str(small.test)).backend == "torch"
    assert load_for_file(small.run, str(small.test), backend="numpy").backend == "numpy"


def test_files_have_the_same_tags(small: Small, cli: Cli, tmp_path: Path) -> None:
    outputs = []
    for number, options in enumerate((["numpy"], ["torch"], ["numpy", "--workers", "2"])):
        target = tmp_path / str(number)
        assert cli("tag", small.run, "--input", small.test, "--output", target, "--backend", *options).status == 0
        outputs.append(target.read_bytes())
    assert len(set(outputs)) == 1
