"""Reading corpora: schemes, repairs, mixed files, raw texts, and the choice of a tokenizer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nlp_app.core.errors import DataError, SettingsError
from nlp_app.core.types import CharSpan, TokenSpan
from nlp_app.data.tagging import alignment
from nlp_app.data.tagging.corpus import CorpusOptions, TagRepair, read_corpus
from nlp_app.data.tagging.tokenizer_choice import choose_tokenizer
from nlp_app.text import make_tokenizer

BASIC = make_tokenizer("basic", do_lower_case=False)


def columns(path: Path, *sentences: str) -> Path:
    """Columns from `token/tag token/tag`."""
    blocks = ["".join(pair.replace("/", "\t") + "\n" for pair in sentence.split()) for sentence in sentences]
    path.write_text("\n".join(blocks), encoding="utf-8")
    return path


def json_lines(path: Path, *values: object) -> Path:
    path.write_text("".join(json.dumps(value) + "\n" for value in values), encoding="utf-8")
    return path


def test_tags_become_spans_by_the_scheme_of_the_whole_file(tmp_path: Path) -> None:
    path = columns(tmp_path / "a.conll", "Ada/I-PER met/O Eve/I-PER", "Ann/I-PER Bob/B-PER left/O")
    corpus = read_corpus(path)
    assert (corpus.format, corpus.scheme, corpus.tokenizer, corpus.labeled) == ("conll", "IOB1", None, True)
    assert corpus.evidence
    assert [s.spans for s in corpus.sentences] == [
        [TokenSpan(0, 1, "PER"), TokenSpan(2, 3, "PER")],
        [TokenSpan(0, 1, "PER"), TokenSpan(1, 2, "PER")],
    ]
    assert corpus.sentences[1].text == "Ann Bob left"
    assert list(corpus.sentences[1].lines) == [5, 6, 7]
    assert (corpus.ledger.gold, corpus.ledger.kept, corpus.repairs) == (4, 4, [])


def test_a_given_scheme_is_used_and_its_repairs_are_named_by_line(tmp_path: Path) -> None:
    path = columns(tmp_path / "a.conll", "Ada/I-PER met/O Eve/I-PER")
    corpus = read_corpus(path, CorpusOptions(scheme="IOB2"))
    assert corpus.scheme == "BIO"
    assert [(line, tag) for line, tag, _ in corpus.repairs] == [(1, "I-PER"), (3, "I-PER")]
    assert isinstance(corpus.repairs[0], TagRepair)
    assert corpus.sentences[0].spans == [TokenSpan(0, 1, "PER"), TokenSpan(2, 3, "PER")]


def test_strict_rejects_the_first_invalid_tag(tmp_path: Path) -> None:
    path = columns(tmp_path / "a.conll", "Ada/B-PER met/O", "in/O Rome/I-LOC", "x/I-LOC")
    assert len(read_corpus(path, CorpusOptions(scheme="BIO")).repairs) == 2
    with pytest.raises(DataError, match=r"a\.conll:5: found an invalid tag: I-LOC follows O") as caught:
        read_corpus(path, CorpusOptions(scheme="BIO", strict=True))
    assert (caught.value.line, "\n" in str(caught.value)) == (5, False)


def test_a_tag_of_another_scheme_is_named_by_line(tmp_path: Path) -> None:
    path = columns(tmp_path / "a.conll", "Ada/B-PER met/O", "in/O Rome/S-LOC")
    with pytest.raises(DataError, match=r"a\.conll:5: .*S-LOC"):
        read_corpus(path, CorpusOptions(scheme="BIO"))


def test_tags_of_no_scheme_name_the_file(tmp_path: Path) -> None:
    path = columns(tmp_path / "a.conll", "Ada/B-PER Mae/I-PER in/O Rome/Q-LOC")
    with pytest.raises(DataError, match=r"a\.conll:4: .*Q-LOC"):
        read_corpus(path)


def test_an_unknown_scheme_is_a_mistake_in_the_settings(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="BIOS"):
        read_corpus(columns(tmp_path / "a.conll", "Ada/B-PER"), CorpusOptions(scheme="BIOS"))


def test_tags_without_a_scheme_are_one_span_per_token(tmp_path: Path) -> None:
    corpus = read_corpus(columns(tmp_path / "a.conll", "Ada/PROPN met/VERB"))
    assert corpus.scheme == "none"
    assert corpus.sentences[0].spans == [TokenSpan(0, 1, "PROPN"), TokenSpan(1, 2, "VERB")]


def test_spans_are_aligned_and_unaligned_ones_stay_gold(tmp_path: Path) -> None:
    path = json_lines(
        tmp_path / "a.jsonl",
        {"text": "Ada Lovelace met.", "label": [[0, 12, "PER"]]},
        {"text": "in London, UK", "label": [[3, 8, "LOC"], [9, 13, "LOC"], [3, 9, "LOC"]]},
    )
    corpus = read_corpus(path, CorpusOptions(tokenizer=BASIC, alignment="strict"))
    first, second = corpus.sentences
    assert (corpus.scheme, corpus.tokenizer, first.spans) == (None, "basic", [TokenSpan(0, 2, "PER")])
    assert (second.spans, second.unaligned) == (
        [TokenSpan(1, 2, "LOC"), TokenSpan(2, 4, "LOC")],
        [CharSpan(3, 8, "LOC")],
    )
    ledger = corpus.ledger
    assert (ledger.gold, ledger.kept, ledger.adjusted, ledger.dropped) == (4, 3, 0, 1)
    assert [(entry.line, entry.reason) for entry in ledger.entries] == [(2, alignment.MISFIT)]


def test_raw_text_needs_a_tokenizer(tmp_path: Path) -> None:
    path = json_lines(tmp_path / "a.jsonl", {"text": "Ada", "spans": []})
    with pytest.raises(DataError, match=r"needs a tokenizer; choose one of basic, char, whitespace"):
        read_corpus(path)


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ([{"text": "Ada", "spans": []}, {"text": "Eve"}], 2),
        ([{"text": "Ada"}, {"text": "Eve"}, {"text": "Ann", "spans": []}], 3),
        ([{"tokens": ["Ada"], "ner_tags": ["O"]}, {"tokens": ["Eve"]}], 2),
        ([{"text": "Ada", "spans": []}, {"tokens": ["Eve"], "ner_tags": ["O"]}], 2),
    ],
)
def test_mixed_files_are_rejected_with_the_line(tmp_path: Path, values: list[object], line: int) -> None:
    with pytest.raises(DataError) as caught:
        read_corpus(json_lines(tmp_path / "a.jsonl", *values), CorpusOptions(tokenizer=BASIC))
    assert caught.value.line == line


def test_unlabeled_files_are_corpora_too(tmp_path: Path) -> None:
    path = json_lines(tmp_path / "a.jsonl", {"text": "Ada met Eve"}, {"text": ""})
    corpus = read_corpus(path, CorpusOptions(tokenizer=BASIC))
    assert (corpus.labeled, corpus.scheme, [len(s) for s in corpus.sentences]) == (False, None, [3, 0])


def test_the_raw_text_of_the_file_is_used(tmp_path: Path) -> None:
    path = json_lines(tmp_path / "a.jsonl", {"tokens": ["It", "'s"], "ner_tags": ["O", "O"], "text": " It's\n"})
    sentence = read_corpus(path).sentences[0]
    assert (sentence.text, sentence.starts, sentence.ends) == (" It's\n", [1, 3], [3, 5])


def test_letters_among_chinese_characters_are_joined_without_spaces(tmp_path: Path) -> None:
    path = columns(tmp_path / "a.conll", "在/O A/B-ORG B/I-ORG C/I-ORG 工/O 作/O 七/O 年/O", "好/O 的/O")
    assert read_corpus(path).sentences[0].text == "在ABC工作七年"
    words = columns(tmp_path / "b.conll", "在/O New/B-LOC York/I-LOC 工作/O")
    assert read_corpus(words).sentences[0].text == "在New York工作"


@pytest.mark.parametrize(
    ("sentences", "best"),
    [
        (["I/O did/O it/O ,/O and/O she/O (/O too/O )/O ./O"], "basic"),
        (["在/O A/O B/O C/O 工/O 作/O 七/O 年/O"], "char"),
        (["see/O http://a.b/c?d=e/O now/O", "at/O a-b.c@d.e/O"], "whitespace"),
    ],
)
def test_the_tokenizer_is_chosen_on_written_text(tmp_path: Path, sentences: list[str], best: str) -> None:
    path = tmp_path / "a.conll"
    pairs = ["".join(pair[:-2] + "\tO\n" for pair in sentence.split()) for sentence in sentences]
    path.write_text("\n".join(pairs), encoding="utf-8")
    name, shares = choose_tokenizer(read_corpus(path).sentences)
    assert (name, shares[best]) == (best, 1.0)
    assert all(share < 1.0 for other, share in shares.items() if other != best)
