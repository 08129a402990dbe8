"""CoNLL columns: valid and invalid files, and round trips of generated sentences."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlp_app.core.errors import DataError, SettingsError
from nlp_app.core.types import TextRecord, TokenRecord
from nlp_app.formats.tagging import ReadOptions, read, read_lines, write

ZERO_WIDTH, NO_BREAK, WIDE, MARK, LOST = "\u200b", "\u00a0", "\u3000", "\ufeff", "\ufffd"


def parse(text: str, options: ReadOptions = ReadOptions()) -> list[TokenRecord]:  # noqa: B008
    records = list(read_lines(text.split("\n"), "f.conll", "conll", options))
    assert all(isinstance(record, TokenRecord) for record in records)
    return [record for record in records if isinstance(record, TokenRecord)]


def pairs(text: str, options: ReadOptions = ReadOptions()) -> list[list[tuple[str, str]]]:  # noqa: B008
    return [list(zip(record.tokens, record.tags or [], strict=True)) for record in parse(text, options)]


@pytest.mark.parametrize("separator", ["\t", " ", "   "])
@pytest.mark.parametrize("blank", ["", "\t", "  ", " \t "])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_sentences_end_at_blank_lines_of_any_kind(separator: str, blank: str, end: str) -> None:
    lines = [f"Ann{separator}B-PER", f"#{separator}O", blank, blank, f"x{separator}O"]
    assert pairs(end.join(lines)) == [[("Ann", "B-PER"), ("#", "O")], [("x", "O")]]
    assert [list(record.lines) for record in parse(end.join(lines))] == [[1, 2], [5]]


@pytest.mark.parametrize("separator", ["\t", " "])
@pytest.mark.parametrize("token", [NO_BREAK, WIDE, f"a{ZERO_WIDTH}b", f"x{MARK}", "\u2028", "\x0b", "\x85", "\r"])
def test_invisible_characters_belong_to_their_token(separator: str, token: str) -> None:
    text = f"a{separator}O\n{token}{separator}O\nb{separator}O"
    assert pairs(text) == [[("a", "O"), (token, "O"), ("b", "O")]]


def test_document_marks_end_sentences_and_are_not_tokens() -> None:
    text = "-DOCSTART- -X- O O\n\nLoan NN - O\n-DOCSTART- -X- O O\nBank NN - I-ORG\n-DOCSTART-\nx NN - O"
    assert pairs(text) == [[("Loan", "O")], [("Bank", "I-ORG")], [("x", "O")]]
    assert pairs("-DOCSTART-x\tO") == [[("-DOCSTART-x", "O")]]


def test_columns_are_chosen_by_number() -> None:
    text = "1 Ann NNP B-PER\n2 runs VBZ O"
    options = ReadOptions(token_column=1, tag_column=-2)
    assert pairs(text, options) == [[("Ann", "NNP"), ("runs", "VBZ")]]
    for wrong in (ReadOptions(token_column=4), ReadOptions(tag_column=-5), ReadOptions(token_column=3)):
        with pytest.raises(DataError, match=r"column"):
            pairs(text, wrong)


def test_one_column_is_unlabeled() -> None:
    (first, second) = parse("Ann\nruns\n\nfast")
    assert (first.tokens, first.tags, second.tokens) == (["Ann", "runs"], None, ["fast"])


def test_a_tab_separated_token_may_contain_spaces() -> None:
    assert pairs("New York\tB-LOC\nis\tO\n\nSan Jose\tB-LOC") == [
        [("New York", "B-LOC"), ("is", "O")],
        [("San Jose", "B-LOC")],
    ]


def test_segmented_tokens_lose_their_position() -> None:
    text = f"科0\tO\n310\tO\n33\tO\n{LOST}{LOST}0\tO\n{LOST}12\tO\n😀1\tO"
    options = ReadOptions(token_pattern="segmented")
    assert parse(text, options)[0].tokens == ["科", "3", "3", LOST * 2, LOST, "😀"]
    with pytest.raises(DataError, match=r"f.conll:2: .*'ab1'"):
        parse("a0\tO\nab1\tO", options)
    assert parse("a_0\tO", ReadOptions(token_pattern="(.)_0"))[0].tokens == ["a"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a O\nb", r"f.conll:2: found 1 column, expected 2 .*tag missing"),
        ("a X O\nb O\nc X O", r"f.conll:2: found 2 columns, expected 3"),
        ("a b c\nx\tO\ny\tO", r"f.conll:1: found 1 column, expected 2 .*tab"),
        ("a\tO\n\tO", r"f.conll:2: found an empty token"),
        ("a\tO\nb\t", r"f.conll:2: found an empty tag"),
        ("a\tO\nb\0\tO", r"f.conll:2: found a NUL"),
        ("#FORMAT=WebAnno TSV 3.3\n#T_SP=x|v\n\n1-1\t0-2\tHe\t_\t", r"f.conll:1: found WebAnno TSV.*--format webanno"),
        ("__label__good great stuff\n__label__bad poor", "text classification data"),
        ("ham\tsee you at the station\nspam\twin a prize now\nham\tok then", "text classification data"),
        ("这是一个很长的新闻标题没有空格\t3\n另外一个很长的新闻标题没有空格\t1", "text classification data"),
    ],
)
def test_invalid_columns_are_refused_with_their_line(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse(text)


@pytest.mark.parametrize(
    "options", [{"separator": ","}, {"token_pattern": "("}, {"token_pattern": "a"}, {"column": "uposs"}]
)
def test_options_out_of_range_are_refused(options: dict[str, str]) -> None:
    with pytest.raises(SettingsError):
        list(read_lines(["a O"], "f.conll", "conll", ReadOptions(**options)))  # type: ignore[arg-type]


tokens = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\t\n\r\0"), min_size=1, max_size=5
).filter(lambda token: token.strip(" ") in ("", token))
labeled = st.lists(st.lists(st.tuples(tokens, st.sampled_from(["O", "B-A", "I-A"])), min_size=1), min_size=1)


@given(labeled)
def test_written_columns_read_back_with_any_characters(
    tmp_path_factory: pytest.TempPathFactory, data: list[list[tuple[str, str]]]
) -> None:
    path = tmp_path_factory.mktemp("columns") / "out.conll"
    write((TokenRecord([t for t, _ in s], [t for _, t in s], ()) for s in data), path, "conll")
    back = [list(zip(r.tokens, r.tags or [], strict=True)) for r in read(path) if isinstance(r, TokenRecord)]
    assert back == data


@pytest.mark.parametrize(
    "record",
    [
        TokenRecord(["a\tb"], ["O"], ()),
        TokenRecord(["a\n"], ["O"], ()),
        TokenRecord([""], ["O"], ()),
        TokenRecord(["a"], [""], ()),
        TokenRecord(["a "], ["O"], ()),
        TokenRecord(["a"], ["B-X "], ()),
        TokenRecord(["a b"], None, ()),
        TokenRecord(["-DOCSTART-"], ["O"], ()),
        TokenRecord([], [], ()),
        TextRecord("a", [], 1),
    ],
)
def test_records_that_columns_cannot_hold_are_not_written(tmp_path: Path, record: TokenRecord | TextRecord) -> None:
    path = tmp_path / "out.conll"
    with pytest.raises(DataError, match=r"record 1.*JSON lines"):
        write([record], path, "conll")
    assert list(tmp_path.iterdir()) == []


def test_labeled_and_unlabeled_sentences_do_not_share_a_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"with tags and without"):
        write([TokenRecord(["a"], ["O"], ()), TokenRecord(["a"], None, ())], tmp_path / "out.conll", "conll")
