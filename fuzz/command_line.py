"""The command line, in this process: status 0 or 2, never a traceback."""

from __future__ import annotations

import io
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fuzz import tiny
from fuzz.choices import Choices
from fuzz.folder import folder
from fuzz.readers import SUFFIXES
from nlp_app.cli import PRECISIONS, main
from nlp_app.formats.classification import CLASS_FORMATS
from nlp_app.formats.tagging import FORMATS

_COMMANDS = ("inspect", "convert", "tag", "classify", "evaluate", "train", "distill", "")
_FLAGS = (
    "--json", "--quiet", "--strict", "--help", "--version", "--task", "--format", "--to", "--scheme", "--shape",
    "--set", "--text-column", "--label-column", "--top-k", "--threshold", "--threads", "--precision",
    "--input", "--output",
)  # fmt: skip
_CHANGES = (
    "data.encoding=", "data.scheme=", "data.separator=", "data.token_column=", "data.tag_column=",
    "data.token_pattern=", "data.column=", "data.alignment=", "data.strict=", "data.tokenizer=", "data.format=",
    "data.header=", "data.quoting=", "data.label_separator=", "data.text_column=", "data.label_column=", "train.seed=",
    "model.kind=", "data.dev_share=",
)  # fmt: skip
_VALUES = (
    *FORMATS, *CLASS_FORMATS, *PRECISIONS, "ner", "cls", "tokens", "text", "BIO", "BIOES", "XYZ", "0", "1", "-1", "0.5",
    "2", "nan", "inf", "1e999", "true", "yes", "no", "label", "text,title", "utf-16", "latin-1", "gb18030", "tab", "-",
    "segmented", "(.)[0-9]+", "(", "label,label", "", "[", "'x'", "expand",
)  # fmt: skip


def command_line(data: bytes) -> None:
    """A command with options and files made from the input."""
    choices = Choices(data)
    work = folder() / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    arguments = _arguments(choices, work)
    content = choices.rest()
    for name, suffix in (("a", SUFFIXES[len(content) % len(SUFFIXES)]), ("b", ".txt")):
        (work / f"{name}{suffix}").write_bytes(content)
    found = sorted(path.name for path in work.iterdir())
    arguments = [str(work / found[0]) if argument == "IN" else argument for argument in arguments]
    status, err = run(arguments, content)
    assert status in (0, 2), (arguments, status, err)
    assert "Traceback" not in err, err
    left = {path.name for path in work.rglob("*")} - {*found, "out.jsonl", "out.conll", "out.conllu", "out"}
    assert not left, left


def run(arguments: list[str], given: bytes) -> tuple[int, str]:
    """The status of a command and what it says on standard error."""
    with _streams(given) as err:
        try:
            main(arguments)
            status = 0
        except SystemExit as stop:
            status = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
        sys.stderr.flush()
        return status, err.getvalue().decode("utf-8", "replace")


@contextmanager
def _streams(given: bytes) -> Iterator[io.BytesIO]:
    before = sys.stdin, sys.stdout, sys.stderr
    err = io.BytesIO()
    sys.stdin = io.TextIOWrapper(io.BytesIO(given), encoding="utf-8")
    sys.stdout = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace")
    sys.stderr = io.TextIOWrapper(err, encoding="utf-8", errors="backslashreplace")
    try:
        yield err
    finally:
        sys.stderr.flush()
        sys.stdin, sys.stdout, sys.stderr = before


def _arguments(choices: Choices, work: Path) -> list[str]:
    command = choices.pick(_COMMANDS)
    out = str(work / choices.pick(("out.jsonl", "out.conll", "out.conllu", "out")))
    model = str(_model(choices.pick(("tagger", "classifier", "transformer", "IN"))))
    files = {
        "inspect": ["IN"] * (1 + choices.number(3)),
        "convert": ["IN", out],
        "evaluate": [model, "IN"],
        # Only what comes before training: settings, files, resuming.
        "train": [choices.pick(("ner", "cls", "IN")), "--train", "IN", "--output", out, "--set", "train.seed=x"],
        "distill": ["IN", "--train", "IN", "--output", out, "--set", "train.seed=x"],
    }
    arguments = [command] if command else []
    if command in ("tag", "classify"):
        texts = [[], ["--input", "IN"], ["--input", "-"], [_word(choices), "b c"]][choices.number(4)]
        arguments += [model, *texts, *([["--output", out], []][choices.number(2)])]
    else:
        arguments += files.get(command, [])
    for _ in range(choices.number(5)):
        flag = choices.pick(_FLAGS)
        arguments.append(flag)
        if flag in ("--output", "--input"):
            arguments.append(out if flag == "--output" else "IN")
        elif flag == "--set":
            arguments.append(choices.pick(_CHANGES) + (choices.pick(_VALUES) if choices.number(4) else _word(choices)))
        elif flag == "--threads":
            arguments.append(choices.pick(("1", "0", "x", "-1", "1025")))
        elif choices.number(8):
            arguments.append(choices.pick(_VALUES) if choices.number(8) else _word(choices))
    return arguments


def _word(choices: Choices) -> str:
    """Whatever can be typed, bytes that are no UTF-8 as Python passes them on; no path beyond the folder."""
    word = os.fsdecode(choices.take(choices.number(24)).replace(b"\0", b"")).replace("/", "_")
    return word if word not in ("-", "IN") else "x"


def _model(name: str) -> Path | str:
    if name == "IN":
        return name
    directory = folder() / name
    if not directory.exists():
        tiny.write(getattr(tiny, name)(), directory)
    return directory
