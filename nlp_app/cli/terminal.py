"""What a command says: results on standard output, all else on standard error."""

from __future__ import annotations

import os
from typing import NoReturn

import click

from nlp_app.core.console import standard_output

USER_ERROR = 2

_RANK, _COUNT = "RANK", "WORLD_SIZE"  # as torchrun and accelerate number their processes


def show(text: str) -> None:
    """Print a result."""
    with standard_output() as out:
        out.write(text + "\n")


def say(*lines: str) -> None:
    """Print lines that are no result."""
    for line in lines:
        click.echo(line, err=True)


def is_first() -> bool:
    """Whether this is the only process that was started, or the first of several."""
    return os.environ.get(_RANK, "0") == "0"


def process_count() -> int:
    """How many processes were started together."""
    count = os.environ.get(_COUNT, "")
    return int(count) if count.isdecimal() else 1


def fail(message: str) -> NoReturn:
    """End with a user's mistake: one line, and status 2."""
    place = "" if is_first() else f"process {os.environ[_RANK]}: "
    say(f"error: {place}{' '.join(message.split())}")
    raise SystemExit(USER_ERROR)
