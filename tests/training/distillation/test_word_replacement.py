"""Sentences with other words: which give way, to which, and how they are written."""

from __future__ import annotations

import numpy as np

from nlp_app.training.distillation.word_replacement import WordReplacement

WORDS = ["paris", "london", "rome", "eats", "drinks", "sees"]
# Cities point one way, verbs another, each a little apart.
VECTORS = np.array([[9, 1.0], [9, 1.1], [9, 0.9], [1, 9.0], [1.1, 9], [0.9, 9]])
SENTENCE = ["PARIS", "eats", ",", "Rome", "unknown"]


def varied(share: float, anywhere: float, times: int = 300) -> list[list[str]]:
    found = WordReplacement.from_vectors(WORDS, VECTORS, ["paris", "rome", "eats"], 2, lower_case=True)
    return list(found.replace_words([SENTENCE] * times, share, anywhere, np.random.default_rng(1)))


def test_near_words_stand_in_as_the_word_was_written() -> None:
    columns = [set(column) for column in zip(*varied(1.0, 0.0), strict=True)]
    assert columns == [{"LONDON", "ROME"}, {"drinks", "sees"}, {","}, {"Paris", "London"}, {"unknown"}]


def test_any_word_may_stand_in() -> None:
    columns = [set(column) for column in zip(*varied(1.0, 1.0), strict=True)]
    assert columns[0] == {word.upper() for word in WORDS}
    assert columns[3] == {word.capitalize() for word in WORDS}


def test_shares() -> None:
    assert varied(0.0, 0.5) == [SENTENCE] * 300
    changed = np.mean([row[0] != "PARIS" for row in varied(0.3, 0.0, 3000)])
    assert abs(changed - 0.3) < 0.03


def test_no_near_words_means_any() -> None:
    alone = WordReplacement.from_vectors(["a", "b"], np.eye(2), ["a"], 0, lower_case=False)
    found = list(alone.replace_words([["a", "A"]] * 50, 1.0, 0.0, np.random.default_rng(2)))
    assert {row[0] for row in found} == {"a", "b"}
    assert {row[1] for row in found} == {"A"}
