"""The shapes of annotation tools: each is written by an independent writer, and read back equal."""

from __future__ import annotations

import csv
import io
import itertools
import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlp_app.core.errors import OtherTaskError
from nlp_app.core.types import CharSpan, Record, TextRecord, TokenRecord
from nlp_app.formats.tagging import ReadOptions, detect_format, read_lines

Spans = list[CharSpan]
Writer = Callable[[list[tuple[str, Spans]]], str]

CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
LABELS = st.sampled_from(["PER", "creative work", "人名", "B-x", "a|b[1]_*;\\"])


def parse(text: str, format: str = "jsonl", **options: Any) -> list[Record]:
    return list(read_lines(text.split("\n"), "f", format, ReadOptions(**options)))


@st.composite
def texts_with_spans(draw: st.DrawFn) -> tuple[str, Spans]:
    known = st.sampled_from(["Ada 😀\r\nleft", "王磊\u2028👨\u200d👩x"])
    text = draw(st.text(CHARACTERS, min_size=1, max_size=12) | known)
    spans = []
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(text) - 1))
        spans.append(CharSpan(start, draw(st.integers(start + 1, len(text))), draw(LABELS)))
    return text, spans


def lines_of(make: Callable[[str, Spans], Any]) -> Writer:
    return lambda examples: "\n".join(json.dumps(make(*example)) for example in examples)


def list_of(make: Callable[[str, Spans], Any], indent: int | None = 1) -> Writer:
    return lambda examples: json.dumps([make(*example) for example in examples], indent=indent, ensure_ascii=False)


def triples(spans: Spans) -> list[list[Any]]:
    return [[start, end, label] for start, end, label in spans]


def label_studio(text: str, spans: Spans) -> Any:
    regions = [
        {"id": str(number), "type": "labels", "from_name": "ner", "to_name": "note",
         "value": {"start": start, "end": end, "text": text[start:end], "labels": [label]}}
        for number, (start, end, label) in enumerate(spans)
    ]  # fmt: skip
    return {"id": 1, "data": {"note": text}, "annotations": [{"was_cancelled": False, "result": regions}]}


def json_min(text: str, spans: Spans) -> Any:
    regions = [{"start": s, "end": e, "text": text[s:e], "labels": [label]} for s, e, label in spans]
    value = {"text": text, "id": 7, "annotator": 1, "annotation_id": 9, "created_at": "2024-02-01T10:00:00Z"}
    return value | ({"ner": regions} if regions else {})


def cluener(text: str, spans: Spans) -> Any:
    labels: dict[str, dict[str, list[list[int]]]] = {}
    for start, end, label in spans:
        labels.setdefault(label, {}).setdefault(text[start:end], []).append([start, end - 1])
    return {"text": text, "label": labels}


SHAPES: dict[str, Writer] = {
    "doccano": lines_of(lambda text, spans: {"id": 3, "text": text, "label": triples(spans), "Comments": []}),
    "doccano with the text": lines_of(
        lambda text, spans: {"text": text, "labels": [[s, e, label, text[s:e]] for s, e, label in spans]}
    ),
    "doccano with relations": lines_of(
        lambda text, spans: {
            "text": text, "relations": [{"id": 0, "from_id": 0, "to_id": 1, "type": "of"}],
            "entities": [{"id": 0, "start_offset": s, "end_offset": e, "label": label} for s, e, label in spans],
        }
    ),
    "Argilla": lines_of(
        lambda text, spans: {
            "text": text, "tokens": text.split(), "prediction": None, "status": "Validated", "metrics": {},
            "annotation": [{"label": label, "start": s, "end": e, "score": 1.0} for s, e, label in spans],
        }
    ),
    "Argilla with lists": lines_of(
        lambda text, spans: {
            "text": text, "tokens": [], "status": "Validated", "annotation": [[label, s, e] for s, e, label in spans],
        }
    ),
    "spaCy in lines": lines_of(lambda text, spans: [text, {"entities": triples(spans)}]),
    "spaCy in a list": list_of(lambda text, spans: [text, {"entities": triples(spans), "cats": {"x": 1}}]),
    "spaCy in one line": list_of(lambda text, spans: [text, {"entities": triples(spans)}], None),
    "spaCy with classes": lambda examples: json.dumps(
        {"classes": ["PER"], "annotations": [None, *([text, {"entities": triples(spans)}] for text, spans in examples)]}
    ),
    "CLUENER": lines_of(cluener),
    "Label Studio": list_of(label_studio),
    "JSON-MIN": list_of(json_min),
}  # fmt: skip


def content(records: list[Record]) -> list[tuple[str | None, list[CharSpan]]]:
    assert all(isinstance(record, TextRecord) for record in records)
    return [(record.text, sorted(set(record.spans or ()))) for record in records if isinstance(record, TextRecord)]


@pytest.mark.parametrize("name", SHAPES)
@given(examples=st.lists(texts_with_spans(), min_size=1, max_size=4))
def test_every_shape_is_read_back(name: str, examples: list[tuple[str, Spans]]) -> None:
    assert content(parse(SHAPES[name](examples))) == [(text, sorted(set(spans))) for text, spans in examples]


@given(st.lists(texts_with_spans(), min_size=1, max_size=4))
def test_csv_is_read_back(examples: list[tuple[str, Spans]]) -> None:
    examples = [(text.replace("\r", " "), spans) for text, spans in examples]
    out = io.StringIO()
    writer = csv.DictWriter(out, ["text", "id", "ner", "annotation_id"], lineterminator="\n")
    writer.writeheader()
    for text, spans in [*examples, ("Ada", [CharSpan(0, 3, "PER")])]:
        regions = json_min(text, spans).get("ner")
        cell = json.dumps(regions, ensure_ascii=False) if regions else ""
        writer.writerow({"text": text, "id": 5, "ner": cell, "annotation_id": 4})
    records = parse(out.getvalue(), "span_table")
    assert content(records)[:-1] == [(text, sorted(set(spans))) for text, spans in examples]


@st.composite
def tokens_with_spans(draw: st.DrawFn) -> tuple[list[str], list[tuple[int, int, str]]]:
    tokens = draw(st.lists(st.text(CHARACTERS, min_size=1, max_size=3), min_size=1, max_size=6))
    cuts = sorted(draw(st.sets(st.integers(0, len(tokens)), max_size=5)))
    pairs = [pair for pair in itertools.pairwise(cuts) if draw(st.booleans())]
    return tokens, [(start, end, draw(LABELS)) for start, end in pairs]


@given(st.lists(tokens_with_spans(), min_size=1, max_size=3), st.randoms())
def test_gliner_is_read_back(
    examples: list[tuple[list[str], list[tuple[int, int, str]]]], order: random.Random
) -> None:
    lines = []
    for tokens, spans in examples:
        ner = [[start, end - 1, label] for start, end, label in spans]
        order.shuffle(ner)
        lines.append(json.dumps({"tokenized_text": tokens, "ner": ner}))
    for record, (tokens, spans) in zip(parse("\n".join(lines)), examples, strict=True):
        assert isinstance(record, TokenRecord)
        assert record.tokens == tokens
        found = [(tag[:1], tag[2:], index) for index, tag in enumerate(record.tags or ()) if tag != "O"]
        assert found == [
            ("B" if index == start else "I", label, index) for start, end, label in spans for index in range(start, end)
        ]


@given(st.lists(st.lists(tokens_with_spans(), min_size=1, max_size=3), min_size=1, max_size=2))
def test_spacy_2_is_read_back(paragraphs: list[list[tuple[list[str], list[tuple[int, int, str]]]]]) -> None:
    expected, written = [], []
    for sentences in paragraphs:
        parts = []
        for tokens, spans in sentences:
            tags = ["O"] * len(tokens)
            for start, end, label in spans:
                marks = "U" if end - start == 1 else "B" + "I" * (end - start - 2) + "L"
                tags[start:end] = [f"{mark}-{label}" for mark in marks]
            parts.append({"tokens": [{"orth": a, "ner": b} for a, b in zip(tokens, tags, strict=True)], "brackets": []})
            expected.append((tokens, tags))
        raw = " ".join(" ".join(tokens) for tokens, _ in sentences)
        written.append({"raw": raw, "sentences": parts, "cats": []})
    records = parse(json.dumps([{"id": 0, "paragraphs": written}]))
    assert [(record.tokens, record.tags) for record in records if isinstance(record, TokenRecord)] == expected
    for record in records:
        if isinstance(record, TokenRecord) and record.text is not None and record.starts is not None:
            for start, token in zip(record.starts, record.tokens, strict=True):
                assert record.text[start : start + len(token)] == token


def test_sentences_of_spacy_2_have_their_own_offsets() -> None:
    sentences = [{"tokens": [{"orth": form, "ner": "-"} for form in words]} for words in (["Ada", "ran"], ["So"])]
    first, second = parse(json.dumps({"paragraphs": [{"raw": "Ada ran  So", "sentences": sentences}]}))
    assert (first.text, second.text) == ("Ada ran", "So")
    assert isinstance(second, TokenRecord)
    assert (second.starts, second.tags) == ([0], ["O"])


def escaped(text: str) -> str:
    for character, name in (("\\", "\\"), ("\n", "n"), ("\t", "t"), ("\r", "r"), ("\f", "f")):
        text = text.replace(character, f"\\{name}")
    return text


def escaped_value(text: str) -> str:
    return "".join(f"\\{character}" if character in "\\[]|_;*" else character for character in text)


WORDS = st.text(st.characters(categories=["L", "N", "S"], include_characters="😀𝒳é"), min_size=1, max_size=4)
GAPS = st.sampled_from([" ", "  ", "", "\t", "\n", "\r\n"])


@st.composite
def webanno_sentences(draw: st.DrawFn) -> tuple[list[str], list[str], list[tuple[int, int, str]]]:
    tokens = draw(st.lists(WORDS, min_size=1, max_size=5))
    gaps = [draw(GAPS) for _ in tokens[1:]] + [draw(st.sampled_from(["", " "]))]
    spans = []
    for _ in range(draw(st.integers(0, 3))):  # stacked spans, too
        start = draw(st.integers(0, len(tokens) - 1))
        spans.append((start, draw(st.integers(start + 1, len(tokens))), draw(LABELS)))
    return tokens, gaps, spans


@given(st.lists(webanno_sentences(), min_size=1, max_size=3))
def test_webanno_is_read_back(sentences: list[tuple[list[str], list[str], list[tuple[int, int, str]]]]) -> None:
    lines, expected, offset, identity = ["#FORMAT=WebAnno TSV 3.3", "#T_SP=x.Span|id|value", "", ""], [], 0, 0
    for number, (tokens, gaps, spans) in enumerate(sentences, 1):
        text = "".join(token + gap for token, gap in zip(tokens, gaps, strict=True))
        starts = [sum(map(len, tokens[:index])) + sum(map(len, gaps[:index])) for index in range(len(tokens))]
        cells: list[list[str]] = [[] for _ in tokens]
        for start, end, label in spans:
            identity += 1
            mark = "" if end - start == 1 and len(spans) == 1 else f"[{identity}]"
            for index in range(start, end):
                cells[index].append(escaped_value(label) + mark)
        lines.append(f"#Text={escaped(text)}")
        for index, token in enumerate(tokens):
            begin = offset + len(text[: starts[index]].encode("utf-16-le")) // 2
            end = begin + len(token.encode("utf-16-le")) // 2
            value = "|".join(cells[index]) or "_"
            star = "|".join("*" for _ in cells[index]) or "_"
            lines.append(f"{number}-{index + 1}\t{begin}-{end}\t{escaped_value(token)}\t{star}\t{value}\t")
        lines.append("")
        offset += len(text.encode("utf-16-le")) // 2 + 1
        ends = [start + len(token) for start, token in zip(starts, tokens, strict=True)]
        expected.append((text, [CharSpan(starts[first], ends[last - 1], label) for first, last, label in spans]))
    text = "\n".join(lines)
    assert content(parse(text, "webanno")) == [(text, sorted(set(spans))) for text, spans in expected]
    assert [record.text for record in parse(text, "webanno", labels=False)] == [text for text, _ in expected]


@pytest.mark.parametrize(
    ("name", "head", "format"),
    [
        ("a.csv", 'text,ner\nAda,"[{""start"": 0, ""end"": 3, ""labels"": [""PER""]}]"\n', "span_table"),
        ("a.csv", "text,ner\nAda,\"[{'end': 3, 'start': 0, 'labels': ['PER']}]\"\n", "span_table"),
        ("a.csv", 'text,ner\nAda,"[[0, 3, ""PER""]]"\n', "span_table"),
        ("a.tsv", 'text\tner\nAda\t"[{""start"": 0, ""end"": 3, ""labels"": [""PER""]}]"\n', "span_table"),
        ("a.tsv", "text\tner\nAda\t[{'start': 0, 'end': 3, 'labels': ['PER']}]\n", "span_table"),
        ("a.tsv", "#FORMAT=WebAnno TSV 3.2\n", "webanno"),
        ("a", "#FORMAT=WebAnno TSV 3.3\n", "webanno"),
        ("a.tsv", "Ada\tB-PER\nran\tO\n", "conll"),
        ("a.spacy", "", "spacy"),
    ],
)
def test_detection(name: str, head: str, format: str) -> None:
    assert detect_format(name, head) == format


@pytest.mark.parametrize("cell", ["good", '"see [[1, 2, ""x""]]"', '"a, [{""start"": 1}]"', '"[1, 2]"'])
def test_other_tables_are_for_the_other_task(cell: str) -> None:
    with pytest.raises(OtherTaskError, match="CSV without spans"):
        detect_format("a.csv", f"text,label\n{cell},good\n")
