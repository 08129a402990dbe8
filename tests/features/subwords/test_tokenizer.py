"""Pieces of tokens: those that the backend itself makes of the whole text, for every kind of tokenizer."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

import nlp_app.features.subwords.tokenizer
from nlp_app.core.errors import ModelError
from nlp_app.features.subwords.tokenizer import SubwordTokenizer
from nlp_app.text.spacing import between_words, join_tokens

LATIN = [
    "the", "then", "word", "words", "or", "hello", "hell", "low", "low,", "a", "an", "and", "o'", "1", "12",
    "U.S.", "naïve", "-", "--", ".", ",", "'", "don't", "x", "y", "z", "th", "e", "wo",
]  # fmt: skip
CHINESE = [*"我住在北京市的", "北京", "，", "。", "市a", "a市"]


def byte_level(prefix: bool) -> Tokenizer:
    """Byte-level BPE as RoBERTa and GPT-2 have it, with a few merges."""
    pairs = [
        ("t", "h"),
        ("Ġ", "th"),
        ("th", "e"),
        ("Ġth", "e"),
        ("w", "o"),
        ("Ġ", "wo"),
        ("l", "o"),
        ("e", "l"),
        ("Ġ", "a"),
    ]
    vocabulary = {symbol: place for place, symbol in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    for left, right in pairs:
        vocabulary[left + right] = len(vocabulary)
    backend = Tokenizer(models.BPE(vocabulary, pairs))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    return backend


def unigram() -> models.Unigram:
    """Pieces as XLM-R has them, most of them for the start of a word."""
    pieces = ["▁", "▁the", "the", "▁wor", "▁word", "d", "ds", "▁a", "▁hell", "o", "▁l", "ow", "lo", "n", "▁,", ",", "."]
    pieces += [*"abcdefghijklmnpqrstuvwxyz12'-我住在北京市的，。"]
    return models.Unigram(
        [("<unk>", 0.0)] + [(piece, -3 + 0.7 * len(piece) - 0.01 * place) for place, piece in enumerate(pieces)],
        unk_id=0,
    )


def metaspace(scheme: str, split: bool = True) -> Tokenizer:
    backend = Tokenizer(unigram())
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=split)
    return backend


def xlmr() -> Tokenizer:
    """As XLM-R's and DeBERTa's: normalizers before, white space divided first."""
    backend = Tokenizer(unigram())
    backend.normalizer = normalizers.Sequence([normalizers.Strip(), normalizers.Replace(Regex(" {2,}"), " ")])
    backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    return backend


def prepended() -> Tokenizer:
    """As Llama's: the normalizer writes the space."""
    backend = Tokenizer(unigram())
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    return backend


def wordpiece(unknown: str | None = "[UNK]") -> Tokenizer:
    """As BERT's."""
    pieces = [*"abcdefghijklmnopqrstuvwxyz0123456789.,'-我住在北京市的，。", "the", "hell", "word"]
    pieces += ["##" + piece for piece in "abcdefghijklmnopqrstuvwxyz0123456789"] + ["##o", "##s"]
    names = ["[PAD]", "[CLS]", "[SEP]", *([unknown] if unknown else []), *dict.fromkeys(pieces)]
    backend = Tokenizer(models.WordPiece({name: place for place, name in enumerate(names)}, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    return backend


KINDS: dict[str, Callable[[], Tokenizer]] = {
    "WordPiece": wordpiece,
    "byte-level BPE": lambda: byte_level(False),
    "byte-level BPE with a space first": lambda: byte_level(True),
    "Metaspace always": lambda: metaspace("always"),
    "Metaspace first": lambda: metaspace("first"),
    "Metaspace never": lambda: metaspace("never"),
    "XLM-R": xlmr,
    "Prepend": prepended,
}
UNKNOWN = {"WordPiece": 3, "Metaspace always": 0, "Metaspace first": 0, "Metaspace never": 0, "XLM-R": 0, "Prepend": 0}
MADE = {kind: SubwordTokenizer(make(), UNKNOWN.get(kind), 0) for kind, make in KINDS.items()}


def spaces(tokens: list[str], start: bool) -> list[bool]:
    return [start, *(between_words(left, right) for left, right in pairwise(tokens))]


def by_offsets(backend: Tokenizer, tokens: list[str]) -> list[list[str]]:
    """Each token's pieces, by their offsets in the whole text; pieces of a space alone belong to none."""
    text, starts, _ = join_tokens(tokens)
    encoding = backend.encode(text, add_special_tokens=False)
    pieces: list[list[str]] = [[] for _ in tokens]
    for piece, (_, end) in zip(encoding.tokens, encoding.offsets, strict=True):
        if piece not in "▁Ġ":
            pieces[int(np.searchsorted(starts, end - 1, side="right")) - 1].append(piece)
    return pieces


@pytest.mark.parametrize("kind", KINDS)
@given(tokens=st.lists(st.sampled_from(LATIN + CHINESE), min_size=1, max_size=12))
def test_tokens_have_the_pieces_that_they_have_in_the_text(kind: str, tokens: list[str]) -> None:
    tokenizer, backend = MADE[kind], KINDS[kind]()
    found = tokenizer.token_subwords(tokens, spaces(tokens, tokenizer.spaced_start))
    assert [[backend.id_to_token(number) for number in ids.tolist()] for ids in found] == [
        [piece if backend.token_to_id(piece) is not None else "<unk>" for piece in pieces]
        for pieces in by_offsets(backend, tokens)
    ]


@pytest.mark.parametrize(
    ("kind", "start", "joined", "apart"),
    [
        ("WordPiece", False, ["the"], ["the"]),
        ("byte-level BPE", False, ["the"], ["Ġthe"]),
        ("byte-level BPE with a space first", True, ["the"], ["Ġthe"]),
        ("Metaspace always", True, ["the"], ["▁the"]),
        ("Metaspace first", True, ["the"], ["▁the"]),
        ("Metaspace never", False, ["the"], ["▁the"]),
        ("XLM-R", True, ["the"], ["▁the"]),
        ("Prepend", True, ["the"], ["▁the"]),
    ],
)
def test_a_space_before_a_word_is_part_of_it(kind: str, start: bool, joined: list[str], apart: list[str]) -> None:
    tokenizer, backend = MADE[kind], KINDS[kind]()
    assert tokenizer.spaced_start is start
    found = [
        list(map(backend.id_to_token, ids.tolist())) for ids in tokenizer.token_subwords(["the"] * 2, [False, True])
    ]
    assert found == [joined, apart]


def test_no_piece_stands_for_a_space_alone() -> None:
    for kind, tokenizer in MADE.items():
        alone, number = tokenizer.token_subwords(["京", "1"], [True, True])
        names = list(map(KINDS[kind]().id_to_token, alone.tolist()))
        assert len(number) == 1
        assert names == (["京"] if "BPE" not in kind else ["äº", "¬"] if len(names) == 2 else ["ä", "º", "¬"])


def test_a_character_that_looks_like_the_space_is_kept() -> None:
    backend = metaspace("always")
    ids = SubwordTokenizer(backend, 0, 0).token_subwords(["▁"], [True])[0]
    assert [backend.id_to_token(number) for number in ids.tolist()] == ["▁"]
    cased = Tokenizer(models.WordPiece({"[UNK]": 0, "Ġ": 1, ".": 2}, unk_token="[UNK]"))
    cased.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    assert SubwordTokenizer(cased, 0, 0).token_subwords(["Ġ."], [True])[0].tolist() == [1, 2]


ODD = [
    "\u200d",
    "\u200b\ufeff",
    "\u0301",
    "\x00",
    "\x07\x1b",
    "\ufe0f",
    "👩‍👩‍👧",
    "🏳️‍🌈",
    "\ue000",
    "\U0010fffd",
    "\uffff",
    "\xad",
]
ODD += [
    "a b",
    "\u3000",
    " ",
    "\t",
    "",
    "\ud800",
    "x\udc00y",
    "́a",
    "[CLS]",
    "[SEP] a",
    "<unk>",
    "‮abc",
    "ﷺ",
    "▁",
    "Ġ",
    "a" * 300,
]


@pytest.mark.parametrize("kind", KINDS)
def test_odd_characters_have_a_piece(kind: str) -> None:
    tokenizer = SubwordTokenizer(KINDS[kind](), UNKNOWN.get(kind, 5), 0)
    for spaced in (False, True):
        found = tokenizer.token_subwords(ODD, [spaced] * len(ODD))
        assert all(len(ids) and ids.min() >= 0 and ids.max() < tokenizer.size for ids in found)


@given(st.lists(st.tuples(st.text(max_size=6), st.booleans()), max_size=8))
def test_any_characters_have_a_piece(tokens: list[tuple[str, bool]]) -> None:
    forms, spaced = [form for form, _ in tokens], [space for _, space in tokens]
    for kind in ("WordPiece", "Metaspace always"):
        assert all(len(ids) for ids in MADE[kind].token_subwords(forms, spaced))


def test_without_an_unknown_piece_a_form_without_pieces_is_an_error() -> None:
    backend = Tokenizer(models.BPE({"a": 0}, []))
    with pytest.raises(ModelError, match=r"found no subwords for '中' and no unknown token"):
        SubwordTokenizer(backend, None, 0).token_subwords(["a", "中"], [True, False])
    assert [ids.tolist() for ids in SubwordTokenizer(backend, 0, 0).token_subwords(["a", "中"], [True, False])] == [
        [0],
        [0],
    ]


def test_a_vocabulary_without_its_unknown_token_is_an_error() -> None:
    tokenizer = SubwordTokenizer(wordpiece(unknown=None), None, 0)
    with pytest.raises(ModelError, match=r"cannot split a text into subwords \(WordPiece error: Missing \[UNK\]"):
        tokenizer.token_subwords(["☃"], [True])
    with pytest.raises(ModelError, match="cannot split a text into subwords"):
        tokenizer.text_subwords(["☃"])


def test_forms_are_divided_once_and_the_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nlp_app.features.subwords.tokenizer, "_MAX_CACHED_FORMS", 50)
    tokenizer = SubwordTokenizer(byte_level(False), None, 0)
    first, again = (tokenizer.token_subwords(["the"], [True])[0] for _ in range(2))
    assert again is first
    assert not first.flags.writeable
    for size in (30, 30, 49, 200):
        forms = [f"w{number}x{size}" for number in range(size)]
        ids = tokenizer.token_subwords(forms * 2, [False] * (2 * size))
        backend = byte_level(False)
        assert [list(map(backend.id_to_token, row.tolist())) for row in ids[size:]] == [
            backend.encode(form).tokens for form in forms
        ]
        assert len(tokenizer._cache) <= 50
    long = "a" * 1000
    tokenizer.token_subwords([long], [False])
    assert (long, False) not in tokenizer._cache


def test_threads_share_a_tokenizer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        nlp_app.features.subwords.tokenizer, "_MAX_CACHED_FORMS", 40
    )  # so that it is cleared now and then
    tokenizer = SubwordTokenizer(metaspace("always"), 0, 0)
    forms = [left + right for left in LATIN[:10] for right in LATIN]
    spaced = [number % 2 == 0 for number in range(len(forms))]
    expected = [ids.tolist() for ids in SubwordTokenizer(metaspace("always"), 0, 0).token_subwords(forms, spaced)]
    wrong: list[object] = []

    def work(seed: int) -> None:
        random = np.random.default_rng(seed)
        for _ in range(60):
            rows = random.integers(0, len(forms), 15).tolist()
            try:
                found = tokenizer.token_subwords([forms[row] for row in rows], [spaced[row] for row in rows])
                if [ids.tolist() for ids in found] != [expected[row] for row in rows]:
                    wrong.append(rows)
                tokenizer.text_subwords([forms[rows[0]]])
            except RuntimeError as error:  # "Already borrowed"
                wrong.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_specials_are_those_of_the_post_processor() -> None:
    def made(backend: Tokenizer, template: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        first = backend.get_vocab_size()
        backend.add_special_tokens(["<s>", "</s>"])
        backend.post_processor = processors.TemplateProcessing(
            single=template, special_tokens=[("<s>", first), ("</s>", first + 1)]
        )
        tokenizer = SubwordTokenizer(backend, None, 0)
        return tuple(ids - first for ids in tokenizer.prefix), tuple(ids - first for ids in tokenizer.suffix)

    assert made(byte_level(False), "<s> $A </s>") == ((0,), (1,))
    assert made(byte_level(False), "$A </s> <s>") == ((), (1, 0))
    assert made(byte_level(True), "<s> </s> $A") == ((0, 1), ())
    assert (MADE["WordPiece"].prefix, MADE["WordPiece"].suffix) == ((1,), (2,))
    assert (MADE["byte-level BPE"].prefix, MADE["byte-level BPE"].suffix) == ((), ())
    byte_trimming = byte_level(False)
    byte_trimming.post_processor = processors.ByteLevel()
    assert SubwordTokenizer(byte_trimming, None, 0).prefix == ()


def test_specials_are_found_if_the_vocabulary_has_no_latin_letter() -> None:
    backend = Tokenizer(models.BPE({"[CLS]": 0, "[SEP]": 1, "中": 2}, []))
    backend.add_special_tokens(["[CLS]", "[SEP]"])
    backend.post_processor = processors.BertProcessing(("[SEP]", 1), ("[CLS]", 0))
    tokenizer = SubwordTokenizer(backend, None, 0)
    assert (tokenizer.prefix, tokenizer.suffix) == ((0,), (1,))


def test_truncation_and_padding_of_the_file_have_no_effect() -> None:
    backend = wordpiece()
    backend.enable_truncation(4)
    backend.enable_padding(length=6)
    tokenizer = SubwordTokenizer.from_json(backend.to_str(), "[UNK]", "[PAD]")
    assert len(tokenizer.token_subwords(["hello1234567"], [False])[0]) == len("o1234567") + 1
    assert [len(ids) for ids in tokenizer.text_subwords(["the the the the the the the", ""])] == [7, 0]
    assert (tokenizer.prefix, tokenizer.suffix) == ((1,), (2,))
    assert json.loads(tokenizer.json())["truncation"] is None
    assert json.loads(tokenizer.json())["padding"] is None


@pytest.mark.parametrize("kind", KINDS)
def test_json_round_trip(kind: str) -> None:
    backend = KINDS[kind]()
    names = {"WordPiece": ("[UNK]", "[PAD]")}.get(kind, (None, None) if "BPE" in kind else ("<unk>", None))
    tokenizer = SubwordTokenizer.from_json(backend.to_str(), *names)
    again = SubwordTokenizer.from_json(tokenizer.json(), *names)
    assert again.json() == tokenizer.json()
    assert (again.unknown, again.padding, again.size) == (UNKNOWN.get(kind), 0, backend.get_vocab_size())
    forms = LATIN + CHINESE
    for spaced in (False, True):
        for left, right in zip(
            *(t.token_subwords(forms, [spaced] * len(forms)) for t in (tokenizer, again)), strict=True
        ):
            assert left.tolist() == right.tolist()


def test_what_is_no_tokenizer_is_an_error() -> None:
    for text in ("", "{", "[]", "{}", '{"model": {}}', '{"version":"1.0","model":{"type":"Sorcery"}}', "\x00"):
        with pytest.raises(
            ModelError, match=r"^tokenizer\.json: found no tokenizer of the library tokenizers"
        ) as raised:
            SubwordTokenizer.from_json(text, None, None)
        assert "\n" not in str(raised.value)
    with pytest.raises(ModelError, match=r"found no '<pad>', expected the padding token"):
        SubwordTokenizer.from_json(wordpiece().to_str(), "[UNK]", "<pad>")
    with pytest.raises(ModelError, match=r"found no 'unk', expected the unknown token"):
        SubwordTokenizer.from_json(wordpiece().to_str(), "unk", None)


def test_ids_that_no_memory_has_room_for_are_refused() -> None:
    described = json.loads(wordpiece().to_str())
    for number, place in ((10**9, "vocab"), (1 << 40, "added")):
        changed = json.loads(json.dumps(described))
        if place == "vocab":
            changed["model"]["vocab"][min(changed["model"]["vocab"])] = number
        else:
            changed["added_tokens"] = [{"id": number, "content": "[NEW]", "special": True}]
        with pytest.raises(ModelError, match=f"tokenizer.json: found a subword with the id {number}, expected"):
            SubwordTokenizer.from_json(json.dumps(changed), "[UNK]", None)


def test_added_tokens_keep_their_ids() -> None:
    backend = metaspace("always")
    backend.add_tokens([AddedToken("XMASKX", normalized=False), "QQ"])
    size = unigram_size = backend.get_vocab_size() - 2
    gapped = json.loads(backend.to_str())
    gapped["model"]["vocab"] += [["XMASKX", -1.0]]
    gapped["added_tokens"] = [{**gapped["added_tokens"][0], "id": size}, {**gapped["added_tokens"][1], "id": size + 1}]
    for made in (SubwordTokenizer(backend, 0, 0), SubwordTokenizer.from_json(json.dumps(gapped), "<unk>", None)):
        assert made.size == unigram_size + 2
        for spaced in (False, True):
            found = made.token_subwords(["XMASKX", "QQ"], [spaced] * 2)
            assert [ids.tolist() for ids in found] == [[unigram_size], [unigram_size + 1]]


@given(st.lists(st.text(max_size=20), max_size=5))
def test_texts_are_divided_as_the_backend_divides_them(texts: list[str]) -> None:
    for kind in ("WordPiece", "byte-level BPE", "Metaspace always"):
        backend = KINDS[kind]()
        assert [ids.tolist() for ids in MADE[kind].text_subwords(texts)] == [
            backend.encode(text, add_special_tokens=False).ids for text in texts
        ]


def test_more_texts_than_one_call_of_the_backend_takes() -> None:
    texts = ["the " * (number % 7) for number in range(2500)]
    found = MADE["WordPiece"].text_subwords(texts)
    assert [len(ids) for ids in found] == [number % 7 for number in range(2500)]
    assert all(ids.dtype == np.int32 for ids in found)
