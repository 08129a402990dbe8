"""Cached corpora: same content as in memory, loaded by later runs, and not held in memory."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlp_app.config import TaggingDataSettings
from nlp_app.core.errors import DataError
from nlp_app.core.types import Sentence, TokenSpan
from nlp_app.data.tagging.cached_corpus import read_cached_corpus
from nlp_app.data.tagging.corpus import CorpusOptions, read_corpus
from nlp_app.data.tagging.splits import read_splits
from nlp_app.features.tagging.encoder import TaggingEncoder
from nlp_app.labels import schemes
from nlp_app.labels.tag_set import TagSet
from nlp_app.text import BasicTokenizer
from nlp_app.training.tagging.long_sentences import window_boundaries, window_tag_ids

COLUMNS = "Anna B-PER\nI I-LOC\n\nsame O\n\nBob B-PER\n\n马 B-LOC\n云 I-LOC\n\n"
OBJECTS = (
    '{"text": "in Rome", "label": [[3, 7, "LOC"]]}\n{"text": "", "label": []}\n'
    '{"text": "Roman", "label": [[0, 3, "LOC"]]}\n'
)


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NLP_APP_CACHE", str(tmp_path / "cache"))


def entries(tmp_path: Path) -> int:
    return len(list((tmp_path / "cache").iterdir()))


@pytest.mark.parametrize(("name", "content"), [("a.conll", COLUMNS), ("a.jsonl", OBJECTS)])
def test_a_cached_corpus_equals_one_in_memory(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    options = CorpusOptions(tokenizer=BasicTokenizer(), alignment="strict")
    expected = read_corpus(path, options)
    for _ in range(2):
        found = read_cached_corpus(path, options)
        assert [replace(each, lines=list(each.lines)) for each in expected.sentences] == list(found.sentences)
        assert (found.scheme, found.evidence, found.tokenizer) == (
            expected.scheme,
            expected.evidence,
            expected.tokenizer,
        )
        assert (found.repairs, found.repaired) == (expected.repairs, len(expected.repairs))
        assert found.ledger.dropped == expected.ledger.dropped
        assert found.labeled
    assert entries(tmp_path) == 1
    path.write_text(content.replace("same", "other").replace("Roman", "Romas"), encoding="utf-8")
    assert [s.text for s in read_cached_corpus(path, options).sentences] != [s.text for s in found.sentences]
    assert entries(tmp_path) == 2
    read_cached_corpus(path, replace(options, alignment="expand"))
    assert entries(tmp_path) == 3


def test_file_names_in_a_folder_matter(tmp_path: Path) -> None:
    """File names match annotations with texts."""
    contents = ("T1\tPER 0 4\tAnna\n", "Anna met Bob", "", "Anna went away")
    found = []
    for folder, names in (
        ("one", ("a.ann", "a.txt", "b.ann", "b.txt")),
        ("two", ("a.ann", "a.b.txt", "a.b.ann", "a.txt")),
    ):
        (tmp_path / folder).mkdir()
        for name, content in zip(names, contents, strict=True):
            (tmp_path / folder / name).write_text(content)
        read = read_cached_corpus(tmp_path / folder, CorpusOptions(tokenizer=BasicTokenizer()))
        found.append({each.text: each.spans for each in read.sentences})
    assert found[0] == {"Anna met Bob": [TokenSpan(0, 1, "PER")], "Anna went away": []}
    assert found[1] == {"Anna met Bob": [], "Anna went away": [TokenSpan(0, 1, "PER")]}


def test_sentences_that_can_not_be_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NLP_APP_CACHE", str(tmp_path / "file"))
    (tmp_path / "a.conll").write_text(COLUMNS, encoding="utf-8")
    path = str(tmp_path / "a.conll")
    said = read_splits(TaggingDataSettings(train=path, dev=path, scheme="IOB1"), seed=1).report()
    assert [line for line in said if "encoded texts are used for this run only" in line] == [said[-1]]


def test_an_invalid_file_leaves_no_cache_entry(tmp_path: Path) -> None:
    path = tmp_path / "a.conll"
    path.write_text(COLUMNS + "x y z\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"a.conll:11"):
        read_cached_corpus(path, CorpusOptions())
    assert not entries(tmp_path)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 60), st.integers(1, 12), st.lists(st.tuples(st.integers(0, 59), st.integers(1, 8)), max_size=8))
def test_long_sentences_are_split_outside_spans(length: int, longest: int, wanted: list[tuple[int, int]]) -> None:
    spans: list[TokenSpan] = []
    for start, size in sorted(wanted):
        if start + size <= length and (not spans or start >= spans[-1].end):
            spans.append(TokenSpan(start, start + size, "X"))
    cut = window_boundaries(Sentence("x" * length, [*range(length)], [*range(1, length + 1)], spans, [1]), longest)
    assert (cut[0], cut[-1]) == (0, length)
    assert all(0 < end - start <= longest for start, end in pairwise(cut)) or length == 0
    for place in cut[1:-1]:
        divided = [span for span in spans if span.start < place < span.end]
        assert all(span.start in cut for span in divided), "only a span that begins a window may be too long for it"
    tag_set = TagSet(("X",), "BIOES")
    tags = [tag_set.tags[number] for number in window_tag_ids(tag_set, spans, cut)]
    kept = {place for span in spans for place in range(span.start, span.end)}
    found = [schemes.decode(tags[start:end], "BIOES")[0] for start, end in pairwise(cut)]
    places = {
        start + place
        for start, each in zip(cut, found, strict=False)
        for span in each
        for place in range(span.start, span.end)
    }
    assert places == kept


@settings(deadline=None, max_examples=20)
@given(st.lists(st.lists(st.sampled_from(["a", "B", "cd", "Ce", "7"]), max_size=6), max_size=12), st.integers(1, 3))
def test_features_are_counted_in_chunks_as_at_once(sentences: list[list[str]], min_count: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        whole = TaggingEncoder.fit(sentences, str.lower, min_count=min_count)
        keys = np.concatenate(
            [np.zeros((0, len(whole.windows.templates)), dtype=np.uint64), *keys_of(whole, sentences)]
        )
        single = Counter(keys[:, whole.windows.single].ravel().tolist())
        joint = Counter(keys[:, whole.windows.joint].ravel().tolist())
        known = {key for key, count in single.items() if count >= min_count and key}
        known |= {key for key, count in joint.items() if count >= max(2, min_count) and key}
        assert whole.index.keys.tolist() == sorted(known)
        patch.setattr("nlp_app.features.tagging.encoder._CHUNK_TOKENS", 3)
        patch.setattr("nlp_app.features.feature_index._MERGE_SIZE", 5)
        pieces = TaggingEncoder.fit(sentences, str.lower, min_count=min_count)
    assert pieces.index.keys.tolist() == whole.index.keys.tolist()
    assert pieces.part_rows.tolist() == whole.part_rows.tolist()


def keys_of(encoder: TaggingEncoder, sentences: list[list[str]]) -> list[np.ndarray]:
    return [encoder.windows.keys(encoder.forms.lookup(each), [len(each)]) for each in sentences]


def test_splits_are_the_same_when_loaded_from_the_cache(tmp_path: Path) -> None:
    path = tmp_path / "a.conll"
    path.write_text("".join(f"word{number % 70} B-X\nI I-Y\n\n" for number in range(100)), encoding="utf-8")
    first, again = (read_splits(TaggingDataSettings(train=str(path)), seed=1) for _ in range(2))
    assert first.report() == again.report()
    assert list(first.train.sentences) == list(again.train.sentences)
    assert first.dev is not None
    assert again.dev is not None
    assert first.dev.sentences == again.dev.sentences


_MEASURE = """
import sys
from pathlib import Path
from nlp_app.data.tagging.corpus import CorpusOptions
from nlp_app.features.tagging.encoder import TaggingEncoder, chunk_sentences
from nlp_app.storage.sentences import SentenceTokens
from nlp_app.data.tagging.cached_corpus import read_cached_corpus
import tracemalloc
tracemalloc.start()
sentences = read_cached_corpus(sys.argv[1], CorpusOptions(scheme="BIO")).sentences
encoder = TaggingEncoder.fit(SentenceTokens(sentences), str.lower)
for chunk in chunk_sentences(sentences):
    encoder.encode([sentence.tokens for sentence in chunk])
print(tracemalloc.get_traced_memory()[1])
"""


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    lines = "".join(f"word{number % 50} B-X\n" + "is O\nhere O\n" * 20 + "\n" for number in range(150))
    peaks = []
    for copies in (4, 24):
        path = tmp_path / f"{copies}.conll"
        path.write_text(lines * copies, encoding="utf-8")
        done = subprocess.run([sys.executable, "-c", _MEASURE, str(path)], capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout))
    assert peaks[1] < 1.2 * peaks[0], peaks
