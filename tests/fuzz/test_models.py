"""Models that were changed, on purpose or by accident: a ModelError of one line, soon and without much memory, or a
model that works."""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import nlp_app
from fuzz import edits, folder, tiny
from fuzz.targets import TARGETS
from nlp_app.core.errors import ModelError

MEMORY = 3 << 30  # bytes that loading may reserve: the models themselves are of kilobytes
SECONDS = 10.0
CHANGES = st.binary(min_size=6, max_size=40)
Change = Callable[[dict[str, Any]], None]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The targets' files go where pytest cleans up."""
    monkeypatch.setenv(folder.VARIABLE, str(tmp_path))
    folder.folder.cache_clear()


@pytest.fixture(autouse=True)
def little_memory() -> Iterator[None]:
    """More than some gigabytes is a MemoryError."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def refused(files: Mapping[str, bytes], tmp_path: Path, *said: str) -> None:
    """Each backend refuses the model in one line that says this, by checks and not by the lack of memory or time."""
    changed = dict(files)
    edits.sign(changed)
    for backend in ("auto", "torch"):
        begun = time.process_time()
        with pytest.raises(ModelError) as caught:
            nlp_app.load(tiny.write(changed, tmp_path / "model"), backend=backend)
        assert time.process_time() - begun < SECONDS
        message = str(caught.value)
        assert "\n" not in message
        assert "MemoryError" not in message
        for part in said:
            assert part in message, message


def with_json(files: Mapping[str, bytes], name: str, change: Change) -> dict[str, bytes]:
    """The files with one of JSON changed."""
    value = json.loads(files[name])
    change(value)
    return {**files, name: json.dumps(value).encode()}


def with_weights(files: Mapping[str, bytes], change: Callable[[dict[str, torch.Tensor]], None]) -> dict[str, bytes]:
    """The files with other tensors."""
    weights = safetensors.torch.load(files["model.safetensors"])
    change(weights)
    return {**files, "model.safetensors": safetensors.torch.save(weights, {"format": "pt"})}


@pytest.mark.parametrize("files", [tiny.tagger, tiny.classifier, tiny.transformer, tiny.foreign])
def test_unchanged_they_work(files: Callable[[], Mapping[str, bytes]], tmp_path: Path) -> None:
    model = nlp_app.load(tiny.write(files(), tmp_path / "model"))
    found = model.tag(list(tiny.TEXTS)) if isinstance(model, nlp_app.Tagger) else model.classify(list(tiny.TEXTS))
    assert len(found) == len(tiny.TEXTS)


@pytest.mark.parametrize("name", ["taggers", "classifiers"])
@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(CHANGES)
def test_changed_files(name: str, data: bytes) -> None:
    TARGETS[name].run(data)


@pytest.mark.parametrize("name", ["transformers", "foreign"])
@settings(max_examples=15, suppress_health_check=list(HealthCheck))
@given(CHANGES)
def test_changed_files_of_transformers(name: str, data: bytes) -> None:
    TARGETS[name].run(data)


CONFIGURATIONS: Mapping[str, tuple[Change, str]] = {
    "labels": (lambda config: config.update(num_labels=10**12), "num_labels"),
    "layers": (lambda config: config.update(num_hidden_layers=10**9), "num_hidden_layers"),
    "layers by another name": (lambda config: config.update(n_layer=10**9), "n_layer"),
    "inner layers": (lambda config: config.update(text_config={"num_layers": 10**9}), "num_layers"),
    "words": (lambda config: config.update(vocab_size=10**9), "weights"),
    "width": (lambda config: config.update(hidden_size=1 << 20), "numbers"),
    "positions": (lambda config: config.update(max_position_embeddings=10**10), "numbers"),
    "no name": (lambda config: config.update(architectures=[1]), "neither tags nor classifies"),
    "no names": (lambda config: config.update(architectures={"a": 1}), "config.json"),
    "a deviation below 0": (lambda config: config.update(layer_norm_eps=-10.0), "not finite"),
    "chunks": (lambda config: config.update(chunk_size_feed_forward=7), "ValueError"),
}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_configurations_that_ask_for_too_much(name: str, tmp_path: Path) -> None:
    change, said = CONFIGURATIONS[name]
    refused(with_json(tiny.foreign(), "config.json", change), tmp_path, said)
    if not name.startswith("no name"):  # of ours the description says what they are
        refused(with_json(tiny.transformer(), "config.json", change), tmp_path)


def test_a_tokenizer_at_which_its_library_panics(tmp_path: Path) -> None:
    def change(tokenizer: dict[str, Any]) -> None:
        tokenizer["normalizer"] = {"type": "Precompiled", "precompiled_charsmap": "AAAA"}

    for files in (tiny.foreign(), tiny.transformer()):
        refused(
            with_json(files, "tokenizer.json", change), tmp_path, "PanicException" if files is tiny.foreign() else ""
        )


@pytest.mark.parametrize("files", [tiny.tagger, tiny.classifier, tiny.transformer, tiny.foreign])
@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers(files: Callable[[], Mapping[str, bytes]], number: float, tmp_path: Path) -> None:
    def change(weights: dict[str, torch.Tensor]) -> None:
        name = max((name for name, tensor in weights.items() if tensor.is_floating_point()), key=len)
        weights[name].view(-1)[0] = number

    refused(with_weights(files(), change), tmp_path, "not finite")


@pytest.mark.parametrize("files", [tiny.tagger, tiny.classifier, tiny.transformer, tiny.foreign])
def test_weights_of_which_no_finite_score_comes(files: Callable[[], Mapping[str, bytes]], tmp_path: Path) -> None:
    def change(weights: dict[str, torch.Tensor]) -> None:
        for tensor in weights.values():
            if tensor.dtype == torch.float32:
                tensor.fill_(3e38)

    refused(with_weights(files(), change), tmp_path, "not finite")


@pytest.mark.parametrize("files", [tiny.tagger, tiny.classifier])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16, torch.int64])
def test_weights_of_another_type(files: Callable[[], Mapping[str, bytes]], dtype: torch.dtype, tmp_path: Path) -> None:
    def change(weights: dict[str, torch.Tensor]) -> None:
        name = next(name for name, tensor in weights.items() if tensor.dtype == torch.float32)
        weights[name] = weights[name].to(dtype)

    refused(with_weights(files(), change), tmp_path, str(dtype).removeprefix("torch."))


def test_more_labels_than_pairs_can_be_counted_of(tmp_path: Path) -> None:
    def change(description: dict[str, Any]) -> None:
        description["labels"] = [f"L{number:06}" for number in range(50_000)]

    for files in (tiny.tagger(), tiny.transformer()):
        refused(with_json(files, "nlp_app.json", change), tmp_path, "tags, expected at most")


@pytest.mark.parametrize("shape", ["(1 << 33,)", "(8589934592,)", "(4611686018427387904,)", "(-1,)", "(2, 2)", "()"])
@pytest.mark.parametrize("kind", ["<i8", "|O", "<U99"])
def test_arrays_of_another_shape(shape: str, kind: str, tmp_path: Path) -> None:
    for files in (tiny.tagger(), tiny.classifier()):
        name = next(name for name in files if name.endswith(".npy"))
        header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117).encode() + b"\n"
        changed = dict(files)
        changed[name] = files[name][:8] + len(header).to_bytes(2, "little") + header + files[name][-16:]
        edits.sign(changed)
        with pytest.raises(ModelError):
            nlp_app.load(tiny.write(changed, tmp_path / "model"))


def test_pairs_of_many_tags_are_those_of_few() -> None:
    """The quick way to the legal transitions, against asking the scheme for each pair."""
    from nlp_app.labels import schemes
    from nlp_app.labels.transitions import allowed_transitions, segment_boundaries

    for name, scheme in schemes.SCHEMES.items():
        if name == schemes.NONE:
            continue
        for labels in (["A", "B", ""], ["A"], ["-x", "O", "B-A"]):
            tags = schemes.tag_names(labels, name)
            ends = [*tags, "O", "O"]
            expected = np.array([[scheme.allows(previous, tag) for tag in ends] for previous in ends])
            expected[:, len(tags)] = False
            expected[len(tags) + 1] = False
            assert np.array_equal(allowed_transitions(tags, name), expected)
            opens, closes = segment_boundaries(tags, name)
            for one, previous in enumerate([*tags, "O"]):
                for two, tag in enumerate([*tags, "O"]):
                    is_boundary = scheme.is_boundary(previous, tag)
                    assert two == len(tags) or opens[one, two] == (is_boundary and tag != "O")
                    assert one == len(tags) or closes[one, two] == (is_boundary and previous != "O")
