"""Tags in other spellings give the same spans as `B-PER`, and labels that only look alike stay as they are."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import nlp_app
from nlp_app.config import TaggingSettings, read_settings
from nlp_app.core.errors import DataError
from nlp_app.core.types import TokenSpan
from nlp_app.data.tagging.convert import convert
from nlp_app.data.tagging.corpus import Corpus, CorpusOptions, read_corpus
from nlp_app.labels import detect_scheme, encode
from nlp_app.labels.tag_spelling import respeller
from nlp_app.reports.conversion import conversion_text
from nlp_app.training import train_ner

SCHEMES = ["BIO", "IOB1", "IOE1", "IOE2", "BIOES", "BMES", "BMEWO", "BILOU"]

# Written here anew, in the direction opposite to the code's.
WRITERS: dict[str, Callable[[str, str], str]] = {
    "B_PER": lambda letter, name: f"{letter}_{name}",
    "PER-B": lambda letter, name: f"{name}-{letter}",
    "PER_B": lambda letter, name: f"{name}_{letter}",
    "b-per": lambda letter, name: f"{letter.lower()}-{name}",
    "b_per": lambda letter, name: f"{letter.lower()}_{name}",
    "ner=B-PER": lambda letter, name: f"ner={letter}-{name}",
}


def respelled(tags: list[str], spelling: str) -> list[str]:
    outside = {"b": "o", "n": "ner=O"}.get(spelling[0], "O")
    return [outside if tag == "O" else WRITERS[spelling](tag[0], tag[2:]) for tag in tags]


@st.composite
def tagged(draw: st.DrawFn) -> tuple[list[TokenSpan], int]:
    spans, start = [], 0
    for gap, size, label in draw(
        st.lists(st.tuples(st.integers(0, 2), st.integers(1, 3), st.sampled_from(["PER", "ORG.x", "org-unit"])))
    ):
        spans.append(TokenSpan(start + gap, start + gap + size, label))
        start += gap + size
    return spans, start + draw(st.integers(1, 3))


def corpus_of(folder: Path, sentences: list[list[str]], options: CorpusOptions = CorpusOptions()) -> Corpus:  # noqa: B008
    path = folder / "a.conll"
    path.write_text("\n".join("".join(f"w\t{tag}\n" for tag in tags) for tags in sentences), encoding="utf-8")
    return read_corpus(path, options)


@pytest.mark.parametrize("spelling", WRITERS)
@pytest.mark.parametrize("scheme", SCHEMES)
@given(st.data())
def test_every_spelling_of_every_scheme_gives_the_same_spans(
    tmp_path_factory: pytest.TempPathFactory, scheme: str, spelling: str, data: st.DataObject
) -> None:
    sentences = data.draw(st.lists(tagged(), min_size=1, max_size=3))
    written = [encode(spans, length, scheme) for spans, length in sentences]
    assume(any(spans for spans, _ in sentences))
    folder = tmp_path_factory.mktemp("spelling")
    expected = corpus_of(folder, written)
    found = corpus_of(folder, [respelled(tags, spelling) for tags in written])
    assert found.spelling == spelling
    assert found.scheme == expected.scheme
    assert [s.spans for s in found.sentences] == [s.spans for s in expected.sentences]
    assert any(f"spelled {spelling}" in remark for remark in found.remarks)
    canonical = [[respeller(spelling)(tag) for tag in respelled(tags, spelling)] for tags in written]
    assert canonical == written


@given(st.lists(st.lists(st.sampled_from(["O", "O", "PERSON", "Org_x"]), min_size=1), min_size=1))
def test_names_beside_outside_are_spans_of_equal_neighbors(
    tmp_path_factory: pytest.TempPathFactory, sentences: list[list[str]]
) -> None:
    sentences = [*sentences, ["O"] * 999, ["PERSON"] * 99]
    corpus = corpus_of(tmp_path_factory.mktemp("io"), sentences)
    assert (corpus.scheme, corpus.spelling) == ("IO", "IO")
    for sentence, tags in zip(corpus.sentences, sentences, strict=True):
        runs = [(m.start(), m.end(), name) for name in ("PERSON", "Org_x") for m in _runs(tags, name)]
        assert [tuple(span) for span in sentence.spans or ()] == sorted(runs)
    assert corpus.repairs == []


def _runs(tags: list[str], name: str) -> list[re.Match[str]]:
    return list(re.finditer("x+", "".join("x" if tag == name else "-" for tag in tags)))


@pytest.mark.parametrize(
    "tags",
    [
        pytest.param("PRO:PER VER:pres DET:ART NOM", id="colons"),
        pytest.param("O .PERIOD O ,COMMA O O", id="punctuation"),
        pytest.param("O P-X O C-X O C-X C-X", id="one letter before the hyphen"),
        pytest.param("O COMMA O O PERIOD O " * 5, id="names that do not repeat"),
        pytest.param("NN NN VB O NN NN", id="O is rare"),
        pytest.param("V_PRES N_SG N_PL", id="underscores"),
        pytest.param("NN-B VB-X O", id="suffixes of no scheme"),
        pytest.param("b-per I_PER PER", id="mixed"),
        pytest.param("a=B-X b=O", id="two prefixes"),
        pytest.param("S_NN S_VB", id="one letter without O"),
        pytest.param("B M E S", id="word segmentation"),
    ],
)
def test_labels_that_look_alike_stay_plain(tmp_path: Path, tags: str) -> None:
    corpus = corpus_of(tmp_path, [tags.split()])
    assert corpus.scheme == "none"
    assert [span.label for sentence in corpus.sentences for span in sentence.spans or ()] == tags.split()
    warned = any("tags of no known scheme, and O" in remark for remark in corpus.remarks)
    assert warned == ("O" in tags.split())
    named = corpus_of(tmp_path, [tags.split()], CorpusOptions(scheme="none"))
    assert not any("scheme" in remark for remark in named.remarks)


@pytest.mark.parametrize("tags", ["B-O I-O O B-B-LOC", "B-PERderiv I-PERderiv O", "U-A O", "S-b_x O"])
def test_canonical_tags_are_not_respelled(tags: str) -> None:
    detected = detect_scheme([tags.split()])
    assert (detected.spelling, detected.remark) == ("B-PER", "")


def test_letters_without_a_type_are_spans_without_a_label(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, [["B", "I", "O", "B"]])
    assert corpus.scheme == "BIO"
    assert corpus.sentences[0].spans == [TokenSpan(0, 2, ""), TokenSpan(3, 4, "")]
    assert any("letters without a type" in remark for remark in corpus.remarks)


def test_a_small_file_is_read_with_the_spelling_of_the_training_file(tmp_path: Path) -> None:
    options = CorpusOptions(scheme="IO", spelling="IO")
    assert corpus_of(tmp_path, [["NAME", "O"]], options).sentences[0].spans == [TokenSpan(0, 1, "NAME")]
    assert corpus_of(tmp_path, [["B-NAME", "O"]], options).sentences[0].spans == [TokenSpan(0, 1, "NAME")]
    options = CorpusOptions(scheme="BIO", spelling="B_PER")
    assert corpus_of(tmp_path, [["B_X", "I_X"]], options).sentences[0].spans == [TokenSpan(0, 2, "X")]
    assert corpus_of(tmp_path, [["B-X", "I-X"]], options).sentences[0].spans == [TokenSpan(0, 2, "X")]


def test_io_can_be_named(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, [["P-X", "P-X", "O", "COMMA"]], CorpusOptions(scheme="IO"))
    assert corpus.sentences[0].spans == [TokenSpan(0, 2, "P-X"), TokenSpan(3, 4, "COMMA")]


def test_a_repair_shows_the_tag_of_the_file_and_conversion_reports_the_spelling(tmp_path: Path) -> None:
    path = tmp_path / "a.conll"
    path.write_text("Mia\tPER-B\nsings\tORG-I\nhere\tO\n\n")
    report = convert(path, tmp_path / "b.conll")
    assert (tmp_path / "b.conll").read_text() == "Mia\tB-PER\nsings\tB-ORG\nhere\tO\n\n"
    assert [(repair.line, repair.tag) for repair in report.repairs] == [(2, "ORG-I")]
    assert "spelled PER-B" in conversion_text(report)


def test_bio_tags_among_io_files_are_read_as_bio(tmp_path: Path) -> None:
    options = CorpusOptions(scheme="IO", spelling="IO")
    corpus = corpus_of(tmp_path, [["B-X", "B-X", "O"]], options)
    assert corpus.sentences[0].spans == [TokenSpan(0, 1, "X"), TokenSpan(1, 2, "X")]
    assert corpus.repairs == []
    names = corpus_of(tmp_path, [["PER", "PER", "O", "O", "O"]], CorpusOptions(scheme="BIO"))
    assert names.sentences[0].spans == [TokenSpan(0, 2, "PER")]
    assert names.repairs == []


def test_a_rare_tag_in_another_spelling_is_named(tmp_path: Path) -> None:
    tags = ["B_PER", "I_PER", "O"] * 99 + ["PERSON"]
    with pytest.raises(DataError, match=r"\(PERSON\) among tags such as B_PER"):
        corpus_of(tmp_path, [tags])


@pytest.mark.slow
def test_a_tagger_trained_on_io_tags_finds_spans(tmp_path: Path) -> None:
    words = ["Mia Lou sings", "we met Mia Lou", "Oslo sleeps", "she left Oslo", "they sing here"]
    names = {"Mia": "NAME", "Lou": "NAME", "Oslo": "PLACE"}
    lines = ["".join(f"{word}\t{names.get(word, 'O')}\n" for word in text.split()) for text in words * 4]
    path = tmp_path / "a.conll"
    path.write_text("\n".join(lines))
    changes = [f"data.train={path}", f"data.dev={path}", "train.epochs=30", "train.learning_rate=0.02"]
    train_ner(read_settings(TaggingSettings, None, changes), tmp_path / "run", quiet=True)
    spans = nlp_app.load(tmp_path / "run").tag("we met Mia Lou")
    assert [(span.text, span.label) for span in spans] == [("Mia Lou", "NAME")]
