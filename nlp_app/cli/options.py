"""Options and arguments that several commands share."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any, TypeVar

import click

C = TypeVar("C", bound=Callable[..., Any])


class FormatChoice(click.Choice[str]):
    """A choice of format names that is loaded on first use: importing the readers takes 80 ms."""

    def __init__(self, load: Callable[[], Iterable[str]]) -> None:
        super().__init__(())
        del self.choices
        self._load = load

    @cached_property
    def choices(self) -> tuple[str, ...]:  # type: ignore[override]
        """The names, in the order of the table of formats."""
        return tuple(dict.fromkeys(self._load()))

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str | None:
        """Return a short placeholder. The names do not fit on a line; they are in the help text of FormatOption.

        Args:
            param: Not used.
            ctx: Not used.

        Returns:
            The placeholder.
        """
        return "FORMAT"


class FormatOption(click.Option):
    """An option whose help text lists the names of a `FormatChoice`."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Return a row of the help page.

        Args:
            ctx: The context of the command.

        Returns:
            The option and its help text, with the names of the formats.
        """
        record = super().get_help_record(ctx)
        if record is None or not isinstance(self.type, FormatChoice):
            return record
        return record[0], f"{record[1]} Formats: {', '.join(self.type.choices)}."


def tagging_formats() -> Iterable[str]:
    """List the formats of annotated tokens and spans.

    Returns:
        The names of the formats.
    """
    from nlp_app.formats.tagging import FORMATS  # noqa: PLC0415

    return FORMATS


def tag_input_formats() -> Iterable[str]:
    """List the formats of files to tag: annotated tokens and spans, and tables of texts.

    Returns:
        The names of the formats.
    """
    from nlp_app.commands.predict import TABLES  # noqa: PLC0415

    return (*tagging_formats(), *TABLES)


def classification_formats() -> Iterable[str]:
    """List the formats of labeled texts.

    Returns:
        The names of the formats.
    """
    from nlp_app.formats.classification import CLASS_FORMATS  # noqa: PLC0415

    return CLASS_FORMATS


def examples(*commands: str) -> str:
    """Format example command lines as the epilog of a command's help.

    Args:
        *commands: The command lines, without the name of the program.

    Returns:
        A text for the `epilog` of a click command. Its lines are not wrapped.
    """
    title = "Example:" if len(commands) == 1 else "Examples:"
    return "\n".join(["\b", title, *(f"  python run.py {command}" for command in commands)])


MAX_THREADS = 1024  # more than the cores of any machine; far more threads would exhaust the memory

quiet_option = click.option("--quiet", is_flag=True, help="Show no progress and no notes.")

threads_option = click.option(
    "--threads", type=click.IntRange(1, MAX_THREADS), metavar="N", help="Number of CPU threads."
)

FORMAT_HELP = "Format of the input. By default it is detected."

format_option = click.option("--format", cls=FormatOption, type=FormatChoice(tagging_formats), help=FORMAT_HELP)

classification_format_option = click.option(
    "--format", cls=FormatOption, type=FormatChoice(classification_formats), help=FORMAT_HELP
)

any_format_option = click.option(
    "--format",
    cls=FormatOption,
    type=FormatChoice(lambda: (*tagging_formats(), *classification_formats())),
    help=FORMAT_HELP,
)


def output_formats() -> Iterable[str]:
    """List the formats that `convert` writes.

    Returns:
        The names of the formats.
    """
    from nlp_app.formats.annotated import CLASS_FORMATS, SPAN_FORMATS  # noqa: PLC0415

    return (*SPAN_FORMATS, *CLASS_FORMATS)


def _span_output_formats() -> Iterable[str]:
    from nlp_app.formats.annotated import SPAN_FORMATS  # noqa: PLC0415

    return SPAN_FORMATS


def _class_output_formats() -> Iterable[str]:
    from nlp_app.formats.annotated import CLASS_FORMATS  # noqa: PLC0415

    return CLASS_FORMATS


_OUTPUT_FORMAT_HELP = "Format of the output. By default the suffix of --output decides; otherwise JSON lines"

span_output_format_option = click.option(
    "--output-format",
    cls=FormatOption,
    type=FormatChoice(_span_output_formats),
    help=f"{_OUTPUT_FORMAT_HELP}, or columns for columns.",
)

class_output_format_option = click.option(
    "--output-format", cls=FormatOption, type=FormatChoice(_class_output_formats), help=f"{_OUTPUT_FORMAT_HELP}."
)

lossy_option = click.option(
    "--lossy", is_flag=True, help="Write the output although its format can't hold all annotations."
)

text_column_option = click.option(
    "--text-column",
    metavar="COLUMN",
    help="Column of the text, for classification: a name or a number from 0. Separate several columns with commas.",
)

label_column_option = click.option(
    "--label-column",
    metavar="COLUMN",
    help="Column of the label, for classification: a name or a number from 0. Separate several columns with commas.",
)

changes_option = click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="A.B=C",
    help="Change a setting, for example train.epochs=20. Can be given several times.",
)

data_changes_option = click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="A.B=C",
    help="Change a setting of [data], for example data.encoding=gb18030. Can be given several times.",
)

# The keys of nlp_app.nn.precision, repeated here because importing that module loads torch; a test compares them.
PRECISIONS = ("full", "auto", "bf16", "fp16")

precision_option = click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default="full",
    show_default=True,
    help="Number format for computing with a transformer; auto selects bf16 where the hardware is faster with it.",
)

BACKENDS = ("auto", "numpy", "torch")

backend_option = click.option(
    "--backend",
    type=click.Choice(BACKENDS),
    default="auto",
    show_default=True,
    help="Library that computes the network; auto is NumPy, and torch for large files and transformers.",
)

trust_option = click.option(
    "--trust-remote-code",
    is_flag=True,
    help="Run Python code that comes with the model. Without this option, a model that needs such code is an error.",
)

json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")

model_argument = click.argument("model")  # a directory, or a name on the Hugging Face Hub


def _parse_shard(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, int] | None:
    """Parse a value such as `2/8`."""
    if value is None:
        return None
    match = re.fullmatch("([0-9]{1,9})/([0-9]{1,9})", value)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise click.UsageError(f"--shard: found {value!r}, expected I/N with I from 1 to N")
    return int(match[1]), int(match[2])


def file_job_options(command: C) -> C:
    """Add the options of commands that process files of any size.

    Args:
        command: The function of a command.

    Returns:
        The function with the options added.
    """
    for option in reversed(
        (
            click.option(
                "--workers",
                type=click.IntRange(1, MAX_THREADS),
                default=1,
                show_default=True,
                metavar="N",
                help="Number of processes. Each loads the model and uses one thread.",
            ),
            click.option(
                "--shard",
                callback=_parse_shard,
                metavar="I/N",
                help="Split the input into N parts of about the same size, and process only part I, from 1 to N.",
            ),
            click.option(
                "--resume",
                is_flag=True,
                help="Continue the job that writes to --output from its last saved state. Without one, start from the "
                "beginning.",
            ),
            click.option(
                "--strict",
                is_flag=True,
                help="Stop at the first record that can't be read. By default its result is null.",
            ),
            click.option(
                "--journal-seconds",
                type=click.FloatRange(0),
                default=10.0,
                show_default=True,
                metavar="S",
                help="Seconds between two saves of the job's state, from which --resume continues.",
            ),
        )
    ):
        command = option(command)
    return command


def data_changes(options: dict[str, Any]) -> list[str]:
    """Collect the changes of settings from `--set`, `--text-column` and `--label-column`.

    Args:
        options: The values of a command's options.

    Returns:
        Changes of the form `table.key=value`. The columns come last.
    """
    columns = {name: options.get(name) for name in ("text_column", "label_column")}
    return [*options["changes"], *(f"data.{name}={value}" for name, value in columns.items() if value is not None)]


def reject_column_options(options: dict[str, Any]) -> None:
    """Reject `--text-column` and `--label-column`, which have no effect on tokens or spans.

    Args:
        options: The values of a command's options.

    Raises:
        click.UsageError: One of the two options is given.
    """
    if options["text_column"] or options["label_column"]:
        raise click.UsageError("--text-column and --label-column are for texts with classes, not for tokens or spans")


def check_tagging_format(format: str | None) -> str | None:
    """Check that a format contains tokens or spans.

    Args:
        format: The name of a format; None for an unknown one.

    Returns:
        The same name.

    Raises:
        click.UsageError: The format contains labeled texts.
    """
    names = tagging_formats()
    if format not in (None, *names):
        raise click.UsageError(f"--format {format} is for texts with classes; expected one of {', '.join(names)}")
    return format
