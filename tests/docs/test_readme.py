"""The README is short, and its commands and snippets do what they say."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from conftest import class_rows, sentences, write_csv
from documents import ROOT, blocks
from tiny_transformers import tiny_bert

README = ROOT / "README.md"
SHORT = ["--set=train.epochs=1", "--set=train.checkpoint_seconds=0"]


def commands() -> list[list[str]]:
    """The arguments of each call of `run.py`, in the order of the page."""
    lines = [line for block in blocks(README, "sh") for line in block.text.replace("\\\n", " ").splitlines()]
    words = [shlex.split(line, comments=True) for line in lines]
    return [line[2:] for line in words if line[:2] == ["python", "run.py"]]


def write_files(directory: Path) -> None:
    """Write a small file of each name in the README, from the bundled corpora."""
    conll = sentences("train", 40)
    for name in ("train", "dev", "test"):
        (directory / f"{name}.conll").write_text(conll, encoding="utf-8")
        characters = [text for text in conll.split("\n\n") if not re.search(r"^\S\S", text, re.MULTILINE)]
        columns = re.sub(r"^(\S)", r"\g<1>0", "\n\n".join(characters), flags=re.MULTILINE)  # as in Weibo NER: 科0
        (directory / f"weibo.{name}").write_text(columns + "\n", encoding="utf-8")
        rows = class_rows("train", 80)
        write_csv(directory / f"{name}.csv", rows)
        lines = [f"X:{label} {text}".replace("\n", " ") for text, label in rows]
        (directory / f"trec.{name}").write_text("\n".join(lines) + "\n", encoding="utf-8")
        lines = [f"__label__{label} __label__any {text}".replace("\n", " ") for text, label in rows]
        (directory / f"cooking.{name}").write_text("\n".join(lines) + "\n", encoding="utf-8")
    annotated = {"text": "Ada lives in London.", "label": [[0, 3, "PER"], [13, 19, "LOC"]]}
    (directory / "annotated.jsonl").write_text(
        "".join(json.dumps({**annotated, "text": f"Ada lives in London. {n}"}) + "\n" for n in range(30)),
        encoding="utf-8",
    )
    (directory / "notes.txt").write_text("Ada lives in London.\n她住在北京。\n", encoding="utf-8")
    write_csv(directory / "new.csv", [["Hm."], ["Where is my parcel?"]], ("text",))
    tiny_bert(directory / "bert-base-chinese", [])
    (directory / "configs").symlink_to(ROOT / "configs")


def test_the_readme_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").split()) <= 1800


@pytest.mark.slow
def test_every_command_and_the_snippet(
    cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    calls = commands()
    assert len(calls) > 20
    printed = {}
    for arguments in calls:
        outcome = cli(*arguments, *(SHORT if arguments[0] == "train" else []))
        assert outcome.status == 0, (arguments, outcome)
        printed[" ".join(arguments)] = outcome.out
    for name in ("tagged.jsonl", "tagged.conll", "classified.jsonl", "train.jsonl"):
        assert (tmp_path / name).stat().st_size
    answer = json.loads(printed["classify runs/cls 快递怎么还没到？"])
    assert answer.keys() == {"text", "predicted", "score"}
    assert printed["train ner --output runs/ner"].count("precision") == 2
    (snippet,) = blocks(README, "python")
    exec(compile(snippet.text, "README.md", "exec"), {})  # noqa: S102
    label, score = capsys.readouterr().out.splitlines()[-1].split()
    assert label in {row[1] for row in class_rows("train", 100)}
    assert 0 < float(score) <= 1
