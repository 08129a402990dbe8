"""Which columns, lines and cells of a file of columns are read, and what is reported of the others."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlp_app.core.errors import DataError, SettingsError
from nlp_app.core.types import TokenRecord
from nlp_app.data.tagging.corpus import CorpusOptions, read_corpus
from nlp_app.formats.tagging import ReadLog, ReadOptions, read

Pairs = list[list[tuple[str, str]]]


def parse(folder: Path, text: str, options: ReadOptions = ReadOptions()) -> tuple[Pairs, ReadLog]:  # noqa: B008
    path, log = folder / "a.conll", ReadLog()
    path.write_text(text, encoding="utf-8")
    records = [record for record in read(path, "conll", options, log) if isinstance(record, TokenRecord)]
    return [list(zip(record.tokens, record.tags or (), strict=True)) for record in records], log


NUMBERED = "1\tMia\tPROPN\tB-PER\n2\tsings\tVERB\tO\n\n1\tOslo\tPROPN\tB-LOC\n\n"
GERMEVAL = (
    "#\thttp://example.org/a [2010-01-02]\n1\tDas\tO\tO\n2\tTV\tB-ORG\tO\n3\tWien\tI-ORG\tB-LOC\n\n"
    "#\thttp://example.org/b [2010-01-03]\n1\tLinz\tB-LOC\tO\n2\truht\tO\tO\n\n"
)
MULTICONER = "# id 77aa domain=en\nthe _ _ O\nnile _ _ B-LOC\n\n# id 78ab domain=en\nmia _ _ B-PER\nsings _ _ O\n\n"
UNIVERSAL = (
    "# sent_id = w-1\n# text = Mia sings\n1\tMia\tB-PER\t-\tann1\n2\tsings\tO\t-\tann1\n\n"
    "# sent_id = w-2\n# text = Oslo\n1\tOslo\tB-LOC\t-\tann2\n\n"
)
MIA: Pairs = [[("Mia", "B-PER"), ("sings", "O")], [("Oslo", "B-LOC")]]


@pytest.mark.parametrize(
    ("text", "expected", "remarks"),
    [
        pytest.param("Mia B-PER\nsings O\n\nOslo B-LOC\n", MIA, ["token 0, tag 1 of 2"], id="two columns"),
        pytest.param(NUMBERED, MIA, ["token 1, tag 3 of 4", "counts the tokens"], id="running number"),
        pytest.param(NUMBERED.replace("1\t", "0\t").replace("2\t", "1\t"), MIA, ["token 1, tag 3"], id="from 0"),
        pytest.param(
            GERMEVAL,
            [[("Das", "O"), ("TV", "B-ORG"), ("Wien", "I-ORG")], [("Linz", "B-LOC"), ("ruht", "O")]],
            ["token 1, tag 2 of 4", "more tags in column 3; --set data.tag_column=3", "comment lines, skipped: 2"],
            id="GermEval",
        ),
        pytest.param(
            MULTICONER,
            [[("the", "O"), ("nile", "B-LOC")], [("mia", "B-PER"), ("sings", "O")]],
            ["token 0, tag 3 of 4", "comment lines, skipped: 2 (the first: line 1)"],
            id="MultiCoNER",
        ),
        pytest.param(
            UNIVERSAL,
            MIA,
            ["token 1, tag 2 of 5", "last column has no tags of a scheme", "comment lines, skipped: 4"],
            id="Universal NER",
        ),
        pytest.param(
            "Mia B-PER +\nsings O -\n\nOslo B-LOC +\n", MIA, ["tag 1 of 3", "last column has no"], id="tag before last"
        ),
        pytest.param("B-PER\tMia\nO\tsings\n\nB-LOC\tOslo\n", MIA, ["token 1, tag 0 of 2"], id="tag first"),
        pytest.param(
            "word\tlabel\nMia\tB-PER\nsings\tO\n\nOslo\tB-LOC\n", MIA, ["first row with the names"], id="header"
        ),
        pytest.param(
            "form pos\nMia PROPN\nsings VERB\n", [[("Mia", "PROPN"), ("sings", "VERB")]], ["first row"], id="header POS"
        ),
        pytest.param(
            "wort\tklasse\nMia\tB-PER\nsings\tO\n\nOslo\tB-LOC\n", MIA, ["first row with"], id="foreign header"
        ),
        pytest.param(
            "token\ttag\n\nMia\tB-PER\nsings\tO\n\nOslo\tB-LOC\n", MIA, ["first row with"], id="header and blank line"
        ),
        pytest.param(
            "# s_1\nMia PROPN\nsings VERB\n\n# s_2\nOslo PROPN\n",
            [[("Mia", "PROPN"), ("sings", "VERB")], [("Oslo", "PROPN")]],
            ["comment lines, skipped: 2"],
            id="comments as wide as tokens",
        ),
        pytest.param(
            "Mia\tB-PER \n sings\tO\n\nOslo \tB-LOC\n", MIA, ["blanks at their ends", "removed: 3"], id="blanks"
        ),
        pytest.param("Mia\tB-PER\t\t\nsings\tO\n\nOslo\tB-LOC\t\n", MIA, ["token 0, tag 1 of 2"], id="empty ends"),
        pytest.param("Mia\tB-PER\t\nsings\tO\t\n\nOslo\tB-LOC\t\n", MIA, ["token 0, tag 1 of 2"], id="empty column"),
        pytest.param(
            "Mia B-PER\n# note inside\nsings O\n\nOslo B-LOC\n", MIA, ["comment lines, skipped: 1"], id="comment inside"
        ),
    ],
)
def test_layouts_are_read_and_reported(tmp_path: Path, text: str, expected: Pairs, remarks: list[str]) -> None:
    found, log = parse(tmp_path, text)
    assert found == expected
    for remark in remarks:
        assert any(remark in line for line in log.remarks), log.remarks


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("the DT\n# #\n5 CD\n\n# #\n7 CD\n", id="pound sign of the Penn Treebank"),
        pytest.param("# #\n5 CD\n\n5 CD\n", id="pound sign once"),
        pytest.param("#\tO\nfun\tB-X\n\n#\tB-X\nfun\tI-X\n", id="hash sign of a tweet"),
        pytest.param("#fun O\nMia B-PER\n", id="hashtag"),
        pytest.param("1 NUM\n2 NUM\n\n1 NUM\n", id="numbers in two columns"),
        pytest.param("7 CD O\n8 CD O\n\n2 CD B-X\n", id="numbers that do not count"),
        pytest.param("I PRON\nI-PRON I-PRON\nO O\n", id="tokens that look like tags"),
        pytest.param("word NOUN\ntag NOUN\n", id="words that are names of columns"),
        pytest.param("\t O\nMia B-PER\n", id="a tab is a token"),
    ],
)
def test_what_looks_alike_is_read_as_it_is(tmp_path: Path, text: str) -> None:
    separator = "\t" if "\t" in text.strip() else " "
    rows = [[line.split(separator) for line in block.splitlines()] for block in text.split("\n\n")]
    expected = [[(row[0], row[-1]) for row in sentence] for sentence in rows]
    assert parse(tmp_path, text)[0] == expected


def test_the_outer_level_of_nested_tags_is_read_but_not_the_chunks_before_the_entities(tmp_path: Path) -> None:
    chunks = "Mia NNP I-NP B-PER\nsings VBZ I-VP O\n\n"
    found, log = parse(tmp_path, chunks)
    assert found == [[("Mia", "B-PER"), ("sings", "O")]]
    assert any("more tags in column 2" in remark for remark in log.remarks)
    assert parse(tmp_path, chunks, ReadOptions(tag_column=2))[0] == [[("Mia", "I-NP"), ("sings", "I-VP")]]


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("Mia B-PER B-NAME +\nsings O O -\n", {}, r"tags in the columns 1, 2 of 4 columns.*data.tag_column"),
        ("B-PER x Mia\nO x sings\n", {}, r"tags in the first of 3 columns.*data.token_column"),
        (
            "#begin document (x); part 000\nx 0 0 Mia (PER)\nx 0 1 in *\nx 0 2 New (GPE*\nx 0 3 York *)\n\n"
            "#end document\n",
            {"token_column": 3},
            r"brackets in column 4.*CoNLL-2012",
        ),
    ],
)
def test_ambiguous_columns_are_refused(tmp_path: Path, text: str, options: dict[str, int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse(tmp_path, text, ReadOptions(**options))  # type: ignore[arg-type]


def test_named_columns_and_prefixes_are_obeyed(tmp_path: Path) -> None:
    text = "% note\n1 Mia B-PER +\n2 sings O -\n"
    options = ReadOptions(token_column=1, tag_column=3, comment_prefix="%")
    assert parse(tmp_path, text, options)[0] == [[("Mia", "+"), ("sings", "-")]]
    plain = "# s1\nMia PROPN\n\n# s2\nOslo PROPN\n"
    assert parse(tmp_path, plain, ReadOptions(comment_prefix="none"))[0][0] == [("#", "s1"), ("Mia", "PROPN")]


def long_file(*damaged: str, sentences: int = 200) -> str:
    blocks = [f"w{number}\tB-X\nv\tO\n" for number in range(sentences)]
    for index, block in enumerate(damaged):
        blocks[7 * (index + 1)] = block
    return "\n".join(blocks)


@pytest.mark.parametrize("line", ["a\tb\tB-X", "a", "\tO", "a\t"])
def test_one_damaged_line_in_a_hundred_costs_its_sentence(tmp_path: Path, line: str) -> None:
    found, log = parse(tmp_path, long_file(f"a\tO\n{line}\nb\tO\n"))
    assert len(found) == 199
    assert not any(token in ("a", "b") for token, _ in itertools.chain.from_iterable(found))
    assert any(remark.startswith("damaged lines, skipped with their sentence: 1") for remark in log.remarks)
    with pytest.raises(DataError, match=r"a.conll:23: found"):
        parse(tmp_path, long_file(f"a\tO\n{line}\nb\tO\n"), ReadOptions(strict=True))


@given(st.integers(1, 60), st.integers(5, 300))
def test_more_damage_than_one_percent_is_an_error(
    tmp_path_factory: pytest.TempPathFactory, bad: int, good: int
) -> None:
    folder = tmp_path_factory.mktemp("damage")
    bad = min(bad, good)  # most lines decide the number of columns
    lines = ["x\tO\n\n"] * (2 * good) + ["y\n\n"] * bad
    if 100 * bad <= 2 * good + bad:
        found, log = parse(folder, "".join(lines))
        assert len(found) == 2 * good
        assert any(f"with their sentence: {bad}" in remark for remark in log.remarks)
    else:
        with pytest.raises(DataError, match=rf"a.conll:{4 * good + 1}: found 1 column, expected 2"):
            parse(folder, "".join(lines))


def test_reading_stops_early_if_a_file_is_damaged_throughout(tmp_path: Path) -> None:
    path = tmp_path / "a.conll"
    path.write_text("x\tO\n" * 600 + "y\n" * 5000)
    log = ReadLog()
    with pytest.raises(DataError, match=r"a.conll:601: "):
        list(read(path, "conll", ReadOptions(), log))
    (damage,) = (remark for remark in log.remarks if remark.startswith("damaged"))
    assert int(damage.split(": ")[1].split(" ")[0]) < 50


def write_parallel(folder: Path, tokens: str, tags: str) -> Path:
    (folder / "seq.in").write_text(tokens)
    (folder / "seq.out").write_text(tags)
    return folder / "seq.in"


def test_parallel_files_are_read_line_by_line(tmp_path: Path) -> None:
    path = write_parallel(tmp_path, "Mia sings\n\nOslo  rests \n", "B-PER O\n\nB-LOC\tO\n")
    options = CorpusOptions(format="parallel", reading=ReadOptions(tags_file="seq.out"))
    corpus = read_corpus(path, options)
    assert [sentence.tokens for sentence in corpus.sentences] == [["Mia", "sings"], ["Oslo", "rests"]]
    assert [[span.label for span in sentence.spans or ()] for sentence in corpus.sentences] == [["PER"], ["LOC"]]
    assert corpus.remarks == [f"tags read from {tmp_path / 'seq.out'}"]


@pytest.mark.parametrize(
    ("tokens", "tags", "message"),
    [
        ("a b\nc\n", "O O\nO O\n", r"seq.in:2: found 1 tokens and 2 tags in .*seq.out:2"),
        ("a b\nc\n", "O O\n", r"seq.out:2: found the end of the file"),
        ("a b\n", "O O\nO\n", r"seq.in:2: found the end of the file"),
    ],
)
def test_parallel_files_that_do_not_fit_are_refused(tmp_path: Path, tokens: str, tags: str, message: str) -> None:
    path = write_parallel(tmp_path, tokens, tags)
    with pytest.raises(DataError, match=message):
        list(read(path, "parallel", ReadOptions(tags_file="seq.out")))
    with pytest.raises(DataError, match=r"no file 'labels'"):
        list(read(path, "parallel", ReadOptions(tags_file="labels")))
    with pytest.raises(SettingsError, match=r"data.tags"):
        list(read(path, "parallel", ReadOptions()))


SEGMENTED = ["\u79d10", "\u62801", "\u51680", "\u65b90", "\u4f4d1"]


def test_characters_with_their_position_are_recognized(tmp_path: Path) -> None:
    text = "\n".join("".join(f"{token}\tO\n" for token in SEGMENTED) for _ in range(5))
    found, log = parse(tmp_path, text)
    assert [token for token, _ in found[0]] == ["\u79d1", "\u6280", "\u5168", "\u65b9", "\u4f4d"]
    assert any("data.token_pattern=none" in remark for remark in log.remarks)
    kept, _ = parse(tmp_path, text, ReadOptions(token_pattern="none"))
    assert [token for token, _ in kept[0]] == SEGMENTED


@pytest.mark.parametrize(
    "tokens",
    [
        pytest.param(["a1", "b7", "c3", "d9"], id="numbers that do not count"),
        pytest.param(["10", "11", "12", "20"], id="numbers"),
        pytest.param(["\u79d1", "\u6280", "\u51680", "\u65b9"], id="few"),
    ],
)
def test_tokens_that_end_in_digits_stay_as_they_are(tmp_path: Path, tokens: list[str]) -> None:
    text = "\n".join("".join(f"{token}\tO\n" for token in tokens) for _ in range(9))
    assert [token for token, _ in parse(tmp_path, text)[0][0]] == tokens


def test_a_damaged_line_before_the_header_is_not_the_header(tmp_path: Path) -> None:
    rows = "Mia\tB-PER\nsings\tO\n\n" * 99
    found, log = parse(tmp_path, f"junk\n\ntoken\ttag\n{rows}")
    assert len(found) == 99
    assert found[0] == [("Mia", "B-PER"), ("sings", "O")]
    assert any(remark.startswith("damaged lines") for remark in log.remarks)


def test_a_header_above_segmented_tokens(tmp_path: Path) -> None:
    text = "char\ttag\n\n" + "\n".join("".join(f"{token}\tO\n" for token in SEGMENTED) for _ in range(5))
    assert parse(tmp_path, text)[0][0][0] == ("\u79d1", "O")
