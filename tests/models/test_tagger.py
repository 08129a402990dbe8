"""Model directory of a tagger: saving and loading, and one ModelError for any damage."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import Small, files_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import nlp_app
from nlp_app.core.errors import ModelError
from nlp_app.models import DESCRIPTION, read_model, write_model
from nlp_app.models.directory import own_checksum


@pytest.fixture
def model(small: Small, tmp_path: Path) -> Path:
    """A copy of the small run's model alone."""
    directory = tmp_path / "model"
    directory.mkdir()
    for name in ("nlp_app.json", "model.safetensors"):
        shutil.copy(small.run / name, directory)
    shutil.copytree(small.run / "vocab", directory / "vocab")
    return directory


def test_saved_loaded_and_saved_again_it_is_the_same(model: Path, tmp_path: Path) -> None:
    write_model(read_model(model), tmp_path / "again")
    assert files_of(tmp_path / "again") == files_of(model)
    assert {path.stat().st_mode & 0o777 for path in model.rglob("*") if path.is_file()} == {0o644}


def test_saving_replaces_the_previous_model_and_keeps_other_files(model: Path) -> None:
    before = files_of(model)
    (model / "notes.txt").write_text("mine")
    (model / "vocab" / "vectors.txt").write_text("of an earlier model\n")
    write_model(read_model(model), model)
    assert files_of(model) == before | {"notes.txt": b"mine"}


def test_loading_runs_no_code_and_reads_no_other_files(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("evil.py", "evil.pkl", "vocab/evil.py", "vocab/evil.pkl", "__init__.py", "conftest.py"):
        (model / name).write_bytes(b"cos\nsystem\n(S'touch /tmp/evil'\ntR.raise SystemExit('evil')")
    monkeypatch.setattr("pickle.Unpickler", None)
    assert nlp_app.load(model).labels == nlp_app.load(str(model)).labels


def test_not_a_model(small: Small, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path, said in (
        (tmp_path / "missing", "no such directory"),
        (tmp_path / "file", "found no nlp_app.json"),
        (tmp_path, "found no nlp_app.json"),
        (small.run / "checkpoints", "found no nlp_app.json"),
    ):
        with pytest.raises(ModelError, match=said):
            nlp_app.load(path)


def test_each_file_missing_cut_or_changed(model: Path) -> None:
    for path in [path for path in model.rglob("*") if path.is_file()]:
        content = path.read_bytes()
        changed = bytearray(content)
        changed[len(content) // 2] ^= 1
        for damaged in (None, b"", content[:-2], content[: len(content) // 2], content + b" x", bytes(changed)):
            path.unlink()
            if damaged is not None:
                path.write_bytes(damaged)
            with pytest.raises(ModelError, match=str(path.name)) as caught:
                nlp_app.load(model)
            assert "\n" not in str(caught.value)
            path.write_bytes(content)
        path.unlink()
        path.mkdir()
        with pytest.raises(ModelError):
            nlp_app.load(model)
        path.rmdir()
        path.write_bytes(content)
    nlp_app.load(model)


def describe(model: Path, description: Any) -> None:
    """Write a description with the checksum that belongs to it."""
    if isinstance(description, dict):
        description["checksum"] = own_checksum(description)
    (model / DESCRIPTION).write_text(json.dumps(description))


def test_a_newer_format(model: Path) -> None:
    description = json.loads((model / DESCRIPTION).read_text())
    (model / DESCRIPTION).write_text(json.dumps(description | {"format": 3, "news": True}))
    with pytest.raises(ModelError, match="found format 3, this nlp_app reads up to 2; upgrade nlp_app"):
        nlp_app.load(model)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3", '"x"', "[" * 100_000, "\ufeff{}", '{"format": "1"}'])
def test_invalid_description(model: Path, text: str) -> None:
    (model / DESCRIPTION).write_text(text)
    with pytest.raises(ModelError, match=DESCRIPTION):
        nlp_app.load(model)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value in a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, inner in items for place in places(inner, (*path, key)))]


STRANGE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([10**6, 10**12, 10**30, -1, 0.5, 1e308, "", "x", "../x", "O", "none", "BIO", "\0", "ä" * 300]),
    st.sampled_from([[], {}, [1], ["a", "a"], {"a": 1}, {"name": "basic"}]),
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(seed=st.integers(0, 10**9), value=STRANGE, signed=st.booleans(), drop=st.booleans())
def test_any_change_of_the_description_is_a_model_error(
    model: Path, seed: int, value: Any, signed: bool, drop: bool
) -> None:
    """`signed`: the description's own checksum was renewed, as someone who edits it on purpose would."""
    original = (model / DESCRIPTION).read_text()
    description = json.loads(original)
    place = random.Random(seed).choice([place for place in places(description) if place])
    inner = description
    for key in place[:-1]:
        inner = inner[key]
    same = not drop and inner[place[-1]] == value and type(inner[place[-1]]) is type(value)
    if drop:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    describe(model, description) if signed else (model / DESCRIPTION).write_text(json.dumps(description))
    try:
        found = nlp_app.load(model)
        assert signed or same
        found.tag("Anna lives in Rome")  # what was accepted has to work
    except ModelError:
        pass
    finally:
        (model / DESCRIPTION).write_text(original)
