"""The data of a run: what is held out, what is said, and what is refused."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlp_app.config import TaggingDataSettings
from nlp_app.corpus import Corpus
from nlp_app.errors import DataError, SettingsError
from nlp_app.splits import hold_out, labels_of, read_splits
from nlp_app.types import Sentence, TokenSpan


def sentence(word: str, label: str | None) -> Sentence:
    spans = [] if label is None else [TokenSpan(0, 1, label)]
    return Sentence(word, [0], [len(word)], spans, [1])


def corpus(pairs: list[tuple[str, str | None]]) -> Corpus:
    return Corpus("train.conll", "conll", [sentence(*pair) for pair in pairs])


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from(["X", "Y", "Z", None])), min_size=1, max_size=30),
    st.floats(0.05, 0.6),
    st.integers(0, 3),
)
def test_what_is_held_out(pairs: list[tuple[str, str | None]], share: float, seed: int) -> None:
    whole = corpus(pairs)
    try:
        train, dev = hold_out(whole, share, seed)
    except DataError:  # too few of them
        return
    key = [(one.text, tuple(one.spans or ())) for one in (*train.sentences, *dev.sentences)]
    assert Counter(key) == Counter((one.text, tuple(one.spans or ())) for one in whole.sentences)
    assert train.sentences
    assert dev.sentences
    assert not {one.text for one in train.sentences} & {one.text for one in dev.sentences}
    assert labels_of(train.sentences) == labels_of(whole.sentences)
    again = hold_out(whole, share, seed)[1]
    assert [id(one) for one in again.sentences] == [id(one) for one in dev.sentences]


def test_about_the_share_asked_for_is_held_out() -> None:
    whole = corpus([(f"word{number}", "X" if number % 3 else None) for number in range(200)])
    assert len(hold_out(whole, 0.1, 1)[1].sentences) == 20
    assert hold_out(whole, 0.1, 1)[1].sentences != hold_out(whole, 0.1, 2)[1].sentences


def write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_the_report_tells_what_is_odd(tmp_path: Path) -> None:
    train = write(tmp_path / "train.conll", "Anna B-PER\nI I-LOC\n\nsame O\n\nBob B-PER\n\nRome B-LOC\n\n")
    dev = write(tmp_path / "dev.conll", "same O\n\nnothing O\n\n")
    test = write(tmp_path / "test.conll", "Anna B-GOD\n\nBob B-PER\n\n")
    data = read_splits(TaggingDataSettings(train=train, dev=dev, test=test), seed=1)
    report = data.report()
    assert [line.split() for line in report[:4]] == [
        ["data", "sentences", "tokens", "labels"],
        ["train", "4", "5", "4", train, "(conll,", "BIO)"],
        ["dev", "2", "2", "0", dev, "(conll,", "BIO)"],
        ["test", "2", "2", "2", test, "(conll,", "BIO)"],
    ]
    notes = "\n".join(report[4:])
    assert "note: train: 1 tags could not follow the tag before them and were read as the CoNLL scorer does" in notes
    assert f"the first: {train}:2: I-LOC" in notes
    assert "note: dev: 1 of its sentences stand in train too" in notes
    assert "note: dev: has no labelled span" in notes
    assert "note: test: GOD: labels that training never had; they count as missed" in notes
    assert "note: test: 1 of its sentences stand in train too" in notes


def test_a_dev_part_that_was_cut_off_is_named_so(tmp_path: Path) -> None:
    train = write(tmp_path / "a.conll", "".join(f"word{number} B-X\nI I-Y\n\n" for number in range(20)))
    data = read_splits(TaggingDataSettings(train=train), seed=1)
    assert data.held_out
    assert len(data.dev.sentences) == 2
    assert len(data.train.sentences) == 18
    report = data.report()
    assert report[2].split() == ["dev", "2", "4", "4", "cut", "from", "train", "(conll,", "BIO)"]
    assert sum("could not follow" in line for line in report) == 1  # of the file, not of each part


def test_texts_whose_spans_fit_no_tokens_or_that_have_no_token(tmp_path: Path) -> None:
    lines = ['{"text": "", "label": []}', '{"text": "New York", "label": [[0, 8, "LOC"]]}']
    lines += ['{"text": "in Rome", "label": [[3, 7, "LOC"]]}', '{"text": "Roman", "label": [[0, 3, "LOC"]]}']
    train = write(tmp_path / "a.jsonl", "\n".join(lines))
    data = read_splits(TaggingDataSettings(train=train, dev=train, alignment="strict"), seed=1)
    report = "\n".join(data.report())
    assert "note: train: 1 sentences without a token left out" in report
    assert "of 3 labelled spans 0 were moved to token edges and 1 fit no tokens" in report
    assert data.counts()["train"]["spans"] == data.counts()["dev"]["spans"] == 3
    assert (len(data.train.sentences), len(data.dev.sentences)) == (3, 4)


def test_dev_or_test_need_train() -> None:
    with pytest.raises(SettingsError, match="give --train FILE"):
        read_splits(TaggingDataSettings(test="x.conll"), seed=1)
