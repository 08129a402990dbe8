"""The tagger's encoder, against features spelled out as strings."""

from __future__ import annotations

import copy
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nlp_app.features.encoder import TaggingEncoder, hide_singletons
from nlp_app.features.forms import COLUMNS, FORM, NORM, PREFIXES, SHAPE, SUFFIXES, FormTable, affixes, shape
from nlp_app.features.keys import NO_KEY, FeatureIndex
from nlp_app.features.windows import WINDOW_TEMPLATES, window_keys
from nlp_app.vocab import UNKNOWN, Vocabulary

words = st.sampled_from(["Paris", "paris", "Rio", "running", "runner", "x", "2019", "北", "京", "iPhone-15", "!"])
corpora = st.lists(st.lists(words, min_size=1, max_size=6), min_size=1, max_size=8)


def described(form: str) -> dict[int, str]:
    """What each column of a form says, as a string; no entry where a form has no such affix."""
    prefixes, suffixes = affixes(form.lower())
    columns = {FORM: form, NORM: form.lower(), SHAPE: shape(form)}
    columns |= dict(zip(PREFIXES, prefixes, strict=False)) | dict(zip(SUFFIXES, suffixes, strict=False))
    return columns


def spelled(sentence: Sequence[str], place: int) -> list[str | None]:
    """Every template's feature at a token as a string, None where there is none."""
    features: list[str | None] = []
    for number, template in enumerate(WINDOW_TEMPLATES):
        parts: list[str] = [str(number)]
        for column, offset in template:
            at = place + offset
            value = described(sentence[at]).get(column) if 0 <= at < len(sentence) else "<outside>"
            parts.append("<none>" if value is None else value)
        features.append(None if "<none>" in parts else "|".join(parts))
    return features


@given(corpora, corpora)
@settings(max_examples=60)
def test_rows_are_those_of_the_spelled_features(train: list[list[str]], other: list[list[str]]) -> None:
    encoder = TaggingEncoder.fit(train, str.lower)
    known: dict[int, str] = {}
    flat = [feature for sentence in train for place in range(len(sentence)) for feature in spelled(sentence, place)]
    rows = encoder.encode(train).arrays["features"].ravel().tolist()
    assert len(flat) == len(rows)
    for feature, row in zip(flat, rows, strict=True):
        assert (row == 0) == (feature is None)
        if feature is not None:
            assert known.setdefault(row, feature) == feature
    assert len(known) == len({feature for feature in flat if feature}) == len(encoder.index) - 1
    flat = [feature for sentence in other for place in range(len(sentence)) for feature in spelled(sentence, place)]
    for feature, row in zip(flat, encoder.encode(other).arrays["features"].ravel().tolist(), strict=True):
        assert known.get(row) == (feature if feature in known.values() else None)


@given(corpora)
@settings(max_examples=30)
def test_parts_are_features_seen_twice(train: list[list[str]]) -> None:
    encoder = TaggingEncoder.fit(train, str.lower)
    columns = encoder.encode(train)
    counts = Counter(columns.arrays["parts"].ravel().tolist())
    del counts[0]
    assert set(counts) == set(range(1, encoder.sizes["parts"]))
    assert all(count >= 2 for count in counts.values())


@given(
    st.lists(st.integers(1, 2**64 - 1), unique=True, max_size=200),
    st.lists(st.integers(1, 2**64 - 1), max_size=50),
)
def test_the_index_finds_what_it_has(known: list[int], others: list[int]) -> None:
    index = FeatureIndex.build(np.array(known, dtype=np.uint64))
    expected = {key: row for row, key in enumerate(sorted(known), start=1)}
    asked = np.array([*known, *others, 0, 2**64 - 1], dtype=np.uint64)
    assert index.rows(asked).tolist() == [expected.get(key, 0) for key in asked.tolist()]


def test_the_index_finds_keys_that_crowd_one_bucket() -> None:
    keys = np.arange(1, 400, dtype=np.uint64)
    assert FeatureIndex(keys).rows(keys[::-1].reshape(3, 133)).ravel().tolist() == list(range(399, 0, -1))


def test_a_template_looks_no_farther_than_its_sentence() -> None:
    ids = np.full((4, COLUMNS), 5, dtype=np.int32)
    joined, apart = window_keys(ids, [4]), window_keys(ids, [2, 2])
    assert not np.array_equal(joined, apart)
    assert np.array_equal(apart[:2], apart[2:])
    assert np.array_equal(window_keys(ids[:2], [2]), apart[:2])


def test_unknown_parts_make_no_feature() -> None:
    ids = np.full((1, COLUMNS), 5, dtype=np.int32)
    ids[0, NORM] = UNKNOWN
    keys = window_keys(ids, [1])[0]
    for key, template in zip(keys, WINDOW_TEMPLATES, strict=True):
        assert (key == NO_KEY) == ((NORM, 0) in template)


def test_an_encoder_comes_back_from_its_files(tmp_path: Path) -> None:
    train = [["Paris", "is", "far"], ["北", "京", "很", "远"], ["odd\u2028token", "a b", "\\n"]] * 2
    vectors = Vocabulary(["paris", "Rio"])
    before = TaggingEncoder.fit(train, str.lower, vectors=vectors)
    before.save(tmp_path)
    after = TaggingEncoder.load(tmp_path, str.lower, vectors=True)
    assert after.sizes == before.sizes
    text = [*train, ["Rio", "new", "北"]]
    for name, array in before.encode(text).arrays.items():
        assert np.array_equal(array, after.encode(text).arrays[name])


def test_a_vector_is_found_by_form_then_by_normal_form() -> None:
    encoder = TaggingEncoder.fit([["x"]], str.lower, vectors=Vocabulary(["Rio", "paris"]))
    rows = encoder.encode([["Rio", "Paris", "rio"]]).arrays["vectors"].tolist()
    assert rows == [2, 3, UNKNOWN]


def lengths_of(forms: Sequence[str]) -> NDArray[np.int32]:
    return np.array([[len(form), ord(form[-1])] for form in forms], dtype=np.int32).reshape(-1, 2)


def test_a_table_of_forms_starts_anew_when_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nlp_app.features.forms._TABLE_SIZE", 1000)
    asked: list[str] = []

    def compute(forms: Sequence[str]) -> NDArray[np.int32]:
        asked.extend(forms)
        return lengths_of(forms)

    table = FormTable(compute, np.array([-1, -2], dtype=np.int32))
    table.add(["given"], np.array([[7, 8]], dtype=np.int32))
    many = [f"w{number}" for number in range(3000)]
    for forms in (["a", "given", "a"], many, ["new", "a"], many[:500], [], ["a"] * 3):
        numbers, rows = table.lookup(forms)
        assert rows[numbers].tolist() == [[7, 8] if form == "given" else [len(form), ord(form[-1])] for form in forms]
        assert rows[0].tolist() == [-1, -2]
    assert asked == ["a", *many, "new", "a", *many[:500]]  # once each, but for those met before the table was full
    again = copy.deepcopy(table)
    assert np.array_equal(again.lookup(many)[1][1:3001], lengths_of(many))


def test_threads_share_an_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nlp_app.features.forms._TABLE_SIZE", 40)  # anew every few calls
    train = [[f"w{number}", f"W{number % 7}x"] for number in range(300)]
    encoder = TaggingEncoder.fit(train, str.lower)
    texts = [[f"w{(31 * text + place) % 400}" for place in range(text % 9 + 1)] for text in range(120)]
    expected = [encoder.encode([text]).arrays for text in texts]

    def right(seed: int) -> bool:
        order = np.random.default_rng(seed).permutation(len(texts)).tolist()
        found = {text: encoder.encode([texts[text]]).arrays for text in order}
        return all(np.array_equal(found[text][name], expected[text][name]) for text in order for name in found[text])

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(16) as pool:
            assert all(pool.map(right, range(16)))
    finally:
        sys.setswitchinterval(interval)


@given(corpora, st.lists(st.lists(st.one_of(words, st.text(max_size=3)), max_size=7), max_size=9), st.integers(1, 9))
@settings(max_examples=60)
def test_features_are_those_of_the_window_keys_however_cut(
    train: list[list[str]], others: list[list[str]], chunk: int
) -> None:
    encoder = TaggingEncoder.fit(train, str.lower, vectors=Vocabulary(["paris", "Rio"]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nlp_app.features.windows._CHUNK", chunk)
        columns = encoder.encode(others)
    ids = encoder.forms.lookup([form for sentence in others for form in sentence])
    rows = encoder.index.rows(window_keys(ids, [len(sentence) for sentence in others]))
    assert np.array_equal(columns.arrays["features"], rows)
    assert np.array_equal(columns.arrays["norms"], ids[:, NORM])
    alone = [encoder.encode([sentence]).arrays for sentence in others]
    for name, array in columns.arrays.items():
        assert array.dtype == np.int32
        assert np.array_equal(array, np.concatenate([array[:0], *(arrays[name] for arrays in alone)]))
    assert columns.lengths.tolist() == [len(sentence) for sentence in others]


def test_singletons_are_hidden_in_their_share() -> None:
    rare = np.zeros(10, dtype=bool)
    rare[[4, 5]] = True
    norms = np.array([2, 4, 5, 0] * 5000)
    hide_singletons(norms, rare, 0.5, np.random.default_rng(0))
    assert not np.isin(norms[::4], UNKNOWN).any()
    assert not norms[3::4].any()
    assert 0.45 < np.mean(norms[1::4] == UNKNOWN) < 0.55


def test_shapes() -> None:
    assert [shape(form) for form in ("Paris", "NASA", "iPhone-15", "北京", "2019", "x!!!")] == [
        "Xxx", "XX", "xXxx-dd", "cc", "dd", "x!!",
    ]  # fmt: skip


def test_minimum_counts_leave_rare_words_and_features_out() -> None:
    train = [["often", "often", "Rare"], ["often", "x"], ["x", "often"]]
    encoder = TaggingEncoder.fit(train, str.lower, min_count=2)
    assert encoder.forms.vocabularies["forms"].symbols == ["often", "x"]
    assert "rare" not in encoder.forms.vocabularies["norms"]
    counts = Counter(encoder.encode(train).arrays["features"].ravel().tolist())
    assert all(counts[row] >= 2 for row in range(1, encoder.sizes["features"]))
