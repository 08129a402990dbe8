"""The help of each command: it fits a terminal of 80 columns, has an example, and explains each option."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import click
import pytest
from conftest import Outcome

from nlp_app.cli import program

Cli = Callable[..., Outcome]
WIDTH = 80


def commands(command: click.Command, *names: str) -> Iterator[tuple[str, ...]]:
    """The command and all commands below it, each by the words that call it."""
    yield names
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from commands(inner, *names, name)


def command_of(names: tuple[str, ...]) -> click.Command:
    command: click.Command = program
    for name in names:
        assert isinstance(command, click.Group)
        command = command.commands[name]
    return command


COMMANDS = sorted(commands(program))


def test_every_command_is_checked() -> None:
    assert {(), ("train",), ("train", "ner"), ("train", "cls"), ("convert",)} <= {*COMMANDS}


@pytest.mark.parametrize("names", COMMANDS, ids=lambda names: " ".join(names) or "program")
def test_help(cli: Cli, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...]) -> None:
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    outcome = cli(*names, "--help")
    assert (outcome.status, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert [line for line in lines if len(line) > WIDTH] == []
    # Click ends a description that it has shortened with three dots.
    assert [line for line in lines if line.endswith("...") and not line.startswith("Usage:")] == []
    assert any(re.match(r"\s+(python run\.py|nlp-app) ", line) for line in lines)


@pytest.mark.parametrize("names", COMMANDS, ids=lambda names: " ".join(names) or "program")
def test_descriptions_are_sentences(names: tuple[str, ...]) -> None:
    command = command_of(names)
    assert (command.help or "").partition("\b")[0].rstrip().endswith(".")
    with click.Context(command) as context:
        options = [each for each in command.get_params(context) if isinstance(each, click.Option) and not each.hidden]
    assert any("--help" in each.opts for each in options)
    assert [each.opts for each in options if not (each.help or "").endswith(".")] == []


@pytest.mark.parametrize("names", COMMANDS, ids=lambda names: " ".join(names) or "program")
def test_examples_can_be_parsed(names: tuple[str, ...]) -> None:
    """The options of an example exist."""
    import shlex

    text = f"{command_of(names).help}\n{command_of(names).epilog}"
    found = re.findall(r"^\s+(?:python run\.py|nlp-app) (.+)$", text, re.MULTILINE)
    assert found
    for example in found:
        words = shlex.split(example)
        command: click.Command = program
        while isinstance(command, click.Group):
            command = command.commands[words.pop(0)]
        if "--help" not in words:
            command.make_context(None, words)
