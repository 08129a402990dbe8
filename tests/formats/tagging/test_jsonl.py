"""JSON: every shape that annotation tools export, and invalid files with their line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlp_app.core.errors import DataError
from nlp_app.core.types import CharSpan, Record, TextRecord, TokenRecord
from nlp_app.formats.tagging import ReadOptions, read, read_lines, write


def parse(text: str) -> list[Record]:
    return list(read_lines(text.split("\n"), "f.jsonl", "jsonl", ReadOptions()))


def one(value: dict[str, Any]) -> Record:
    (record,) = parse(json.dumps(value))
    return record


SPANS = [CharSpan(0, 1, "LOC"), CharSpan(1, 3, "A-b")]


@pytest.mark.parametrize(
    "value",
    [
        {"label": [[0, 1, "LOC"], [1, 3, "A-b"]], "meta": {}},
        {"labels": [[0, 1, "LOC"], [1, 3, "A-b"]], "annotation_approver": None},
        {"spans": [{"start": 0, "end": 1, "label": "LOC"},
                   {"start": 1, "end": 3, "label": "A-b", "text": "bc"}]},
        {"spans": [{"start": 0, "end": 1, "label": "LOC", "token_end": 0},
                   {"start": 1, "end": 3, "label": "A-b"}],
         "tokens": [{"text": "abcd", "start": 0, "end": 4, "id": 0}], "answer": "accept"},
        {"entities": [{"id": 1, "start_offset": 0, "end_offset": 1, "label": "LOC"},
                      {"id": 2, "start_offset": 1, "end_offset": 3, "label": "A-b"}], "relations": []},
        {"label": [{"start": 0, "end": 1, "text": "a", "labels": ["LOC"]},
                   {"start": 1, "end": 3, "text": "bc", "labels": ["A-b"]}], "id": 1},
    ],
)  # fmt: skip
def test_shapes_of_labeled_text(value: dict[str, Any]) -> None:
    assert one({"text": "abcd", **value}) == TextRecord("abcd", SPANS, 1)


def test_text_without_labels() -> None:
    assert one({"text": "abcd"}) == TextRecord("abcd", None, 1)
    assert one({"text": "abcd", "label": None}) == TextRecord("abcd", None, 1)
    assert one({"text": "abcd", "label": []}) == TextRecord("abcd", [], 1)
    assert one({"text": "abcd", "answer": "accept"}) == TextRecord("abcd", [], 1)


def test_rejected_and_ignored_lines_are_skipped() -> None:
    lines = [json.dumps({"text": text, "spans": [], "answer": text}) for text in ("reject", "accept", "ignore")]
    assert parse("\n".join(lines)) == [TextRecord("accept", [], 2)]


@pytest.mark.parametrize("key", ["ner_tags", "tags", "labels"])
def test_tokens_with_tags(key: str) -> None:
    record = one({"tokens": ["a", "b"], key: ["O", "B-X"], "text": "a b"})
    assert record == TokenRecord(["a", "b"], ["O", "B-X"], (1, 1), "a b", [0, 2])
    assert one({"tokens": ["a", "b"]}) == TokenRecord(["a", "b"], None, (1, 1))


def test_blank_lines_and_mixed_shapes() -> None:
    records = parse('{"text": "a"}\n\n{"tokens": ["b"], "tags": ["O"]}\n  \n{"text": "c\\u2028d"}\r')
    assert [getattr(record, "line", None) or record.lines[0] for record in records] == [1, 3, 5]  # type: ignore[union-attr]
    assert records[2] == TextRecord("c\u2028d", None, 5)


SPAN = {"start": 0, "end": 1, "label": "X"}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"text": "ab", "label": [[0, 3, "X"]]}, "span 0..3, expected 0 <= start < end <= 2"),
        ({"text": "ab", "label": [[1, 1, "X"]]}, "span 1..1"),
        ({"text": "ab", "label": [[2, 1, "X"]]}, "span 2..1"),
        ({"text": "ab", "label": [[-1, 1, "X"]]}, "span -1..1"),
        ({"text": "ab", "label": [[0, 1.0, "X"]]}, "offsets 0 and 1.0, expected integers"),
        ({"text": "ab", "label": [[False, True, "X"]]}, "expected integers"),
        ({"text": "ab", "label": [["0", "1", "X"]]}, "expected integers"),
        ({"text": "ab", "label": [[0, 1, 7]]}, "number without its name"),
        ({"text": "ab", "label": [[0, 1, ""]]}, "label ''"),
        ({"text": "ab", "label": [[0, 1, None]]}, "label None"),
        ({"text": "ab", "label": [[0, 1]]}, "expected .start, end, type."),
        ({"text": "ab", "label": {"X": 1}}, "an object, expected a list"),
        ({"text": "ab", "spans": [{**SPAN, "text": "b"}]}, "holds 'a', not 'b'.*code points"),
        ({"text": "ab", "spans": [SPAN], "label": [[0, 1, "X"]]}, "`spans` and `label`"),
        ({"text": "ab", "annotations": [{"label": 1, "start_offset": 0, "end_offset": 1}]}, "without its"),
        ({"text": "ab", "annotations": [{"label": 1, "user": 1}]}, "text classification data"),
        ({"text": "ab", "label": ["x"]}, "text classification data"),
        ({"text": "ab", "label": "x"}, "text classification data"),
        ({"text": "ab", "label": 3}, "text classification data"),
        ({"text": "ab", "cats": {"X": 1.0}}, "text classification data"),
        ({"label": [[0, 1, "X"]]}, "no `text`"),
        ({"text": 5}, "a `text` that is a number"),
        ({"tokens": ["a"], "ner_tags": [3]}, "numbers without their names"),
        ({"tokens": ["a", "b"], "ner_tags": ["O"]}, "2 tokens and 1 `ner_tags`"),
        ({"tokens": ["a", ""], "ner_tags": ["O", "O"]}, "non-empty strings"),
        ({"tokens": ["a"], "ner_tags": "O"}, "expected a list of tags"),
        ({"text": "a\ud83d"}, "half of a surrogate pair .* at position 1"),
        ({"tokens": ["a"], "ner_tags": ["\udc00"]}, "half of a surrogate pair"),
    ],
)  # fmt: skip
def test_damage_is_refused_with_its_line(value: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=rf"f.jsonl:2: .*{message}"):
        parse('{"text": "fine"}\n' + json.dumps(value))


@pytest.mark.parametrize("line", ['{"text": "a"', '{"text": a}', "nonsense", '{"text": "a"} x', "[1]", "[" * 100_000])
def test_bad_json_is_refused_with_its_line(line: str) -> None:
    with pytest.raises(DataError, match=r"f.jsonl:2: "):
        parse('{"text": "fine"}\n' + line + '\n{"text": "b"}')


def test_documents_over_several_lines() -> None:
    first, second = {"text": "ab", "label": [[0, 1, "X"]]}, {"text": "c\nd"}
    expected = [TextRecord("ab", [CharSpan(0, 1, "X")], 1), TextRecord("c\nd", None, 11)]
    pretty = [json.dumps(value, indent=2) for value in (first, second)]
    assert parse("\n".join(pretty)) == expected
    in_list = parse(json.dumps([first, second], indent=1))
    assert [record.text for record in in_list] == ["ab", "c\nd"]
    assert [record.line for record in in_list if isinstance(record, TextRecord)] == [2, 12]
    assert len(parse(json.dumps([first, second]))) == 2


@pytest.mark.parametrize(
    ("text", "line"),
    [('{\n"text": "a"', 2), ('[\n{"text": "a"},\n{"text": b}]', 3), ('[{"text": "a"}', 1), ("[\n3]", 2)],
)
def test_damaged_documents_are_refused_with_their_line(text: str, line: int) -> None:
    with pytest.raises(DataError, match=rf"f.jsonl:{line}: "):
        parse(text)


def task(result: list[dict[str, Any]], key: str = "annotations", text: str = "In May 2 we") -> dict[str, Any]:
    return {"data": {"text": text, "source": "x"}, key: [{"result": result}]}


def region(start: int, end: int, text: str | None = "May 2", **more: Any) -> dict[str, Any]:
    value = {"start": start, "end": end, "labels": ["Date"]} | ({} if text is None else {"text": text})
    return {"from_name": "ner", "to_name": "text", "type": "labels", "value": value, **more}


MAY = TextRecord("In May 2 we", [CharSpan(3, 8, "Date")], 1)


def test_label_studio_tasks() -> None:
    relation = {"type": "relation", "from_id": "a", "to_id": "b"}
    assert one(task([region(3, 8), relation])) == MAY
    assert one(task([region(3, 8, None)])) == MAY
    assert one(task([region(3, 7)], key="completions")) == MAY  # version 0: the end is inclusive
    assert one(task([])) == TextRecord("In May 2 we", [], 1)
    canceled = task([region(3, 8)])
    canceled["annotations"].append({"result": [], "was_canceled": True})
    assert one(canceled) == MAY
    truth = task([region(3, 8)])
    truth["annotations"][0]["ground_truth"] = True
    truth["annotations"].append({"result": []})
    assert one(truth) == MAY
    data = {"body": "In May 2 we", "text": "no"}
    other_field = {"data": data, "annotations": [{"result": [region(3, 8, source="$body")]}]}
    assert one(other_field) == MAY


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (task([region(3, 7, "May 22")]), "holds 'May ', not 'May 22'"),
        (task([region(3, 7, None)], key="completions"), "can't tell where its spans end"),
        (task([region(3, 99, None)]), "span 3..99"),
        (task([{**region(3, 8), "value": {"start": "/p[1]", "end": "/p[1]", "labels": ["X"]}}]), "integers"),
        (task([{**region(3, 8), "value": {"start": 3, "end": 8, "labels": []}}]), "found the label None"),
        (task([{"type": "choices", "value": {"choices": ["Good"]}}]), "text classification data"),
        (task([{"type": "hypertextlabels", "value": {}}]), "HTML"),
        ({"data": {"text": "a"}, "predictions": [{"result": []}]}, "predictions and no annotation"),
        ({"data": {"a": "x", "b": "y"}, "annotations": [{"result": []}]}, "which field"),
        ({"data": {"text": "a"}, "annotations": [{"result": []}, {"result": [region(0, 1, None)]}]}, "2 "),
    ],
)  # fmt: skip
def test_label_studio_tasks_that_are_refused(value: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=rf"f.jsonl:1: .*{message}"):
        one(value)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=4)


@st.composite
def records(draw: st.DrawFn) -> TextRecord | TokenRecord:
    if draw(st.booleans()):
        tokens = draw(st.lists(words, max_size=4))
        tags = draw(st.none() | st.lists(words, min_size=len(tokens), max_size=len(tokens)))
        return TokenRecord(tokens, tags, ())
    text = draw(texts)
    spans = st.builds(CharSpan, st.just(0), st.integers(1, max(1, len(text))), words)
    return TextRecord(text, draw(st.none() | st.lists(spans, max_size=2 if text else 0)), 0)


@given(st.lists(records(), min_size=1))
def test_written_lines_read_back(
    tmp_path_factory: pytest.TempPathFactory, data: list[TextRecord | TokenRecord]
) -> None:
    path: Path = tmp_path_factory.mktemp("json") / "out.jsonl"
    write(data, path, "jsonl")
    for number, (record, back) in enumerate(zip(data, read(path), strict=True), 1):
        if isinstance(record, TextRecord):
            assert back == TextRecord(record.text, record.spans, number)
        else:
            assert back == TokenRecord(record.tokens, record.tags, (number,) * len(record.tokens))


def test_without_labels_every_object_is_a_record() -> None:
    values = [
        {"text": "ab", "label": "positive", "answer": "reject"},
        {"text": "cd", "spans": [{"start": 9, "end": 12, "label": "X"}]},
        {"tokens": ["e", "f"], "ner_tags": [1, 2]},
    ]
    records = list(read_lines([json.dumps(value) for value in values], "f", "jsonl", ReadOptions(labels=False)))
    assert records[:2] == [TextRecord("ab", None, 1), TextRecord("cd", None, 2)]
    assert isinstance(records[2], TokenRecord)
    assert (records[2].tokens, records[2].tags) == (["e", "f"], None)
