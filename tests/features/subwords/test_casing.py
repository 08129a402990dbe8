"""How tokens are written, by hand; and that each piece says it of its own token, wherever windows are cut."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from nlp_app.features.subwords.casing import KINDS, casing_kind, casing_kinds
from nlp_app.features.subwords.encoder import SubwordEncoder, collate_sentences
from nlp_app.features.subwords.tokenizer import SubwordTokenizer

LETTERS = "abcdefghijklmnopqrstuvwxyz"
WRITTEN = {
    1: ["paris", "a", "covid-19", "1980s", "ß", "don't"],
    2: ["I", "Ä"],
    3: ["NATO", "COVID-19", "U.S.", "3D", "USÄ"],
    4: ["Paris", "Jean-Luc", "Covid-19", "ǅungla"],
    5: ["McDonald", "NATOs", "B2b-x"],
    6: ["iPhone", "eBay", "3rdParty", "中a文B"],
    7: ["1984", "7", "٣"],
    8: ["3.14", "10%", "2020年"],
    9: [",", "...", "中文", "👍", "", "عربي", "\ud800"],
}


@pytest.mark.parametrize("kind", WRITTEN)
def test_each_way_of_writing(kind: int) -> None:
    assert {form: casing_kind(form) for form in WRITTEN[kind]} == dict.fromkeys(WRITTEN[kind], kind)


@given(st.lists(st.text(max_size=5)))
def test_of_all_forms_at_once(forms: list[str]) -> None:
    found = casing_kinds(forms)
    assert found.dtype == np.int8
    assert found.tolist() == [casing_kind(form) for form in forms]
    assert not forms or (found.min() >= 1 and found.max() < KINDS)


def lettered(lower: bool, letters: str = LETTERS) -> SubwordTokenizer:
    """Every character a piece; capitals are unknown unless they are made small."""
    names = ["[CLS]", "[SEP]", "[PAD]", "[UNK]", *letters, *("##" + letter for letter in letters)]
    backend = Tokenizer(models.WordPiece({name: place for place, name in enumerate(names)}, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=lower)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.BertProcessing(("[SEP]", 1), ("[CLS]", 0))
    return SubwordTokenizer(backend, 3, 2)


def test_which_tokenizers_lose_capitals() -> None:
    assert lettered(lower=True).uncased
    assert not lettered(lower=False).uncased
    assert not lettered(lower=False, letters=LETTERS + LETTERS.upper()).uncased


UNCASED = lettered(lower=True)


@given(
    st.lists(st.lists(st.sampled_from(["a", "Bcd", "EF", "gHi", "jklmno", "P", "QRSTUVWX"]), max_size=15), max_size=4),
    st.integers(3, 12),
    st.integers(0, 4),
)
def test_pieces_are_written_as_their_tokens(sentences: Sequence[Sequence[str]], size: int, overlap: int) -> None:
    encoded = SubwordEncoder(UNCASED, size, overlap, capitals=True).encode(sentences)
    plain = SubwordEncoder(UNCASED, size, overlap).encode(sentences)
    assert plain.pieces.arrays.keys() == {"ids"}
    assert np.array_equal(plain.pieces.arrays["ids"], encoded.pieces.arrays["ids"])
    assert np.array_equal(plain.pieces.offsets, encoded.pieces.offsets)
    rows = np.arange(len(encoded.pieces))[::-1]
    batch = collate_sentences(encoded, rows, padding=2)
    assert batch["capitals"].dtype == np.int64
    assert batch["capitals"].shape == batch["input_ids"].shape
    # No token is special or padding, and each token is of a kind.
    assert np.array_equal(batch["capitals"] == 0, batch["input_ids"] < 3)
    forms = [form for sentence in sentences for form in sentence]
    for place, row in enumerate(rows):
        first, end = encoded.tokens.offsets[row : row + 2]
        for token, form in enumerate(forms[first:end]):
            span = slice(batch["starts"][place, token], batch["ends"][place, token])
            pieces = min(len(form), size - 2)
            assert batch["capitals"][place, span].tolist() == [casing_kind(form)] * pieces


def test_context_beyond_the_seam_is_written_too() -> None:
    encoded = SubwordEncoder(UNCASED, 6, 2, capitals=True).encode([["a", "B", "c", "De", "f", "G"]])
    found = np.split(encoded.pieces.arrays["capitals"], encoded.pieces.offsets[1:-1])
    ids = np.split(encoded.pieces.arrays["ids"], encoded.pieces.offsets[1:-1])
    letters = {UNCASED.token_subwords([letter], [True])[0][0]: letter for letter in "abcdfg"}
    kinds = {"a": 1, "b": 2, "c": 1, "d": 4, "f": 1, "g": 2}
    for window, pieces in zip(found, ids, strict=True):
        for kind, piece in zip(window.tolist(), pieces.tolist(), strict=True):
            assert kind == (kinds[letters[piece]] if piece in letters else 4 if piece > 3 else 0)


def test_texts_are_as_they_were() -> None:
    encoder = SubwordEncoder(UNCASED, 6, 2, capitals=True)
    assert encoder.encode_texts(["Abc DE"]).pieces.arrays.keys() == {"ids"}
    assert collate_sentences(encoder.encode([]), [], 2)["capitals"].shape == (0, 0)
