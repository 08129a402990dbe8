"""Bad input: one line that says where, what, and what to do; status 2; nothing left behind, nothing harmed."""

from __future__ import annotations

import encodings.aliases
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import SMALL, Outcome, Small, files_of
from limited import run_on_full_disk

Cli = Callable[..., Outcome]
GOOD = "Anna B-PER\nlives O\nin O\nRome B-LOC\n\nBob B-PER\nsaw O\nParis B-LOC\n\nNo O\none O\n\n"

BAD_FILES = {
    "empty": ("a.conll", b"", "a.conll: found no sentence"),
    "only blank lines": ("a.conll", b"\n\n \n", "a.conll: found no sentence"),
    "binary": ("a.conll", bytes(range(1, 256)) * 9, "a.conll:2: byte 0x80 at offset 127 is not UTF-8"),
    "encoding": (
        "a.conll",
        f"Anna O\n\n{'這樣好' * 5} B-PER\n".encode("big5"),
        "a.conll:3: byte 0xB3 at offset 8 is not UTF-8",
    ),
    "damaged": (
        "a.conll",
        "Anna O\n\n马云 B-PER\n".encode() + b"a\xff O\n",
        "a.conll:4: byte 0xFF at offset 22",
    ),
    "ragged": ("a.conll", GOOD.encode() + b"Anna\nx O\n", "a.conll:13: found 1 column, expected 2"),
    "no tags": ("a.conll", b"Anna\nlives\n\nBob\n", "a.conll: found no labels"),
    "unknown scheme": ("a.conll", b"Anna O\nx Q-PER\nlives O\nx B-PER\n\n", "a.conll:2: found tags of no known scheme"),
    "mixed schemes": ("a.conll", b"a B-X\nb L-X\nc S-X\n\n", "no known scheme has B-, L-, S- together"),
    "all outside": ("a.conll", b"Anna O\nx O\n\nb O\n", "a.conll: found no labeled span"),
    "NUL": ("a.conll", GOOD.encode() + b"a\0b O\n", "a.conll:13: found a NUL"),
    "lone surrogate": ("a.jsonl", b'{"text": "a \\ud83d", "label": [[0, 1, "X"]]}\n', "a.jsonl:1: found half of a"),
    "bad JSON": ("a.jsonl", b'{"text": "ab", "label": [[0, 1, "X"]]}\n{"text": \n', "a.jsonl:2: bad JSON"),
    "deep JSON": ("a.jsonl", b"[" * 100_000, "a.jsonl:1: bad JSON"),
    "offsets": ("a.jsonl", b'{"text": "ab", "label": [[0, 9, "X"]]}\n', "a.jsonl:1: `label`: found a span 0..9"),
    "text": ("a.txt", b"some plain text\nwithout any labels at all\n", "a.txt: found no labels"),
    "csv": ("a.csv", b"a,b\n", "a.csv: found CSV"),
    "one sentence": ("a.conll", b"Anna B-PER\n\n", "a.conll: found too few different sentences"),
    "no tokens": ("a.jsonl", b'{"text": " ", "label": []}\n', "a.jsonl: found no token"),
}


def refused(outcome: Outcome, *said: object) -> None:
    assert (outcome.status, outcome.out) == (2, ""), outcome
    assert outcome.err.startswith("error: "), outcome
    assert outcome.err.find("\n") == len(outcome.err) - 1, outcome
    for part in said:
        assert str(part) in outcome.err, outcome.err


def train(cli: Cli, data: Path | str, output: Path, *more: object) -> Outcome:
    return cli("train", "ner", "--train", data, "--output", output, "--quiet", *SMALL, *more)


@pytest.mark.parametrize("case", BAD_FILES)
def test_training_data(cli: Cli, tmp_path: Path, case: str) -> None:
    name, content, said = BAD_FILES[case]
    (tmp_path / name).write_bytes(content)
    before = files_of(tmp_path)
    refused(train(cli, tmp_path / name, tmp_path / "new" / "run"), said)
    assert files_of(tmp_path) == before


@pytest.mark.parametrize("case", ["binary", "encoding", "lone surrogate", "deep JSON"])
def test_a_file_to_tag(cli: Cli, tmp_path: Path, small: Small, case: str) -> None:
    name, content, said = BAD_FILES[case]
    (tmp_path / name).write_bytes(content)
    before = files_of(tmp_path)
    refused(cli("tag", small.run, "--input", tmp_path / name, "--output", tmp_path / "out.jsonl"), said)
    assert files_of(tmp_path) == before


@pytest.mark.parametrize("case", ["damaged", "ragged", "NUL", "bad JSON"])
def test_a_record_to_tag(cli: Cli, tmp_path: Path, small: Small, case: str) -> None:
    """One bad record among good ones ends the job only with --strict."""
    name, content, said = BAD_FILES[case]
    (tmp_path / name).write_bytes(content)
    before = files_of(tmp_path)
    command = ("tag", small.run, "--input", tmp_path / name, "--output", tmp_path / "out")
    refused(cli(*command, "--strict"), said)
    assert files_of(tmp_path) == before
    outcome = cli(*command)
    assert (outcome.status, outcome.out) == (0, "")
    assert said in outcome.err


@pytest.mark.parametrize(
    "case", [case for case in BAD_FILES if case not in ("all outside", "one sentence", "no tokens")]
)
def test_a_file_to_evaluate_on(cli: Cli, tmp_path: Path, small: Small, case: str) -> None:
    name, content, said = BAD_FILES[case]
    (tmp_path / name).write_bytes(content)
    refused(cli("evaluate", small.run, tmp_path / name), said)


def test_a_directory_or_nothing_for_a_file(cli: Cli, tmp_path: Path, small: Small) -> None:
    place = tmp_path / "folder"
    place.mkdir()
    for path in (place, tmp_path / "missing.conll"):
        refused(train(cli, path, tmp_path / "run"), path)
        refused(train(cli, small.train, tmp_path / "run", "--dev", path), path)
        refused(cli("evaluate", small.run, path), path)
        refused(cli("tag", small.run, "--input", path), path)
        refused(cli("inspect", path), path)
        refused(cli("convert", path, tmp_path / "x.jsonl"), path)
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_tag_in_dev_that_train_lacks(cli: Cli, tmp_path: Path, small: Small) -> None:
    (tmp_path / "dev.conll").write_text("x O\nAnna B-GOD\nBob B-PER\n\n")
    outcome = train(cli, small.train, tmp_path / "run", "--dev", tmp_path / "dev.conll", "--set", "data.strict=true")
    refused(outcome, tmp_path / "dev.conll:2: label 'GOD' does not occur in ", "correct the label")


def test_spans_and_labels_of_tokens_dont_mix(cli: Cli, tmp_path: Path, small: Small) -> None:
    (tmp_path / "pos.conll").write_text("Anna NOUN\nsleeps VERB\n\nBob NOUN\n\n")
    pos = tmp_path / "pos.conll"
    refused(train(cli, pos, tmp_path / "run", "--dev", pos, "--test", small.dev), small.dev, "expected NOUN, VERB")
    refused(train(cli, pos, tmp_path / "run", "--dev", small.dev), small.dev, "expected NOUN, VERB")
    refused(train(cli, small.train, tmp_path / "run", "--dev", small.dev, "--test", pos), f"{pos}:1: ", "NOUN")


CHANGES = {
    "train.epoch=1": "did you mean `train.epochs`",
    "train.epochs=-1": "`train.epochs` is -1",
    "train.epochs=1.5": "`train.epochs` is 1.5",
    "train.learning_rate=nan": "train.learning_rate",
    "train.threads=9999999": "train.threads",
    "model.hidden_size=100000000": "doesn't fit into memory",
    "train.precision=fp16": "fp16",
    "train.epochs": "expected table.key=value",
    "data.scheme=BIOX": "unknown tag scheme 'BIOX'",
    "data.encoding=nope": "found 'nope'",
    "data.encoding=undefined": "found 'undefined'",
    "data.encoding=utf-16": "utf-16",
    "data.token_pattern=(": "is not a valid pattern",
    "data.tag_column=7": "tag_column: found 7",
    "data.column=foo": "expected a CoNLL-U column",
    "model.vectors=missing.txt": "missing.txt: found no vectors",
    "model.lexicon=names,missing.txt": "model.lexicon: found no file 'missing.txt', expected a file or one of jieba",
    "model.lexicon=[1]": "model.lexicon",
}


@pytest.mark.parametrize("change", CHANGES)
def test_settings(cli: Cli, tmp_path: Path, small: Small, change: str) -> None:
    import torch

    if "fp16" in change and torch.cuda.is_available():
        pytest.skip("this machine can do it")
    refused(train(cli, small.train, tmp_path / "run", "--set", change), CHANGES[change])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "ner", "--seed", "abc"], "--seed"),
        (["train", "ner", "--seed", "9" * 30], "train.seed"),
        (["train", "ner", "--threads", "0"], "--threads"),
        (["train", "ner", "--config", "missing.toml"], "missing.toml: can't be read"),
        (["train", "ner", "--dev", "x.conll"], "data.train"),
        (["train", "ner", "--what"], "--what"),
        (["train", "sing"], "sing"),
        (["sing"], "sing"),
        (["tag"], "MODEL"),
        (["tag", "m", "text", "--input", "f"], "TEXT and --input"),
        (["inspect"], "FILE"),
        (["convert", "a"], "OUT"),
    ],
)
def test_arguments(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str) -> None:
    monkeypatch.chdir(tmp_path)
    refused(cli(*arguments), said)
    assert not list(tmp_path.iterdir())


def test_every_encoding_python_has_is_read_or_refused(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "a.conll"
    path.write_text(GOOD)
    for name in sorted({*encodings.aliases.aliases.values(), "idna", "punycode", "undefined", "unicode_escape"}):
        outcome = cli("inspect", path, "--set", f"data.encoding={name}")
        if outcome.status:
            refused(outcome)


def test_a_foreign_directory_is_left_alone(cli: Cli, tmp_path: Path, small: Small) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "precious.bin").write_bytes(b"x")
    (tmp_path / "history.jsonl").write_text("mine\n")
    before = files_of(tmp_path)
    refused(train(cli, small.train, tmp_path), "holds other files, and no run of nlp_app")
    assert files_of(tmp_path) == before


def test_an_output_that_cant_be_written(cli: Cli, tmp_path: Path, small: Small) -> None:
    (tmp_path / "file").write_text("x")
    before = files_of(tmp_path)
    for place in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/nlp_app")):
        refused(train(cli, small.train, place), place)
        refused(cli("convert", small.train, place / "x.jsonl"), place / "x.jsonl", "can't be written")
    for place in (tmp_path, tmp_path / "file" / "below", Path("/proc/nlp_app"), Path("/dev/full")):
        refused(cli("tag", small.run, "Anna", "--output", place), place, "can't be written")
    assert files_of(tmp_path) == before


def test_a_failed_start_leaves_a_finished_run_as_it_was(cli: Cli, tmp_path: Path, small: Small) -> None:
    shutil.copytree(small.run, tmp_path / "run")
    (tmp_path / "bad.conll").write_bytes(b"a B-X\nb\n")
    before = files_of(tmp_path)
    refused(train(cli, tmp_path / "bad.conll", tmp_path / "run"))
    refused(train(cli, small.train, tmp_path / "run", "--dev", tmp_path / "bad.conll"))
    refused(train(cli, small.train, tmp_path / "run", "--set", "model.hidden_size=100000000"))
    refused(train(cli, small.train, tmp_path / "run", "--resume"), "--resume: settings differ")
    assert files_of(tmp_path) == before


def test_divergence_is_said_and_leaves_nothing(cli: Cli, tmp_path: Path, small: Small) -> None:
    for rate in ("1e300", "1e30"):
        refused(train(cli, small.train, tmp_path / "run", "--set", f"train.learning_rate={rate}"), "rate")
        assert not list(tmp_path.iterdir())


def test_arguments_that_are_not_text(cli: Cli, small: Small) -> None:
    refused(cli("tag", small.run, "good", "a\udcffb"), "TEXT 2")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # torch's threads are idle: there is only one
@pytest.mark.parametrize("limit", [100, 1_700, 3_000, 100_000])
@pytest.mark.parametrize("encoded", [True, False])
def test_a_full_disk(
    cli: Cli, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, small: Small, limit: int, encoded: bool
) -> None:
    """Files may not grow beyond `limit` bytes: encoded texts, the run's notes, its history or its model don't fit."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    arguments = ["train", "ner", "--train", str(small.train), "--quiet", *SMALL]
    environment = {} if encoded else {"NLP_APP_CACHE": str(elsewhere / "cache")}
    if encoded:  # then the run's own files are what doesn't fit
        assert cli(*arguments, "--output", str(elsewhere / "run")).status == 0
    outcome = run_on_full_disk([*arguments, "--output", str(tmp_path / "run")], limit, environment)
    place = tmp_path / "run" if encoded or limit == 100 else "texts"  # the note of what begins comes first
    refused(outcome, place, "make room")
    assert not list(tmp_path.iterdir())


def test_standard_output_and_input_that_fail(
    cli: Cli, small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = (
        ["tag", small.run, "Anna"],
        ["tag", small.run, "--input", small.test, "--quiet"],
        ["evaluate", small.run, small.test, "--quiet"],
    )
    for command in commands:
        with open("/dev/full", "w") as full, monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", full)
            refused(cli(*command), "standard output: can't be written: No space left on device")
        with open("/dev/full", "w") as full, monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", full)
            refused(cli("--help"), "standard output: No space left on device")
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", None)
            refused(cli(*command), "standard output: is closed")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdin", None)
        refused(cli("tag", small.run), "standard input: is closed")
    assert cli("tag", small.run, "--input", small.test, "--output", "/dev/null", "--quiet") == (0, "", "")
    assert Path("/dev/null").is_char_device()
    assert cli("convert", small.test, "/dev/null", "--to", "jsonl").status == 0
    assert Path("/dev/null").is_char_device()


@pytest.mark.slow
def test_a_reader_that_has_seen_enough(small: Small) -> None:
    app = f"{sys.executable} -c 'from nlp_app.cli import main; main()'"
    line = f"set -o pipefail; yes 'Anna lives in Rome' | head -20000 | {app} tag {small.run} | head -1"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=900)
    assert done.stderr == ""
    assert done.stdout.startswith('{"text": "Anna lives in Rome"')
    assert done.stdout.count("\n") == 1
