"""What the documentation says is there: files, commands, settings, modules, examples."""

from __future__ import annotations

import json
import re
import shlex
import xml.etree.ElementTree
from pathlib import Path
from typing import Any

import click
import pytest
from documents import ROOT, blocks

from nlp_app.cli import program
from nlp_app.config import read_task_settings
from nlp_app.config.kinds import KINDS
from nlp_app.config.loading import bundled_settings
from nlp_app.core.errors import SettingsError
from nlp_app.core.types import TokenSpan
from nlp_app.formats import tagging as formats
from nlp_app.formats.classification import CLASS_FORMATS
from nlp_app.formats.tagging.detection import detect_format
from nlp_app.labels.schemes import ALIASES, SCHEMES, encode

DOCUMENTS = [ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "data/README.md")] + sorted(
    (ROOT / "docs").glob("*.md")
)
EVERY_DOCUMENT = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
FOLDERS = ("benchmarks", "configs", "data", "docs", "nlp_app", "tests")
FILE_ENDINGS = {
    "bmes",
    "char",
    "conll",
    "conllu",
    "csv",
    "jsonl",
    "png",
    "safetensors",
    "toml",
    "tsv",
    "txt",
}  # `train.conll` is no setting


def commands() -> list[list[str]]:
    """Every command line in a `sh` block, words apart, pipes taken apart, comments left out."""
    found = []
    for path in DOCUMENTS:
        for block in blocks(path, "sh"):
            for line in block.text.replace("\\\n", " ").splitlines():
                found += [shlex.split(part, comments=True) for part in line.split(" | ")]
    return [words for words in found if words]


def our_commands() -> list[list[str]]:
    """The arguments of every call of the program."""
    found = [words[2:] for words in commands() if words[:2] == ["python", "run.py"]]
    return found + [words[1:] for words in commands() if words[0] == "nlp-app"]


def test_there_are_commands_for_everything() -> None:
    named = {arguments[0] for arguments in our_commands()}
    assert named >= set(program.commands)


@pytest.mark.parametrize("arguments", our_commands(), ids=" ".join)
def test_commands_are_understood(arguments: list[str]) -> None:
    command: click.Command = program
    words = list(arguments)
    while isinstance(command, click.Group):
        assert words[0] in command.commands, f"{words[0]} is no command"
        command = command.commands[words.pop(0)]
    context = command.make_context(str(command.name), words)
    assert any(takes(task, context.params) for task in tasks_of(command.name)), "no task has these settings"


def tasks_of(command: str | None) -> list[str]:
    """Whose settings a command takes: those of one task, or of either."""
    of_one = {"ner": ["ner"], "tag": ["ner"], "convert": ["ner"], "cls": ["cls"], "classify": ["cls"]}
    return of_one.get(str(command), ["ner", "cls"])


def takes(task: str, given: dict[str, Any]) -> bool:
    """Whether the changes of a command line, and a settings file of the project that it names, suit a task."""
    config = given.get("config")
    try:
        named = config is not None and str(config) in bundled_settings()
        path = config if named else ROOT / config if config and (ROOT / config).exists() else None
        read_task_settings(task, path, given.get("changes", ()))
    except SettingsError:
        return False
    return True


def test_a_command_with_settings_of_another_task_is_found() -> None:
    assert not any(takes(task, {"changes": ["train.batch_size=3"]}) for task in tasks_of("ner"))
    assert takes("cls", {"changes": ["train.batch_size=3"]})


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for words in commands():
        if words[0] == "make":
            assert re.search(rf"^{words[1]}:", makefile, re.MULTILINE), f"make {words[1]}"


@EVERY_DOCUMENT
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), target


@EVERY_DOCUMENT
def test_files_named_exist(path: Path) -> None:
    named = re.findall(rf"`((?:{'|'.join(FOLDERS)})/[\w./]*)`", path.read_text(encoding="utf-8"))
    missing = [name for name in named if not (ROOT / name).exists()]
    assert not missing


@EVERY_DOCUMENT
def test_settings_named_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    found = set(re.findall(r"(?:`|--set )((?:data|model|train|track)\.\w+)(?==|`| )", text))
    kinds = {kind for of_task in KINDS.values() for kind in of_task.values()}
    known = {f"{name}.{key}" for kind in kinds for name, table in kind() for key, _ in table}
    assert {name for name in found if name.split(".")[1] not in FILE_ENDINGS} <= known


@EVERY_DOCUMENT
def test_nothing_of_one_machine_or_service(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    found = re.findall(r"https?://\S+|\b[\w.]*(?:pypi|pythonhosted|pytorch)\.org\S*|/(?:home|root|tmp|work)/\S*", text)
    assert not found


@EVERY_DOCUMENT
def test_python_blocks_compile(path: Path) -> None:
    for block in blocks(path, "python"):
        compile(block.text, f"{path.name}: {block.text.splitlines()[0]}", "exec")


@EVERY_DOCUMENT
def test_python_blocks_that_run_do(path: Path) -> None:
    for block in blocks(path, "python"):
        if block.info == "python run":
            exec(compile(block.text, path.name, "exec"), {})  # noqa: S102


def test_the_module_map_is_complete() -> None:
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(nlp_app/[\w/]+)/` \| .+ \| (.*) \|$", text, re.MULTILINE)
    named = {f"{folder}/{file}.py" for folder, files in rows for file in files.split(", ") if file}
    modules = (ROOT / "nlp_app").rglob("*.py")
    assert named == {str(path.relative_to(ROOT)) for path in modules if path.name != "__init__.py"}


@pytest.mark.parametrize(("command", "limit"), [("train ner", 25), ("tag", 12)])
def test_the_way_of_a_command_is_short_and_names_files(command: str, limit: int) -> None:
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    story = text.partition(f"## `{command}`")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (\d+) \| `(\S+)` \|", story, re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, len(rows) + 1))
    assert 5 < len({file for _, file in rows}) == len(rows) <= limit
    assert all((ROOT / file).is_file() for _, file in rows)


FORMATS = ROOT / "docs/formats.md"


@pytest.mark.parametrize("name", ["conll", "conllu", "jsonl"])
def test_format_examples_can_be_read(name: str) -> None:
    examples = blocks(FORMATS, name)
    assert examples
    for example in examples:
        assert detect_format(Path("example"), example.text) == name
        records = list(formats.read_lines(example.text.splitlines(), "example", name))
        assert records


@pytest.mark.parametrize(
    ("block", "name", "format"),
    [("csv", "a.csv", "span_table"), ("tsv", "a.tsv", "webanno"), ("json", "a.json", "jsonl")],
)
def test_examples_of_annotation_tools_can_be_read(block: str, name: str, format: str) -> None:
    (example,) = [each for each in blocks(FORMATS, block) if "PER" in each.text]
    assert detect_format(Path(name), example.text) == format
    records = list(formats.read_lines(example.text.splitlines(), name, format))
    assert records
    assert all(record.spans for record in records)


def test_every_annotation_tool_has_an_example() -> None:
    section = FORMATS.read_text(encoding="utf-8").partition("## JSON lines")[2].partition("\n## ")[0]
    tools = re.findall(r"^\| ([\w ,-]+) \| (?:texts|tokens) \| yes \| (?:yes|no) \| .+ \|$", section, re.MULTILINE)
    examples = [json.loads(line) for line in section.splitlines() if line.startswith(("{", "["))]
    assert len(tools) == 10
    assert len({tuple(value) if isinstance(value, dict) else type(value) for value in examples}) >= len(tools)


def test_brat_example_can_be_read(tmp_path: Path) -> None:
    (example,) = blocks(FORMATS, "ann")
    (tmp_path / "a.txt").write_text("Ada lives in London.", encoding="utf-8")
    (tmp_path / "a.ann").write_text(example.text, encoding="utf-8")
    (record,) = formats.read(tmp_path)
    assert record.spans == [(0, 3, "PER"), (13, 19, "LOC")]


def test_table_of_formats() -> None:
    text = FORMATS.read_text(encoding="utf-8")
    of_classes = re.findall(r"^\| `(\w+)` \| classes \| yes \| no \| .+ \|$", text, re.MULTILINE)
    assert tuple(of_classes) == CLASS_FORMATS
    table = re.findall(r"^\| `(\w+)` \| tagging \| yes \| (yes|no) \| (.+) \|$", text, re.MULTILINE)
    assert [name for name, _, _ in table] == list(formats.FORMATS)
    for name, written, suffixes in table:
        assert {f".{suffix}" for suffix in re.findall(r"\.(\w+)", suffixes)} >= set(formats.FORMATS[name].suffixes)
        assert (written == "yes") == (formats.FORMATS[name].writer is not None)


def test_table_of_schemes() -> None:
    rows = re.findall(
        r"^\| `(\w+)`(?: \((\w+)\))? \| `(\w \w \w)`, `(\w)`", FORMATS.read_text(encoding="utf-8"), re.MULTILINE
    )
    assert {name for name, *_ in rows} == set(SCHEMES) - {"none"}
    assert {alias: name for name, alias, *_ in rows if alias} == {k: v for k, v in ALIASES.items() if k != "IO"}
    assert "`data.scheme=IO` reads names as IO tags" in FORMATS.read_text(encoding="utf-8")
    for name, _, three, one in rows:
        assert encode([TokenSpan(0, 3, "X")], 3, name) == [f"{letter}-X" for letter in three.split()]
        assert encode([TokenSpan(0, 1, "X")], 1, name) == [f"{one}-X"]


def test_the_picture_is_well_formed() -> None:
    picture = xml.etree.ElementTree.parse(ROOT / "docs/demo.svg").getroot()
    assert picture.tag.endswith("svg")
