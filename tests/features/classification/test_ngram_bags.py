"""Bags of n-grams against slow sums over n-grams that are spelt out, and against scikit-learn's TF-IDF."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfTransformer
from spelled_ngrams import Gram, spell_characters, spell_skips, spell_words

from nlp_app.features.classification import ngram_bags
from nlp_app.features.classification.ngram_bags import (
    WEIGHTINGS,
    BagCounter,
    BagEncoder,
    BagOptions,
    Norms,
    _ngrams_by_kind,
)
from nlp_app.features.classification.ngrams import NgramRange
from nlp_app.storage.ragged import RaggedColumns

Texts = list[list[str]]
Spelt = tuple[int, Gram]  # the place of its kind in KINDS, and the n-gram

NONE = NgramRange(1, 0)
texts_of_words = st.lists(st.lists(st.text("abc中😀", min_size=1, max_size=4), max_size=5), max_size=8)


def norms(texts: Sequence[Sequence[str]]) -> Norms:
    return [word for text in texts for word in text], [len(text) for text in texts]


def spell(text: list[str], options: BagOptions) -> list[Spelt]:
    """The n-grams of a text."""
    skips = NgramRange(1, 1) if options.skip_share else NONE
    return [
        (kind, gram)
        for kind, (orders, grams) in enumerate(
            ((options.words, spell_words), (options.characters, spell_characters), (skips, spell_skips))
        )
        for order in range(orders.shortest, orders.longest + 1)
        for gram in grams(text, order)
    ]


def rows_of(text: list[str], encoder: BagEncoder) -> dict[Spelt, int]:
    """The row that the encoder has for each n-gram of a text, 0 for those that it doesn't know."""
    keys = _ngrams_by_kind(norms([text]), encoder.options)
    rows = np.concatenate([encoder._rows(kind, found) for kind, (found, _) in enumerate(keys)])
    return dict(zip(spell(text, encoder.options), rows.tolist(), strict=True))


def fitted(texts: Texts, options: BagOptions) -> BagEncoder:
    counter = BagCounter(options)
    counter.add(norms(texts))
    return counter.encoder()


def bag(columns: RaggedColumns, text: int = 0) -> list[tuple[int, float]]:
    rows = slice(*columns.offsets[text : text + 2].tolist())
    return list(zip(columns.arrays["rows"][rows].tolist(), columns.arrays["weights"][rows].tolist(), strict=True))


def labels(ids: Sequence[Sequence[int]]) -> RaggedColumns:
    flat = np.array([number for each in ids for number in each], dtype=np.int32)
    return RaggedColumns({"labels": flat}, np.cumsum([0, *map(len, ids)]))


def expected_bag(
    text: list[str], train: Texts, options: BagOptions, class_weights: dict[Spelt, float] | None = None
) -> dict[Spelt, float]:
    """The weights of a text's n-grams, as the module's docstring has them."""
    known = Counter(gram for each in train for gram in set(spell(each, options)))
    counts = {gram: c for gram, c in Counter(spell(text, options)).items() if known[gram] >= options.min_count}
    weights: dict[Spelt, float] = {}
    for gram, count in counts.items():
        if known[gram]:
            idf = 1 + math.log((1 + len(train)) / (1 + known[gram]))
            raw = {"tfidf": (1 + math.log(count)) * idf, "count": float(count), "binary": 1.0}[options.weighting]
            weights[gram] = raw * (1.0 if class_weights is None else class_weights[gram])
    for kind, share in enumerate((1.0, options.character_share, options.skip_share)):
        length = math.sqrt(sum(weight**2 for gram, weight in weights.items() if gram[0] == kind))
        for gram in weights:
            if gram[0] == kind:
                weights[gram] = weights[gram] / length * share if length else 0.0
    return weights


def slow_class_weights(
    train: Texts, ids: Sequence[Sequence[int]], classes: int, options: BagOptions
) -> dict[Spelt, float]:
    counts: dict[Spelt, Counter[int]] = {}
    for text, each in zip(train, ids, strict=True):
        for gram in set(spell(text, options)):
            counts.setdefault(gram, Counter()).update(each)
    class_weights = {}
    for gram, found in counts.items():
        shares = [(found[number] + 1 / classes) / (found.total() + 1) for number in range(classes)]
        entropy = -sum(share * math.log(share) for share in shares)
        weight = math.sqrt(max(0.0, 1 - entropy / math.log(classes))) if classes > 1 else 1.0
        class_weights[gram] = round(weight * 65536) / 65536  # rounded as in the saved model
    return class_weights


def assert_bags(encoder: BagEncoder, texts: Texts, expected: list[dict[Spelt, float]], atol: float = 1e-6) -> None:
    columns = encoder.encode(norms(texts))
    assert len(columns) == len(texts)
    assert columns.arrays["rows"].dtype == np.int32
    assert columns.arrays["weights"].dtype == np.float32
    for number, (text, weights) in enumerate(zip(texts, expected, strict=True)):
        rows = rows_of(text, encoder)
        found = bag(columns, number)
        assert len({row for row, _ in found}) == len(found)
        assert dict(found) == pytest.approx({rows[gram]: weight for gram, weight in weights.items()}, abs=atol)


options_of_bags = st.builds(
    BagOptions,
    words=st.sampled_from([NgramRange(1, 1), NgramRange(1, 3), NgramRange(2, 2), NONE]),
    characters=st.sampled_from([NgramRange(2, 4), NgramRange(3, 3), NONE]),
    weighting=st.sampled_from(WEIGHTINGS),
    character_share=st.sampled_from([1.0, 0.5, 2.0]),
    skip_share=st.sampled_from([0.0, 0.3, 1.0]),
    min_count=st.sampled_from([1, 2]),
)


@given(texts_of_words, texts_of_words, options_of_bags)
def test_weights_by_hand(train: Texts, others: Texts, options: BagOptions) -> None:
    encoder = fitted(train, options)
    texts = [*train, *others]
    assert_bags(encoder, texts, [expected_bag(text, train, options) for text in texts])


@given(texts_of_words, options_of_bags, st.integers(1, 4), st.data())
def test_weights_by_hand_with_what_ngrams_tell_of_classes(
    train: Texts, options: BagOptions, classes: int, data: st.DataObject
) -> None:
    several = st.lists(st.integers(0, classes - 1), max_size=2, unique=True)
    ids = data.draw(st.lists(several, min_size=len(train), max_size=len(train)))
    encoder = fitted(train, options).with_class_weights([(norms(train), labels(ids))], classes)
    class_weights = slow_class_weights(train, ids, classes, options)
    assert_bags(encoder, train, [expected_bag(text, train, options, class_weights) for text in train], atol=1e-3)


def test_ngrams_that_tell_nothing_weigh_nothing() -> None:
    train = [["a"], ["a"], ["b"], ["c"]]
    encoder = fitted(train, BagOptions(NgramRange(1, 2), NONE))
    encoder = encoder.with_class_weights([(norms(train), labels([[0], [1], [0], [1]]))], 2)
    columns = encoder.encode(norms([["a"], ["b"], ["a", "b"]]))
    assert [weight for _, weight in bag(columns)] == [0, 0, 0]  # texts of both classes alike
    assert np.isfinite(columns.arrays["weights"]).all()
    assert np.linalg.norm([weight for _, weight in bag(columns, 1)]) == pytest.approx(1)
    hashed = fitted(train, BagOptions(NgramRange(1, 1), NONE, buckets=1 << 20))
    hashed = hashed.with_class_weights([(norms(train), labels([[0], [1], [0], [1]]))], 2)
    unknown = hashed.encode(norms([["never", "seen"]]))  # in buckets that no training text has
    assert unknown.arrays["weights"].tolist() == [0, 0]


@pytest.mark.parametrize("order", [1, 2])
def test_one_kind_without_classes_is_tfidf_of_scikit_learn(order: int) -> None:
    random = np.random.default_rng(order)
    vocabulary = [f"w{number}" for number in range(40)]
    texts = [random.choice(vocabulary, random.integers(0, 30)).tolist() for _ in range(60)]
    options = BagOptions(NgramRange(order, order), NONE)
    encoder = fitted(texts, options)
    rows = {gram: row for text in texts for gram, row in rows_of(text, encoder).items()}
    counts = np.zeros((len(texts), len(encoder)))
    for number, text in enumerate(texts):
        for gram in spell(text, options):
            counts[number, rows[gram]] += 1
    expected = TfidfTransformer(sublinear_tf=True).fit_transform(counts[:, 1:]).toarray()
    columns = encoder.encode(norms(texts))
    found = np.zeros_like(counts)
    for number in range(len(texts)):
        for row, weight in bag(columns, number):
            found[number, row] = weight
    assert not found[:, 0].any()
    np.testing.assert_allclose(found[:, 1:], expected, atol=1e-6)


@given(texts_of_words, options_of_bags, st.integers(1, 4), st.randoms(use_true_random=False))
def test_a_text_has_its_bag_in_any_company_and_chunk(texts: Texts, options: BagOptions, size: int, random) -> None:
    encoder = fitted(texts, options)
    whole = encoder.encode(norms(texts))
    parts = [encoder.encode(norms(texts[start : start + size])) for start in range(0, len(texts), size)]
    assert [bag(part, n) for part in parts for n in range(len(part))] == [bag(whole, n) for n in range(len(texts))]
    order = random.sample(range(len(texts)), len(texts))
    shuffled = encoder.encode(norms([texts[number] for number in order]))
    assert [bag(shuffled, place) for place in range(len(order))] == [bag(whole, number) for number in order]
    for number, text in enumerate(texts):
        assert bag(encoder.encode(norms([text]))) == bag(whole, number)


@given(texts_of_words, options_of_bags, st.integers(1, 4), st.sampled_from([0, 50]))
def test_counting_and_weighing_in_chunks(texts: Texts, options: BagOptions, size: int, buckets: int) -> None:
    options = replace(options, min_count=1, buckets=buckets)
    ids = [[number % 3] for number in range(len(texts))]
    starts = range(0, len(texts), size)
    counter = BagCounter(options)
    for start in starts:
        counter.add(norms(texts[start : start + size]))
    at_once = fitted(texts, options).with_class_weights([(norms(texts), labels(ids))], 3)
    pieces = counter.encoder().with_class_weights(
        ((norms(texts[start : start + size]), labels(ids[start : start + size])) for start in starts), 3
    )
    assert_same(pieces, at_once)
    assert counter.pruned == 0


def assert_same(one: BagEncoder, other: BagEncoder) -> None:
    assert (one.options, one.texts, len(one)) == (other.options, other.texts, len(other))
    assert [index.keys.tolist() for index in one.indexes] == [index.keys.tolist() for index in other.indexes]
    assert one.frequencies.tolist() == other.frequencies.tolist()
    assert one.class_weights.tolist() == other.class_weights.tolist()


@pytest.mark.parametrize("merged", [1, 3, 1000])
def test_merging_often_or_never(monkeypatch: pytest.MonkeyPatch, merged: int) -> None:
    texts = [[f"w{(7 * number + k) % 23}" for k in range(number % 5)] for number in range(60)]
    options, ids = (
        BagOptions(NgramRange(1, 2), NgramRange(2, 3), skip_share=1.0),
        [[number % 4] for number in range(60)],
    )
    at_once = fitted(texts, options).with_class_weights([(norms(texts), labels(ids))], 4)
    monkeypatch.setattr(ngram_bags, "_MERGE_SIZE", merged)
    counter = BagCounter(options)
    for text in texts:
        counter.add(norms([text]))
    chunks = [(norms([text]), labels([each])) for text, each in zip(texts, ids, strict=True)]
    assert_same(counter.encoder().with_class_weights(chunks, 4), at_once)


@given(texts_of_words, st.integers(1, 4), st.integers(1, 40))
def test_the_most_frequent_are_kept(texts: Texts, min_count: int, most: int) -> None:
    options = BagOptions(NgramRange(1, 2), NgramRange(2, 3), min_count=min_count, max_features=most)
    encoder = fitted(texts, options)
    true = Counter(gram for text in texts for gram in set(spell(text, options)))
    known = {gram for text in texts for gram, row in rows_of(text, encoder).items() if row}
    enough = {gram for gram, count in true.items() if count >= min_count}
    assert known <= enough
    assert len(known) == len(encoder) - 1 == min(most, len(enough))
    rows = {gram: row for text in texts for gram, row in rows_of(text, encoder).items() if row}
    assert {gram: encoder.frequencies[row - 1] for gram, row in rows.items()} == {gram: true[gram] for gram in known}
    if known:
        assert min(true[gram] for gram in known) >= max((true[gram] for gram in enough - known), default=0)


def test_frequencies_in_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Words in every text stay, with their exact frequencies, whatever number of others comes and goes."""
    monkeypatch.setattr(ngram_bags, "_MERGE_SIZE", 100)
    often = [f"often{number}" for number in range(10)]
    counter = BagCounter(BagOptions(NgramRange(1, 1), NONE, max_features=20))
    most = 0
    for number in range(200):
        counter.add(norms([[*often, *(f"once{number}-{k}" for k in range(20))]]))
        most = max(most, len(counter._keys[0]) + sum(len(keys) for keys, _ in counter._pending[0]))
    assert most <= 4 * 20 + 100 + 30
    assert counter.pruned > 3000
    encoder = counter.encoder()
    rows = rows_of(often, encoder)
    assert all(encoder.frequencies[rows[(0, (word,))] - 1] == 200 for word in often)
    assert len(encoder) - 1 <= 20


@pytest.mark.parametrize("buckets", [1, 7, 1 << 20])
def test_buckets_hold_every_ngram(buckets: int) -> None:
    options = BagOptions(NgramRange(1, 2), NgramRange(2, 3), buckets=buckets)
    train = [["ab", "c"], ["ab", "中"], []]
    encoder = fitted(train, options)
    assert len(encoder) == buckets + 1
    texts = [*train, ["never", "seen"]]
    columns = encoder.encode(norms(texts))
    rows = columns.arrays["rows"]
    assert rows.min() >= 1
    assert rows.max() <= buckets
    for number, text in enumerate(texts):
        found = sorted(row for row, _ in bag(columns, number))
        wanted = {(gram[0], row) for gram, row in rows_of(text, encoder).items()}  # each kind has its share
        assert found == sorted(row for _, row in wanted)
        squares = sum(weight**2 for _, weight in bag(columns, number))
        assert squares == pytest.approx(len({kind for kind, _ in wanted}), abs=1e-5)
    if buckets > 1000:  # so many that none is shared: as if all were known
        known = fitted(train, BagOptions(NgramRange(1, 2), NgramRange(2, 3))).encode(norms(train))
        for number in range(len(train)):
            weights = [sorted(weight for _, weight in bag(found, number)) for found in (columns, known)]
            assert weights[0] == pytest.approx(weights[1])


@pytest.mark.parametrize(
    "options",
    [BagOptions(NgramRange(1, 2), NgramRange(2, 3), skip_share=0.5), BagOptions(NgramRange(1, 1), NONE, buckets=9)],
)
@pytest.mark.parametrize("weighed", [True, False])
def test_saved_and_loaded_it_is_the_same(tmp_path: Path, options: BagOptions, weighed: bool) -> None:
    train = [["ab", "c"], ["ab", "中"], [], ["ab"], ["c", "c"]]
    encoder = fitted(train, options)
    if weighed:
        encoder = encoder.with_class_weights([(norms(train), labels([[0], [1], [2], [0], [1]]))], 3)
    encoder.save(tmp_path)
    again = BagEncoder.load(tmp_path, options, encoder.texts)
    assert_same(again, encoder)
    for name, column in encoder.encode(norms(train)).arrays.items():
        assert again.encode(norms(train)).arrays[name].tobytes() == column.tobytes()


def test_no_texts_and_no_ngrams() -> None:
    for options in (BagOptions(NgramRange(1, 2), NgramRange(2, 3)), BagOptions(NgramRange(1, 2), NONE, buckets=3)):
        encoder = fitted([], options)
        assert encoder.encode(norms([])).offsets.tolist() == [0]
        assert encoder.encode(norms([[], []])).offsets.tolist() == [0, 0, 0]
        assert BagCounter(options).encoder().with_class_weights([], 2).texts == 0
    assert len(encoder.encode(norms([["unknown"]])).arrays["rows"])  # in buckets
