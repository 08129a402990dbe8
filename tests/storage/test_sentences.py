"""Sentences in columns: the same as in memory, whichever are looked at."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nlp_app.core.types import CharSpan, Sentence, TokenSpan
from nlp_app.storage.cache import CacheEntryWriter
from nlp_app.storage.memory_map import map_columns
from nlp_app.storage.sentences import (
    SentenceTokens,
    StoredSentences,
    select_sentences,
    sentence_columns,
    to_stored_sentences,
)

labels = st.sampled_from(["PER", "", "a b", "\u2028", "马"])


@st.composite
def sentences(draw: st.DrawFn, labeled: bool) -> Sentence:
    words = draw(st.lists(st.text(min_size=1, max_size=3), max_size=5))
    text, starts, ends = draw(st.text(max_size=2)), [], []
    for word in words:
        starts.append(len(text))
        text += word
        ends.append(len(text))
        text += draw(st.sampled_from(["", " "]))
    spans = [TokenSpan(place, place + 1, draw(labels)) for place in range(len(words)) if draw(st.booleans())]
    unaligned = [CharSpan(0, 1, draw(labels))] if labeled and draw(st.booleans()) else []
    lines = draw(st.sampled_from([[7], list(range(3, 3 + len(words)))]))
    return Sentence(text, starts, ends, spans if labeled else None, lines, unaligned)


corpora = st.booleans().flatmap(lambda labeled: st.lists(sentences(labeled), max_size=8))


def written(folder: Path, pieces: list[list[Sentence]]) -> StoredSentences:
    writer, names = CacheEntryWriter(folder), dict[str, int]()
    for piece in pieces:
        for name, columns in sentence_columns(piece, names).items():
            writer.append(name, columns)
    writer.close()
    columns = {name: map_columns(each.parts) for name, each in writer._writers.items()}
    return StoredSentences(columns, tuple(names), pieces[0][0].spans is not None)


@settings(deadline=None, max_examples=60)
@given(corpora, st.data())
def test_what_is_stored_is_what_was_given(expected: list[Sentence], data: st.DataObject) -> None:
    memory = StoredSentences.from_sentences(expected)
    cut = data.draw(st.integers(0, len(expected)))
    with TemporaryDirectory() as folder:
        pieces = [piece for piece in (expected[:cut], expected[cut:]) if piece]
        for found in [memory, *([written(Path(folder), pieces)] if pieces else [])]:
            assert list(found) == expected
            assert [found[place] for place in range(-len(expected), len(expected))] == expected * 2
            rows = data.draw(st.lists(st.integers(0, len(expected) - 1), max_size=6) if expected else st.just([]))
            some, those = found.select(np.array(rows, dtype=np.int64)), [expected[row] for row in rows]
            assert list(some) == select_sentences(expected, np.array(rows, dtype=np.int64)) == those
            assert list(some[1::2]) == those[1::2]
            assert [*SentenceTokens(some)] == [sentence.tokens for sentence in those]
            assert_counted(some, those)


def assert_counted(found: StoredSentences, expected: list[Sentence]) -> None:
    assert found.lengths.tolist() == [len(sentence) for sentence in expected]
    assert found.count("spans") == sum(len(sentence.spans or ()) for sentence in expected)
    assert found.count("unaligned") == sum(len(sentence.unaligned) for sentence in expected)
    assert found.labels_in("spans") == {span.label for sentence in expected for span in sentence.spans or ()}
    both = {span.label for sentence in expected for span in (*(sentence.spans or ()), *sentence.unaligned)}
    assert found.labels_in("spans", "unaligned") == both
    counts = Counter(label for sentence in expected for label in {span.label for span in sentence.spans or ()})
    by_label = found.sentences_by_label().tolist()
    assert {label: count for label, count in zip(found.labels, by_label, strict=True) if count} == counts
    tokens = [tuple(sentence.tokens) for sentence in expected]
    hashes = found.hashes.tolist()
    assert all(
        (one == other) == (tokens[i] == tokens[j]) for i, one in enumerate(hashes) for j, other in enumerate(hashes)
    )


def test_tokens_that_join_to_the_same_text_differ() -> None:
    whole = Sentence("ab", [0], [2], None, [1])
    parts = Sentence("ab", [0, 1], [1, 2], None, [1])
    assert len(set(to_stored_sentences([whole, parts]).hashes.tolist())) == 2
