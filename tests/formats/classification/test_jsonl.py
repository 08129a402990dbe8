"""JSON with classes: the shapes of annotation tools and datasets, each kind of value, and invalid files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nlp_app.core.errors import DataError
from nlp_app.formats.classification import ClassFile, ClassReadOptions, open_classes


def opened(folder: Path, values: list[Any], options: ClassReadOptions | None = None) -> ClassFile:
    path = folder / "a.jsonl"
    path.write_text("".join(json.dumps(value) + "\n" for value in values))
    return open_classes(path, options or ClassReadOptions())


def task(*choices: list[str], **more: Any) -> dict[str, Any]:
    annotations = [
        {"result": [{"type": "choices", "from_name": "mood", "to_name": "t", "value": {"choices": chosen}}]}
        for chosen in choices
    ]
    return {"data": {"reviewText": "the text", "reviewer": "Jo"}, "annotations": annotations, **more}


@pytest.mark.parametrize(
    ("value", "labels"),
    [
        ({"label": "x"}, ("x",)),
        ({"label": " x "}, ("x",)),
        ({"label": ["x"]}, ("x",)),
        ({"labels": ["x", "y", "x"]}, ("x", "y")),
        ({"labels": []}, ()),
        ({"label": None}, None),
        ({"label": ""}, None),
        ({"label": 3}, ("3",)),
        ({"label": "03"}, ("03",)),
        ({"label": [1, 2]}, ("1", "2")),
        ({"label": True}, ("true",)),
        ({"label": False}, ("false",)),
        ({"label": 0.5}, ("0.5",)),
        ({"intent": "x", "id": 7}, ("x",)),
        ({"label": "x", "label_text": "y", "score": 0.9}, ("x",)),
        ({"cats": {"x": 0.0, "y": 1.0, "z": 0.5}}, ("y", "z")),
        ({"cats": {"x": 0.0}}, ()),
        ({"cats": {"x": True, "y": False}}, ("x",)),
        ({"options": [{"id": "x"}, {"id": "y"}], "accept": ["y"], "answer": "accept"}, ("y",)),
        ({"accept": [], "answer": "accept"}, ()),
        ({"annotations": [{"label": 15, "user": 1}], "meta": {}}, ("15",)),
        ({"annotations": [{"label": 1, "user": 1}, {"label": 1, "user": 2}]}, ("1",)),
        ({"mood": {"choices": ["x", "y"]}, "sentiment": {"choices": ["x", "y"]}}, ("x", "y")),
    ],
)
def test_shapes(tmp_path: Path, value: dict[str, Any], labels: tuple[str, ...] | None) -> None:
    file = opened(tmp_path, [{"text": "the text", **value}])
    assert [tuple(record) for record in file] == [("the text", labels, 1)]
    assert [repair.what for repair in file.repairs] == (["records without a label"] if labels is None else [])
    assert list(open_classes(file.path, file.options)) == list(file)


def test_label_studio(tmp_path: Path) -> None:
    values = [task(["x"]), task(["x", "y"]), task(["x"], ["x"]), task()]
    file = opened(tmp_path, values)
    assert [(record.text, record.labels) for record in file] == [
        ("the text", ("x",)), ("the text", ("x", "y")), ("the text", ("x",)), ("the text", None),
    ]  # fmt: skip
    assert file.options.text_columns == ("data.reviewText",)
    assert file.options.label_columns == ("mood",)
    with pytest.raises(DataError, match=r"a.jsonl:1: found 2 annotations that differ"):
        list(opened(tmp_path, [task(["x"], ["y"])]))
    truth = task(["x"], ["y"])
    truth["annotations"][1]["ground_truth"] = True
    assert [record.labels for record in opened(tmp_path, [truth])] == [("y",)]
    with pytest.raises(DataError, match=r"a.jsonl: found model predictions and no annotation"):
        list(opened(tmp_path, [task(predictions=[{"result": []}])]))
    assert [r.text for r in opened(tmp_path, [task(predictions=[{}])], ClassReadOptions(labels=False))] == ["the text"]


def test_label_studio_without_annotations(tmp_path: Path) -> None:
    canceled = task(["y"])
    canceled["annotations"][0]["was_cancelled"] = True
    spans = task()
    spans["annotations"] = [{"result": [{"type": "labels", "value": {"start": 0, "end": 3, "labels": ["Z"]}}]}]
    file = opened(tmp_path, [task(["x"]), canceled, spans, task(predictions=[{"result": []}])])
    assert [record.labels for record in file] == [("x",), None, None, None]
    assert [(repair.what, repair.count) for repair in file.repairs] == [("records without a label", 3)]
    with pytest.raises(DataError, match=r"a.jsonl: found no task with a finished annotation"):
        opened(tmp_path, [canceled, task()])
    with pytest.raises(DataError, match="found labeled spans"):
        list(opened(tmp_path, [spans]))


def test_label_studio_with_several_questions(tmp_path: Path) -> None:
    two = task(["x"])
    two["annotations"][0]["result"].append({"type": "choices", "from_name": "topic", "value": {"choices": ["z"]}})
    with pytest.raises(DataError, match="several kinds of choices: mood, topic"):
        opened(tmp_path, [two])
    assert [record.labels for record in opened(tmp_path, [two], ClassReadOptions(label_columns=("topic",)))] == [("z",)]
    stars = {"data": {"text": "a", "stars": 4}, "annotations": []}
    assert [r.labels for r in opened(tmp_path, [stars], ClassReadOptions(label_columns=("data.stars",)))] == [("4",)]


def test_rejected_objects_are_skipped_and_counted(tmp_path: Path) -> None:
    values = [{"text": answer, "label": "x", "answer": answer} for answer in ("accept", "reject", "ignore")]
    file = opened(tmp_path, values)
    assert [record.text for record in file] == ["accept"]
    (repair,) = file.repairs
    assert (repair.count, repair.line) == (2, 2)
    assert len(list(opened(tmp_path, values, ClassReadOptions(labels=False)))) == 3
    questions = [{"question": "who ?", "answer": "Ada", "label": "x"}]
    assert [record.text for record in opened(tmp_path, questions)] == ["who ?"]


def test_documents(tmp_path: Path) -> None:
    values = [{"text": "one", "label": ["x"]}, {"label": ["y"]}, {"text": "three"}]
    for text in (json.dumps(values, indent=2), "\n".join(json.dumps(value, indent=2) for value in values)):
        path = tmp_path / "a.json"
        path.write_text(text)
        file = open_classes(path)
        assert [(record.text, record.labels) for record in file] == [("one", ("x",)), ("", ("y",)), ("three", None)]
        assert [repair.what for repair in file.repairs] == ["records without a text", "records without a label"]


def test_named_keys(tmp_path: Path) -> None:
    values = [{"title": "A", "body": "b", "meta": {"kind": 4}, "on": 1, "off": 0}]
    options = ClassReadOptions(text_columns=("title", "body"), label_columns=("meta.kind",))
    with pytest.raises(DataError, match=r"no key 'meta.kind', only title, body, meta, on, off.*--label-column"):
        opened(tmp_path, values, options)
    switches = ClassReadOptions(text_columns=("title", "body"), label_columns=("on", "off"))
    assert [tuple(record) for record in opened(tmp_path, values, switches)] == [("A b", ("on",), 1)]
    with pytest.raises(DataError, match=r"no key 'titel'.*did you mean 'title'"):
        opened(tmp_path, values, ClassReadOptions(text_columns=("titel",)))


def test_cells_with_several_labels(tmp_path: Path) -> None:
    file = opened(tmp_path, [{"text": "a", "label": "x; y"}], ClassReadOptions(label_separator=";"))
    assert [record.labels for record in file] == [("x", "y")]


def test_texts_alone(tmp_path: Path) -> None:
    file = opened(tmp_path, [{"text": "a"}, {"text": "b"}])
    assert [record.labels for record in file] == [None, None]
    assert not file.repairs
    with pytest.raises(DataError, match=r"a.jsonl:1501: found `label`, which the first objects lack"):
        list(opened(tmp_path, [{"text": "a"}] * 1500 + [{"text": "b", "label": "x"}]))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"text": 3, "title": "x", "label": "x"}, "expected a string"),
        ({"text": "a", "label": ["x", None]}, "an empty label in a list"),
        ({"text": "a", "label": [["x"]]}, "found a list, expected a label"),
        ({"text": "a", "cats": {"x": "yes"}}, "found 'yes' for 'x', expected a number from 0 to 1"),
        ({"text": "a", "annotations": [{"label": 1, "user": 1}, {"label": 2, "user": 2}]}, "2 users that differ"),
        ({"one": "a", "two": "b"}, "can't tell which key is the text: found one, two"),
        ({"text": "a", "coarse_label": "b", "fine_label": "c"}, "can't tell which key is the label"),
        (["text"], "found a list, expected an object|found a string"),
    ],
)
def test_invalid_objects(tmp_path: Path, value: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        list(opened(tmp_path, [value], ClassReadOptions(text_columns=("text",)) if "title" in value else None))


def test_bad_json_is_reported_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a", "label": "x"}\n{"text": "b" "label"}\n')
    with pytest.raises(DataError, match=r"a.jsonl:2: bad JSON"):
        list(open_classes(path))
