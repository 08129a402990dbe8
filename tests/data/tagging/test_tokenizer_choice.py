"""The tokenizer of raw text fits the labeled spans, and the user hears of it if it does not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nlp_app.commands.inspect import inspect_files
from nlp_app.config import TaggingDataSettings
from nlp_app.core.types import TextRecord
from nlp_app.data.tagging.splits import read_splits
from nlp_app.data.tagging.tokenizer_choice import measure_span_fit
from nlp_app.formats.tagging import read

Text = tuple[str, list[str]]

JAPANESE: list[Text] = [("ソニーはカナダにある", ["ソニー", "カナダ"]), ("ホンダとソニーが", ["ホンダ", "ソニー"])]
KOREAN: list[Text] = [("부산에서 현대가", ["부산", "현대"]), ("현대는 부산에", ["현대", "부산"])]
THAI: list[Text] = [("เขาไปเชียงใหม่แล้ว", ["เชียงใหม่"]), ("โตโยต้าอยู่ที่นี่", ["โตโยต้า"])]
CHINESE: list[Text] = [("小明去北京", ["小明", "北京"])]
ENGLISH: list[Text] = [("the iPhone15 of Mia", ["iPhone", "ia"]), ("unMia reMia", ["Mia"])]
WORDS: list[Text] = [("Mia sings in Oslo", ["Mia", "Oslo"])]


def write(path: Path, texts: list[Text]) -> Path:
    lines = []
    for text, names in texts:
        spans = [{"start": text.index(name), "end": text.index(name) + len(name), "label": "X"} for name in names]
        lines.append(json.dumps({"text": text, "spans": spans}, ensure_ascii=False) + "\n")
    path.write_text("".join(lines), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("texts", "chosen"),
    [
        pytest.param(JAPANESE, "char", id="Japanese"),
        pytest.param(KOREAN, "char", id="Korean"),
        pytest.param(THAI, "char", id="Thai"),
        pytest.param(CHINESE, "basic", id="Chinese"),
        pytest.param(ENGLISH, "basic", id="English inside words"),
        pytest.param(WORDS, "basic", id="English"),
    ],
)
def test_raw_text_without_visible_words_is_split_into_characters(
    tmp_path: Path, texts: list[Text], chosen: str
) -> None:
    path = write(tmp_path / "a.jsonl", texts)
    data = read_splits(TaggingDataSettings(train=str(path), dev=str(path)), seed=1)
    assert data.tokenizer.name == chosen
    assert data.dev is not None
    assert data.train.tokenizer == data.dev.tokenizer == chosen
    total = sum(len(names) for _, names in texts)
    notes = [line for line in data.report() if line.startswith("tokenizer for raw text: char, because")]
    assert bool(notes) == (chosen == "char")
    if chosen == "char":
        assert data.train.ledger.kept == total
        assert f"of {total} labeled spans, and char {total}" in notes[0]
    (facts,) = inspect_files([path], None, [])["files"]
    assert facts["tokenizer"] == chosen
    assert facts["remarks"] == notes


def test_a_named_tokenizer_stays_with_a_warning(tmp_path: Path) -> None:
    path = str(write(tmp_path / "a.jsonl", JAPANESE))
    data = read_splits(TaggingDataSettings(train=path, dev=path, tokenizer="basic"), seed=1)
    assert data.tokenizer.name == "basic"
    (warning,) = data.warnings
    assert "--set data.tokenizer=char" in warning


def test_the_fit_counts_spans_between_token_edges(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [*WORDS, *ENGLISH])
    records = list(read(path))
    expected = 0
    for record in records:
        assert isinstance(record, TextRecord)
        edges = {0, len(record.text)} | {i + d for i, c in enumerate(record.text) if c == " " for d in (0, 1)}
        expected += sum(span.start in edges and span.end in edges for span in record.spans or ())
    fit = measure_span_fit(records)
    assert (fit.spans, fit.basic, fit.prefers_char) == (5, expected, False)


def test_low_agreement_is_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "a.conll"
    path.write_text("".join(f"x{number}_/y-{number} B-X\n(a)+b O\n\n" for number in range(9)))
    settings = TaggingDataSettings(train=str(path), dev=str(path), tokenizer="char")
    (warning,) = read_splits(settings, seed=1).warnings
    assert "char reproduces only" in warning
    assert read_splits(settings.model_copy(update={"tokenizer": "whitespace"}), seed=1).warnings == ()
