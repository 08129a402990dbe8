"""Model directories of transformers: saving and loading, use in transformers, and one ModelError for any damage."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from conftest import files_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_classifiers import classifier_parts
from tiny_models import SHAPES, some_classifier, some_tagger
from tiny_transformers import TINY
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification, AutoTokenizer, pipeline

import nlp_app
from nlp_app.core.errors import ModelError
from nlp_app.core.files import checksum
from nlp_app.models import DESCRIPTION, Decision, read_card, read_model, write_model
from nlp_app.models.directory import own_checksum
from nlp_app.models.transformers.models import TransformerClassifierParts, TransformerTaggerParts
from nlp_app.text import BasicTokenizer

TEXTS = ["Anna lives in Rome", "北京 Rome, in", "nothing known: ☃\u200b", "a " * 90]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("transformer")
    write_model(some_tagger(directory, shape="lstm-crf"), directory / "model")
    return directory / "model"


@pytest.fixture
def model(original: Path, tmp_path: Path) -> Path:
    """A tagger's directory, to be changed."""
    return Path(shutil.copytree(original, tmp_path / "model"))


def same_weights(one: Any, other: Any) -> bool:
    first, second = one.network.state_dict(), other.network.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    ("family", "shape"), [*((family, "softmax") for family in TINY), *(("bert", shape) for shape in SHAPES)]
)
def test_tagger_is_restored(tmp_path: Path, family: str, shape: str) -> None:
    parts = some_tagger(tmp_path, family, shape)
    write_model(parts, tmp_path / "one")
    again = read_model(tmp_path / "one")
    assert isinstance(again, TransformerTaggerParts)
    write_model(again, tmp_path / "two")
    assert files_of(tmp_path / "two") == files_of(tmp_path / "one")
    assert same_weights(parts, again)
    assert not again.network.training
    assert (again.tag_set, again.tokenizer, again.about) == (parts.tag_set, parts.tokenizer, parts.about)
    assert (again.encoder.window, again.encoder.overlap) == (parts.encoder.window, 5)
    before, after = nlp_app.Tagger(parts).tag(TEXTS), nlp_app.load(tmp_path / "one").tag(TEXTS)
    assert before == after


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("family", TINY)
def test_classifier_is_restored(tmp_path: Path, family: str, multi_label: bool) -> None:
    parts = some_classifier(tmp_path, family, multi_label)
    write_model(parts, tmp_path / "one")
    again = read_model(tmp_path / "one")
    assert isinstance(again, TransformerClassifierParts)
    write_model(again, tmp_path / "two")
    assert files_of(tmp_path / "two") == files_of(tmp_path / "one")
    assert same_weights(parts, again)
    assert again.class_set == parts.class_set
    assert nlp_app.Classifier(parts).classify(TEXTS) == nlp_app.load(tmp_path / "one").classify(TEXTS)


def stock_logits(stock: Any, directory: Path, texts: list[str]) -> tuple[Any, torch.Tensor]:
    inputs = AutoTokenizer.from_pretrained(directory)(texts, return_tensors="pt", padding=True)
    with torch.inference_mode():
        return inputs, stock.from_pretrained(directory).eval()(**inputs).logits


@pytest.mark.parametrize("family", TINY)
def test_transformers_reads_a_tagger(tmp_path: Path, family: str) -> None:
    parts = some_tagger(tmp_path, family)
    write_model(parts, tmp_path / "model")
    inputs, logits = stock_logits(AutoModelForTokenClassification, tmp_path / "model", TEXTS[:2])
    pieces = parts.encoder.encode_texts(TEXTS[:2]).pieces
    for row, wanted in enumerate(np.split(pieces.arrays["ids"], pieces.offsets[1:-1])):
        assert inputs["input_ids"][row][inputs["attention_mask"][row].bool()].tolist() == wanted.tolist()
    with torch.inference_mode():
        ours = parts.network.body(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])[0]
    real = inputs["attention_mask"].bool()
    torch.testing.assert_close(logits[real], ours[real], rtol=0, atol=1e-6)
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert [config["id2label"][str(number)] for number in range(9)] == parts.tag_set.tags
    assert config["label2id"] == {tag: number for number, tag in enumerate(parts.tag_set.tags)}
    assert config["architectures"] == [type(parts.network.body).__name__]
    tags = pipeline("token-classification", model=str(tmp_path / "model"), ignore_labels=[])(TEXTS[0])
    best = logits[0][inputs["attention_mask"][0].bool()].argmax(-1).tolist()
    kept = slice(len(parts.encoder.tokenizer.prefix), len(best) - len(parts.encoder.tokenizer.suffix))
    assert [found["entity"] for found in tags] == [parts.tag_set.tags[number] for number in best[kept]]


@pytest.mark.parametrize("multi_label", [False, True])
def test_transformers_reads_a_classifier(tmp_path: Path, multi_label: bool) -> None:
    parts = replace(some_classifier(tmp_path, "bert", multi_label), decision=Decision())
    if multi_label:
        parts = replace(parts, decision=Decision(1.0, np.full(3, 0.5)))
    write_model(parts, tmp_path / "model")
    inputs, logits = stock_logits(AutoModelForSequenceClassification, tmp_path / "model", TEXTS[:3])
    with torch.inference_mode():
        ours = parts.network.scores(inputs["input_ids"], inputs["attention_mask"])
    torch.testing.assert_close(logits, ours, rtol=0, atol=1e-6)
    found = pipeline("text-classification", model=str(tmp_path / "model"), top_k=None)(TEXTS[:3])
    expected = nlp_app.load(tmp_path / "model").probabilities(TEXTS[:3])
    for scores, row in zip(found, expected, strict=True):
        by_label = {score["label"]: score["score"] for score in scores}
        assert [by_label[label] for label in parts.class_set.labels] == pytest.approx(row.tolist(), abs=1e-5)


def test_a_model_takes_the_place_of_another_kind_and_nothing_else(tmp_path: Path) -> None:
    kinds: dict[str, Callable[[], Any]] = {
        "bags": classifier_parts,
        "classifier": lambda: some_classifier(tmp_path),
        "tagger": lambda: some_tagger(tmp_path),
    }
    mine = {"README.md": b"mine", "train.py": b"mine", "vocab.txt": b"mine", "notes/config.json": b"mine", "notes": b""}
    (tmp_path / "same" / "notes").mkdir(parents=True)
    for name, content in list(mine.items())[:-1]:
        (tmp_path / "same" / name).write_bytes(content)
    for kind in ("bags", "classifier", "bags", "tagger", "classifier", "tagger", "bags"):
        write_model(kinds[kind](), tmp_path / "same")
        write_model(kinds[kind](), tmp_path / kind)
        assert files_of(tmp_path / "same") == files_of(tmp_path / kind) | mine
        assert (tmp_path / "same" / "vocab").exists() == (kind == "bags")


def test_only_files_of_a_model_are_removed(tmp_path: Path, model: Path) -> None:
    """Whatever a description names, which anyone can write."""
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "same").mkdir()
    for name in ("mine.txt", "config.json"):
        (tmp_path / "same" / name).write_text("{}")
    description = {"format": 1, "files": {"../mine.txt": "", "mine.txt": "", "config.json": "", "vocab/..": ""}}
    sign(tmp_path / "same", description)
    write_model(classifier_parts(), tmp_path / "same")
    assert (tmp_path / "mine.txt").exists()
    assert (tmp_path / "same" / "mine.txt").exists()
    assert not (tmp_path / "same" / "config.json").exists()


class Shared:
    """Parts whose tensors share memory, and are no model."""

    network = torch.nn.Linear(1, 1)

    def describe(self) -> dict[str, Any]:
        return {"task": "ner"}

    def weights(self) -> dict[str, torch.Tensor]:
        table = torch.arange(12.0).view(3, 4)
        return {"a": table, "b": table, "c": table[1], "d": table.T}

    def save_files(self, directory: Path) -> None:
        pass


def test_tensors_that_share_memory_are_each_written(tmp_path: Path) -> None:
    write_model(Shared(), tmp_path)
    found = safetensors.torch.load_file(tmp_path / "model.safetensors")
    for name, tensor in Shared().weights().items():
        assert torch.equal(found[name], tensor)


def test_a_small_network_loads_without_transformers(tmp_path: Path) -> None:
    write_model(classifier_parts(), tmp_path)
    code = f"import nlp_app, sys; nlp_app.load({str(tmp_path)!r}); sys.exit('transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def refused(directory: Path) -> str:
    with pytest.raises(ModelError) as caught:
        nlp_app.load(directory)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_each_file_missing_cut_or_changed(model: Path) -> None:
    names = {path.name for path in model.iterdir()}
    assert names == {DESCRIPTION, "model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"}
    for path in map(model.joinpath, sorted(names)):
        content = path.read_bytes()
        changed = bytearray(content)
        changed[len(content) // 2] ^= 1
        for damaged in (None, b"", content[:-2], content + b" x", bytes(changed)):
            path.unlink(missing_ok=True)
            if damaged is not None:
                path.write_bytes(damaged)
            if path.name == DESCRIPTION and damaged is None:
                assert "neither tags nor classifies" in refused(model)  # a plain body of transformers then
            else:
                assert path.name in refused(model)
        path.write_bytes(content)
    nlp_app.load(model)


def sign(model: Path, description: dict[str, Any]) -> None:
    """Write a description with all checksums renewed, as someone who edits a model on purpose would."""
    description["files"] = {
        name: checksum(model / name) if (model / name).is_file() else value
        for name, value in description["files"].items()
    }
    description["checksum"] = own_checksum(description)
    (model / DESCRIPTION).write_text(json.dumps(description))


def change_config(model: Path, change: dict[str, Any]) -> None:
    path = model / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    sign(model, json.loads((model / DESCRIPTION).read_text()))


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
@pytest.mark.parametrize("content", [b"", b"x", b"[]", b"null", b"{}", b"\xff\xfe", b"[" * 100_000])
def test_invalid_files_with_valid_checksums(model: Path, name: str, content: bytes) -> None:
    (model / name).write_bytes(content)
    sign(model, json.loads((model / DESCRIPTION).read_text()))
    refused(model)


@pytest.mark.parametrize(
    "change",
    [
        {"hidden_size": 10**9}, {"hidden_size": 30}, {"num_hidden_layers": 10**9}, {"num_hidden_layers": 3},
        {"vocab_size": 5}, {"vocab_size": 10**12}, {"max_position_embeddings": 10}, {"model_type": "gpt2"},
        {"id2label": {"0": "O"}}, {"id2label": {"0": "O", "7": "x"}}, {"id2label": 3}, {"num_attention_heads": 0},
        {"quantization_config": {"quant_method": "bitsandbytes"}}, {"hidden_act": "evil"}, {"vocab_size": "x"},
    ],
)  # fmt: skip
def test_a_signed_configuration_of_another_network(model: Path, change: dict[str, Any]) -> None:
    change_config(model, change)
    refused(model)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, inner in items for place in places(inner, (*path, key)))]


STRANGE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 70),
    st.sampled_from([10**6, 10**12, 10**30, 0.5, 1e308, "", "x", "../x", "O", "none", "BIO", "crf", "\0"]),
    st.sampled_from([[], {}, [1], ["a", "a"], {"a": 1}, {"name": "basic"}]),
)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(seed=st.integers(0, 10**9), value=STRANGE, drop=st.booleans())
def test_any_signed_change_of_the_description_works_or_is_a_model_error(
    model: Path, seed: int, value: Any, drop: bool
) -> None:
    original = (model / DESCRIPTION).read_text()
    description = json.loads(original)
    place = random.Random(seed).choice([place for place in places(description) if place])
    inner = description
    for key in place[:-1]:
        inner = inner[key]
    if drop:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    description["checksum"] = own_checksum(description)
    (model / DESCRIPTION).write_text(json.dumps(description))
    said = ""
    try:
        nlp_app.load(model).tag("Anna lives in Rome")  # what was accepted has to work
    except ModelError as error:
        said = str(error)
    (model / DESCRIPTION).write_text(original)
    assert "\n" not in said


def test_code_in_a_model_directory_is_not_run(model: Path, tmp_path: Path) -> None:
    (model / "evil.py").write_text(f"open({str(tmp_path / 'was-run')!r}, 'w')\n")
    code = {"AutoConfig": "evil.Config", "AutoModel": "evil.Model", "AutoModelForTokenClassification": "evil.Model"}
    change_config(model, {"auto_map": code})
    nlp_app.load(model)  # as transformers' own BERT
    change_config(model, {"auto_map": code, "model_type": "own-kind"})
    assert "set trust_remote_code only if you trust it" in refused(model)
    assert not (tmp_path / "was-run").exists()


def test_the_card_comes_with_a_model(tmp_path: Path) -> None:
    parts = some_tagger(tmp_path)
    write_model(parts, tmp_path / "model")
    assert read_model(tmp_path / "model").card == ""
    (tmp_path / "model" / "README.md").write_bytes("# 卡 \r\n".encode() + b"\xff")
    assert read_card(tmp_path / "model").encode("utf-8", "surrogateescape") == "# 卡 \r\n".encode() + b"\xff"
    assert read_model(tmp_path / "model").card == read_card(tmp_path / "model")


def test_tokens_are_of_our_tokenizer(tmp_path: Path) -> None:
    parts = replace(some_tagger(tmp_path), tokenizer=BasicTokenizer(do_lower_case=False))
    write_model(parts, tmp_path / "model")
    for span in nlp_app.load(tmp_path / "model").tag(TEXTS[1]):
        assert TEXTS[1][span.start : span.end] == span.text
