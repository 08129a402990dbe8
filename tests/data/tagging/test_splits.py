"""Splits of a sequence labeling run: hold-out, notes and errors."""

from __future__ import annotations

from pathlib import Path

import pytest

from nlp_app.config import TaggingDataSettings
from nlp_app.core.errors import SettingsError
from nlp_app.data.tagging.splits import read_splits


def write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_the_report_lists_unusual_findings(tmp_path: Path) -> None:
    train = write(tmp_path / "train.conll", "Anna B-PER\nI I-LOC\n\nsame O\n\nBob B-PER\n\nRome B-LOC\n\n")
    dev = write(tmp_path / "dev.conll", "same O\n\nnothing O\n\n")
    test = write(tmp_path / "test.conll", "Anna B-GOD\n\nBob B-PER\n\n")
    data = read_splits(TaggingDataSettings(train=train, dev=dev, test=test), seed=1)
    report = data.report()
    assert [line.split() for line in report[:4]] == [
        ["data", "sentences", "tokens", "labels"],
        ["train", "4", "5", "4", train, "(conll,", "BIO)"],
        ["dev", "2", "2", "0", dev, "(conll,", "BIO)"],
        ["test", "2", "2", "2", test, "(conll,", "BIO)"],
    ]
    notes = "\n".join(report[4:])
    assert "note: train: invalid tags, repaired as the CoNLL scorer does: 1" in notes
    assert f"the first: {train}:2: I-LOC" in notes
    assert "note: dev: sentences that also occur in train: 1" in notes
    assert "note: dev: no labeled spans" in notes
    assert "note: test: labels that do not occur in the training data: GOD; they count as missed" in notes
    assert "note: test: sentences that also occur in train: 1" in notes


def test_a_held_out_dev_set_is_reported(tmp_path: Path) -> None:
    train = write(tmp_path / "a.conll", "".join(f"word{number} B-X\nI I-Y\n\n" for number in range(20)))
    data = read_splits(TaggingDataSettings(train=train), seed=1)
    assert data.held_out
    assert len(data.dev.sentences) == 2
    assert len(data.train.sentences) == 18
    report = data.report()
    assert report[2].split() == ["dev", "2", "4", "4", "held", "out", "from", "train", "(conll,", "BIO)"]
    assert sum("invalid tags" in line for line in report) == 1  # of the file, not of each part


def test_texts_whose_spans_fit_no_tokens_or_that_have_no_token(tmp_path: Path) -> None:
    lines = ['{"text": "", "label": []}', '{"text": "New York", "label": [[0, 8, "LOC"]]}']
    lines += ['{"text": "in Rome", "label": [[3, 7, "LOC"]]}', '{"text": "Roman", "label": [[0, 3, "LOC"]]}']
    train = write(tmp_path / "a.jsonl", "\n".join(lines))
    data = read_splits(TaggingDataSettings(train=train, dev=train, alignment="strict"), seed=1)
    report = "\n".join(data.report())
    assert "note: train: skipped sentences without a token: 1" in report
    assert "labeled spans: 3, adjusted to token boundaries: 0, not aligned with tokens: 1" in report
    assert data.counts()["train"]["spans"] == data.counts()["dev"]["spans"] == 3
    assert (len(data.train.sentences), len(data.dev.sentences)) == (3, 4)


def test_dev_or_test_need_train() -> None:
    with pytest.raises(SettingsError, match="give --train FILE"):
        read_splits(TaggingDataSettings(test="x.conll"), seed=1)


def test_an_unknown_format_is_rejected_with_the_known_ones() -> None:
    expected = "data.format: found 'conl', expected one of auto, conll, .*hub; did you mean 'conll'"
    with pytest.raises(SettingsError, match=expected):
        read_splits(TaggingDataSettings(format="conl"), seed=1)


def test_small_dev_files_are_read_with_the_token_pattern_of_the_training_file(tmp_path: Path) -> None:
    sentence = "\u79d10\tB-X\n\u62801\tI-X\n\u51680\tO\n\n"
    train, dev = tmp_path / "train.conll", tmp_path / "dev.conll"
    train.write_text(sentence * 9, encoding="utf-8")
    dev.write_text(sentence, encoding="utf-8")
    for _ in range(2):  # the second time, the training file comes from the cache
        data = read_splits(TaggingDataSettings(train=str(train), dev=str(dev)), seed=1)
        assert data.dev is not None
        assert data.dev.sentences[0].tokens == ["\u79d1", "\u6280", "\u5168"]
        assert data.about()["settings"]["token_pattern"] == "segmented"
