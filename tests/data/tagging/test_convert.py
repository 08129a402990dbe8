"""Conversions are reversible, or report their losses."""

from __future__ import annotations

import json
import os
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlp_app.core.errors import DataError, SettingsError
from nlp_app.core.types import TokenSpan
from nlp_app.data.tagging.convert import convert
from nlp_app.data.tagging.corpus import CorpusOptions, read_corpus
from nlp_app.formats.tagging import ReadOptions
from nlp_app.labels.schemes import encode
from nlp_app.reports.conversion import conversion_text

SCHEMES = ["BIO", "IOB1", "IOE1", "IOE2", "BIOES", "BMES", "BMEWO", "BILOU"]
TOKENS = st.text(st.sampled_from("ab1.#\u00a0\u3000\u200b马云，🙂 "), min_size=1, max_size=4).filter(
    lambda t: t == t.strip(" ")
)


@st.composite
def labeled_sentences(draw: st.DrawFn) -> tuple[list[str], list[TokenSpan]]:
    tokens = draw(st.lists(TOKENS, min_size=1, max_size=6))
    spans, start = [], 0
    while start < len(tokens):
        end = draw(st.integers(start, len(tokens)))
        if end > start:
            spans.append(TokenSpan(start, end, draw(st.sampled_from(["PER", "creative-work"]))))
        start = max(end, start + 1)
    return tokens, spans


def write_columns(path: Path, sentences: list[tuple[list[str], list[TokenSpan]]], scheme: str) -> None:
    blocks = [
        "".join(f"{token}\t{tag}\n" for token, tag in zip(tokens, encode(spans, len(tokens), scheme), strict=True))
        for tokens, spans in sentences
    ]
    path.write_text("".join(f"{block}\n" for block in blocks), encoding="utf-8", newline="")


@settings(max_examples=60, deadline=None)
@given(st.lists(labeled_sentences(), min_size=1, max_size=4), st.sampled_from(SCHEMES), st.sampled_from(SCHEMES))
def test_columns_to_json_lines_and_back(
    sentences: list[tuple[list[str], list[TokenSpan]]], scheme: str, between: str
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source, middle, back = (Path(folder) / name for name in ("a.conll", "b.jsonl", "c.conll"))
        write_columns(source, sentences, scheme)
        there = convert(source, middle, options=CorpusOptions(scheme=scheme), target_scheme=between)
        home = convert(middle, back, options=CorpusOptions(scheme=between), target_scheme=scheme)
        assert there.losses == home.losses == []
        lines = [json.loads(line) for line in middle.read_text(encoding="utf-8").split("\n")[:-1]]
        assert [line["tokens"] for line in lines] == [tokens for tokens, _ in sentences]
        assert back.read_bytes() == source.read_bytes()
        assert there.spans == home.spans == sum(len(spans) for _, spans in sentences)


@settings(max_examples=40, deadline=None)
@given(st.lists(labeled_sentences(), min_size=1, max_size=3))
def test_columns_to_text_with_spans(sentences: list[tuple[list[str], list[TokenSpan]]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "a.conll", Path(folder) / "b.jsonl"
        write_columns(source, sentences, "BIO")
        report = convert(source, target, options=CorpusOptions(scheme="BIO"), shape="text")
        lines = [json.loads(line) for line in target.read_text(encoding="utf-8").split("\n")[:-1]]
        assert len(lines) == len(sentences)
        for line, (tokens, spans) in zip(lines, sentences, strict=True):
            found = [(line["text"][s["start"] : s["end"]].replace(" ", ""), s["label"]) for s in line["spans"]]
            assert found == [("".join(tokens[a:b]).replace(" ", ""), label) for a, b, label in spans]
        count = sum(len(tokens) for tokens, _ in sentences)
        assert report.losses == [
            f"the token boundaries of {count} tokens",
            f"the raw text of {len(sentences)} sentences (not in the source; tokens were joined by rules)",
        ]


def json_lines(path: Path, *values: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(value) + "\n" for value in values), encoding="utf-8")
    return path


def test_text_with_spans_to_columns_accounts_for_every_span(tmp_path: Path) -> None:
    source = json_lines(
        tmp_path / "a.jsonl",
        {"text": "Ada  met Eve.", "label": [[0, 3, "PER"], [9, 11, "PER"], [9, 12, "PER"]]},
        {"text": "  ", "label": []},
        {"text": "in Rome", "label": [[2, 7, "LOC"]]},
    )
    target = tmp_path / "a.conll"
    report = convert(source, target)
    assert target.read_text() == "Ada\tB-PER\nmet\tO\nEve\tB-PER\n.\tO\n\nin\tO\nRome\tB-LOC\n\n"
    assert (report.ledger.gold, report.ledger.kept, report.ledger.adjusted, report.ledger.dropped) == (
        4,
        2,
        1,
        1,
    )
    assert report.losses == [
        "1 spans (overlaps a longer or earlier span)",
        "1 spans (edge trimmed to the outermost token)",
        "1 sentences without a token",
        "the raw text of 1 sentences (the characters between tokens)",
    ]
    lines = conversion_text(report).split("\n")
    assert lines[0] == f"{source} (jsonl) -> {target} (conll BIO): 2 records, 3 spans"
    assert f"{source}:3: LOC 2-7 adjusted: edge trimmed to the outermost token" in lines


def test_overlapping_spans_stay_in_text_with_spans(tmp_path: Path) -> None:
    source = json_lines(
        tmp_path / "a.jsonl",
        {"text": "New York Times", "label": [[0, 8, "LOC"], [0, 14, "ORG"]]},
        {"text": "not yet annotated"},
    )
    report = convert(source, tmp_path / "b.jsonl")
    first, second = (json.loads(line) for line in (tmp_path / "b.jsonl").read_text().splitlines())
    assert first["spans"] == [{"start": 0, "end": 8, "label": "LOC"}, {"start": 0, "end": 14, "label": "ORG"}]
    assert second == {"text": "not yet annotated"}
    assert (report.losses, report.spans) == ([], 2)
    assert conversion_text(report).endswith("lost: nothing")


CONLL_2003 = "-DOCSTART- -X- O O\n\nEU NNP B-NP I-ORG\nsaid VBD B-VP O\n\n-DOCSTART- -X- O O\n\nHi UH B-X O\n"
CONLLU = """# sent_id = 1
# text = I can't.
1\tI\tI\tPRON\tPRP\t_\t0\troot\t_\t_
2-3\tcan't\t_\t_\t_\t_\t_\t_\t_\tSpaceAfter=No
2\tca\tcan\tAUX\tMD\t_\t1\tdep\t_\t_
3\tn't\tnot\tPART\tRB\t_\t1\tdep\t_\t_
3.1\tgo\tgo\tVERB\t_\t_\t_\t_\t_\t_
4\t.\t.\tPUNCT\t.\t_\t1\tpunct\t_\t_

"""


def test_lost_columns_and_documents_are_reported(tmp_path: Path) -> None:
    (tmp_path / "a.conll").write_text(CONLL_2003)
    report = convert(tmp_path / "a.conll", tmp_path / "b.conll")
    assert report.losses == ["2 columns other than token and tag", "the boundaries of 2 documents"]
    assert (report.source_scheme, report.target_scheme) == ("IOB1", "BIO")
    assert (tmp_path / "b.conll").read_text() == "EU\tB-ORG\nsaid\tO\n\nHi\tO\n\n"


def test_lost_conllu_columns_are_reported(tmp_path: Path) -> None:
    (tmp_path / "a.conllu").write_text(CONLLU)
    losses = set(convert(tmp_path / "a.conllu", tmp_path / "b.conll").losses)
    assert losses == {
        "1 comments",
        "1 multi-word tokens",
        "1 empty nodes",
        "4 values of the column lemma",
        "4 values of the column xpos",
        "4 values of the column head",
        "4 values of the column deprel",
        "the raw text of 1 sentences (the characters between tokens)",
    }
    assert (tmp_path / "b.conll").read_text() == "I\tPRON\nca\tAUX\nn't\tPART\n.\tPUNCT\n\n"
    raw_text = "the raw text of 1 sentences (the characters between tokens)"
    assert set(convert(tmp_path / "a.conllu", tmp_path / "b.jsonl").losses) == losses - {raw_text}
    again = convert(tmp_path / "b.jsonl", tmp_path / "c.conllu")
    assert (again.losses, again.target_scheme) == ([], "none")
    assert read_corpus(tmp_path / "c.conllu").sentences[0].text == "I can't."


def test_lost_keys_are_reported(tmp_path: Path) -> None:
    span = {"start": 0, "end": 3, "label": "PER", "score": 0.5}
    source = json_lines(
        tmp_path / "a.jsonl",
        {"text": "Ada", "spans": [span], "meta": {"id": 1}, "answer": "accept"},
        {"text": "Eve", "spans": [], "meta": {"id": 2}, "answer": "reject"},
        {"text": "Ann", "spans": [], "tokens": [{"text": "Ann", "id": 0}]},
    )
    report = convert(source, tmp_path / "b.jsonl")
    assert report.remarks == ["objects that the annotator did not accept, skipped: 1 (the first: line 2)"]
    assert report.losses == [
        "1 values of the key spans.score",
        "1 values of the key meta",
        "1 values of the key tokens",
    ]


def test_a_raw_text_without_its_tokens_is_lost(tmp_path: Path) -> None:
    source = json_lines(tmp_path / "a.jsonl", {"tokens": ["du"], "ner_tags": ["O"], "text": "de le"})
    assert convert(source, tmp_path / "b.jsonl").losses == ["1 raw texts that don't contain their tokens"]


def test_lost_brat_annotations_are_reported(tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "a.txt").write_text("Ada met Eve")
    (folder / "a.ann").write_text("T1\tPER 0 3\tAda\nT2\tPER 8 11\tEve\nR1\tMet Arg1:T1 Arg2:T2\n")
    report = convert(folder, tmp_path / "b.jsonl")
    assert report.losses == [
        "the names of 1 documents",
        "1 annotations that aren't spans (events, relations, notes)",
    ]
    assert report.spans == 2


def losses_of(path: Path, content: str, target: str = "out.jsonl", **options: Any) -> list[str]:
    path.write_text(content, encoding="utf-8", newline="")
    return convert(path, path.parent / target, options=CorpusOptions(reading=ReadOptions(**options))).losses


def test_an_object_that_is_skipped_is_counted_once(tmp_path: Path) -> None:
    lines = '{"text": "a", "spans": [], "id": 1}\n{"text": "b", "spans": [], "id": 2, "answer": "ignore"}\n'
    assert losses_of(tmp_path / "a.jsonl", lines) == [
        "1 values of the key id",
    ]


@pytest.mark.parametrize(
    ("value", "losses"),
    [
        ({"tokens": ["a"], "ner_tags": ["O"], "tags": ["X"], "text": "a"}, ["1 values of the key tags"]),
        ({"tokens": ["a"], "text": "a", "spans": []}, ["1 values of the key spans"]),
        ({"text": "a", "id": 3}, ["1 values of the key id"]),
        ({"tokens": ["a"], "ner_tags": ["O"], "text": 3, "tags": None}, ["1 values of the key text"]),
        ({"text": "a", "annotations": [{"start": 0, "end": 1, "labels": ["X"]}], "spans": None}, []),
        ({"text": "a", "spans": [{"start": 0, "end": 1, "label": "X", "labels": ["X"]}], "cats": {"Y": 1}},
         ["1 values of the key spans.labels", "1 values of the key cats"]),
    ],
)  # fmt: skip
def test_keys_count_by_what_the_object_was_read_as(tmp_path: Path, value: dict[str, Any], losses: list[str]) -> None:
    assert losses_of(tmp_path / "a.jsonl", json.dumps(value)) == losses


def test_lost_label_studio_results_are_reported(tmp_path: Path) -> None:
    region = {
        "id": "r", "type": "labels", "from_name": "l", "to_name": "text",
        "value": {"start": 0, "end": 3, "text": "Ada", "labels": ["PER"], "confidence": 1},
    }  # fmt: skip
    task = {
        "id": 1,
        "data": {"text": "Ada left.", "source": "web"},
        "annotations": [
            {"result": [region, {"type": "relation", "from_id": "r", "to_id": "r"}], "lead_time": 3},
            {"result": [], "was_canceled": True},
        ],
    }
    assert losses_of(tmp_path / "a.json", json.dumps(task, indent=1)) == [
        "1 values of the key id",
        "1 values of the key data.source",
        "1 annotations that were canceled or are not the ground truth",
        "1 values of the key annotations.lead_time",
        "1 values of the key annotations.result.id",
        "1 values of the key annotations.result.from_name",
        "1 values of the key annotations.result.value.confidence",
        "1 results that aren't labels (relations, notes)",
    ]


def test_a_token_pattern_loses_only_unmatched_text(tmp_path: Path) -> None:
    cut = "the part of the token column that is not matched by the token pattern"
    assert losses_of(tmp_path / "a.conll", "马0\tB-PER\n云1\tI-PER\n", token_pattern="segmented") == [cut]
    assert losses_of(tmp_path / "a.conll", "马\tB-PER\n云\tI-PER\n", token_pattern="(.*)") == []


def test_comments_and_texts_of_conllu_are_counted_as_they_are_read(tmp_path: Path) -> None:
    content = "#text=du\n#\n1-2\tdu\t_\t_\t_\t_\t_\t_\t_\t_\n"
    content += "1\tde\t_\tADP\t_\t_\t_\t_\t_\t_\n2\tle\t_\tDET\t_\t_\t_\t_\t_\t_\n\n"
    assert losses_of(tmp_path / "a.conllu", content) == [
        "1 comments",
        "1 multi-word tokens",
        "1 raw texts that don't contain their tokens",
    ]


def test_blank_lines_of_brat_are_no_annotations(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Ada")
    assert losses_of(tmp_path / "a.ann", "T1\tPER 0 3\tAda\r\n\r\n#1\tNote T1\tx\r\n") == [
        "1 annotations that aren't spans (events, relations, notes)"
    ]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_a_pipe_is_read_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_text, args=(CONLL_2003,))
    writer.start()
    report = convert(tmp_path / "pipe", tmp_path / "b.conll", options=CorpusOptions(format="conll"))
    writer.join()
    assert report.losses == ["2 columns other than token and tag", "the boundaries of 2 documents"]


def test_repairs_are_losses(tmp_path: Path) -> None:
    (tmp_path / "a.conll").write_text("Ada\tB-PER\nEve\tI-LOC\nmet\tO\n")
    report = convert(tmp_path / "a.conll", tmp_path / "b.conll", target_scheme="BMES")
    assert report.losses == ["1 invalid tags (repaired)"]
    assert report.repairs[0].line == 2
    assert (tmp_path / "b.conll").read_text() == "Ada\tS-PER\nEve\tS-LOC\nmet\tO\n\n"


@pytest.mark.parametrize(
    ("content", "target", "named", "message"),
    [
        ("Ada\tPROPN\n", "b.conll", {"target_scheme": "BIO"}, "tags without a scheme"),
        ("Ada\tB-PER\n", "b.conll", {"target_scheme": "none"}, "labeled spans"),
        ("Ada\tB-PER\n", "b.conll", {"target_scheme": "BOI"}, "unknown tag scheme 'BOI'"),
        ("Ada\tB-PER\n", "b.xlsx", {}, r"suffix '\.xlsx'.*conll, conllu, jsonl"),
        ("Ada\tB-PER\n", "b.conll", {"target_format": "brat"}, "brat can't be written"),
        ("Ada\tB-PER\n", "b.conll", {"shape": "text"}, "conll can hold only tokens"),
    ],
)
def test_an_unsuitable_target_is_rejected(
    tmp_path: Path, content: str, target: str, named: dict[str, Any], message: str
) -> None:
    source = tmp_path / "a.conll"
    source.write_text(content)
    with pytest.raises(SettingsError, match=message):
        convert(source, tmp_path / target, **named)
    assert list(tmp_path.iterdir()) == [source]


def test_a_target_is_whole_or_untouched(tmp_path: Path) -> None:
    source = json_lines(
        tmp_path / "a.jsonl",
        {"tokens": ["fine"], "ner_tags": ["O"]},
        {"tokens": ["a\tb"], "ner_tags": ["O"]},
    )
    target = tmp_path / "b.conll"
    target.write_text("before")
    with pytest.raises(DataError, match="separator"):
        convert(source, target)
    assert target.read_text() == "before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jsonl", "b.conll"]


def test_a_file_can_be_converted_in_place(tmp_path: Path) -> None:
    path = tmp_path / "a.conll"
    path.write_text("Ada\tI-PER\nmet\tO\nEve\tI-PER\n")
    convert(path, path)
    assert path.read_text() == "Ada\tB-PER\nmet\tO\nEve\tB-PER\n\n"


def test_texts_without_any_token_make_no_columns(tmp_path: Path) -> None:
    source = json_lines(tmp_path / "a.jsonl", {"text": "  ", "spans": []})
    with pytest.raises(DataError, match="found no token"):
        convert(source, tmp_path / "b.conll")
