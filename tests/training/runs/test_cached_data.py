"""Runs that use cached data: the weights are the same, and nothing is read or encoded a second time."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tiny_transformers import tiny_bert

from nlp_app.config import ClassificationSettings, TaggingSettings, TransformerTaggingSettings, read_settings
from nlp_app.data.classification.splits import read_class_splits
from nlp_app.data.tagging.splits import read_splits
from nlp_app.training import train_cls, train_ner
from nlp_app.training.classification.setup import prepare_classifier
from nlp_app.training.runs.progress import Progress
from nlp_app.training.transformers.setup import prepare_transformer_tagger


def _tagging(tmp_path: Path) -> list[str]:
    path = tmp_path / "train.conll"
    lines = [f"Anna B-PER\nmet O\nw{number % 9} O\nRome{number % 3} B-LOC\n" for number in range(40)]
    path.write_text("\n".join([*lines, "long O\n" * 30 + "Anna B-PER\nLee I-PER\n" + "x O\n" * 5]), encoding="utf-8")
    return [f"data.train={path}", "train.epochs=2", "model.word_dim=8", "model.hidden_size=8", "track.plots=false"]


def _classes(tmp_path: Path) -> list[str]:
    path = tmp_path / "train.tsv"
    rows = [f"a good text {number}\tgood\nsome bad text {number}\tbad\n" for number in range(30)]
    path.write_text("text\tlabel\n" + "".join(rows), encoding="utf-8")
    return [f"data.train={path}", "train.epochs=2", "track.plots=false"]


@pytest.mark.parametrize("task", ["ner", "cls"])
def test_weights_are_the_same_cold_and_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str) -> None:
    monkeypatch.setenv("NLP_APP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("nlp_app.training.tagging.examples.window_boundaries", lambda sentence: _short(sentence))
    pairs = _tagging(tmp_path) if task == "ner" else _classes(tmp_path)

    def train(name: str) -> bytes:
        if task == "ner":
            train_ner(read_settings(TaggingSettings, None, pairs), tmp_path / name, quiet=True)
        else:
            train_cls(read_settings(ClassificationSettings, None, pairs), tmp_path / name, quiet=True)
        return (tmp_path / name / "model.safetensors").read_bytes()

    cold = train("cold")
    made = sorted(path.name for path in (tmp_path / "cache").iterdir())
    assert len(made) == 2
    with monkeypatch.context() as patch:
        for place in ("tagging.setup.TaggingEncoder.fit", "classification.setup.TextEncoder.fit"):
            patch.setattr(f"nlp_app.training.{place}", _unwanted)
        assert train("cached") == cold
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == made
    monkeypatch.setattr("nlp_app.storage.memory_map._MAX_RESIDENT", 0)  # all batches are read from the files
    assert train("from-files") == cold
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NLP_APP_CACHE", str(tmp_path / "file"))  # no place to keep anything
    assert train("kept-nowhere") == cold


def _short(sentence: object) -> list[int]:
    from nlp_app.training.tagging.long_sentences import window_boundaries

    return window_boundaries(sentence, 16)  # type: ignore[arg-type]


def _unwanted(*_: object, **__: object) -> None:
    raise ValueError("fitted again")


def test_a_token_longer_than_a_window_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NLP_APP_CACHE", str(tmp_path / "cache"))
    (tmp_path / "train.conll").write_text(f"Anna B-PER\n{'a.' * 20} O\n{'b.' * 9} O\n\nBob B-PER\n", encoding="utf-8")
    body = tiny_bert(tmp_path / "bert", ["Anna"], layers=1)
    pairs = [
        f"data.train={tmp_path / 'train.conll'}",
        "data.dev_share=0",
        "model.window_subwords=20",
        "model.window_overlap=2",
    ]

    def prepare(body: Path) -> list[list[int]]:
        settings = read_settings(TransformerTaggingSettings, None, [*pairs, f"model.pretrained={body}"])
        prepared = prepare_transformer_tagger(settings, read_splits(settings.data, 1), Progress(quiet=False))
        assert "1 token has more subwords than a window; only the first subwords are read" in capsys.readouterr().err
        return [batch.inputs["input_ids"].tolist() for batch in prepared.examples.batches(1)]

    made = prepare(body)
    assert prepare(body) == made
    assert len([*(tmp_path / "cache").iterdir()]) == 2
    other = shutil.copytree(body, tmp_path / "other")
    described = json.loads((other / "tokenizer_config.json").read_text(encoding="utf-8"))
    (other / "tokenizer_config.json").write_text(json.dumps(described | {"unk_token": "[MASK]"}), encoding="utf-8")
    prepare(other)
    assert len([*(tmp_path / "cache").iterdir()]) == 3, "another unknown piece, another encoding"


def test_words_that_were_too_many_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NLP_APP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("nlp_app.features.classification.encoder._MAX_COUNTED_WORDS", 20)
    settings = read_settings(ClassificationSettings, None, _classes(tmp_path))
    for _ in range(2):
        prepared = prepare_classifier(settings, read_class_splits(settings.data, 1), Progress(quiet=False))
        forgotten = prepared.parts.encoder.forgotten
        assert forgotten > 0
        assert f"the counts of {forgotten} rare words were dropped" in capsys.readouterr().err
