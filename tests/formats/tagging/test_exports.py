"""What is left out of an export is counted, one bad span never ends a file, and a misread file is refused."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from nlp_app.core.errors import DataError, OtherTaskError
from nlp_app.core.types import CharSpan, Record, TextRecord
from nlp_app.formats.tagging import ReadLog, ReadOptions, detect_format, read


def read_values(folder: Path, values: list[Any], **options: Any) -> tuple[list[Record], list[str]]:
    path = folder / "a.jsonl"
    path.write_text("\n".join(map(json.dumps, values)), encoding="utf-8")
    return read_path(path, **options)


def read_path(path: Path, **options: Any) -> tuple[list[Record], list[str]]:
    log = ReadLog()
    records = list(read(path, options=ReadOptions(**options), log=log))
    return records, log.remarks


def region(start: int, end: int, label: str = "PER", **value: Any) -> dict[str, Any]:
    return {"type": "labels", "to_name": "t", "value": {"start": start, "end": end, "labels": [label], **value}}


def task(*results: dict[str, Any], text: str = "Mia naps.", **annotation: Any) -> dict[str, Any]:
    return {"data": {"text": text}, "annotations": [{"result": list(results), **annotation}]}


MIA = TextRecord("Mia naps.", [CharSpan(0, 3, "PER")], 1)
NONE = "examples without a finished annotation (skipped by the annotator, or not annotated), skipped"
CHOICE = {"type": "choices", "to_name": "t", "value": {"choices": ["calm"]}}


@pytest.mark.parametrize(
    "other",
    [
        task(was_cancelled=True),
        task(region(0, 1), was_canceled=True),
        {"data": {"text": "Bo"}, "annotations": []},
        {"data": {"text": "Bo"}, "annotations": [], "predictions": [{"result": []}]},
    ],
)
def test_tasks_without_an_annotation_are_skipped_and_counted(tmp_path: Path, other: Any) -> None:
    assert read_values(tmp_path, [task(region(0, 3)), other]) == ([MIA], [f"{NONE}: 1 (the first: line 2)"])
    second = TextRecord("Mia naps.", [CharSpan(0, 3, "PER")], 2)
    assert read_values(tmp_path, [other, task(region(0, 3))])[0] == [second]
    with pytest.raises(DataError, match=r"a.jsonl:1: found .* annotation"):
        read_values(tmp_path, [other, other])


def test_relations_choices_and_notes_stand_beside_spans(tmp_path: Path) -> None:
    relation = {"type": "relation", "from_id": "a", "to_id": "b"}
    note = {"type": "textarea", "to_name": "t", "value": {"text": ["so so"]}}
    log = ReadLog()
    path = tmp_path / "a.json"
    path.write_text(json.dumps([task(CHOICE), task(region(0, 3), relation, CHOICE, note)], indent=1))
    spans = [record.spans for record in read(path, log=log) if isinstance(record, TextRecord)]
    assert spans == [[], [CharSpan(0, 3, "PER")]]
    assert "4 results that aren't labels (relations, notes)" in log.skipped()
    with pytest.raises(OtherTaskError, match=r"a.jsonl:1: .*choices"):
        read_values(tmp_path, [task(CHOICE), task(CHOICE)])


def test_regions_of_another_tag_or_text(tmp_path: Path) -> None:
    first, second = {**region(0, 3), "from_name": "ner"}, {**region(4, 8, "VERB"), "from_name": "pos"}
    (record,), _ = read_values(tmp_path, [task(first, second)], label_key="ner")
    assert record == MIA
    (record,), _ = read_values(tmp_path, [task(first, second)])
    assert record.spans == [CharSpan(0, 3, "PER"), CharSpan(4, 8, "VERB")]  # type: ignore[union-attr]
    regions = [{**region(0, 3), "to_name": "left"}, {**region(0, 2), "to_name": "right"}]
    two = {"data": {"left": "Mia naps.", "right": "Bo eats."}, "annotations": [{"result": regions}]}
    with pytest.raises(DataError, match=r"a.jsonl:1: found spans of several texts \(left, right\).*data.text_key"):
        read_values(tmp_path, [two])
    assert read_values(tmp_path, [two], text_key="left")[0] == [MIA]
    assert read_values(tmp_path, [two], text_key="right")[0] == [TextRecord("Bo eats.", [CharSpan(0, 2, "PER")], 1)]


def test_predictions_are_read_on_request(tmp_path: Path) -> None:
    predicted = {"data": {"text": "Mia naps."}, "predictions": [{"result": [region(0, 3)], "score": 0.9}]}
    with pytest.raises(DataError, match=r"a.jsonl:1: .*data.predictions=true"):
        read_values(tmp_path, [predicted])
    expected = ["examples with the annotations of a model (data.predictions): 1 (the first: line 1)"]
    assert read_values(tmp_path, [predicted], predictions=True) == ([MIA], expected)
    argilla = {"text": "Mia naps.", "prediction": [["PER", 0, 3, 0.7]], "annotation": None, "status": "Default"}
    with pytest.raises(DataError, match=r"a.jsonl:1: .*data.predictions=true"):
        read_values(tmp_path, [argilla])
    assert read_values(tmp_path, [argilla], predictions=True) == ([MIA], expected)


def test_states_of_argilla(tmp_path: Path) -> None:
    base = {"text": "Mia naps.", "prediction": None, "tokens": ["Mia", "naps", "."]}
    values = [
        {**base, "annotation": [{"label": "PER", "start": 0, "end": 3}], "status": "Validated"},
        {**base, "annotation": None, "status": "Default"},
        {**base, "annotation": [["PER", 0, 3]], "status": "Discarded"},
        {**base, "annotation": None, "status": "Validated"},
    ]
    records, remarks = read_values(tmp_path, values)
    assert records == [MIA, TextRecord("Mia naps.", [], 4)]
    assert remarks == [f"{NONE}: 2 (the first: line 2)"]
    assert len(read_values(tmp_path, values, labels=False)[0]) == 4


@pytest.mark.parametrize(
    ("data", "result", "key"),
    [
        ({"Body": "Mia naps.", "url": "a.html"}, region(0, 3), "Body"),  # the only prose
        ({"Body": "Mia naps.", "why": "not known"}, region(0, 3, text="Mia"), "Body"),  # the only one with the quote
        ({"Body": "Mia naps.", "why": "so so"}, region(5, 9), "Body"),  # the only one that is long enough
        ({"BODY": "Mia naps.", "why": "so long ago"}, {**region(0, 3), "to_name": "body"}, "BODY"),  # a similar name
        ({"Body": "Mia naps.", "text": "a"}, {**region(0, 3), "source": "$Body"}, "Body"),
        ({"Body": "Mia naps.", "text": "a"}, {**region(0, 3), "to_name": "Body"}, "Body"),
        ({"Satz": "米娅睡了", "id": "a-1"}, region(0, 2), "Satz"),
    ],
)
def test_the_key_of_the_text_is_found(tmp_path: Path, data: dict[str, str], result: dict[str, Any], key: str) -> None:
    value = {"data": data, "annotations": [{"result": [result]}]}
    (record,), remarks = read_values(tmp_path, [value])
    assert record.text == data[key]
    assert remarks == [f"text: the key {key!r} (setting data.text_key)"]


def test_the_key_of_the_text_can_be_named(tmp_path: Path) -> None:
    data = {"left": "Mia naps.", "right": "Bo eats."}
    value = {"data": data, "annotations": [{"result": [region(0, 2)]}]}
    with pytest.raises(DataError, match=r"a.jsonl:1: .*left, right.*data.text_key"):
        read_values(tmp_path, [value])
    for key in ("right", "data.right"):
        assert read_values(tmp_path, [value], text_key=key)[0][0].text == "Bo eats."
    with pytest.raises(DataError, match=r"a.jsonl:1: found no string under the key 'top' \(keys: left, right\)"):
        read_values(tmp_path, [value], text_key="top")
    flat = {**data, "ner": [{"start": 0, "end": 2, "labels": ["PER"]}]}
    assert read_values(tmp_path, [flat], text_key="left")[0] == [TextRecord("Mia naps.", [CharSpan(0, 2, "PER")], 1)]
    assert read_values(tmp_path, [flat], text_key="left", labels=False)[0] == [TextRecord("Mia naps.", None, 1)]


def test_classes_beside_spans_are_counted(tmp_path: Path) -> None:
    value = {"text": "Mia naps.", "label": "calm", "entities": [[0, 3, "PER"]]}
    assert read_values(tmp_path, [value, value])[1] == [
        "classes of whole texts under the key 'label', skipped: 2 (the first: line 1)"
    ]
    assert read_values(tmp_path, [value], label_key="entities") == ([MIA], [])
    with pytest.raises(OtherTaskError, match=r"a.jsonl:1: `label`: .*train cls"):
        read_values(tmp_path, [value], label_key="label")
    two = {"text": "Mia naps.", "gold": [[0, 3, "PER"]], "entities": [[4, 8, "ACT"]]}
    assert read_values(tmp_path, [two], label_key="gold")[0] == [MIA]


@pytest.mark.parametrize(
    "value",
    [
        {"id": 1, "data": "Mia naps.", "label": [[0, 3, "PER"]]},
        {"text": "Mia naps.", "ner": [[0, 3, "PER"]], "relations": [[0, 1, "of"]]},
        {"text": "Mia naps.", "tokens": ["Mia", "naps", "."], "entities": [[0, 3, "PER"]]},
        {"text": "Mia naps.", "annotation": "a note", "status": "done", "entities": [[0, 3, "PER"]]},
        {"text": "Mia naps.", "label": [], "gold": [{"start_offset": 0, "end_offset": 3, "label": "PER"}]},
    ],
)  # fmt: skip
def test_other_keys_of_texts_and_spans(tmp_path: Path, value: dict[str, Any]) -> None:
    assert read_values(tmp_path, [value])[0] == [MIA]


def test_other_lists_of_spans_are_counted(tmp_path: Path) -> None:
    value = {"text": "Mia naps.", "label": [[0, 3, "PER"]], "pos": [{"start": 4, "end": 8, "labels": ["VERB"]}]}
    remark = "lists of spans under the key 'pos', skipped (setting data.label_key): 1 (the first: line 1)"
    assert read_values(tmp_path, [value]) == ([MIA], [remark])
    (record,), remarks = read_values(tmp_path, [value], label_key="pos")
    assert (record.spans, remarks) == ([CharSpan(4, 8, "VERB")], [])  # type: ignore[union-attr]
    assert read_values(tmp_path, [{"text": "Mia naps.", "relations": [[0, 1, "of"]]}])[0][0] == TextRecord(
        "Mia naps.", None, 1
    )


GOOD = {"text": "Mia naps.", "spans": [{"start": 0, "end": 3, "label": "PER"}]}


@pytest.mark.parametrize(
    ("span", "kind"),
    [
        ({"start": 2, "end": 2, "label": "PER"}, "empty spans"),
        ({"start": 4, "end": 10, "label": "PER"}, "spans outside their text"),
        ({"start": -1, "end": 3, "label": "PER"}, "spans outside their text"),
        ({"start": 3, "end": 0, "label": "PER"}, "spans outside their text"),
        ({"start": 0, "end": 3, "label": "PER", "text": "Bo"}, "spans whose quoted text is not at their offsets"),
        ({"start": "0", "end": 3, "label": "PER"}, "spans without valid offsets"),
        ({"start": 0, "end": None, "label": "PER"}, "spans without valid offsets"),
        ({"start": 0, "end": 3}, "spans without a label"),
        ({"start": 0, "end": 3, "label": ""}, "spans without a label"),
        ([0, 3], "spans in an unknown form"),
        ("PER", "spans in an unknown form"),
    ],
)
def test_a_bad_span_is_dropped_and_counted(tmp_path: Path, span: Any, kind: str) -> None:
    bad = {"text": "Mia naps.", "spans": [*GOOD["spans"], span]}
    records, remarks = read_values(tmp_path, [GOOD, bad])
    assert [record.spans for record in records if isinstance(record, TextRecord)] == [MIA.spans, MIA.spans]
    assert remarks == [f"{kind}, dropped: 1 (the first: line 2)"]
    with pytest.raises(DataError, match=r"a.jsonl:2: `spans`: "):
        read_values(tmp_path, [GOOD, bad], strict=True)


def test_a_file_with_mostly_bad_spans_is_refused(tmp_path: Path) -> None:
    bad = {"text": "Mia naps.", "spans": [{"start": 0, "end": 30, "label": "PER"}]}
    assert len(read_values(tmp_path, [GOOD, bad])[0]) == 2
    with pytest.raises(DataError, match=r"a.jsonl:2: `spans`: found a span 0..30"):
        read_values(tmp_path, [GOOD, bad, bad])
    path = tmp_path / "b.jsonl"
    path.write_text("\n".join(map(json.dumps, [bad] * 60 + [GOOD] * 1000)))
    with pytest.raises(DataError, match=r"b.jsonl:1: "):
        list(itertools.islice(read(path), 110))


def test_labels_that_are_numbers_are_always_refused(tmp_path: Path) -> None:
    bad = {"text": "Mia naps.", "spans": [*GOOD["spans"], {"start": 0, "end": 3, "label": 4}]}
    with pytest.raises(DataError, match=r"a.jsonl:2: .*number without its name"):
        read_values(tmp_path, [GOOD, bad])
    with pytest.raises(DataError, match=r"a.jsonl:1: .*offsets 'PER' and 0"):
        read_values(tmp_path, [{"text": "Mia naps.", "entities": [["PER", 0, 3]]}])


def test_rejected_objects_are_counted(tmp_path: Path) -> None:
    remarks = read_values(tmp_path, [GOOD, {**GOOD, "answer": "ignore"}])[1]
    assert remarks == ["objects that the annotator did not accept, skipped: 1 (the first: line 2)"]


@pytest.mark.parametrize("kind", ["hypertextlabels", "paragraphlabels", "rectanglelabels"])
def test_labels_of_other_media_are_refused(tmp_path: Path, kind: str) -> None:
    with pytest.raises(DataError, match=rf"a.jsonl:1: .*`{kind}`"):
        read_values(tmp_path, [task({**region(0, 3), "type": kind})])


def test_uima_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a.jsonl:1: found UIMA CAS JSON.*WebAnno TSV"):
        read_values(tmp_path, [{"%TYPES": {}, "%FEATURE_STRUCTURES": []}])
    xmi = '<?xml version="1.0"?>\n<xmi:XMI xmlns:xmi="http://www.omg.org/XMI"/>'
    for name in ("a.xmi", "a.txt", "a"):
        with pytest.raises(DataError, match="UIMA CAS XMI"):
            detect_format(name, xmi)


def test_gliner_keeps_the_longest_of_overlapping_spans(tmp_path: Path) -> None:
    words = ["Bank", "of", "Lund", "fell"]
    value = {"tokenized_text": words, "ner": [[2, 2, "LOC"], [0, 2, "ORG"], [3, 9, "X"], [3, 3, "EVENT"]]}
    (record,), remarks = read_values(tmp_path, [value])
    assert getattr(record, "tags", None) == ["B-ORG", "I-ORG", "I-ORG", "B-EVENT"]
    assert remarks == [
        "spans outside their text, dropped: 1 (the first: line 1)",
        "spans that overlap a longer or earlier span, dropped: 1 (the first: line 1)",
    ]


HEAD = "#FORMAT=WebAnno TSV 3.3\n"


def webanno(folder: Path, layers: str, rows: str, **options: Any) -> tuple[list[Record], list[str]]:
    path = folder / "a.tsv"
    path.write_text(f"{HEAD}{layers}\n\n\n#Text=Mia 😀 naps\n{rows}", encoding="utf-8", newline="")
    return read_path(path, **options)


def test_webanno_layers(tmp_path: Path) -> None:
    two = "#T_SP=a.Lemma|value\n#T_RL=a.Dep|type|BT_a.Lemma\n#T_SP=a.Name|id|value\n"
    rows = "1-1\t0-3\tMia\tmia\t_\t_\t_\tPER\t\n1-2\t4-6\t😀\tx\t_\t_\t_\t_\t\n1-3\t7-11\tnaps\tnap\t_\t_\t_\tACT|X\t\n"
    with pytest.raises(DataError, match=r"layers a.Lemma, a.Name; name one \(setting data.label_key\)"):
        webanno(tmp_path, two, rows)
    for name in ("Name", "a.Name"):
        (record,), _ = webanno(tmp_path, two, rows, label_key=name)
        assert record.spans == [CharSpan(0, 3, "PER"), CharSpan(6, 10, "ACT"), CharSpan(6, 10, "X")]  # type: ignore[union-attr]
    with pytest.raises(DataError, match=r"no span layer 'Nam' \(layers: a.Lemma, a.Name\)"):
        webanno(tmp_path, two, rows, label_key="Nam")
    with pytest.raises(DataError, match=r"features kind, role of the layer a.Name"):
        webanno(tmp_path, "#T_SP=a.Name|kind|role", "1-1\t0-3\tMia\tx\ty\t\n")
    (record,), _ = webanno(tmp_path, "#T_SP=a.Name|", "1-1\t0-3\tMia\t*\t\n")
    assert record == TextRecord("Mia 😀 naps", [CharSpan(0, 3, "Name")], 5)
    assert webanno(tmp_path, "", "1-1\t0-3\tMia\t\n")[0] == [TextRecord("Mia 😀 naps", None, 5)]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("1-1\t0-3\n", ":6: found '1-1.t0-3', expected"),
        ("1-1\t0\tMia\tX\t\n", ":6: found '1-1.t0"),
        ("1-1\t0-3\tMia\n", ":6: found 3 columns"),
        ("1-1\t0-3\tBo\tX\t\n", ":5: found the token 'Bo', which `#Text=` does not begin with"),
        ("1-1\t0-3\tMia\tX\t\n#Text=x\n", ":7: found `#Text=` after tokens"),
        ("1-1\t0-3\tMia\t*\t\n", ":6: found a span without a value"),
    ],
)
def test_damaged_webanno_is_refused_with_its_line(tmp_path: Path, rows: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        webanno(tmp_path, "#T_SP=a.Name|value", rows)


def test_webanno_spans_over_sentences_and_within_tokens(tmp_path: Path) -> None:
    rows = "1-1\t0-3\tMia\t_\t\n1-1.1\t1-3\tia\tPART\t\n1-2\t7-11\tnaps\tACT[4]\t\n"
    rows += "\n#Text=Bo.\n2-1\t12-14\tBo\tACT[4]\t\n"
    records, remarks = webanno(tmp_path, "#T_SP=a.Name|value", rows)
    assert [record.spans for record in records if isinstance(record, TextRecord)] == [
        [CharSpan(1, 3, "PART"), CharSpan(6, 10, "ACT")],
        [CharSpan(0, 2, "ACT")],
    ]
    assert remarks == ["spans over a sentence end, split into one for each sentence: 1 (the first: line 11)"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("text,ner\na,b,c\n", r"a.csv:2: found 3 cells, expected 2"),
        ("text,ner\na,calm\n", "no cell with labeled spans.*train cls"),
        ("text,ner\na,\n", "no cell with labeled spans"),
        ('text,ner\n"a,b\n', r"isn't closed"),
    ],
)
def test_csv_that_is_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        list(read(path, "span_table"))


def test_csv_of_label_studio(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(
        "Note,id,ner,annotation_id,created_at\n"
        '"Mia\nnaps.",1,"[{""start"": 0, ""end"": 3, ""text"": ""Mia"", ""labels"": [""PER"", ""CAT""]}]",5,2024-1-2\n'
        "Bo eats.,2,,6,2024-01-02\n"
        "Cy ran.,3,\"[{'start': 0, 'end': 2, 'text': 'Cy', 'labels': ['PER']}]\",7,2024-01-02\n"
    )
    records, remarks = read_path(path)
    assert records == [
        TextRecord("Mia\nnaps.", [CharSpan(0, 3, "PER"), CharSpan(0, 3, "CAT")], 2),
        TextRecord("Bo eats.", [], 4),
        TextRecord("Cy ran.", [CharSpan(0, 2, "PER")], 5),
    ]
    assert remarks == ["text: the key 'Note' (setting data.text_key)"]
    assert [record.text for record in read_path(path, labels=False)[0]] == ["Mia\nnaps.", "Bo eats.", "Cy ran."]
