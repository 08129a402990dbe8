"""The likeliest segmentation, against a plain dynamic program over strings."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nlp_app.features.lexicon.segmentation import NONE, segment

LONGEST = 4


@st.composite
def problems(draw: st.DrawFn) -> tuple[list[list[dict[int, int]]], list[int]]:
    """Sentences: for each token, the cost of the word of each size that begins there."""
    lengths = draw(st.lists(st.integers(0, 12), max_size=6))
    sentences = []
    for length in lengths:
        tokens = []
        for place in range(length):
            sizes = draw(st.sets(st.integers(2, LONGEST), max_size=2))
            tokens.append({s: draw(st.integers(0, 9)) for s in [1, *sorted(sizes)] if place + s <= length})
        sentences.append(tokens)
    return sentences, lengths


def by_loop(tokens: list[dict[int, int]]) -> list[int]:
    best: list[tuple[int, int]] = [(0, 0)] * (len(tokens) + 1)
    for place in range(len(tokens) - 1, -1, -1):
        best[place] = min(
            ((cost + best[place + size][0], size) for size, cost in tokens[place].items()),
            key=lambda choice: (choice[0], -choice[1]),
        )
    words, place = [0] * len(tokens), 0
    while place < len(tokens):
        words[place] = best[place][1]
        place += best[place][1]
    return words


@settings(max_examples=300, deadline=None)
@given(problems())
def test_segments_are_those_of_a_loop(problem: tuple[list[list[dict[int, int]]], list[int]]) -> None:
    sentences, lengths = problem
    costs = np.full((LONGEST, sum(lengths)), NONE, dtype=np.int32)
    for place, token in enumerate(token for tokens in sentences for token in tokens):
        for size, cost in token.items():
            costs[size - 1, place] = cost
    assert segment(costs, lengths).tolist() == [size for tokens in sentences for size in by_loop(tokens)]
