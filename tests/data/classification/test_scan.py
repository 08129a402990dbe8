"""Scans of labeled texts, compared to brute force."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median_low

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nlp_app.core.hashing import is_empty, text_hash
from nlp_app.core.types import ClassRecord
from nlp_app.data.classification.scan import FileScan, LabeledTexts, scan_file
from nlp_app.formats.classification import open_classes

few_texts = st.one_of(st.sampled_from(["", " ", "a", "b", "a ", "中", "a\x00b", "\ud800"]), st.text(max_size=3))
label_sets = st.one_of(
    st.none(), st.lists(st.sampled_from(["x", "y", "z"]), max_size=2, unique=True).map(lambda each: tuple(sorted(each)))
)
records = st.lists(st.tuples(few_texts, label_sets), max_size=25).map(
    lambda pairs: [ClassRecord(text, labels, line) for line, (text, labels) in enumerate(pairs, 2)]
)


def scan(rows: Iterable[ClassRecord]) -> FileScan:
    result = FileScan("some.csv")
    for record in rows:
        result.add(record)
    return result


@given(records)
def test_scan_equals_brute_force(rows: list[ClassRecord]) -> None:
    found = scan(rows)
    texts = [row.text for row in rows]
    labeled = [row for row in rows if row.labels is not None]
    assert (found.texts, found.characters) == (len(rows), sum(map(len, texts)))
    empty, unlabeled = ([r.line for r in rows if not r.text.strip()], [r.line for r in rows if r.labels is None])
    assert found.empty == [len(empty), min(empty, default=0)]
    assert found.unlabeled == [len(unlabeled), min(unlabeled, default=0)]
    assert found.labels == Counter(label for row in labeled for label in row.labels or ())
    assert found.counts == Counter(len(row.labels or ()) for row in labeled)
    assert found.several_at == next((row.line for row in labeled if len(row.labels or ()) > 1), 0)
    assert found.first_line == {
        label: next(row.line for row in labeled if label in (row.labels or ())) for label in found.labels
    }
    assert found.duplicates == len(texts) - len(set(texts))
    answers: dict[str, set[tuple[str, ...]]] = {}
    for row in labeled:
        answers.setdefault(row.text, set()).add(row.labels or ())
    assert found.contradictions == sum(len(each) > 1 for each in answers.values())


@given(records, records)
def test_shared_texts_equal_brute_force(rows: list[ClassRecord], others: list[ClassRecord]) -> None:
    known = {row.text for row in others}
    assert scan(rows).shared(np.unique(scan(others).hashes)) == sum(row.text in known for row in rows)


@given(st.lists(st.text(max_size=30), min_size=1, max_size=40))
def test_lengths(texts: list[str]) -> None:
    figures = scan(ClassRecord(text, ("x",), 1) for text in texts).length_figures()
    lengths = sorted(map(len, texts))
    assert (figures["min"], figures["max"]) == (lengths[0], lengths[-1])
    assert figures["median"] == median_low(lengths)
    assert figures["mean"] == round(sum(lengths) / len(lengths), 1)
    assert sum(length <= figures["p95"] for length in lengths) >= 0.95 * len(lengths)
    assert sum(length < figures["p95"] for length in lengths) < 0.95 * len(lengths)


def test_scan_without_texts() -> None:
    found = scan([])
    assert (found.duplicates, found.contradictions, found.shared(np.zeros(0, dtype=np.uint64))) == (0, 0, 0)
    assert found.length_figures() == {"min": 0, "median": 0, "mean": 0.0, "p95": 0, "max": 0}


def test_empty_texts_and_hashes() -> None:
    assert all(map(is_empty, ("", " ", "\n\t", "\u3000", "\x1f")))
    assert not any(map(is_empty, ("a", " a ", "\u200b", "\x00")))
    assert text_hash("a") == text_hash("a") != text_hash("a", 1) != text_hash("b", 1)
    assert 0 <= text_hash("\ud800") < 1 << 64


def write(path: Path, rows: Iterable[tuple[str, Sequence[str] | str | None]]) -> Path:
    path.write_text("".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows))
    return path


def test_unusable_texts_are_skipped(tmp_path: Path) -> None:
    rows = [("a", ["x"]), ("", ["x"]), (" ", ["y"]), ("b", None), ("c", []), ("d", ["x", "y"]), ("a", ["x"])]
    file = open_classes(write(tmp_path / "a.jsonl", rows))
    assert [row.text for row in LabeledTexts(file, True)] == ["a", "c", "d", "a"]
    assert [row.text for row in LabeledTexts(file, False)] == ["a", "a"]
    found = scan_file(file)
    assert (found.texts, found.empty[0], found.unlabeled[0]) == (7, 2, 1)
    shown = scan_file(file, progress=list(file))
    assert (shown.hashes.tolist(), shown.labels) == (found.hashes.tolist(), found.labels)
