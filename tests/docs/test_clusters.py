"""The recipes of docs/clusters.md, run as they stand there."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from conftest import Small
from documents import blocks
from small_classifiers import classifier_parts

import nlp_app
from nlp_app.inference import Classifier, Tagger

pandas = pytest.importorskip("pandas")

RECIPES = Path(__file__).parents[2] / "docs/clusters.md"
TEXTS = ["Anna lives in Rome", None, "", "张伟在北京工作 😀", "Google hired Anna", None]


def recipe(kind: str) -> dict[str, Any]:
    """The names that the recipe's code defines."""
    (code,) = [block.text for block in blocks(RECIPES, "python") if block.info == f"python {kind}"]
    names: dict[str, Any] = {}
    exec(compile(code, RECIPES.name, "exec"), names)  # noqa: S102
    return names


def expected_spans(tagger: Tagger) -> list[list[dict[str, Any]] | None]:
    known = iter(tagger.tag([text for text in TEXTS if text is not None]))
    return [None if text is None else [asdict(span) for span in next(known)] for text in TEXTS]


def plain(values: Any) -> list[Any]:
    return [value if isinstance(value, list) else None for value in values]


@pytest.mark.parametrize("index", [None, [7, 3, 9, 1, 5, 0]])
def test_pandas(tagger: Tagger, index: list[int] | None) -> None:
    table = pandas.DataFrame({"text": TEXTS}, index=index)
    expected = expected_spans(tagger)
    assert any(expected)
    found = recipe("pandas")["tagged"](table, tagger)
    assert list(table.columns) == ["text"]
    assert plain(found["spans"]) == expected
    assert [span is None for span in found["spans"]] == [text is None for text in TEXTS]
    classifier = Classifier(classifier_parts())
    classes = recipe("pandas")["classified"](table, classifier)
    best = iter(classifier.classify([text for text in TEXTS if text is not None], top_k=1))
    for text, label, score in zip(TEXTS, classes["label"], classes["score"], strict=True):
        if text is None:
            assert label is None
            assert pandas.isna(score)
        else:
            (one,) = next(best)
            assert (label, score) == (one.label, one.score)


def test_pandas_without_any_text(tagger: Tagger) -> None:
    names = recipe("pandas")
    for texts in ([], [None, None]):
        table = pandas.DataFrame({"text": pandas.Series(texts, dtype=object)})
        assert plain(names["tagged"](table, tagger)["spans"]) == [None] * len(texts)
        assert len(names["classified"](table, Classifier(classifier_parts()))) == len(texts)


def test_spark(small: Small) -> None:
    """The function that `mapInPandas` calls, on an iterator of tables as Spark gives it."""
    names = recipe("spark")
    names["MODEL"] = str(small.run)
    tables = [pandas.DataFrame({"id": [number], "text": [text]}) for number, text in enumerate(TEXTS)]
    tables.append(pandas.DataFrame({"id": range(len(TEXTS)), "text": TEXTS, "more": 1}))
    found = list(names["tag_partition"](iter(tables)))
    tagger = nlp_app.load(small.run)
    assert isinstance(tagger, Tagger)
    assert plain(found[-1]["spans"]) == expected_spans(tagger)
    assert [plain(table["spans"]) for table in found[:-1]] == [
        [None if text is None else [asdict(span) for span in tagger.tag(text)]] for text in TEXTS
    ]
    columns = [part.split()[0] for part in names["SCHEMA"].split("<")[0].split(", ")]
    assert all(list(table.columns) == columns for table in found)
    assert names["model"].cache_info().misses == 1
