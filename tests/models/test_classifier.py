"""Model directory of a classifier: saving and loading, and one ModelError for any damage."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import files_of
from hypothesis import given, settings
from hypothesis import strategies as st
from small_classifiers import LABELS, SHAPES, TEXTS, classifier_parts

import nlp_app
from nlp_app.core.errors import ModelError
from nlp_app.core.files import checksum
from nlp_app.inference import Classifier
from nlp_app.models import DESCRIPTION, ClassifierParts, read_model, write_model
from nlp_app.models.directory import own_checksum

Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model with every part."""
    write_model(classifier_parts(), tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose description alone is changed."""
    directory = tmp_path_factory.mktemp("shared")
    write_model(classifier_parts(), directory)
    shutil.copy(directory / DESCRIPTION, directory / "original.json")
    return directory


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_saved_loaded_and_saved_again_it_is_the_same(tmp_path: Path, shape: str, multi_label: bool) -> None:
    parts = classifier_parts(shape, multi_label)
    write_model(parts, tmp_path / "one")
    again = read_model(tmp_path / "one")
    assert isinstance(again, ClassifierParts)
    write_model(again, tmp_path / "two")
    assert files_of(tmp_path / "two") == files_of(tmp_path / "one")
    assert (again.class_set, again.about, again.encoder.sizes) == (parts.class_set, parts.about, parts.encoder.sizes)
    assert again.decision.temperature == parts.decision.temperature
    assert not again.network.training
    texts = [*TEXTS, "never seen before 没见过"]
    loaded = nlp_app.load(tmp_path / "one", backend="torch")
    before, after = Classifier(parts).probabilities(texts), loaded.probabilities(texts)
    assert before.tobytes() == after.tobytes()
    assert Classifier(parts).classify(texts) == loaded.classify(texts)


def test_a_model_takes_the_place_of_another_kind(tmp_path: Path) -> None:
    for shape in ("all", "wide", "hashed", "convolution", "all"):
        write_model(classifier_parts(shape), tmp_path / "same")
        write_model(classifier_parts(shape), tmp_path / shape)
        assert files_of(tmp_path / "same") == files_of(tmp_path / shape)


def test_each_file_missing_cut_or_changed(model: Path) -> None:
    names = {path.relative_to(model).as_posix() for path in model.rglob("*") if path.is_file()}
    assert names == {
        DESCRIPTION, "model.safetensors", "vocab/character-ngrams.npy", "vocab/frequencies.npy",
        "vocab/skip-ngrams.npy", "vocab/tellings.npy", "vocab/vectors.txt", "vocab/word-ngrams.npy", "vocab/words.txt",
    }  # fmt: skip
    for path in map(model.joinpath, sorted(names)):
        content = path.read_bytes()
        changed = bytearray(content)
        changed[len(content) // 2] ^= 1
        for damaged in (None, b"", content[:-2], content[: len(content) // 2], content + b" x", bytes(changed)):
            path.unlink()
            if damaged is not None:
                path.write_bytes(damaged)
            with pytest.raises(ModelError, match=path.name) as caught:
                nlp_app.load(model)
            assert "\n" not in str(caught.value)
            path.write_bytes(content)
    nlp_app.load(model)


def sign(model: Path, description: dict[str, Any]) -> None:
    """Write a description with all checksums renewed, as someone who edits a model on purpose would."""
    description["files"] = {name: checksum(model / name) for name in description["files"]}
    description["checksum"] = own_checksum(description)
    (model / DESCRIPTION).write_text(json.dumps(description))


def refused(model: Path) -> str:
    with pytest.raises(ModelError) as caught:
        nlp_app.load(model)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def assert_useable_or_refused(model: Path) -> None:
    found, said = None, ""
    try:
        found = nlp_app.load(model)
    except ModelError as error:
        said = str(error)
    assert "\n" not in said
    if found is not None:
        assert np.isfinite(found.probabilities([*TEXTS, "never seen"])).all()
        found.classify(TEXTS)


NPY = ["word-ngrams", "character-ngrams", "skip-ngrams", "frequencies", "tellings"]


@pytest.mark.parametrize("name", [*(f"vocab/{each}.npy" for each in NPY), "vocab/words.txt", "vocab/vectors.txt"])
@pytest.mark.parametrize(
    "content", [b"", b"x", b"\x93NUMPY\x01\x00", b"\xff\xfe\n\n\n", b"same\nsame\n", b"bad \\x\n\\"]
)
def test_invalid_files_with_valid_checksums(model: Path, name: str, content: bytes) -> None:
    (model / name).write_bytes(content)
    sign(model, json.loads((model / DESCRIPTION).read_text()))
    refused(model)


@pytest.mark.parametrize("name", NPY)
@pytest.mark.parametrize(
    "change",
    [
        lambda array: array[:-1],
        lambda array: np.append(array, array[-1:]),
        lambda array: array.astype(np.float64),
        lambda array: array.reshape(1, -1),
        lambda array: array[:0],
        lambda array: np.array(["x"] * len(array)),
        lambda array: array[::-1],
        lambda array: np.zeros_like(array),
        lambda array: np.full(len(array), -5),
        lambda array: np.full(len(array), 1 << 62),
        lambda array: np.full(len(array), (1 << 64) - 1, dtype=np.uint64),
    ],
)  # fmt: skip
def test_invalid_arrays_with_valid_checksums(model: Path, name: str, change: Callable[[Any], Any]) -> None:
    path = model / "vocab" / f"{name}.npy"
    np.save(path, change(np.load(path)))
    sign(model, json.loads((model / DESCRIPTION).read_text()))
    assert_useable_or_refused(model)


def test_arrays_of_objects_are_not_unpickled(model: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (pytest.fail, ("a pickle was read",))

    for name in NPY:
        path = model / "vocab" / f"{name}.npy"
        kept = path.read_bytes()
        np.save(path, np.array([Evil()], dtype=object), allow_pickle=True)
        sign(model, json.loads((model / DESCRIPTION).read_text()))
        refused(model)
        path.write_bytes(kept)


def at(*keys: str, value: Any) -> Change:
    def change(description: dict[str, Any]) -> None:
        inner = description
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = value

    return change


NAN, INFINITE = float("nan"), float("inf")
HOSTILE: list[Change] = [
    *(at("labels", value=value) for value in (None, [], "abcd", {}, [1, 2, 3, 4], ["a"] * 4, list(LABELS[::-1]))),
    *(at("labels", value=value) for value in (list(LABELS[:3]), [*LABELS, "中文字"], [*LABELS[:3], None])),
    *(at("multi_label", value=value) for value in (None, True, 0, "no", [])),
    *(at("decision", value=value) for value in (None, [], {}, {"temperature": 1.0}, "x")),
    *(
        at("decision", "temperature", value=value)
        for value in (None, 0.0, -1.0, NAN, INFINITE, 1e300, 1e-300, "1", True)
    ),
    *(at("decision", "thresholds", value=value) for value in ([0.5] * 4, [], 0.5, "x")),
    *(at("bags", value=value) for value in (None, [], {}, "x", 3)),
    *(at("bags", "words", value=value) for value in (None, [], [1], [1, 2, 3], "12", [1.5, 2], ["a", "b"], [1, NAN])),
    *(at("bags", "words", value=value) for value in ([1, 10**12], [10**30, 10**31], [-5, 3], [0, 2], [True, 2])),
    *(at("bags", "characters", value=value) for value in ([1, 10**12], [2, 1e9], None, [[1], [2]])),
    *(at("bags", "weighting", value=value) for value in (None, "", "tf", 1, ["tfidf"])),
    *(at("bags", "character_share", value=value) for value in (None, 0, 0.0, -1.0, NAN, INFINITE, "1", 1e300, 1e-300)),
    *(at("bags", "skip_share", value=value) for value in (None, 0, 0.0, -1.0, NAN, INFINITE, "1", 1e300, 1e-300)),
    *(at("bags", "min_count", value=value) for value in (None, "x", NAN)),
    *(at("bags", "buckets", value=value) for value in (None, 1, -1, 10**6, 10**30, 1.5, "0", True)),
    *(at("bags", "max_features", value=value) for value in (None, "x", NAN)),
    *(at("bags", "texts", value=value) for value in (None, -1, -(10**30), 10**30, 10**400, 1.5, "x", True)),
    at("bags", "more", value=1),
    *(at("network", value=value) for value in (None, [], {}, "x")),
    *(at("network", "kind", value=value) for value in (None, "bilstm_crf", 1)),
    *(at("network", "sizes", value=value) for value in (None, [], {})),
    *(
        at("network", "sizes", name, value=value)
        for name in ("ngrams", "words", "vectors")
        for value in (None, 0, 1, -1, 2**31 - 1, 10**30, 1.0, NAN, True, "1")
    ),
    *(
        at("network", "dimensions", name, value=value)
        for name in ("wide", "hidden", "word", "vector", "filters", "stacked")
        for value in (None, 0, -1, 2, 2**31 - 1, 10**30, 1.0, NAN, True, "1")
    ),
    *(
        at("network", "dimensions", name, value=value)
        for name in ("ngram_dropout", "hidden_dropout", "word_dropout", "filter_dropout")
        for value in (None, 1.0, -0.1, NAN, INFINITE, 1, "0.5")
    ),
    *(at("network", "dimensions", "mode", value=value) for value in (None, "", "median", 1, ["sum"])),
    *(
        at("network", "dimensions", "kernels", value=value)
        for value in (None, "", "0", "-1", "2,3", "2,3,100", "2;3", "9" * 9999, [2, 3, 4], 3)
    ),
    *(at("tokenizer", value=value) for value in (None, {}, "basic")),
    *(at("tokenizer", "name", value=value) for value in (None, "bert", ["basic"])),
    *(at("tokenizer", "settings", value=value) for value in (None, [], {"x": True}, {"do_lower_case": 1})),
    *(at("about", value=value) for value in (None, [], {}, "x", {"data": 1, "settings": {}})),
    *(at("task", value=value) for value in (None, "ner", "classes", ["cls"], {})),
    *(at("format", value=value) for value in (None, 0, 3, 10**30, "1", True)),
]


@pytest.mark.parametrize("change", HOSTILE)
def test_invalid_descriptions(shared: Path, change: Change) -> None:
    description = json.loads((shared / "original.json").read_text())
    change(description)
    sign(shared, description)
    assert_useable_or_refused(shared)


@pytest.mark.parametrize(
    "thresholds", [None, [], [0.5] * 3, [0.5] * 5, [1.5] * 4, [-0.1] * 4, [NAN] * 4, [[0.5] * 4], ["x"] * 4, 0.5]
)  # fmt: skip
def test_thresholds_that_do_not_fit_the_labels(tmp_path: Path, thresholds: Any) -> None:
    write_model(classifier_parts("wide", True), tmp_path)
    description = json.loads((tmp_path / DESCRIPTION).read_text())
    description["decision"]["thresholds"] = thresholds
    sign(tmp_path, description)
    assert "thresholds" in refused(tmp_path) or isinstance(thresholds, list)


def test_a_newer_format_or_another_task(model: Path) -> None:
    description = json.loads((model / DESCRIPTION).read_text())
    sign(model, description | {"format": 3})
    assert "found format 3, this nlp_app reads up to 2; upgrade nlp_app" in refused(model)
    sign(model, description | {"task": "nre"})
    assert "found the task 'nre', expected one of ner, cls" in refused(model)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value in a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, inner in items for place in places(inner, (*path, key)))]


STRANGE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([10**6, 10**12, 10**30, 0.5, 1e308, NAN, "", "x", "../x", "cls", "basic", "\0", "ä" * 300]),
    st.sampled_from([[], {}, [1], [1, 2], ["a", "a"], {"a": 1}, {"name": "basic"}]),
)


@settings(max_examples=100)
@given(seed=st.integers(0, 10**9), value=STRANGE, drop=st.booleans())
def test_any_signed_change_of_the_description(shared: Path, seed: int, value: Any, drop: bool) -> None:
    description = json.loads((shared / "original.json").read_text())
    place = random.Random(seed).choice([place for place in places(description) if place and place[0] != "files"])
    inner = description
    for key in place[:-1]:
        inner = inner[key]
    if drop:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    sign(shared, description)
    assert_useable_or_refused(shared)
