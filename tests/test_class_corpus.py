"""What one pass over texts with classes tells, against brute force; and the texts that are held out as dev."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median_low

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlp_app.class_corpus import Account, HoldOut, Texts, account, hold_out, is_empty, text_hash
from nlp_app.errors import DataError
from nlp_app.formats.classes import open_classes
from nlp_app.types import ClassRecord

few_texts = st.one_of(st.sampled_from(["", " ", "a", "b", "a ", "中", "a\x00b", "\ud800"]), st.text(max_size=3))
label_sets = st.one_of(
    st.none(), st.lists(st.sampled_from(["x", "y", "z"]), max_size=2, unique=True).map(lambda each: tuple(sorted(each)))
)
records = st.lists(st.tuples(few_texts, label_sets), max_size=25).map(
    lambda pairs: [ClassRecord(text, labels, line) for line, (text, labels) in enumerate(pairs, 2)]
)


def accounted(found: Iterable[ClassRecord]) -> Account:
    taken = Account("some.csv")
    for record in found:
        taken.add(record)
    return taken


@given(records)
def test_an_account_by_brute_force(rows: list[ClassRecord]) -> None:
    found = accounted(rows)
    texts = [row.text for row in rows]
    labelled = [row for row in rows if row.labels is not None]
    assert (found.texts, found.characters) == (len(rows), sum(map(len, texts)))
    empty, unlabelled = ([r.line for r in rows if not r.text.strip()], [r.line for r in rows if r.labels is None])
    assert found.empty == [len(empty), min(empty, default=0)]
    assert found.unlabelled == [len(unlabelled), min(unlabelled, default=0)]
    assert found.labels == Counter(label for row in labelled for label in row.labels or ())
    assert found.counts == Counter(len(row.labels or ()) for row in labelled)
    assert found.several_at == next((row.line for row in labelled if len(row.labels or ()) > 1), 0)
    assert found.first_line == {
        label: next(row.line for row in labelled if label in (row.labels or ())) for label in found.labels
    }
    assert found.duplicates == len(texts) - len(set(texts))
    answers: dict[str, set[tuple[str, ...]]] = {}
    for row in labelled:
        answers.setdefault(row.text, set()).add(row.labels or ())
    assert found.contradictions == sum(len(each) > 1 for each in answers.values())


@given(records, records)
def test_shared_texts_by_brute_force(rows: list[ClassRecord], others: list[ClassRecord]) -> None:
    known = {row.text for row in others}
    assert accounted(rows).shared(np.unique(accounted(others).hashes)) == sum(row.text in known for row in rows)


@given(st.lists(st.text(max_size=30), min_size=1, max_size=40))
def test_lengths(texts: list[str]) -> None:
    figures = accounted(ClassRecord(text, ("x",), 1) for text in texts).length_figures()
    lengths = sorted(map(len, texts))
    assert (figures["min"], figures["max"]) == (lengths[0], lengths[-1])
    assert figures["median"] == median_low(lengths)
    assert figures["mean"] == round(sum(lengths) / len(lengths), 1)
    assert sum(length <= figures["p95"] for length in lengths) >= 0.95 * len(lengths)
    assert sum(length < figures["p95"] for length in lengths) < 0.95 * len(lengths)


def test_nothing() -> None:
    found = accounted([])
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


def held_and_left(texts: Texts, chosen: HoldOut) -> tuple[list[ClassRecord], list[ClassRecord]]:
    held, left = (list(Texts(texts.file, texts.multi_label, chosen, held=side)) for side in (True, False))
    assert sorted(held + left, key=lambda row: row.line) == list(texts)  # all of them, once
    return held, left


@settings(max_examples=80)
@given(
    st.lists(
        st.tuples(st.integers(0, 15), st.lists(st.sampled_from("wxyz"), max_size=2, unique=True)),
        min_size=2,
        max_size=30,
    ),
    st.sampled_from([0.05, 0.2, 0.5, 0.9]),
    st.integers(0, 5),
    st.sampled_from([1, 3, 1000]),
    st.booleans(),
)
def test_hold_out(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[int, list[str]]],
    share: float,
    seed: int,
    most: int,
    multi_label: bool,
) -> None:
    path = tmp_path_factory.mktemp("held") / "a.jsonl"
    marked = [(f"text {number}", labels if multi_label else (labels or ["w"])[0]) for number, labels in rows]
    texts = Texts(open_classes(write(path, [("first", ["x"] if multi_label else "x"), *marked])), multi_label)
    try:
        chosen = hold_out(texts, share, most, seed)
    except DataError as error:
        said = str(error)
    else:
        said = ""
        held, left = held_and_left(texts, chosen)
        different = {row.text for row in texts}
        assert held
        assert left
        assert {row.text for row in held}.isdisjoint(row.text for row in left)  # equal texts on one side
        assert {label for row in left for label in row.labels or ()} == {
            label for row in texts for label in row.labels or ()
        }
        assert len({row.text for row in held}) <= min(most, max(1, round(share * len(different))), len(different) - 1)
        assert held_and_left(texts, hold_out(texts, share, most, seed)) == (held, left)
    assert "\n" not in said
    assert not said or "hold" in said


def test_hold_out_takes_its_share_and_another_with_another_seed(tmp_path: Path) -> None:
    rows = [(f"text {number}", "xyz"[number % 3]) for number in range(1000)]
    texts = Texts(open_classes(write(tmp_path / "a.jsonl", rows)), False)
    sides = []
    for seed in (1, 2, (1 << 63) - 1):
        for share, wanted in ((0.1, 100), (0.25, 250)):
            held, _ = held_and_left(texts, hold_out(texts, share, 10_000, seed))
            assert len(held) == wanted
        assert len(held_and_left(texts, hold_out(texts, 0.5, 20, seed))[0]) == 20
        sides.append({row.text for row in held})
    assert len(set(map(frozenset, sides))) == 3
    assert len(sides[0] & sides[1]) < 100  # 62.5 by chance


def test_a_class_seen_once_stays_in_training(tmp_path: Path) -> None:
    rows = [(f"text {number}", "xy"[number % 2]) for number in range(50)]
    rows += [(f"only {number}", f"once {number}") for number in range(20)]
    texts = Texts(open_classes(write(tmp_path / "a.jsonl", rows)), False)
    for seed in range(10):
        held, left = held_and_left(texts, hold_out(texts, 0.4, 1000, seed))
        assert {label for row in left for label in row.labels or ()} == {label for _, label in rows}
        assert not any(row.text.startswith("only") for row in held)


def test_equal_texts_with_several_answers_stay_on_one_side(tmp_path: Path) -> None:
    """Although one of the answers is the only text of its class, and stays in training."""
    rows = [(f"text {number}", "x") for number in range(20) for _ in range(2)]
    rows += [(f"text {number}", f"once {number}") for number in range(0, 20, 3)]
    texts = Texts(open_classes(write(tmp_path / "a.jsonl", rows)), False)
    for seed in range(10):
        held, left = held_and_left(texts, hold_out(texts, 0.5, 1000, seed))
        assert {row.text for row in held}.isdisjoint(row.text for row in left)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([("same", "x"), ("same", "y")], "found too few different texts"),
        ([("one", "x"), ("two", "y")], "without losing a class"),
        ([("", "x"), (" ", "y")], "found no text with a label"),
    ],
)
def test_nothing_to_hold_out(tmp_path: Path, rows: list[tuple[str, str]], said: str) -> None:
    texts = Texts(open_classes(write(tmp_path / "a.jsonl", rows)), False)
    with pytest.raises(DataError, match=said) as caught:
        hold_out(texts, 0.5, 1000, 0)
    assert str(caught.value).startswith(str(tmp_path / "a.jsonl"))
    assert "\n" not in str(caught.value)


def test_texts_are_those_that_can_be_learned_from(tmp_path: Path) -> None:
    rows = [("a", ["x"]), ("", ["x"]), (" ", ["y"]), ("b", None), ("c", []), ("d", ["x", "y"]), ("a", ["x"])]
    file = open_classes(write(tmp_path / "a.jsonl", rows))
    assert [row.text for row in Texts(file, True)] == ["a", "c", "d", "a"]
    assert [row.text for row in Texts(file, False)] == ["a", "a"]
    found = account(file)
    assert (found.texts, found.empty[0], found.unlabelled[0]) == (7, 2, 1)
    shown = account(file, progress=list(file))
    assert (shown.hashes.tolist(), shown.labels) == (found.hashes.tolist(), found.labels)
