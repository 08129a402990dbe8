"""Runs that find their encoded data again: the same weights, and nothing read or encoded a second time."""

from __future__ import annotations

from pathlib import Path

import pytest

from nlp_app.config import ClassSettings, TaggingSettings, read_settings
from nlp_app.experiment import train_cls, train_ner


def _tagging(tmp_path: Path) -> list[str]:
    path = tmp_path / "train.conll"
    lines = [f"Anna B-PER\nmet O\nw{number % 9} O\nRome{number % 3} B-LOC\n" for number in range(40)]
    path.write_text("\n".join([*lines, "long O\n" * 30 + "Anna B-PER\nLee I-PER\n" + "x O\n" * 5]), encoding="utf-8")
    return [f"data.train={path}", "train.epochs=2", "model.norm=8", "model.hidden=8", "track.plots=false"]


def _classes(tmp_path: Path) -> list[str]:
    path = tmp_path / "train.tsv"
    rows = [f"a good text {number}\tgood\nsome bad text {number}\tbad\n" for number in range(30)]
    path.write_text("text\tlabel\n" + "".join(rows), encoding="utf-8")
    return [f"data.train={path}", "train.epochs=2", "track.plots=false"]


@pytest.mark.parametrize("task", ["ner", "cls"])
def test_weights_are_the_same_cold_and_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str) -> None:
    monkeypatch.setenv("NLP_APP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("nlp_app.experiment.tagger_building.seams", lambda sentence: _short(sentence))
    pairs = _tagging(tmp_path) if task == "ner" else _classes(tmp_path)

    def train(name: str) -> bytes:
        if task == "ner":
            train_ner(read_settings(TaggingSettings, None, pairs), tmp_path / name, quiet=True)
        else:
            train_cls(read_settings(ClassSettings, None, pairs), tmp_path / name, quiet=True)
        return (tmp_path / name / "model.safetensors").read_bytes()

    cold = train("cold")
    made = sorted(path.name for path in (tmp_path / "cache").iterdir())
    assert len(made) == 2
    with monkeypatch.context() as patch:
        for place in ("tagger_building.TaggingEncoder.fit", "classifier_building.TextEncoder.fit"):
            patch.setattr(f"nlp_app.experiment.{place}", _unwanted)
        assert train("cached") == cold
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == made
    monkeypatch.setattr("nlp_app.features.store._FEW", 0)  # all batches are read from the files
    assert train("from-files") == cold
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NLP_APP_CACHE", str(tmp_path / "file"))  # no place to keep anything
    assert train("kept-nowhere") == cold


def _short(sentence: object) -> list[int]:
    from nlp_app.experiment.seams import seams

    return seams(sentence, 16)  # type: ignore[arg-type]


def _unwanted(*_: object, **__: object) -> None:
    raise ValueError("fitted again")
