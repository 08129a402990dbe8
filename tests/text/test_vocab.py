"""Vocabularies: rows, order, and the text file they are kept in."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlp_app.core.errors import ModelError
from nlp_app.text.vocab import PADDING, UNKNOWN, Vocabulary


def test_rows_go_by_count_then_code_point() -> None:
    vocabulary = Vocabulary.build({"b": 2, "a": 2, "c": 5, "rare": 1}, min_count=2)
    assert vocabulary.symbols == ["c", "a", "b"]
    assert vocabulary.rows(["c", "a", "b", "rare"]).tolist() == [2, 3, 4, UNKNOWN]
    assert len(vocabulary) == 5
    assert PADDING not in vocabulary.rows(["c", "x"])


@given(st.dictionaries(st.text(), st.integers(1, 3)))
def test_the_file_gives_back_every_symbol(tmp_path_factory: pytest.TempPathFactory, counts: dict[str, int]) -> None:
    path = tmp_path_factory.mktemp("vocab") / "v.txt"
    before = Vocabulary.build(counts)
    before.save(path)
    assert Vocabulary.load(path).symbols == before.symbols
    assert path.read_bytes().count(b"\n") == len(before.symbols)


def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "v.txt"
    path.write_text("a\na\n", encoding="utf-8")
    with pytest.raises(ModelError, match="distinct"):
        Vocabulary.load(path)
    with pytest.raises(ModelError, match="no readable vocabulary"):
        Vocabulary.load(tmp_path / "missing.txt")
