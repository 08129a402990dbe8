"""Statistics of small corpora that can be counted by hand."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from nlp_app.core.types import CharSpan, Sentence, TokenSpan
from nlp_app.data.tagging.statistics import (
    Entity,
    Lengths,
    Unseen,
    compute_statistics,
    count_unseen_entities,
    find_duplicates,
    find_shared_sentences,
    iter_entities,
)
from nlp_app.text.spacing import join_tokens


def sentence(words: str, spans: Sequence[tuple[int, int, str]] = (), line: int = 1) -> Sentence:
    tokens = words.split()
    text, starts, ends = join_tokens(tokens)
    lines = range(line, line + len(tokens))
    return Sentence(text, starts, ends, [TokenSpan(*span) for span in spans], lines)


TRAIN = [
    sentence("Ada Lovelace met Babbage", [(0, 2, "PER"), (3, 4, "PER")], 1),
    sentence("in London", [(1, 2, "LOC")], 6),
    sentence("in London", [], 9),
    sentence("马 云", [(0, 2, "PER")], 12),
    sentence("in London", [], 15),
]
TEST = [
    sentence("Babbage left London for Ada Lovelace", [(0, 1, "PER"), (2, 3, "LOC"), (4, 6, "PER")], 1),
    sentence("in London", [(1, 2, "ORG")], 8),
    sentence("in Paris", [(1, 2, "LOC")], 11),
    sentence("马 云", [], 14),
]


def test_statistics_of_a_small_corpus() -> None:
    found = compute_statistics(TRAIN)
    assert (found.sentences, found.tokens, found.vocabulary) == (5, 12, 8)
    assert found.labels == {"PER": 3, "LOC": 1}
    assert found.lengths == Lengths(min=2, median=2.0, mean=2.4, p95=4, max=4)
    assert found.longest_entity == Entity("Ada Lovelace", "PER", 2, 1)
    assert (found.duplicates.count, found.duplicates.lines) == (2, [(6, 9), (6, 15)])


def test_the_95_percent_length_is_one_that_occurs() -> None:
    corpus = [sentence("a " * length) for length in [*range(1, 21)]]
    lengths = compute_statistics(corpus).lengths
    assert lengths is not None
    assert (lengths.p95, lengths.median) == (19, 10.5)


def test_unaligned_gold_is_counted_and_repeated_text_needs_tokens() -> None:
    cut = Sentence("Londoner ", [0], [8], [], [3], [CharSpan(0, 6, "LOC")])
    empty = Sentence("  ", [], [], [], [4])
    assert list(iter_entities([cut, empty])) == [Entity("London", "LOC", 0, 3)]
    assert compute_statistics([cut, empty, empty]).labels == {"LOC": 1}
    assert find_duplicates([empty, empty]).count == find_shared_sentences([empty], [empty]).count == 0


def test_statistics_without_sentences() -> None:
    nothing = compute_statistics([])
    assert (nothing.sentences, nothing.lengths, nothing.longest_entity) == (0, None, None)


def test_leaks_are_sentences_of_the_other_file_with_the_lines_of_both() -> None:
    found = find_shared_sentences(TRAIN, TEST)
    assert (found.count, found.lines) == (2, [(6, 8), (12, 14)])
    assert find_shared_sentences(TEST, TRAIN).count == 4, "each occurrence counts"


def test_sentences_are_compared_by_tokens_not_text() -> None:
    whole = Sentence("New York", [0], [8], None, [1])
    assert whole.text == sentence("New York").text
    assert find_shared_sentences([whole], [sentence("New York")]).count == 0


def test_unseen_entities_have_a_new_surface_form() -> None:
    found = count_unseen_entities(TRAIN, TEST)
    assert found == Unseen(entities=5, unseen=1)
    assert found.share == 0.2
    assert count_unseen_entities(TRAIN, []).share == 0.0


short = st.lists(st.sampled_from("ab 马"), max_size=3).map(lambda words: sentence(" ".join(words)))


@given(st.lists(short, max_size=12), st.lists(short, max_size=12))
def test_counts_equal_those_of_sets_of_sentences(train: list[Sentence], other: list[Sentence]) -> None:
    first, second = ([tuple(s.tokens) for s in corpus if s.tokens] for corpus in (train, other))
    assert find_duplicates(train).count == len(first) - len(set(first))
    assert find_shared_sentences(train, other).count == sum(tokens in set(first) for tokens in second)
    assert len(find_shared_sentences(train, other).lines) == min(5, find_shared_sentences(train, other).count)
