"""`Tagger`: offsets, scores, and messages for wrong calls."""

from __future__ import annotations

import copy
import tracemalloc
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Small
from hypothesis import given, settings
from hypothesis import strategies as st

import nlp_app
from nlp_app.core.errors import ModelError
from nlp_app.inference import Tagger
from nlp_app.storage.ragged import collate

pytestmark = pytest.mark.numeric

ODD = [
    "",
    " ",
    "\n",
    "Anna",
    "😀 Anna 在 Rome 👩‍👩‍👧 工作",
    "A\u200bnna\u200d lives\r\nin\u2028Rome\x85today",
    "e\u0301cole É ﬁn \ufeffx\ufffd\x00y",
    "a \ud83d b \udc00",
    "在北京的Google公司2024年" * 30,
]


def test_spans_point_into_the_text(tagger: Tagger) -> None:
    found = tagger.tag(ODD)
    assert len(found) == len(ODD)
    for text, spans in zip(ODD, found, strict=True):
        for span in spans:
            assert text[span.start : span.end] == span.text != ""
            assert 0 < span.score <= 1
            assert span.label in tagger.labels
        assert [(s.start, s.end) for s in spans] == sorted((s.start, s.end) for s in spans)
        alone = tagger.tag(text)
        assert [(s.start, s.end, s.label) for s in alone] == [(s.start, s.end, s.label) for s in spans]
        assert [s.score for s in alone] == pytest.approx([s.score for s in spans], abs=1e-5)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.text(alphabet=st.one_of(st.characters(), st.sampled_from("安娜AnnaRome 在，😀\u200b")), max_size=40))
)
def test_any_text_can_be_tagged(tagger: Tagger, texts: list[str]) -> None:
    for text, spans in zip(texts, tagger.tag(texts), strict=True):
        assert all(text[span.start : span.end] == span.text for span in spans)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(st.text(max_size=5), max_size=6), max_size=4))
def test_any_tokens_can_be_tagged(tagger: Tagger, sentences: list[list[str]]) -> None:
    assert [len(tags) for tags in tagger.tag_tokens(sentences)] == [len(tokens) for tokens in sentences]


def test_one_text_and_many_texts(tagger: Tagger) -> None:
    text = "Anna lives in Rome"
    assert tagger.tag([text]) == [tagger.tag(text)] == tagger.tag((text,))
    assert tagger.tag([]) == []
    assert tagger.tag_tokens([]) == []
    assert tagger.tag_tokens([[]]) == [[]]
    assert tagger.tag_tokens([["Anna", "x"]]) == tagger.tag_tokens((("Anna", "x"),))


def test_calls_change_nothing(torch_tagger: Tagger) -> None:
    texts, sentences = ["Anna lives in Rome", ""], [["Anna", "lives"], [], ["Rome"]]
    before = copy.deepcopy((texts, sentences))
    first = torch_tagger.tag(texts), torch_tagger.tag_tokens(sentences)
    weights = [weight.clone() for weight in torch_tagger.parts.network.state_dict().values()]
    torch_tagger.tag(["other text 在北京"] * 5)
    assert (texts, sentences) == before
    assert (torch_tagger.tag(texts), torch_tagger.tag_tokens(sentences)) == first
    assert all(map(torch.equal, weights, torch_tagger.parts.network.state_dict().values()))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (b"Anna", "found bytes"),
        (None, "found NoneType"),
        (3, "found int"),
        (("a" for _ in "ab"), "found generator"),
        ({"a": 1}, "found dict"),
        ([b"Anna"], "found bytes in the list"),
        ([None], "found NoneType in the list"),
        ([["Anna"]], "call tag_tokens"),
    ],
)
def test_wrong_texts(tagger: Tagger, wrong: Any, said: str) -> None:
    with pytest.raises(TypeError, match=r"tag takes a str or a list of str") as caught:
        tagger.tag(wrong)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("Anna lives", "found str"),
        (["Anna", "lives"], 'write tag_tokens([["one", "sentence"]])'),
        (b"Anna", "found bytes"),
        (None, "found NoneType"),
        ((["a"] for _ in "ab"), "found generator"),
        ([b"Anna"], "found bytes in the list"),
        ([[b"Anna"]], "found bytes as a token"),
        ([[None]], "found NoneType as a token"),
        ([None], "found NoneType in the list"),
    ],
)
def test_wrong_sentences(tagger: Tagger, wrong: Any, said: str) -> None:
    with pytest.raises(TypeError, match="tag_tokens takes a list of lists of tokens") as caught:
        tagger.tag_tokens(wrong)
    assert said in str(caught.value)


def test_scores_are_sums_over_all_paths(torch_tagger: Tagger, small: Small) -> None:
    """For short sentences: every permitted path, with its probability, is enumerated as the n best."""
    parts = torch_tagger.parts
    tokens = [line.split()[0] for line in small.train.read_text(encoding="utf-8").split("\n") if line]
    windows = [tokens[place : place + size] for size in (1, 2, 3) for place in range(0, 600, 3)]
    likely = [window for window, spans in zip(windows, torch_tagger.token_spans(windows), strict=True) if spans]
    sentences = [window for size in (1, 2, 3) for window in [w for w in likely if len(w) == size][:3]]
    assert len(sentences) > 3
    columns = parts.encoder.encode(sentences)
    checked = 0
    for row, spans in enumerate(torch_tagger.scored_spans(sentences)):
        batch = {name: torch.from_numpy(array) for name, array in collate(columns, [row]).items()}
        with torch.inference_mode():
            paths = parts.network.crf.n_best(parts.network.emissions(**batch), batch["mask"], 3_000)[0]
        chances = np.exp([score for _, score in paths])
        assert chances.sum() == pytest.approx(1, abs=1e-6)
        readings = [set(parts.tag_set.spans(path)) for path, _ in paths]
        every = {span for reading in readings for span in reading}
        for span, score in spans:
            assert span in every
            total = sum(chance for chance, reading in zip(chances, readings, strict=True) if span in reading)
            assert score == pytest.approx(total, abs=1e-5)
            checked += 1
    assert checked


def test_scores_that_are_not_finite(small: Small) -> None:
    broken = nlp_app.load(small.run, backend="torch")
    assert isinstance(broken, Tagger)
    with torch.no_grad():
        broken.parts.network.tags.bias.fill_(torch.inf)
        broken.parts.network.tags.bias[0] = -torch.inf
        broken.parts.network.wide.weight.fill_(torch.nan)
    for call in (lambda: broken.tag("Anna lives in Rome"), lambda: broken.tag_tokens([["Anna", "lives"]])):
        with pytest.raises(ModelError, match="the model can't tag this text: row 0: found no permitted path"):
            call()


def test_memory_grows_with_the_results_only(tagger: Tagger) -> None:
    text = "Anna met Rome in a b c d e f g h"
    for function, one in ((tagger.tag, text), (tagger.tag_tokens, text.split()), (tagger.token_spans, text.split())):
        peaks = []
        for count in (1000, 4000):
            tracemalloc.start()
            try:
                assert len(function([one] * count)) == count
                peaks.append(tracemalloc.get_traced_memory()[1])
            finally:
                tracemalloc.stop()
        assert peaks[1] < 2 * peaks[0]


def test_chunks_change_nothing(tagger: Tagger) -> None:
    texts = [f"{text} {number}" for number in range(300) for text in ODD[:-1]]
    found = tagger.tag(texts)
    for place in (0, 999, 1000, 1001, len(texts) - 1):
        alone = tagger.tag(texts[place])
        assert [(s.start, s.end, s.label) for s in alone] == [(s.start, s.end, s.label) for s in found[place]]
    assert tagger.tag([]) == tagger.tag_tokens([]) == tagger.token_spans([]) == []
