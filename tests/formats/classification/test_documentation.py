"""The examples of texts with classes in the documentation are read as documented."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nlp_app.formats.classification import CLASS_FORMATS, ClassReadOptions, open_classes, read_class_lines

DOCUMENT = Path(__file__).parents[3] / "docs/formats.md"
SECTION = DOCUMENT.read_text(encoding="utf-8").split("## Text classification\n")[1].split("\n## ")[0]
EXAMPLES = re.findall(r"^```(\w+)\n(.*?)^```$", SECTION, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(("name", "text"), EXAMPLES, ids=[f"{kind}-{n}" for n, (kind, _) in enumerate(EXAMPLES)])
def test_examples_are_recognized_and_read(tmp_path: Path, name: str, text: str) -> None:
    records = read_class_lines(text.splitlines(), "example", text, ClassReadOptions())
    assert records.format == name.replace("json", "jsonl")
    assert all(record.text and record.labels for record in records)
    assert not records.repairs
    path = tmp_path / "example.txt"
    path.write_text(text, encoding="utf-8")
    assert open_classes(path).format == records.format


def test_the_table_of_formats() -> None:
    assert tuple(re.findall(r"^\| `(\w+)` \|", SECTION, re.MULTILINE)) == CLASS_FORMATS
