"""The command line: what it prints, and that files of any shape and size come back whole and in order."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import SMALL, Outcome, Small, refused
from signals import signal_in

from nlp_app.commands.predict import TABLES
from nlp_app.formats import tagging as formats
from nlp_app.inference import Tagger

Cli = Callable[..., Outcome]
TEXTS = [
    "Anna lives in Rome",
    "",
    "  ",
    "😀 安娜在北京 👩‍👩‍👧工作",
    "a\u200bb\u2028c\x85d e\u0301",
    "last line, no end",
]


def lines_of(outcome: Outcome) -> list[Any]:
    assert (outcome.status, outcome.err) == (0, "")
    return [json.loads(line) for line in outcome.out.split("\n")[:-1]]


def as_json(tagger: Tagger, texts: list[str]) -> list[Any]:
    """What `tag` is to print for texts, with the scores rounded as it does."""
    return [
        {
            "text": text,
            "spans": [
                {"start": s.start, "end": s.end, "label": s.label, "text": s.text, "score": round(s.score, 6)}
                for s in spans
            ],
        }
        for text, spans in zip(texts, tagger.tag(texts), strict=True)
    ]


def test_the_formats_are_those_that_can_be_read(cli: Cli) -> None:
    shown = "".join(cli("tag", "--help").out.split())
    assert f"Formats:{','.join([*formats.FORMATS, *TABLES])}." in shown
    error = cli("tag", "DIR", "--format", "xml").err
    assert all(repr(name) in error for name in formats.FORMATS)


@pytest.mark.interrupt
@pytest.mark.parametrize("function", ["make_context", "invoke"])
@pytest.mark.parametrize("words", [("train", "ner"), ("tag", "DIR")], ids=" ".join)
def test_ctrl_c_is_answered_also_while_the_arguments_are_read(cli: Cli, function: str, words: tuple[str, ...]) -> None:
    with signal_in(function, signal.SIGINT):
        outcome = cli(*words)
    assert (outcome.status, outcome.out) == (130, "")
    last = outcome.err.strip()
    assert last.endswith("train ner --resume") if words[0] == "train" else last == "stopped"
    assert last.startswith("stopped")


def test_help_and_version(cli: Cli) -> None:
    for command in ([], ["train"], ["train", "ner"], ["evaluate"], ["tag"], ["inspect"], ["convert"]):
        outcome = cli(*command, "--help")
        assert outcome.status == 0
        assert outcome.out.startswith("Usage:")
    assert cli("--version").out.startswith("nlp_app, version")


def test_texts_as_arguments(cli: Cli, small: Small, tagger: Tagger) -> None:
    assert lines_of(cli("tag", small.run, *TEXTS)) == as_json(tagger, TEXTS)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_line_of_output_for_each_line_of_text(
    cli: Cli, small: Small, tagger: Tagger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(end.join(TEXTS).encode())
    found = lines_of(cli("tag", small.run, "--input", path, "--quiet"))
    assert found == as_json(tagger, TEXTS)
    for line in found:
        assert all(line["text"][span["start"] : span["end"]] == span["text"] for span in line["spans"])
    said = "note: format: text, a text on each line (--format conll reads columns)\n"
    assert cli("tag", small.run, "--input", path, "--output", tmp_path / "out.jsonl") == (0, "", said)
    written = (tmp_path / "out.jsonl").read_text(encoding="utf-8")
    assert [json.loads(line) for line in written.split("\n")[:-1]] == found
    for arguments in ([], ["--input", "-"], ["--input", "-", "--output", "-"]):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(path.read_bytes())))
        assert lines_of(cli("tag", small.run, *arguments, "--quiet")) == found


def test_nothing_in_nothing_out(cli: Cli, small: Small, tmp_path: Path) -> None:
    for name in ("a.txt", "a.conll", "a.jsonl", "a.conllu"):
        (tmp_path / name).write_bytes(b"")
        assert cli("tag", small.run, "--input", tmp_path / name) == (0, "", "")


def test_texts_of_equally_many_words_are_texts(cli: Cli, small: Small, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("I love Paris\nYou love Rome\nWe love Berlin\n" * 9)
    assert len(lines_of(cli("tag", small.run, "--input", tmp_path / "a.txt", "--quiet"))) == 27


def test_columns_come_back_with_the_tag_appended(cli: Cli, small: Small, tagger: Tagger, tmp_path: Path) -> None:
    text = "-DOCSTART- -X- O\n\nAnna NNP B-PER\nlives VB O\n\n\n \nRome NNP B-LOC\n"
    (tmp_path / "a.conll").write_text(text)
    outcome = cli("tag", small.run, "--input", tmp_path / "a.conll", "--quiet")
    (first, second), (third,) = tagger.tag_tokens([["Anna", "lives"], ["Rome"]])
    expected = f"-DOCSTART- -X- O O\n\nAnna NNP B-PER {first}\nlives VB O {second}\n\n\n \nRome NNP B-LOC {third}\n"
    assert outcome == (0, expected, "")

    blocks = small.test.read_text(encoding="utf-8").strip().split("\n\n")
    tokens = [[line.split()[0] for line in block.split("\n")] for block in blocks]
    found = cli("tag", small.run, "--input", small.test).out
    assert found.count("\n") == small.test.read_text(encoding="utf-8").count("\n")
    tags = [[line.split()[-1] for line in block.split("\n")] for block in found.strip().split("\n\n")]
    assert tags == tagger.tag_tokens(tokens)


def test_tokens_without_tags_and_other_columns(cli: Cli, small: Small, tagger: Tagger, tmp_path: Path) -> None:
    (tmp_path / "a.conll").write_text("Anna\nlives\n\n")
    (first, second) = tagger.tag_tokens([["Anna", "lives"]])[0]
    assert cli("tag", small.run, "--input", tmp_path / "a.conll").out == f"Anna {first}\nlives {second}\n\n"


def test_records_of_json_and_conllu(cli: Cli, small: Small, tagger: Tagger, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "Anna in Rome"}\n{"tokens": ["Anna", "x"]}\n{"text": ""}\n')
    tags = tagger.tag_tokens([["Anna", "x"]])[0]
    one, two = as_json(tagger, ["Anna in Rome", ""])
    assert lines_of(cli("tag", small.run, "--input", tmp_path / "a.jsonl", "--quiet")) == [
        one, {"tokens": ["Anna", "x"], "ner_tags": tags}, two
    ]  # fmt: skip
    (tmp_path / "a.conllu").write_text("# text = Anna x\n" + "".join(
        f"{n}\t{form}\t_\t_\t_\t_\t_\t_\t_\t_\n" for n, form in ((1, "Anna"), (2, "x"))) + "\n")  # fmt: skip
    assert lines_of(cli("tag", small.run, "--input", tmp_path / "a.conllu", "--quiet")) == [
        {"tokens": ["Anna", "x"], "ner_tags": tags}
    ]


def test_evaluate_gives_the_scores_of_the_run(cli: Cli, small: Small) -> None:
    metrics = json.loads((small.run / "metrics.json").read_text())
    for split in ("dev", "test"):
        outcome = cli("evaluate", small.run, getattr(small, split), "--json", "--quiet")
        scores = json.loads(outcome.out)
        gold = scores.pop("gold")
        assert (outcome.status, outcome.err, scores) == (0, "", metrics[split])
        assert gold["spans"] == gold["kept"] == scores["support"]
    table = cli("evaluate", small.run, small.test)
    assert table.err.startswith("note: columns: token 0, tag 1 of 2")
    assert table.err.count("\n") == 1
    assert f"{metrics['test']['f1']:.4f}" in table.out


def test_evaluate_counts_all_gold(cli: Cli, small: Small, tmp_path: Path) -> None:
    """A span that fits no tokens, a label that the model doesn't know: missed, and said."""
    lines = [
        {"text": "Anna lives in Rome", "label": [[0, 4, "PER"], [14, 18, "LOC"]]},
        {"text": "Roman", "label": [[0, 3, "LOC"]]},
        {"text": "", "label": []},
        {"text": "a beer", "label": [[2, 6, "DRINK"]]},
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    command = ("evaluate", small.run, tmp_path / "a.jsonl", "--json", "--set", "data.alignment=strict")
    outcome = cli(*command)
    scores = json.loads(outcome.out)
    assert scores["gold"] == {"spans": 4, "kept": 3, "adjusted": 0, "dropped": 1, "repaired_tags": 0}
    assert scores["support"] == 4
    assert scores["per_type"]["LOC"]["support"] == 2
    assert scores["per_type"]["DRINK"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 1}
    assert "note: labels that do not occur in the training data: DRINK; they count as missed\n" in outcome.err
    assert "not aligned with tokens: 1" in outcome.err
    assert cli(*command, "--quiet") == (0, outcome.out, "")


def test_evaluate_reads_what_scheme_a_file_has(cli: Cli, small: Small, tmp_path: Path) -> None:
    expected = cli("evaluate", small.run, small.test, "--json").out
    for scheme in ("BIOES", "BMES", "IOE2", "IOB1", "BILOU"):
        path = tmp_path / f"{scheme}.conll"
        assert cli("convert", small.test, path, "--scheme", scheme).status == 0
        assert cli("evaluate", small.run, path, "--json", "--quiet") == (0, expected, "")


@pytest.fixture(scope="module")
def pos(tmp_path_factory: pytest.TempPathFactory) -> Small:
    """A POS model on CoNLL-U, and its files."""
    from nlp_app.config import TaggingSettings, read_settings
    from nlp_app.training import train_ner

    directory = tmp_path_factory.mktemp("pos")
    words = {"the": "DET", "cat": "NOUN", "dog": "NOUN", "sees": "VERB", "hears": "VERB", "a": "DET"}
    orders = ["the cat sees a dog", "a dog hears the cat", "the dog sees", "a cat hears", "the cat hears the dog"]
    blocks = [
        "".join(f"{n}\t{w}\t_\t{words[w]}\t_\t_\t_\t_\t_\t_\n" for n, w in enumerate(order.split(), 1))
        for order in orders
    ]
    path = directory / "a.conllu"
    path.write_text("\n".join(blocks * 8) + "\n")
    changes = [change.removeprefix("--set=") for change in SMALL] + [f"data.{name}={path}" for name in ("train", "dev")]
    train_ner(
        read_settings(TaggingSettings, None, [*changes, "train.learning_rate=0.02"]), directory / "run", quiet=True
    )
    return Small(path, path, path, directory / "run")


def test_labels_of_tokens_end_to_end(cli: Cli, pos: Small, tmp_path: Path) -> None:
    import nlp_app

    assert nlp_app.load(pos.run).tag_tokens([["the", "dog"], []]) == [["DET", "NOUN"], []]
    scores = json.loads(cli("evaluate", pos.run, pos.test, "--json").out)
    assert scores.pop("gold")["spans"] == sum(each["support"] for each in scores["per_label"].values())
    assert scores == json.loads((pos.run / "metrics.json").read_text())["dev"]
    assert scores["accuracy"] == 1
    assert set(scores) == {"accuracy", "weighted_f1", "per_label"}
    (tmp_path / "a.conll").write_text("the\ncat\n\n")
    assert cli("tag", pos.run, "--input", tmp_path / "a.conll").out == "the DET\ncat NOUN\n\n"
    found = lines_of(cli("tag", pos.run, "the dog"))
    assert [(span["text"], span["label"]) for span in found[0]["spans"]] == [("the", "DET"), ("dog", "NOUN")]


def test_a_model_of_another_kind_than_the_file(cli: Cli, small: Small, pos: Small, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "the dog", "label": [[0, 3, "DET"]]}\n')
    for model, file, found, expected in (
        (pos.run, small.test, "B-", "a label for each token"),
        (small.run, pos.test, "DET, NOUN, VERB", "labeled spans"),
        (pos.run, tmp_path / "a.jsonl", "DET", "a label for each token"),
    ):
        outcome = cli("evaluate", model, file)
        assert (outcome.status, outcome.out, outcome.err.count("\n")) == (2, "", 1)
        assert outcome.err.startswith(f"error: {file}: found the labels ")
        assert found in outcome.err
        assert expected in outcome.err


def test_raw_text_in_doccanos_shape_end_to_end(cli: Cli, tmp_path: Path) -> None:
    people, places = ["Anna", "Bob", "Carla", "马丽"], ["Rome", "Paris", "Berlin", "北京"]
    lines = []
    for person in people:
        for place in places:
            text = f"{person} lives in {place}."
            start = text.index(place)
            label = [[0, len(person), "PER"], [start, start + len(place), "LOC"]]
            lines.append(json.dumps({"id": len(lines), "text": text, "label": label, "Comments": []}))
    (tmp_path / "all.jsonl").write_text("\n".join(lines))
    command = ["train", "ner", "--train", tmp_path / "all.jsonl", "--output", tmp_path / "run", "--quiet", *SMALL]
    outcome = cli(*command, "--set", "train.epochs=15", "--set", "train.learning_rate=0.02")
    assert (outcome.status, outcome.err) == (0, "")
    predictions = [json.loads(line) for line in (tmp_path / "run/predictions.jsonl").read_text().splitlines()]
    assert len(predictions) == 2
    found = lines_of(cli("tag", tmp_path / "run", "Anna lives in 北京."))[0]["spans"]
    assert [(span["text"], span["label"]) for span in found] == [("Anna", "PER"), ("北京", "LOC")]


@pytest.mark.slow
def test_one_token_and_a_hundred_thousand(cli: Cli, small: Small, tmp_path: Path) -> None:
    long = "".join(f"word{n % 977} {'B-PER' if n % 7 == 0 else 'O'}\n" for n in range(100_000))
    (tmp_path / "a.conll").write_text(f"Anna B-PER\n\n{long}\nx O\n\n")
    files = ("--train", tmp_path / "a.conll", "--dev", small.dev, "--set", "train.epochs=1")
    (tmp_path / "dev.conll").write_text("Anna B-PER\n\n")
    outcome = cli(
        "train", "ner", *files, "--dev", tmp_path / "dev.conll", "--output", tmp_path / "run", "--quiet", *SMALL
    )
    assert (outcome.status, outcome.err) == (0, "")
    found = cli("tag", tmp_path / "run", "--input", tmp_path / "a.conll")
    assert (found.status, found.out.count("\n")) == (0, 100_006 - 1)
    assert cli("evaluate", tmp_path / "run", tmp_path / "a.conll").status == 0
    text = " ".join(line.split()[0] for line in long.splitlines())
    (tmp_path / "a.txt").write_text(text)
    assert lines_of(cli("tag", small.run, "--input", tmp_path / "a.txt", "--quiet"))[0]["text"] == text


@pytest.mark.slow
def test_memory_doesnt_grow_with_the_file(small: Small, tmp_path: Path) -> None:
    code = (
        "import resource, sys; from nlp_app.cli import main; main(sys.argv[1:]);"
        "sys.stderr.write(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))"
    )
    peaks = {}
    for count in (5_000, 50_000):
        path = tmp_path / f"{count}.txt"
        path.write_text("".join(f"In {n} Anna left Rome for 北京, said Google's {n % 97}.\n" for n in range(count)))
        command = [sys.executable, "-c", code, "tag", str(small.run), "--input", str(path), "--output", f"{path}.out"]
        command.append("--quiet")
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=900)
        peaks[count] = int(done.stderr) / 1024
        with open(f"{path}.out", encoding="utf-8") as lines:
            assert sum(1 for _ in lines) == count
    assert peaks[50_000] < peaks[5_000] + 60, peaks  # megabytes; the forms' cache is bounded, but not at this size


def test_tables_are_tagged_row_by_row(cli: Cli, small: Small, tagger: Tagger, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('id,message\n1,"Anna lives in Rome, again"\n2,\n3,"two\nlines"\n')
    expected = as_json(tagger, ["Anna lives in Rome, again", "", "two\nlines"])
    outcome = cli("tag", small.run, "--input", path)
    found = [json.loads(line) for line in outcome.out.splitlines()]
    assert [{key: line[key] for key in ("text", "spans")} for line in found] == expected
    assert [line["id"] for line in found] == ["1", "2", "3"]
    assert "note: columns: text 'message'" in outcome.err
    for more in (["--text-column", "message"], ["--text-column", "1"], ["--format", "csv"]):
        assert lines_of(cli("tag", small.run, "--input", path, *more, "--quiet")) == found
    assert lines_of(cli("tag", small.run, "--input", path, "--text-column", "id", "--quiet"))[0]["text"] == "1"
    refused(cli("tag", small.run, "--input", small.test, "--text-column", "x"), "--text-column is for tables")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Ada left Rome\nBo saw Lund\nCy met Oslo\n", "text"),
        ("Ada left\nBo ran\nCy sang\nDi hid\n", "text"),
        ("Ada PROPN\nleft VERB\nRome PROPN\n", "conll"),
        ("Ada B-PER\nleft O\nRome B-LOC\n", "conll"),
        ("Ada\tleft\nBo\tran\nCy\tsang\n", "conll"),
        ("ada noun\nran verb\n\ncy noun\nsang verb\n\ndi noun\nhid verb\n", "conll"),
        ("Ada Lovelace\n\nBo Lund\n\nCy Twombly\n\nDi Fo\n\nEd Ruscha\n\nFay Wray\n\n", "text"),
    ],
)
def test_a_file_without_a_telling_name_is_columns_only_with_tags(
    cli: Cli, small: Small, tmp_path: Path, text: str, kind: str
) -> None:
    for name in ("a.txt", "notes"):
        (tmp_path / name).write_text(text)
        outcome = cli("tag", small.run, "--input", tmp_path / name)
        assert outcome.status == 0
        assert f"note: format: {kind}, a t" in outcome.err
        assert outcome.out.startswith("{") == (kind == "text")


def test_tabs_stay_tabs_and_hold_spaces_and_empty_tokens(
    cli: Cli, small: Small, tagger: Tagger, tmp_path: Path
) -> None:
    (tmp_path / "a.conll").write_text("Anna\tX\nNew York\tX\n\tX\nRome\tX\n\n# note\nAnna\tX\n")
    outcome = cli("tag", small.run, "--input", tmp_path / "a.conll", "--quiet")
    (one, two, three, four), (five,) = tagger.tag_tokens([["Anna", "New York", "_", "Rome"], ["Anna"]])
    rows = f"Anna\tX\t{one}\nNew York\tX\t{two}\n\tX\t{three}\nRome\tX\t{four}\n"
    assert outcome == (0, f"{rows}\n# note\nAnna\tX\t{five}\n", "")


@pytest.mark.parametrize("command", ["tag", "classify"])
def test_the_name_of_a_file_is_not_a_text(
    cli: Cli, small: Small, small_classes: Small, tmp_path: Path, command: str
) -> None:
    model = small.run if command == "tag" else small_classes.run
    refused(cli(command, model, small.test), f"TEXT {str(small.test)!r} is the name of a file", "--input")
    assert cli(command, model, "x" * 5000).status == 0
