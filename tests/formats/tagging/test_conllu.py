"""CoNLL-U: words, raw text and offsets, with the examples of the specification."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlp_app.core.errors import DataError
from nlp_app.core.types import TextRecord, TokenRecord
from nlp_app.formats.tagging import ReadLog, ReadOptions, read, read_lines, write
from nlp_app.formats.tagging.conllu import align


def word(identity: str, form: str, upos: str = "X", xpos: str = "_", misc: str = "_") -> str:
    return f"{identity}\t{form}\t_\t{upos}\t{xpos}\t_\t_\t_\t_\t{misc}"


def parse(lines: list[str], column: str = "upos") -> list[TokenRecord]:
    records = read_lines(lines, "f.conllu", "conllu", ReadOptions(column=column))
    return [record for record in records if isinstance(record, TokenRecord)]


def test_words_of_a_sentence() -> None:
    lines = ["# sent_id = 1", "# text = They don't go.", word("1", "They", "PRON"), word("2-3", "don't", "_")]
    lines += [word("2", "do", "AUX"), word("3", "n't", "PART"), word("4", "go", "VERB", misc="SpaceAfter=No")]
    lines += [word("4.1", "there", "ADV"), word("5", ".", "PUNCT"), "", word("1", "#", "SYM")]
    first, second = parse(lines)
    assert first.tokens == ["They", "do", "n't", "go", "."]
    assert first.tags == ["PRON", "AUX", "PART", "VERB", "PUNCT"]
    assert (first.text, first.starts) == ("They don't go.", [0, 5, 7, 11, 13])
    assert list(first.lines) == [3, 5, 6, 7, 9]
    assert (second.tokens, second.text, list(second.lines)) == (["#"], "#", [11])


def test_words_that_are_not_in_the_text() -> None:
    lines = ["# text = du pain", word("1-2", "du"), word("1", "de"), word("2", "le"), word("3", "pain")]
    (record,) = parse(lines)
    assert (record.tokens, record.text, record.starts) == (["de", "le", "pain"], None, None)


@pytest.mark.parametrize("comment", [[], ["# text = something else"]])
def test_text_is_rebuilt_from_the_spaces(comment: list[str]) -> None:
    lines = [*comment, word("1", "我們", misc="SpaceAfter=No|Translit=x"), word("2", "走"), word("3", "a b")]
    (record,) = parse(lines)
    assert (record.text, record.starts) == ("我們走 a b", [0, 2, 4])


def test_columns() -> None:
    lines = [word("1", "a", "_", "NN"), word("2", "b", "_", "_")]
    assert parse(lines)[0].tags is None
    assert parse(lines, "xpos")[0].tags == ["NN", "_"]
    assert parse(lines, "form")[0].tags == ["a", "b"]
    assert parse(lines, "feats")[0].tags == ["_", "_"]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["1\ta\t_"], r"f.conllu:1: found 3 columns, expected 10"),
        ([word("1", "a"), word("1", "b")], r"f.conllu:2: found the id '1', expected 2"),
        ([word("1", "a"), word("3", "b")], r"f.conllu:2: found the id '3'"),
        ([word("1-1x", "a")], r"f.conllu:1: found the id '1-1x'"),
        ([word("2-3", "a")], r"f.conllu:1"),
        ([word("1", "")], r"f.conllu:1: found an empty column"),
        (["# global.columns = ID FORM"], r"CoNLL-U Plus"),
    ],
)
def test_damaged_lines_are_refused(lines: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse(lines)


@given(st.lists(st.tuples(st.text("ab 1é😀", min_size=1).filter(str.strip), st.sampled_from(["", " ", "  "]))))
def test_aligned_tokens_are_where_they_were_put(pieces: list[tuple[str, str]]) -> None:
    text = "".join(token + gap for token, gap in pieces)
    starts = align([token for token, _ in pieces], text)
    assert starts is not None
    for start, (token, _) in zip(starts, pieces, strict=True):
        assert text.startswith(token, start)


def test_tokens_that_skip_text_do_not_align() -> None:
    assert align(["a", "c"], "a b c") is None
    assert align(["a"], "a b") is None
    assert align(["a", "b"], " a\u3000b ") == [1, 3]


def test_written_conllu_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "out.conllu"
    records = [
        TokenRecord(["我", "走", "#"], ["PRON", "VERB", "SYM"], range(2, 5), "我走 #", [0, 1, 3]),
        TokenRecord(["a b"], ["X"], range(7, 8), "a b", [0]),
        TokenRecord(["x"], None, range(10, 11), "x", [0]),
    ]
    write(records, path, "conllu")
    assert list(read(path)) == records
    assert [line.count("\t") for line in path.read_text("utf-8").split("\n")] == [
        0,
        9,
        9,
        9,
        0,
        0,
        9,
        0,
        0,
        9,
        0,
        0,
    ]
    for bad in (TokenRecord(["a\tb"], ["X"], ()), TokenRecord([""], None, ()), TextRecord("a", None, 1)):
        with pytest.raises(DataError, match=r"record 1"):
            write([bad], path, "conllu")


@pytest.mark.parametrize(
    ("text", "differs"),
    [
        ("Mia sings.", False),
        ("Mia  sings .", False),
        ("Miasings.", False),
        ("Mia sang.", True),
        ("Mia sings. Loud", True),
    ],
)
def test_a_text_that_differs_from_its_words_is_reported(tmp_path: Path, text: str, differs: bool) -> None:
    words = [("Mia", "_"), ("sings", "SpaceAfter=No"), (".", "_")]
    rows = [f"{n}\t{form}\t_\tX\t_\t_\t_\t_\t_\t{misc}" for n, (form, misc) in enumerate(words, 1)]
    path, log = tmp_path / "a.conllu", ReadLog(counting=False)
    path.write_text("\n".join([f"# text = {text}", *rows, ""]) + "\n")
    list(read(path, log=log))
    expected = "sentences whose `# text` differs from their words, read without it: 1 (the first: line 1)"
    assert log.remarks == ([expected] if differs else [])


def test_the_words_of_a_multi_word_token_do_not_differ_from_the_text(tmp_path: Path) -> None:
    path, log = tmp_path / "a.conllu", ReadLog(counting=False)
    rest = "\t_" * 5
    rows = ["1-2\tdu\t_\t_" + "\t_" * 6, f"1\tde\t_\tX\t_{rest}", f"2\tle\t_\tX\t_{rest}", f"3\tpain\t_\tX\t_{rest}"]
    path.write_text("\n".join(["# text = du pain", *rows, ""]) + "\n")
    list(read(path, log=log))
    assert log.remarks == []
