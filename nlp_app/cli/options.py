"""Options and arguments that several commands take, and what a command makes of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any, TypeVar

import click

C = TypeVar("C", bound=Callable[..., Any])


class FormatChoice(click.Choice[str]):
    """A choice of format names, loaded on first use: the readers take 80 ms of a command that asks for no format."""

    def __init__(self, load: Callable[[], Iterable[str]]) -> None:
        super().__init__(())
        del self.choices
        self._load = load

    @cached_property
    def choices(self) -> tuple[str, ...]:  # type: ignore[override]
        """The names, in the order of the table of formats."""
        return tuple(dict.fromkeys(self._load()))


def tagging_formats() -> Iterable[str]:
    """The formats of tokens or spans."""
    from nlp_app.formats.tagging import FORMATS  # noqa: PLC0415

    return FORMATS


def class_formats() -> Iterable[str]:
    """The formats of texts with classes."""
    from nlp_app.formats.classification import CLASS_FORMATS  # noqa: PLC0415

    return CLASS_FORMATS


MOST_THREADS = 1024  # beyond any machine's cores; many more than that exhaust its memory

quiet_option = click.option("--quiet", is_flag=True, help="Show no progress.")

threads_option = click.option("--threads", type=click.IntRange(1, MOST_THREADS), help="CPU threads to compute with.")

format_option = click.option(
    "--format", type=FormatChoice(tagging_formats), help="The input's format, where it isn't recognized."
)

any_format_option = click.option(
    "--format",
    type=FormatChoice(lambda: (*tagging_formats(), *class_formats())),
    help="The input's format, where it isn't recognized.",
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
    names = tagging_formats()
    if format not in (None, *names):
        raise click.UsageError(f"--format {format} is for texts with classes; expected one of {', '.join(names)}")
    return format
