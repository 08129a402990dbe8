"""Rows of tables to classify, read in runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from nlp_app.formats.classification import ClassReadOptions
from nlp_app.formats.io.streams import open_input
from nlp_app.inference.files.classification_input import detect_layout


@pytest.mark.parametrize(
    ("text", "options", "texts"),
    [
        (
            'sep=,\ntext,label\n"late, again",x\n' + "no call,y\n" * 600 + "a,b,c,d\nthe end,y\n",
            ClassReadOptions(labels=False),
            ["late, again", *["no call"] * 600, None, "the end"],
        ),
        (
            "x;'late; and\nslow; too'\n" + "x;no call\n" * 300 + "y;'never closed\nx;the end\n",
            ClassReadOptions(labels=False, quote_character="'"),
            ["late; and\nslow; too", *["no call"] * 300, None, "the end"],
        ),
    ],
)
def test_rows_of_unusual_tables(tmp_path: Path, text: str, options: ClassReadOptions, texts: list[str | None]) -> None:
    path = tmp_path / "a.csv"
    path.write_text(text)
    with open_input(str(path)) as stream:
        source = detect_layout(stream, str(path), options, lambda opener: opener(options))
    items = list(source.items(iter(text.split("\n")[:-1])))
    assert [item.get("text") for item in items] == texts
    assert not source.ledger.repairs()
