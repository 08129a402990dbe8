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

from nlp_app.core.errors import ModelError
from nlp_app.features.feature_index import NO_KEY, FeatureIndex
from nlp_app.features.pretrained_vectors import VectorWords
from nlp_app.features.tagging.context_features import (
    CLUSTER_TEMPLATES,
    CLUSTER_WINDOWS,
    FORM_TEMPLATES,
    FORM_WINDOWS,
    Template,
)
from nlp_app.features.tagging.encoder import TaggingEncoder, hide_singletons
from nlp_app.features.tagging.word_shapes import (
    CLUSTERS,
    COLUMNS,
    FORM,
    NORM,
    PREFIXES,
    SHAPE,
    SUFFIXES,
    FormTable,
    affixes,
    shape,
)
from nlp_app.text.vocab import UNKNOWN, Vocabulary

words = st.sampled_from(["Paris", "paris", "Rio", "running", "runner", "x", "2019", "北", "京", "iPhone-15", "!"])
corpora = st.lists(st.lists(words, min_size=1, max_size=6), min_size=1, max_size=8)


CLUSTERS_OF = {
    "paris": (2, 2, 2),
    "Rio": (2, 2, 3),
    "running": (3, 3, 4),
    "x": (3, 4, 5),
    "京": (2, 5, 2),
    "!": (3, 4, 5),
}
CLUSTERED = VectorWords(
    Vocabulary(CLUSTERS_OF), np.array([(0, 0, 0), (0, 0, 0), *CLUSTERS_OF.values()], dtype=np.int32)
)


def described(form: str) -> dict[int, str]:
    """What each column of a form says, as a string; no entry where a form has no such affix or cluster."""
    prefixes, suffixes = affixes(form.lower())
    columns = {FORM: form, NORM: form.lower(), SHAPE: shape(form)}
    columns |= dict(zip(PREFIXES, prefixes, strict=False)) | dict(zip(SUFFIXES, suffixes, strict=False))
    clusters = CLUSTERS_OF.get(form, CLUSTERS_OF.get(form.lower(), ()))
    return columns | {column: f"cluster {cluster}" for column, cluster in zip(CLUSTERS, clusters, strict=False)}


def spelled(sentence: Sequence[str], place: int, templates: Sequence[Template]) -> list[str | None]:
    """Every template's feature at a token as a string, None where there is none."""
    features: list[str | None] = []
    for number, template in enumerate(templates):
        parts: list[str] = [str(number)]
        for column, offset in template:
            at = place + offset
            value = described(sentence[at]).get(column) if 0 <= at < len(sentence) else "<outside>"
            parts.append("<none>" if value is None else value)
        features.append(None if "<none>" in parts else "|".join(parts))
    return features


def all_spelled(sentences: list[list[str]], clustered: bool) -> list[str | None]:
    templates = (*FORM_TEMPLATES, *CLUSTER_TEMPLATES) if clustered else FORM_TEMPLATES
    places = [(sentence, place) for sentence in sentences for place in range(len(sentence))]
    return [feature for sentence, place in places for feature in spelled(sentence, place, templates)]


@given(corpora, corpora, st.integers(1, 3), st.booleans())
@settings(max_examples=60)
def test_rows_are_those_of_the_spelled_features(
    train: list[list[str]], other: list[list[str]], joint_min_count: int, clustered: bool
) -> None:
    vectors = CLUSTERED if clustered else None
    encoder = TaggingEncoder.fit(train, str.lower, joint_min_count=joint_min_count, vectors=vectors)
    flat = all_spelled(train, clustered)
    counts = Counter(feature for feature in flat if feature is not None)
    # A feature of several tokens has more than its number and one string.
    wanted = {feature for feature, count in counts.items() if count >= joint_min_count or feature.count("|") == 1}
    known: dict[int, str] = {}
    rows = encoder.encode(train).arrays["features"].ravel().tolist()
    assert len(flat) == len(rows)
    for feature, row in zip(flat, rows, strict=True):
        assert (row == 0) == (feature not in wanted)
        if feature in wanted:
            assert known.setdefault(row, feature) == feature
    assert len(known) == len(wanted) == len(encoder.index) - 1
    rows = encoder.encode(other).arrays["features"].ravel().tolist()
    for feature, row in zip(all_spelled(other, clustered), rows, strict=True):
        assert known.get(row) == (feature if feature in wanted else None)


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
    joined, apart = FORM_WINDOWS.keys(ids, [4]), FORM_WINDOWS.keys(ids, [2, 2])
    assert not np.array_equal(joined, apart)
    assert np.array_equal(apart[:2], apart[2:])
    assert np.array_equal(FORM_WINDOWS.keys(ids[:2], [2]), apart[:2])


def test_unknown_parts_make_no_feature() -> None:
    ids = np.full((1, COLUMNS), 5, dtype=np.int32)
    ids[0, NORM] = UNKNOWN
    keys = FORM_WINDOWS.keys(ids, [1])[0]
    for key, template in zip(keys, FORM_TEMPLATES, strict=True):
        assert (key == NO_KEY) == ((NORM, 0) in template)


@pytest.mark.parametrize("clustered", [False, True])
def test_an_encoder_comes_back_from_its_files(tmp_path: Path, clustered: bool) -> None:
    train = [["Paris", "is", "far"], ["北", "京", "很", "远"], ["odd\u2028token", "a b", "\\n"]] * 2
    vectors = CLUSTERED if clustered else VectorWords(Vocabulary(["paris", "Rio"]))
    before = TaggingEncoder.fit(train, str.lower, vectors=vectors)
    before.save(tmp_path)
    assert (tmp_path / "clusters.npy").exists() == clustered
    after = TaggingEncoder.load(tmp_path, str.lower, vectors=True)
    assert after.sizes == before.sizes
    text = [*train, ["Rio", "new", "北"], ["running", "!"]]
    for name, array in before.encode(text).arrays.items():
        assert np.array_equal(array, after.encode(text).arrays[name])


DAMAGED = {
    "shorter": np.zeros(23, dtype=np.int32),
    "longer": np.zeros(27, dtype=np.int32),
    "empty": np.zeros(0, dtype=np.int32),
    "negative": np.array([*range(23), -1], dtype=np.int32),
    "of fractions": np.zeros(24, dtype=np.float32),
    "of two dimensions": np.zeros((8, 3), dtype=np.int32),
    "of strings": np.array(["a"] * 24),
}


@pytest.mark.parametrize("wrong", DAMAGED)
def test_damaged_clusters_are_refused(tmp_path: Path, wrong: str) -> None:
    TaggingEncoder.fit([["Rio"]], str.lower, vectors=CLUSTERED).save(tmp_path)
    path = tmp_path / "clusters.npy"
    assert np.load(path).shape == (24,)
    np.save(path, DAMAGED[wrong], allow_pickle=False)
    with pytest.raises(ModelError) as raised:
        TaggingEncoder.load(tmp_path, str.lower, vectors=True)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_clusters_that_are_no_array_are_refused(tmp_path: Path) -> None:
    TaggingEncoder.fit([["Rio"]], str.lower, vectors=CLUSTERED).save(tmp_path)
    whole = (tmp_path / "clusters.npy").read_bytes()
    for content in (b"", b"[1, 2]", whole[:-5]):
        (tmp_path / "clusters.npy").write_bytes(content)
        with pytest.raises(ModelError, match=r"clusters\.npy"):
            TaggingEncoder.load(tmp_path, str.lower, vectors=True)


@given(corpora, corpora)
@settings(max_examples=20)
def test_more_sentences_leave_the_meaning_of_clusters(train: list[list[str]], more: list[list[str]]) -> None:
    before = TaggingEncoder.fit(train, str.lower, vectors=CLUSTERED)
    after = before.extended(more)
    old, new = (encoder.encode(train).arrays["features"] for encoder in (before, after))
    place = after.map_rows(before)["features"]
    assert np.array_equal(new[old > 0], place[old[old > 0]])
    # What is of one form is known once it was met; what is of several, if it was met twice in one go.
    again = all_spelled(more, clustered=True)
    rows = after.encode(more).arrays["features"].ravel().tolist()
    assert all(row for feature, row in zip(again, rows, strict=True) if feature and feature.count("|") == 1)


def test_a_vector_is_found_by_form_then_by_normal_form() -> None:
    encoder = TaggingEncoder.fit([["x"]], str.lower, vectors=VectorWords(Vocabulary(["Rio", "paris"])))
    rows = encoder.encode([["Rio", "Paris", "rio"]]).arrays["vectors"].tolist()
    assert rows == [2, 3, UNKNOWN]


@given(corpora, st.lists(st.lists(words, max_size=5)))
@settings(max_examples=40)
def test_coverage_is_the_share_of_tokens_with_a_vector(train: list[list[str]], text: list[list[str]]) -> None:
    encoder = TaggingEncoder.fit(train, str.lower, vectors=CLUSTERED)
    found = [token in CLUSTERS_OF or token.lower() in CLUSTERS_OF for sentence in text for token in sentence]
    assert encoder.coverage(iter(text)) == pytest.approx(sum(found) / max(len(found), 1))


def lengths_of(forms: Sequence[str]) -> NDArray[np.int32]:
    return np.array([[len(form), ord(form[-1])] for form in forms], dtype=np.int32).reshape(-1, 2)


def test_a_table_of_forms_starts_anew_when_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nlp_app.features.tagging.word_shapes._TABLE_SIZE", 1000)
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
    monkeypatch.setattr("nlp_app.features.tagging.word_shapes._TABLE_SIZE", 40)  # anew every few calls
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


@given(
    corpora,
    st.lists(st.lists(st.one_of(words, st.text(max_size=3)), max_size=7), max_size=9),
    st.integers(1, 9),
    st.booleans(),
)
@settings(max_examples=60)
def test_features_are_those_of_the_window_keys_however_cut(
    train: list[list[str]], others: list[list[str]], chunk: int, clustered: bool
) -> None:
    vectors = CLUSTERED if clustered else VectorWords(Vocabulary(["paris", "Rio"]))
    encoder = TaggingEncoder.fit(train, str.lower, vectors=vectors)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nlp_app.features.tagging.context_features._CHUNK", chunk)
        columns = encoder.encode(others)
    forms = [form for sentence in others for form in sentence]
    ids = encoder.forms.lookup(forms)
    windows = CLUSTER_WINDOWS if clustered else FORM_WINDOWS
    if clustered and forms:
        ids[:, CLUSTERS] = [CLUSTERS_OF.get(form, CLUSTERS_OF.get(form.lower(), (0, 0, 0))) for form in forms]
    rows = encoder.index.rows(windows.keys(ids, [len(sentence) for sentence in others]))
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


@pytest.mark.parametrize("joint_min_count", [1, 2, 3])
def test_minimum_counts_leave_rare_words_and_features_out(joint_min_count: int) -> None:
    train = [["often", "often", "Rare"], ["often", "x"], ["x", "often"], ["often", "x"], ["x", "often"], ["often", "x"]]
    encoder = TaggingEncoder.fit(train, str.lower, min_count=2, joint_min_count=joint_min_count)
    assert encoder.forms.vocabularies["forms"].symbols == ["often", "x"]
    assert "rare" not in encoder.forms.vocabularies["norms"]
    features = encoder.encode(train).arrays["features"]
    for places, least in ((FORM_WINDOWS.single, 2), (FORM_WINDOWS.joint, max(2, joint_min_count))):
        counts = Counter(features[:, places].ravel().tolist())
        del counts[0]
        assert min(counts.values()) == least
    assert len(np.unique(features)) == encoder.sizes["features"]
