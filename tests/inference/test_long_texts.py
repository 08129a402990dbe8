"""Texts too long to be processed at once: windows give the same results as the whole text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Small
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import some_tagger

from nlp_app.core.types import Span
from nlp_app.inference import Tagger, tag_decoding, token_windows
from nlp_app.nn import LinearChainCRF
from nlp_app.numerics import viterbi

pytestmark = pytest.mark.numeric


@pytest.fixture
def long_text(small: Small) -> str:
    """Some 800 tokens in one text."""
    lines = small.test.read_text(encoding="utf-8").splitlines()
    return " ".join([line.split()[0] for line in lines if line.strip()] * 3)


@pytest.fixture
def windowed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Windows of 200 tokens that share 100, spans' probabilities a few at a time, and best paths in blocks."""

    def on() -> None:
        monkeypatch.setattr(token_windows, "LONGEST_SENTENCE", 200)
        monkeypatch.setattr(token_windows, "_SHARED_TOKENS", 100)
        monkeypatch.setattr(tag_decoding, "_SEGMENT_CELLS", 100)
        monkeypatch.setattr(viterbi, "_BLOCK", 7)

    return on


@given(st.integers(2, 60), st.integers(0, 50), st.integers(1, 400))
def test_each_position_is_used_in_the_window_with_most_context(size: int, shared: int, more: int) -> None:
    shared, length = min(shared, size - 1), size + more
    found = list(token_windows.windows(length, size, shared))
    assert [found[0].start, found[-1].end] == [0, length]
    assert [place for w in found for place in range(w.answers_from, w.answers_to)] == list(range(length))
    for window in found:
        assert window.end - window.start == size
        assert window.start <= window.answers_from <= window.answers_to <= window.end
        for place in (window.answers_from, window.answers_to - 1):
            rival = max(min(place - w.start, w.end - 1 - place) for w in found)
            inside = min(
                place - window.start if window.start else length,
                window.end - 1 - place if window.end < length else length,
            )
            assert inside >= min(shared // 2, rival)


def essence(spans: list[Span]) -> list[tuple[int, int, str, str]]:
    return [(span.start, span.end, span.label, span.text) for span in spans]


def test_windows_give_the_results_of_the_whole_text(tagger: Tagger, long_text: str, windowed: Any) -> None:
    tokens = long_text.split()
    assert len(tokens) > 600
    whole, tags = tagger.tag(long_text), tagger.tag_tokens([tokens, ["Anna"]])
    windowed()
    found = tagger.tag(long_text)
    assert len(found) > 30
    assert essence(found) == essence(whole)
    assert [span.score for span in found] == pytest.approx([span.score for span in whole], abs=1e-3)
    assert all(long_text[span.start : span.end] == span.text for span in found)
    assert tagger.tag_tokens([tokens, ["Anna"]]) == tags


def test_short_texts_have_no_windows(tagger: Tagger, windowed: Any) -> None:
    text = "Anna lives in Rome and works for Google " * 20
    before = tagger.tag([text, "Anna"])
    windowed()
    for spans, expected in zip(tagger.tag([text, "Anna"]), before, strict=True):
        assert essence(spans) == essence(expected)
        assert [span.score for span in spans] == pytest.approx([span.score for span in expected], abs=1e-6)


def test_network_reads_one_window_at_a_time(
    torch_tagger: Tagger, long_text: str, windowed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    widths = []
    network = torch_tagger.parts.network
    read = network.emissions
    monkeypatch.setattr(
        network, "emissions", lambda mask, **columns: widths.append(mask.shape) or read(mask, **columns)
    )
    windowed()
    torch_tagger.tag(long_text)
    assert set(widths) == {(1, 200)}


def test_transformer_windows_do_not_change(tmp_path: Path, windowed: Any) -> None:
    tagger = Tagger(some_tagger(tmp_path, shape="crf"))
    text = "Anna lives in Rome, 北京 " * 60
    whole = tagger.tag(text)
    windowed()
    assert essence(tagger.tag(text)) == essence(whole)
    assert [span.score for span in tagger.tag(text)] == pytest.approx([span.score for span in whole], abs=1e-6)


@pytest.mark.parametrize("length", [1, 2, 7, 8, 9, 30])
def test_best_paths_in_blocks(length: int, windowed: Any) -> None:
    torch.manual_seed(length)
    crf = LinearChainCRF(300)  # more tags than a byte can number
    torch.nn.init.normal_(crf.transitions)
    scores, mask = torch.randn(1, length, 300), torch.ones((1, length), dtype=torch.bool)
    windowed()
    (both,) = {tuple(path) for path in crf.decode(scores.expand(2, -1, -1), mask.expand(2, -1))}
    (alone,) = crf.decode(scores, mask)
    assert tuple(alone) == both
    assert np.shape(alone) == (length,)
