"""Output of the commands: results on standard output, messages on standard error."""

from __future__ import annotations

import os
from typing import NoReturn

import click

from nlp_app.core.console import standard_output

USER_ERROR = 2

_RANK, _COUNT = "RANK", "WORLD_SIZE"  # environment variables that torchrun and accelerate set in each process


def show(text: str) -> None:
    """Print a result on standard output.

    Args:
        text: The result, without a line feed at the end.

    Raises:
        DataError: Standard output is closed, or can't be written to.
    """
    with standard_output() as out:
        out.write(text + "\n")


def say(*lines: str) -> None:
    """Print messages on standard error.

    Args:
        *lines: The messages, one per line.
    """
    for line in lines:
        click.echo(line, err=True)


def is_main_process() -> bool:
    """Check if this process reports for all processes that were started together.

    Returns:
        True for a single process, and for the first one of several.
    """
    return os.environ.get(_RANK, "0") == "0"


def process_count() -> int:
    """Count the processes that were started together, for example by torchrun.

    Returns:
        The number of processes; 1 without a launcher.
    """
    count = os.environ.get(_COUNT, "")
    return int(count) if count.isdecimal() else 1


def fail(message: str) -> NoReturn:
    """Report a user error in one line, and exit with status 2.

    Args:
        message: The error message.

    Raises:
        SystemExit: Always.
    """
    place = "" if is_main_process() else f"process {os.environ[_RANK]}: "
    say(f"error: {place}{' '.join(message.split())}")
    raise SystemExit(USER_ERROR)
