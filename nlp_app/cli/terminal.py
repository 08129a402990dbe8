"""What a command says: results on standard output, all else on standard error."""

from __future__ import annotations

import os
from typing import NoReturn

import click

from nlp_app.output import standard_output

USER_ERROR = 2


def show(text: str) -> None:
    """Print a result."""
    with standard_output() as out:
        out.write(text + "\n")


def say(*lines: str) -> None:
    """Print lines that are no result."""
    for line in lines:
        click.echo(line, err=True)


def fail(message: str) -> NoReturn:
    """End with a user's mistake: one line, and status 2."""
    rank = os.environ.get("RANK", "0")  # as torchrun and accelerate number their processes
    place = "" if rank == "0" else f"process {rank}: "
    say(f"error: {place}{' '.join(message.split())}")
    raise SystemExit(USER_ERROR)
