"""The command line of nlp_app.

Each command parses its options and calls functions that a program can call as well. Results go to standard output,
progress and notes to standard error. Imports stand inside the commands, so that `--help` answers at once.
"""

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

from nlp_app.cli.hints import settings_hint
from nlp_app.cli.options import PRECISIONS, examples
from nlp_app.cli.terminal import USER_ERROR, fail, is_main_process, process_count, say
from nlp_app.core.console import discard_standard_output
from nlp_app.core.errors import NlpAppError
from nlp_app.core.signals import raise_on_stop_signals
from nlp_app.core.version import __version__

__all__ = ["PRECISIONS", "main", "program"]

INTERRUPTED = 130

# Commands, each with the module in this folder that defines a function of the same name.
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
        "config": "bundled_settings",
    }
)


class _Program(click.Group):
    """A group of commands that reports a user error in one line on standard error, with exit status 2."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with raise_on_stop_signals():
                return super().invoke(ctx)
        except NlpAppError as error:
            fail(str(error))
        except BrokenPipeError:  # the program that reads the output has ended, for example `head`
            raise SystemExit(0) from None
        except KeyboardInterrupt as error:
            _exit_interrupted(error, ctx.obj)


# Packages that an installation for prediction only lacks, by the name of their module.
_PACKAGES = {
    "accelerate": "accelerate", "datasets": "datasets", "huggingface_hub": "huggingface_hub", "pydantic": "pydantic",
    "scipy": "scipy", "seqeval": "seqeval", "sklearn": "scikit-learn", "threadpoolctl": "threadpoolctl",
    "tokenizers": "tokenizers", "torch": "torch", "transformers": "transformers",
}  # fmt: skip


def _exit_interrupted(error: BaseException | None, arguments: Sequence[str]) -> NoReturn:
    """Exit after a stop signal; for a command that trains, print the command line that resumes the run."""
    if is_main_process():
        advice = f". To resume: {_resume_command(arguments)}" if arguments[:1] in (["train"], ["distill"]) else ""
        say(f"{str(error or '') or 'stopped'}{advice}")
    raise SystemExit(getattr(error, "status", INTERRUPTED)) from None


def _resume_command(arguments: Sequence[str]) -> str:
    """Return the command line that resumes a run, with the same number of processes."""
    script = sys.argv[0].endswith(".py")
    program = sys.argv[0] if script else "nlp-app"
    start = ["python", program] if script else [program]
    if process_count() > 1:
        start = ["torchrun", "--nproc_per_node", os.environ.get("LOCAL_WORLD_SIZE", str(process_count()))]
        start += [program] if script else ["--no-python", program]
    return shlex.join([*start, *arguments, *(() if "--resume" in arguments else ("--resume",))])


@click.group(
    cls=_Program,
    epilog=examples(
        "train ner --train train.conll --output runs/ner", 'tag runs/ner "Satya Nadella visited Shanghai."'
    ),
)
@click.version_option(__version__, prog_name="nlp_app")
def program() -> None:
    """Train, evaluate and use taggers and text classifiers for Chinese, English and mixed text.

    Use --help after a command to show its options.
    """


for _name, _module in COMMANDS.items():
    program.add_command(getattr(import_module(f"nlp_app.cli.{_module}"), _name))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line.

    A user error is reported in one line on standard error, with exit status 2.

    Args:
        arguments: The arguments, without the name of the program; None for those of this process.

    Raises:
        SystemExit: The command has failed or was interrupted.
    """
    # Busy-waiting threads slow each other down on a loaded machine. OpenMP reads this when torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace", newline="\n")
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        program(arguments, standalone_mode=False, obj=words)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        raise SystemExit(USER_ERROR) from None
    except click.NoSuchOption as error:
        hint = settings_hint(error, words)
        fail(f"{error.format_message().rstrip('.')}; " + (f"use {hint}" if hint else "see --help"))
    except click.ClickException as error:
        fail(f"{error.format_message().rstrip('.')}; see --help")
    except ModuleNotFoundError as error:
        package = _PACKAGES.get((error.name or "").partition(".")[0])
        if package is None:
            raise
        fail(f"this command needs the package {package}, which is not installed; pip install {package}")
    except OSError as error:  # for example --help on a full disk, which is not a bug
        discard_standard_output()
        fail(f"{error.filename or 'standard output'}: {error.strerror}")
    except click.Abort as error:  # click raises it for Ctrl-C while it parses the arguments
        _exit_interrupted(error.__cause__, words)
    except KeyboardInterrupt as error:
        _exit_interrupted(error, words)
