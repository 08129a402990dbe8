"""Texts with spans and classes, written for annotation tools and read back by the readers of their exports."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlp_app.core.errors import DataError
from nlp_app.core.types import AnnotatedText, CharSpan, ScoredLabel, ScoredSpan, TextRecord, TokenRecord
from nlp_app.formats import annotated
from nlp_app.formats.classification import open_classes
from nlp_app.formats.tagging import ReadOptions, read
from nlp_app.labels import decode

CHARACTERS = st.characters(exclude_categories=["Cs", "Cc"])
TEXTS = st.text(st.one_of(CHARACTERS, st.sampled_from("ab \n😀马")), min_size=1, max_size=30)
SUFFIXES = {"doccano": ".jsonl", "prodigy": ".jsonl", "jsonl": ".jsonl", "label-studio": ".json", "brat": ""}


@st.composite
def texts_with_spans(draw: st.DrawFn) -> AnnotatedText:
    text = draw(TEXTS)
    cuts = draw(st.lists(st.tuples(st.integers(0, len(text) - 1), st.integers(1, len(text))), max_size=4))
    spans = {
        ScoredSpan(start, end, draw(st.sampled_from(["PER", "Org-x"])))
        for start, end in cuts
        if start < end and text[start:end].strip() == text[start:end]
    }
    return AnnotatedText(text, spans=sorted(spans))


def read_back(path: Path) -> list[tuple[str, list[CharSpan]]]:
    records = [record for record in read(path, options=ReadOptions(strict=True)) if isinstance(record, TextRecord)]
    return [(record.text, sorted(record.spans or [])) for record in records]


@pytest.mark.parametrize("format", SUFFIXES)
@settings(max_examples=40)
@given(st.lists(texts_with_spans(), min_size=1, max_size=4))
def test_spans_come_back(tmp_path_factory: pytest.TempPathFactory, format: str, texts: list[AnnotatedText]) -> None:
    path = tmp_path_factory.mktemp("tool") / f"out{SUFFIXES[format]}"
    annotated.write(texts, path, format)
    assert read_back(path) == [(text.text, [CharSpan(*span[:3]) for span in text.spans or ()]) for text in texts]


def words(text: str) -> AnnotatedText:
    """Words with a span over each of those that begin with a capital."""
    edges, end = [], 0
    for word in text.split(" "):
        edges.append((end, end + len(word)))
        end += len(word) + 1
    spans = [ScoredSpan(start, end, "X") for start, end in edges if text[start].isupper()]
    return AnnotatedText(text, spans=spans, tokens=edges)


@pytest.mark.parametrize("format", ["conll", "conllu"])
def test_tokens_come_back(tmp_path: Path, format: str) -> None:
    texts = [words("Mia sings in Oslo"), words("马 Li")]
    annotated.write(texts, tmp_path / f"a.{format}", format)
    records = [record for record in read(tmp_path / f"a.{format}") if isinstance(record, TokenRecord)]
    for record, text in zip(records, texts, strict=True):
        assert record.tokens == text.text.split(" ")
        spans, repairs = decode(record.tags or [], "BIO")
        assert repairs == []
        edges = text.tokens or ()
        found = [(edges[span.start][0], edges[span.end - 1][1]) for span in spans]
        assert found == [(span.start, span.end) for span in text.spans or ()]


def test_what_columns_cannot_hold_is_counted(tmp_path: Path) -> None:
    text = AnnotatedText(
        "Mia sings",
        spans=[ScoredSpan(0, 3, "A"), ScoredSpan(0, 9, "B"), ScoredSpan(4, 6, "C")],
        tokens=[(0, 3), (4, 9)],
    )
    assert annotated.losses([text], "conll") == ["labeled spans that overlap, or begin or end inside a token: 2"]
    assert annotated.losses([text], "spacy") == ["labeled spans that overlap another one: 2"]
    assert annotated.losses([text], "doccano") == []
    annotated.write([text], tmp_path / "a.conll", "conll")
    assert (tmp_path / "a.conll").read_text() == "Mia\tB-B\nsings\tI-B\n\n"


LABELS = [("late again", ["bad"]), ('lovely, "cold"', ["good", "odd"]), ("马 😀", ["good"])]


def with_labels(rows: Sequence[tuple[str, list[str]]]) -> list[AnnotatedText]:
    return [AnnotatedText(text, labels=[ScoredLabel(label) for label in labels]) for text, labels in rows]


@pytest.mark.parametrize(
    ("format", "name"),
    [
        ("doccano", "a.jsonl"),
        ("jsonl", "a.jsonl"),
        ("prodigy", "a.jsonl"),
        ("label-studio", "a.json"),
        ("fasttext", "a.txt"),
    ],
)
def test_classes_come_back(tmp_path: Path, format: str, name: str) -> None:
    annotated.write(with_labels(LABELS), tmp_path / name, format, ["bad", "good", "odd"])
    found = [(record.text, list(record.labels or ())) for record in open_classes(tmp_path / name)]
    assert found == LABELS


def test_predictions_have_scores_where_the_tool_has_a_place(tmp_path: Path) -> None:
    text = AnnotatedText(
        "Mia 😀 Oslo",
        spans=[ScoredSpan(0, 3, "PER", 0.9), ScoredSpan(6, 10, "LOC", 0.5)],
        metadata={"id": 7},
        predicted=True,
    )
    annotated.write([text], tmp_path / "a.json", "label-studio")
    (task,) = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert task["data"] == {"id": 7, "text": "Mia 😀 Oslo"}
    (prediction,) = task["predictions"]
    assert prediction["score"] == 0.5
    assert [result["score"] for result in prediction["result"]] == [0.9, 0.5]
    assert "annotations" not in task
    annotated.write([text], tmp_path / "b.jsonl", "prodigy")
    value = json.loads((tmp_path / "b.jsonl").read_text(encoding="utf-8"))
    assert value["meta"] == {"id": 7}
    assert [span["score"] for span in value["spans"]] == [0.9, 0.5]
    assert "answer" not in value
    annotated.write([text], tmp_path / "c", "brat")
    assert (tmp_path / "c" / "000001.ann").read_text(encoding="utf-8").splitlines()[
        1
    ] == "#1\tAnnotatorNotes T1\tscore 0.9"


def test_names_that_a_format_cannot_hold_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'a b' can't be a type in brat"):
        annotated.write([AnnotatedText("Mia", spans=[ScoredSpan(0, 3, "a b")])], tmp_path / "x", "brat")
    with pytest.raises(DataError, match=r"fastText's lines can't hold white space"):
        annotated.write(with_labels([("Mia", ["a b"])]), tmp_path / "x", "fasttext")
    (tmp_path / "old").mkdir()
    with pytest.raises(DataError, match=r"new folder"):
        annotated.write([], tmp_path / "old", "brat")
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def test_spacy_reads_what_is_written_for_it(tmp_path: Path) -> None:
    spacy = pytest.importorskip("spacy")
    from spacy.tokens import DocBin

    texts = [
        words("Mia  sings in Oslo"),
        AnnotatedText("Mia-Lou's 😀", spans=[ScoredSpan(0, 3, "A"), ScoredSpan(8, 9, "B")]),
        *with_labels(LABELS),
    ]
    annotated.write(texts, tmp_path / "a.spacy", "spacy")
    docs = list(DocBin().from_disk(tmp_path / "a.spacy").get_docs(spacy.blank("xx").vocab))
    assert [doc.text for doc in docs] == [text.text for text in texts]
    for doc, text in zip(docs, texts, strict=True):
        found = [(entity.start_char, entity.end_char, entity.label_) for entity in doc.ents]
        assert found == [span[:3] for span in text.spans or ()]
        assert doc.cats == {label.label: 1.0 for label in text.labels or ()}


def test_without_spacy_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spacy", None)
    with pytest.raises(Exception, match=r"nlp-app\[spacy\]"):
        annotated.write([AnnotatedText("Mia", spans=[])], tmp_path / "a.spacy", "spacy")
    assert list(tmp_path.iterdir()) == []
