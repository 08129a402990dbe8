"""Windows of pieces: every token once, with context, never over the size; no entity divided that needn't be."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, pairwise
from random import Random
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from nlp_app.core.errors import SettingsError
from nlp_app.core.types import TokenSpan
from nlp_app.features.subwords.encoder import (
    SubwordEncoder,
    SubwordSentences,
    SubwordTexts,
    collate_sentences,
    collate_texts,
)
from nlp_app.features.subwords.tokenizer import SubwordTokenizer

CLS, SEP, PAD, UNK = 0, 1, 2, 3


def piece_tokenizer(specials: bool = True) -> SubwordTokenizer:
    """Every character a piece, by WordPiece: a token of n letters has n pieces."""
    names = ["[CLS]", "[SEP]", "[PAD]", "[UNK]", *"abcdefghijklmnopqrstuvwxyz", *"我住在北京市。"]
    names += ["##" + letter for letter in "abcdefghijklmnopqrstuvwxyz"]
    model = models.WordPiece({name: place for place, name in enumerate(names)}, unk_token="[UNK]")
    model.max_input_chars_per_word = 1000
    backend = Tokenizer(model)
    backend.normalizer = normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    if specials:
        backend.post_processor = processors.BertProcessing(("[SEP]", SEP), ("[CLS]", CLS))
    return SubwordTokenizer(backend, UNK, PAD)


TOKENIZER, BARE = piece_tokenizer(), piece_tokenizer(specials=False)


class Window(NamedTuple):
    """A window as a reader sees it: tokens of the sentence that it holds and that it answers for, end exclusive."""

    start: int
    end: int
    first: int
    last: int


def pieces_of(tokens: Sequence[str]) -> list[list[int]]:
    return [ids.tolist() for ids in TOKENIZER.token_subwords(tokens, [False] * len(tokens))]


def checked_windows(encoded: SubwordSentences, sentences: Sequence[Sequence[str]], size: int) -> list[list[Window]]:
    """The windows of each sentence, found again by their pieces; with what holds of every encoding."""
    assert encoded.offsets.tolist() == [0, *np.cumsum([len(tokens) for tokens in sentences], dtype=int).tolist()]
    assert len(encoded.pieces) == len(encoded.tokens) == encoded.windows[-1]
    assert (encoded.pieces.lengths <= size).all()
    assert (encoded.tokens.lengths > 0).all()
    assert encoded.tokens.offsets[-1] == encoded.offsets[-1]
    assert {array.dtype for array in (*encoded.pieces.arrays.values(), *encoded.tokens.arrays.values())} == {
        np.dtype(np.int32)
    }
    found: list[list[Window]] = []
    for number, tokens in enumerate(sentences):
        pieces = [ids[: size - 2] for ids in pieces_of(tokens)]
        places = np.cumsum([0, *map(len, pieces)]).tolist()
        answered = 0
        found.append([])
        for row in range(encoded.windows[number], encoded.windows[number + 1]):
            begin, end = encoded.pieces.offsets[row : row + 2]
            ids = encoded.pieces.arrays["ids"][begin:end].tolist()
            begin, end = encoded.tokens.offsets[row : row + 2]
            starts = encoded.tokens.arrays["starts"][begin:end].tolist()
            ends = encoded.tokens.arrays["ends"][begin:end].tolist()
            assert (ids[0], ids[-1]) == (CLS, SEP)
            first, last = answered, answered + len(starts)
            assert [ids[start:end] for start, end in zip(starts, ends, strict=True)] == pieces[first:last]
            start = places.index(places[first] - (starts[0] - 1))
            end = places.index(places[start] + len(ids) - 2)
            assert ids[1:-1] == [*chain(*pieces[start:end])]
            found[-1].append(Window(start, end, first, last))
            answered = last
        assert answered == len(tokens)
    return found


words = st.text("abc", min_size=1, max_size=4)
long_words = st.one_of(words, words, st.text("abc", min_size=1, max_size=30))
corpora = st.lists(st.lists(long_words, max_size=40), max_size=5)


@given(corpora, st.integers(3, 25), st.integers(0, 30))
def test_every_token_is_answered_for_once_and_in_order(sentences: list[list[str]], size: int, overlap: int) -> None:
    found = checked_windows(SubwordEncoder(TOKENIZER, size, overlap).encode(sentences), sentences, size)
    for tokens, windows in zip(sentences, found, strict=True):
        fits = sum(min(len(token), size - 2) for token in tokens) <= size - 2
        assert (len(windows) > 1) == (not fits)
        assert bool(windows) == bool(tokens)
        assert not tokens or (windows[0].start == 0 and windows[-1].end == len(tokens))
        for left, right in pairwise(windows):
            assert left.start < right.start <= right.first
            assert left.end < right.end


@given(st.lists(words, min_size=1, max_size=60), st.integers(3, 25), st.integers(0, 30))
def test_a_token_is_answered_for_where_it_has_the_most_context(tokens: list[str], size: int, overlap: int) -> None:
    size = max(size, 6)
    (windows,) = checked_windows(SubwordEncoder(TOKENIZER, size, overlap).encode([tokens]), [tokens], size)
    for window in windows:
        for place in range(window.first, window.last):
            poorer = [min(place - w.start, w.end - 1 - place) for w in windows if w.start <= place < w.end]
            assert min(place - window.start, window.end - 1 - place) == max(poorer)


@given(st.lists(words, min_size=1, max_size=60), st.integers(6, 25), st.integers(0, 12))
def test_neighbors_share_as_many_tokens_as_promised(tokens: list[str], size: int, overlap: int) -> None:
    room = size - 2
    (windows,) = checked_windows(SubwordEncoder(TOKENIZER, size, overlap).encode([tokens]), [tokens], size)
    lengths = [len(token) for token in tokens]
    for number, (left, right) in enumerate(pairwise(windows)):
        assert sum(lengths[left.start : left.end + 1]) > room  # full
        possible = [
            shared
            for shared in range(min(overlap, left.end) + 1)
            if sum(lengths[left.end - shared : left.end]) <= room // 2
            and sum(lengths[left.end - shared : left.end + 1]) <= room
        ]
        if number + 2 < len(windows):
            assert left.end - right.start == max(possible)
        else:
            assert left.end - right.start >= max(possible)
            assert sum(lengths[right.start - 1 :]) > room  # full, too


@given(st.integers(1, 120), st.integers(6, 40), st.integers(0, 20))
def test_context_on_both_sides(count: int, size: int, overlap: int) -> None:
    tokens = ["a"] * count
    (windows,) = checked_windows(SubwordEncoder(TOKENIZER, size, overlap).encode([tokens]), [tokens], size)
    promised = min(overlap, (size - 2) // 2) // 2
    for window in windows:
        assert window.start == 0 or window.first - window.start >= promised
        assert window.end == count or window.end - window.last >= promised


def test_the_example_of_the_module() -> None:
    found = checked_windows(SubwordEncoder(TOKENIZER, 8, 4).encode([["a"] * 10]), [["a"] * 10], 8)
    assert found == [[Window(0, 6, 0, 4), Window(3, 9, 4, 6), Window(4, 10, 6, 10)]]


@st.composite
def labeled(draw: st.DrawFn) -> tuple[list[str], list[TokenSpan]]:
    """A sentence with entities side by side or apart."""
    tokens: list[str] = []
    spans: list[TokenSpan] = []
    for outside, inside in draw(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9)), max_size=12)):
        tokens += draw(st.lists(words, min_size=outside + inside, max_size=outside + inside))
        spans.append(TokenSpan(len(tokens) - inside, len(tokens), "X"))
    return tokens, spans


@given(st.lists(labeled(), max_size=3), st.integers(6, 25), st.integers(0, 12))
def test_no_entity_is_divided_that_fits_a_window(
    corpus: list[tuple[list[str], list[TokenSpan]]], size: int, overlap: int
) -> None:
    sentences, spans = [tokens for tokens, _ in corpus], [list(reversed(spans)) for _, spans in corpus]
    encoded = SubwordEncoder(TOKENIZER, size, overlap).encode(sentences, spans)
    for tokens, gold, windows in zip(sentences, spans, checked_windows(encoded, sentences, size), strict=True):
        seams = [window.first for window in windows[1:]]
        for span in gold:
            if sum(len(token) for token in tokens[span.start : span.end]) <= size - 2:
                assert not any(span.start < seam < span.end for seam in seams)


@given(labeled(), st.integers(6, 25), st.integers(0, 12))
def test_where_no_entity_is_in_the_way_windows_are_as_without(
    sentence: tuple[list[str], list[TokenSpan]], size: int, overlap: int
) -> None:
    tokens, spans = sentence
    encoder = SubwordEncoder(TOKENIZER, size, overlap)
    (plain,) = checked_windows(encoder.encode([tokens]), [tokens], size)
    seams = [window.first for window in plain[1:]]
    free = [span for span in spans if not any(span.start < seam < span.end for seam in seams)]
    (with_spans,) = checked_windows(encoder.encode([tokens], [free]), [tokens], size)
    assert with_spans == plain


def seams(count: int, size: int, overlap: int, *spans: tuple[int, int]) -> list[Window]:
    tokens = ["a"] * count
    encoded = SubwordEncoder(TOKENIZER, size + 2, overlap).encode([tokens], [[TokenSpan(*span, "X") for span in spans]])
    return checked_windows(encoded, [tokens], size + 2)[0]


def test_a_seam_moves_to_the_nearer_end_of_an_entity() -> None:
    assert [w.first for w in seams(16, 10, 4)] == [0, 8]  # tokens 6 to 9 are shared
    assert [w.first for w in seams(16, 10, 4, (5, 9))] == [0, 9]
    assert [w.first for w in seams(16, 10, 4, (7, 11))] == [0, 7]


def test_the_next_window_begins_at_an_entity_that_covers_the_overlap() -> None:
    assert seams(18, 10, 2, (5, 12)) == [Window(0, 10, 0, 5), Window(5, 15, 5, 12), Window(8, 18, 12, 18)]


def test_a_window_gives_up_its_context_for_an_entity() -> None:
    # The second entity fills a window by itself, and begins where the first window stops to answer.
    assert seams(30, 10, 4, (2, 9), (9, 19)) == [
        Window(0, 10, 0, 9),
        Window(9, 19, 9, 19),
        Window(15, 25, 19, 22),
        Window(20, 30, 22, 30),
    ]


def test_an_entity_longer_than_a_window_is_divided() -> None:
    assert [w.first for w in seams(40, 10, 4, (1, 39))] == [w.first for w in seams(40, 10, 4)]


def test_of_a_token_longer_than_a_window_the_first_pieces_are_read() -> None:
    tokens = ["a", "b" * 40, "c"]
    encoded = SubwordEncoder(TOKENIZER, 12, 4).encode([tokens])
    (windows,) = checked_windows(encoded, [tokens], 12)
    assert len(windows) == 3
    assert (encoded.tokens.arrays["ends"] - encoded.tokens.arrays["starts"]).tolist() == [1, 10, 1]


def test_no_sentences_and_sentences_without_tokens() -> None:
    encoder = SubwordEncoder(TOKENIZER, 12, 4)
    assert checked_windows(encoder.encode([]), [], 12) == []
    assert checked_windows(encoder.encode([[], ["a"], [], []], [[], [], [], []]), [[], ["a"], [], []], 12) == [
        [], [Window(0, 1, 0, 1)], [], []
    ]  # fmt: skip
    batch = collate_sentences(encoder.encode([]), [], PAD)
    assert {name: array.shape for name, array in batch.items()} == dict.fromkeys(batch, (0, 0))


def test_a_space_stands_before_a_word_unless_it_is_chinese_or_the_text_begins() -> None:
    names = {"▁": 0, "a": 1, "▁a": 2, "我": 3, "▁我": 4}
    model = models.Unigram([(name, -2.0 if "▁" in name else -3.0) for name in names] + [("<unk>", -9.0)], unk_id=5)
    for scheme, start in (("always", [2, 4]), ("first", [2, 4]), ("never", [1, 3])):
        backend = Tokenizer(model)
        backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
        encoded = SubwordEncoder(SubwordTokenizer(backend, 5, 0), 9, 2).encode(
            [["a", "a", "我", "我", "a", "a"], [], ["我", "a"]]
        )
        assert encoded.pieces.arrays["ids"].tolist() == [start[0], 2, 3, 3, 1, 2, start[1], 1]


def test_a_document_of_30_000_characters() -> None:
    random = np.random.default_rng(3)
    letters = "".join(random.choice([*"abcdefgh     "], 30_000))
    tokens = letters.split()
    encoded = SubwordEncoder(TOKENIZER, 512, 64).encode([tokens])
    (windows,) = checked_windows(encoded, [tokens], 512)
    assert all(w.first - w.start >= 32 for w in windows[1:])
    assert all(w.end - w.last >= 32 for w in windows[:-1])
    assert encoded.pieces.lengths.min() > 500


def test_a_chinese_document_without_a_space() -> None:
    text = ("我住在北京市" * 405)[:2427]
    for tokens in ([*text], [text[:1200], text[1200:]]):
        encoded = SubwordEncoder(TOKENIZER, 128, 16).encode([tokens])
        assert int(encoded.tokens.offsets[-1]) == len(tokens)
    (windows,) = checked_windows(SubwordEncoder(TOKENIZER, 128, 16).encode([[*text]]), [[*text]], 128)
    assert windows[-1].last == 2427
    texts = SubwordEncoder(TOKENIZER, 128, 16).encode_texts([text])
    assert texts.windows.tolist() == [0, 1 + -(-(2427 - 126) // (126 - 16))]


def text_windows(encoded: SubwordTexts) -> list[list[list[int]]]:
    """Of each text the pieces of each window."""
    ids, edges = encoded.pieces.arrays["ids"], encoded.pieces.offsets
    rows = [ids[edges[row] : edges[row + 1]].tolist() for row in range(len(encoded.pieces))]
    return [rows[first:last] for first, last in pairwise(encoded.windows.tolist())]


@given(st.lists(st.text("ab c", max_size=70), max_size=5), st.integers(3, 20), st.integers(0, 20))
def test_texts_are_cut_into_windows_that_overlap(texts: list[str], size: int, overlap: int) -> None:
    for tokenizer in (TOKENIZER, BARE):
        room = size - len(tokenizer.prefix + tokenizer.suffix)
        found = text_windows(SubwordEncoder(tokenizer, size, overlap).encode_texts(texts))
        for text, windows in zip(texts, found, strict=True):
            ids = tokenizer.text_subwords([text])[0].tolist() or ([] if tokenizer.prefix else [UNK])
            expected, start = [ids[:room]], 0
            while start + room < len(ids):
                start = min(start + room - min(overlap, room // 2), len(ids) - room)
                expected.append(ids[start : start + room])
            assert windows == [[*tokenizer.prefix, *window, *tokenizer.suffix] for window in expected]


def test_a_text_without_pieces_has_a_window() -> None:
    assert text_windows(SubwordEncoder(TOKENIZER, 8, 2).encode_texts(["", "\u200b", "a"])) == [
        [[CLS, SEP]], [[CLS, SEP]], [[CLS, 4, SEP]]
    ]  # fmt: skip
    assert text_windows(SubwordEncoder(BARE, 8, 2).encode_texts([""])) == [[[UNK]]]
    backend = Tokenizer(models.BPE({"a": 0, "b": 1}, []))
    assert text_windows(SubwordEncoder(SubwordTokenizer(backend, None, 1), 8, 2).encode_texts(["", "ab"])) == [
        [[1]], [[0, 1]]
    ]  # fmt: skip
    none = SubwordEncoder(TOKENIZER, 8, 2).encode_texts(iter([]))
    assert (len(none.pieces), none.windows.tolist()) == (0, [0])


@given(st.lists(st.lists(words, min_size=1, max_size=25), min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_batches_are_the_windows_side_by_side(sentences: list[list[str]], random: Random) -> None:
    encoded = SubwordEncoder(TOKENIZER, 12, 4).encode(sentences)
    rows = random.sample(range(len(encoded.pieces)), random.randint(1, len(encoded.pieces)))
    batch = collate_sentences(encoded, rows, PAD)
    assert {name: str(array.dtype) for name, array in batch.items()} == dict.fromkeys(
        ("input_ids", "attention_mask", "starts", "ends"), "int64"
    ) | {"mask": "bool"}
    for place, row in enumerate(rows):
        begin, end = encoded.pieces.offsets[row : row + 2]
        ids = encoded.pieces.arrays["ids"][begin:end].tolist()
        padding = batch["input_ids"].shape[1] - len(ids)
        assert batch["input_ids"][place].tolist() == ids + [PAD] * padding
        assert batch["attention_mask"][place].tolist() == [1] * len(ids) + [0] * padding
        begin, end = encoded.tokens.offsets[row : row + 2]
        padding = batch["mask"].shape[1] - (end - begin)
        assert batch["mask"][place].tolist() == [True] * (end - begin) + [False] * padding
        for name, fill in (("starts", 0), ("ends", 1)):
            assert batch[name][place].tolist() == encoded.tokens.arrays[name][begin:end].tolist() + [fill] * padding
    assert batch["attention_mask"].sum(axis=1).max() == batch["input_ids"].shape[1]


def test_batches_of_texts() -> None:
    encoded = SubwordEncoder(TOKENIZER, 6, 2).encode_texts(["abc", "", "a b c d e f"])
    batch = collate_texts(encoded, [2, 1, 0], PAD)
    assert batch["input_ids"].tolist() == [
        [CLS, 4, 5, 6, 7, SEP], [CLS, SEP] + [PAD] * 4, [CLS, 4, *TOKENIZER.text_subwords(["abc"])[0][1:], SEP, PAD]
    ]  # fmt: skip
    assert batch["attention_mask"].tolist() == [[1] * 6, [1, 1, 0, 0, 0, 0], [1] * 5 + [0]]


def test_a_window_without_room_is_an_error() -> None:
    with pytest.raises(
        SettingsError, match=r"^model\.window_subwords: found 2 subwords, expected at least 3: 2 of them are special"
    ):
        SubwordEncoder(TOKENIZER, 2, 0)
    with pytest.raises(SettingsError, match=r"^model\.window_overlap: found -1, expected at least 0"):
        SubwordEncoder(TOKENIZER, 8, -1)
    assert len(SubwordEncoder(TOKENIZER, 3, 9).encode([["ab", "c"]]).pieces) == 2
    assert len(SubwordEncoder(BARE, 1, 9).encode([["ab", "c"]]).pieces) == 2
