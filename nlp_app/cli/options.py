"""Options and arguments that several commands take, and what a command makes of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

import click

C = TypeVar("C", bound=Callable[..., Any])

# As nlp_app.formats.tagging and nlp_app.formats.classification name them; a test holds them equal.
FORMATS = ("conll", "conllu", "jsonl", "brat", "text", "hub")

CLASS_FORMATS = ("csv", "tsv", "jsonl", "label_text", "fasttext", "text", "hub")

MOST_THREADS = 1024  # beyond any machine's cores; many more than that exhaust its memory

quiet_option = click.option("--quiet", is_flag=True, help="Show no progress.")

threads_option = click.option("--threads", type=click.IntRange(1, MOST_THREADS), help="CPU threads to compute with.")

_ALL_FORMATS = tuple(dict.fromkeys((*FORMATS, *CLASS_FORMATS)))

format_option = click.option(
    "--format", type=click.Choice(FORMATS), help="The input's format, where it isn't recognised."
)

any_format_option = click.option(
    "--format", type=click.Choice(_ALL_FORMATS), help="The input's format, where it isn't recognised."
)

text_column_option = click.option(
    "--text-column", metavar="COLUMN", help="Of texts with classes: a name or a number from 0; several with commas."
)

label_column_option = click.option("--label-column", metavar="COLUMN", help="Likewise, of the classes.")

changes_option = click.option(
    "--set", "changes", multiple=True, metavar="A.B=C", help="Change a setting; may be given several times."
)

# As nlp_app.nn.precision names them; a test holds them equal.
PRECISIONS = ("full", "auto", "bf16", "fp16")

precision_option = click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default="full",
    show_default=True,
    help="What a transformer computes in; auto: bf16 where that is fast.",
)

trust_option = click.option(
    "--trust-remote-code",
    is_flag=True,
    help="Run code that a model brings; without it such a model is refused.",
)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")

model_argument = click.argument("model")  # a directory, or a name on the Hub


def _shard(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, int] | None:
    """`2/8` as numbers."""
    if value is None:
        return None
    match = re.fullmatch("([0-9]{1,9})/([0-9]{1,9})", value)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise click.UsageError(f"--shard: found {value!r}, expected I/N with I from 1 to N")
    return int(match[1]), int(match[2])


def bulk_options(command: C) -> C:
    """The options of commands that answer a file of any size."""
    for option in reversed(
        (
            click.option(
                "--workers",
                type=click.IntRange(1, MOST_THREADS),
                default=1,
                show_default=True,
                help="Processes to compute with, each with its own model and one thread.",
            ),
            click.option("--shard", callback=_shard, metavar="I/N", help="Only the I-th of N parts of the input."),
            click.option("--resume", is_flag=True, help="Go on with a job that was stopped or killed."),
            click.option(
                "--strict", is_flag=True, help="Fail at the first bad record; without it, it is a null result."
            ),
            click.option(
                "--journal-seconds",
                type=click.FloatRange(0),
                default=10.0,
                show_default=True,
                metavar="S",
                help="How often what is done is made safe.",
            ),
        )
    ):
        command = option(command)
    return command


def class_changes(how: dict[str, Any]) -> list[str]:
    """`--set` of a command, and what its flags for columns are short for."""
    columns = {name: how.get(name) for name in ("text_column", "label_column")}
    return [*how["changes"], *(f"data.{name}={value}" for name, value in columns.items() if value is not None)]


def no_columns(how: dict[str, Any]) -> None:
    """Refuse the flags for columns of texts with classes."""
    if how["text_column"] or how["label_column"]:
        raise click.UsageError("--text-column and --label-column are for texts with classes, not for tokens or spans")


def sequence_format(format: str | None) -> str | None:
    """A format of tokens or spans; others are refused."""
    if format not in (None, *FORMATS):
        raise click.UsageError(f"--format {format} is for texts with classes; expected one of {', '.join(FORMATS)}")
    return format
