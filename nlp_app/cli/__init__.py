"""The command line: a thin layer over functions that a program can call as well. Results go to standard output, what
happens meanwhile to standard error. Imports stand inside the commands, so that `--help` answers at once."""

from __future__ import annotations

import io
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from types import MappingProxyType
from typing import Any, NoReturn

import click

from nlp_app.cli.options import PRECISIONS
from nlp_app.cli.terminal import USER_ERROR, fail, is_first, process_count, say
from nlp_app.core.console import discard_standard_output
from nlp_app.core.errors import NlpAppError
from nlp_app.core.signals import raise_on_stop_signals
from nlp_app.core.version import __version__

__all__ = ["PRECISIONS", "main", "program"]

INTERRUPTED = 130

# From each command to its module in this folder, where it has the same name.
COMMANDS: Mapping[str, str] = MappingProxyType(
    {
        "train": "train",
        "distill": "train",
        "reproduce": "reproduce",
        "evaluate": "predict",
        "tag": "predict",
        "classify": "predict",
        "inspect": "data",
        "convert": "data",
    }
)


class _Program(click.Group):
    """The commands, and what becomes of errors: a user's mistake is one line on standard error and status 2."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with raise_on_stop_signals():
                return super().invoke(ctx)
        except NlpAppError as error:
            fail(str(error))
        except BrokenPipeError:  # the reader has seen enough
            raise SystemExit(0) from None
        except KeyboardInterrupt as error:
            _stopped(error, ctx.obj)


def _stopped(by: BaseException | None, arguments: Sequence[str]) -> NoReturn:
    """End as a command does that was told to stop: with the command line that goes on, if it trains."""
    if is_first():
        advice = f"; to go on: {_resuming(arguments)}" if arguments[:1] in (["train"], ["distill"]) else ""
        say(f"{str(by or '') or 'stopped'}{advice}")
    raise SystemExit(getattr(by, "status", INTERRUPTED)) from None


def _resuming(arguments: Sequence[str]) -> str:
    """The command line that goes on with what these arguments began, in as many processes."""
    script = sys.argv[0].endswith(".py")
    program = sys.argv[0] if script else "nlp-app"
    start = ["python", program] if script else [program]
    if process_count() > 1:
        start = ["torchrun", "--nproc_per_node", os.environ.get("LOCAL_WORLD_SIZE", str(process_count()))]
        start += [program] if script else ["--no-python", program]
    return shlex.join([*start, *arguments, *(() if "--resume" in arguments else ("--resume",))])


@click.group(cls=_Program)
@click.version_option(__version__, prog_name="nlp_app")
def program() -> None:
    """Train, evaluate and use taggers and text classifiers for Chinese, English and mixed text."""


for _name, _module in COMMANDS.items():
    program.add_command(getattr(import_module(f"nlp_app.cli.{_module}"), _name))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line on `arguments` (None: the process's own). A user's mistake is one line and status 2."""
    # Waiting threads that spin starve each other on a busy machine; this has to stand before torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace", newline="\n")
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        program(arguments, standalone_mode=False, obj=words)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        raise SystemExit(USER_ERROR) from None
    except click.ClickException as error:
        fail(f"{error.format_message().rstrip('.')}; see --help")
    except OSError as error:  # the machine's trouble, not a bug: --help on a full disk, say
        discard_standard_output()
        fail(f"{error.filename or 'standard output'}: {error.strerror}")
    except click.Abort as error:  # what click makes of Ctrl-C while it reads the arguments
        _stopped(error.__cause__, words)
    except KeyboardInterrupt as error:
        _stopped(error, words)
