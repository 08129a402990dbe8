"""The classifier's encoder: what it knows of training texts, alone and in batches, before and after it was saved."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlp_app.features.classification.encoder import EncodedTexts, TextEncoder, load_text_encoder
from nlp_app.features.classification.ngram_bags import BagOptions
from nlp_app.features.classification.ngrams import NgramRange
from nlp_app.storage.ragged import RaggedColumns
from nlp_app.text import TOKENIZERS, make_tokenizer
from nlp_app.text.vocab import PADDING, UNKNOWN, Vocabulary

BAGS = BagOptions(NgramRange(1, 2), NgramRange(2, 3))
TEXTS = ["Good phone, good price", "手机很好用", "", "good 手机!", " \n", "an old phone 😀"]
VECTORS = Vocabulary(["good", "手", "never"])

any_texts = st.lists(
    st.text(st.one_of(st.characters(), st.sampled_from("Good phone 手机 😀\u0301\u200b\n")), max_size=30), max_size=6
)


def fit(texts: list[str] = TEXTS, size: int = 2, name: str = "basic", **parts: object) -> TextEncoder:
    chunks = (texts[start : start + size] for start in range(0, len(texts), size))
    chosen = {"bags": BAGS, "word_min_count": 1, "vectors": VECTORS} | parts
    return TextEncoder.fit(chunks, make_tokenizer(name), **chosen)  # type: ignore[arg-type]


def rows(columns: RaggedColumns) -> list[dict[str, list[float]]]:
    """The columns of each text."""
    ends = columns.offsets.tolist()
    return [
        {name: array[start:end].tolist() for name, array in columns.arrays.items()} for start, end in pairwise(ends)
    ]


def texts_of(encoded: EncodedTexts) -> list[tuple[dict[str, list[float]], ...]]:
    assert encoded.bags is not None
    assert encoded.words is not None
    return list(zip(rows(encoded.bags), rows(encoded.words), strict=True))


def test_words_and_vectors_are_rows_of_their_vocabularies() -> None:
    encoder = fit()
    tokenizer = make_tokenizer("basic")
    counts = Counter(norm for text in TEXTS for norm in tokenizer(text).norms)
    assert encoder.words is not None
    assert encoder.words.symbols == sorted(counts, key=lambda word: (-counts[word], word))
    found = encoder.encode([*TEXTS, "good unseen never"]).words
    assert found is not None
    for columns, text in zip(rows(found), [*TEXTS, "good unseen never"], strict=True):
        norms = tokenizer(text).norms
        assert columns["words"] == [encoder.words.row(norm) for norm in norms]
        assert columns["vectors"] == [VECTORS.row(norm) for norm in norms]
        assert PADDING not in columns["words"]
    assert rows(found)[-1]["words"][1:] == [UNKNOWN, UNKNOWN]


def test_min_count_is_of_the_words_in_all_texts() -> None:
    words = fit(["a b", "a", "b b c"], word_min_count=2).words
    assert words is not None
    assert words.symbols == ["b", "a"]


@pytest.mark.parametrize("bags", [BAGS, None])
@pytest.mark.parametrize("word_min_count", [1, None])
def test_only_the_parts_that_were_asked_for(bags: BagOptions | None, word_min_count: int | None) -> None:
    encoder = fit(bags=bags, word_min_count=word_min_count, vectors=None)
    encoded = encoder.encode(TEXTS)
    has_bags, has_words = bags is not None, word_min_count is not None
    assert encoded.columns().keys() == {name for name, has in (("bags", has_bags), ("words", has_words)) if has}
    assert (encoder.sizes["ngrams"] > 0, encoder.sizes["words"] > 0) == (has_bags, has_words)
    assert encoder.sizes["vectors"] == 0
    for columns in encoded.columns().values():
        assert len(columns) == len(TEXTS)
        assert "vectors" not in columns.arrays


@settings(max_examples=60)
@given(any_texts, st.sampled_from(list(TOKENIZERS)), st.integers(1, 4))
def test_in_chunks_or_alone_or_at_once(texts: list[str], name: str, size: int) -> None:
    encoder = fit([*TEXTS, *texts[:3]], size, name)
    whole = texts_of(encoder.encode(texts))
    starts = range(0, len(texts), size)
    assert [row for start in starts for row in texts_of(encoder.encode(texts[start : start + size]))] == whole
    assert [row for text in texts for row in texts_of(encoder.encode([text]))] == whole
    assert texts_of(encoder.encode(texts[::-1])) == whole[::-1]


@pytest.mark.parametrize("size", [1, 2, 5, 100])
def test_fitted_in_any_chunks(size: int) -> None:
    one, other = fit(size=size), fit(size=3)
    assert one.sizes == other.sizes
    assert texts_of(one.encode(TEXTS)) == texts_of(other.encode(TEXTS))


@settings(max_examples=25)
@given(any_texts, st.sampled_from(list(TOKENIZERS)))
def test_saved_and_loaded_it_is_the_same(tmp_path_factory: pytest.TempPathFactory, texts: list[str], name: str) -> None:
    directory = tmp_path_factory.mktemp("vocab")
    labels = RaggedColumns({"labels": np.zeros(len(texts), dtype=np.int32)}, np.arange(len(texts) + 1))
    encoder = fit(texts, 2, name).with_class_weights([(texts, labels)], 2)
    encoder.save(directory)
    again = load_text_encoder(directory, make_tokenizer(name), encoder.sizes, BAGS, len(texts))
    assert again.sizes == encoder.sizes
    assert texts_of(again.encode([*texts, *TEXTS])) == texts_of(encoder.encode([*texts, *TEXTS]))


def test_only_what_there_is_is_saved(tmp_path: Path) -> None:
    fit(bags=None, vectors=None).save(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"words.txt"}
    encoder = fit(word_min_count=None, vectors=None)
    assert encoder.with_class_weights([], 2) is not encoder
    without = fit(bags=None)
    assert without.with_class_weights([], 2) is without


def test_no_texts() -> None:
    encoder = fit()
    for texts, offsets in (([], [0]), (["", " "], [0, 0, 0])):
        for columns in encoder.encode(texts).columns().values():
            assert columns.offsets.tolist() == offsets
            assert all(not len(array) for array in columns.arrays.values())
    empty = fit([])
    assert empty.sizes == {"ngrams": 1, "words": 2, "vectors": len(VECTORS)}
    assert rows(empty.encode(["good"]).words)[0] == {"words": [UNKNOWN], "vectors": [2]}  # type: ignore[arg-type]
