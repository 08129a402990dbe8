"""The command line: a thin layer over functions that a program can call as well. Results go to standard output, what
happens meanwhile to standard error. Imports stand inside the commands, so that `--help` answers at once."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from nlp_app import __version__
from nlp_app.errors import NlpAppError
from nlp_app.output import drop_standard_output, standard_output

if TYPE_CHECKING:
    from nlp_app.predict import Tagger

USER_ERROR = 2
INTERRUPTED = 130
FORMATS = ("conll", "conllu", "jsonl", "brat", "text")  # as nlp_app.formats names them; a test holds the two equal
MOST_THREADS = 1024  # beyond any machine's cores; many more than that exhaust its memory

_quiet = click.option("--quiet", is_flag=True, help="Show no progress.")
_threads = click.option("--threads", type=click.IntRange(1, MOST_THREADS), help="CPU threads to compute with.")
_format = click.option("--format", type=click.Choice(FORMATS), help="The input's format, where it isn't recognised.")
_changes = click.option(
    "--set", "changes", multiple=True, metavar="A.B=C", help="Change a setting; may be given several times."
)
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_model = click.argument("model", type=click.Path(path_type=Path))


class _Program(click.Group):
    """The commands, and what becomes of errors: a user's mistake is one line on standard error and status 2."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except NlpAppError as error:
            _fail(str(error))
        except BrokenPipeError:  # the reader has seen enough
            raise SystemExit(0) from None
        except KeyboardInterrupt:
            training = ctx.invoked_subcommand == "train"
            advice = "; the same command with --resume goes on after the last finished epoch" if training else ""
            _say(f"stopped{advice}")
            raise SystemExit(INTERRUPTED) from None


@click.group(cls=_Program)
@click.version_option(__version__, prog_name="nlp_app")
def program() -> None:
    """Train, evaluate and use sequence taggers for Chinese, English and mixed text."""


@program.group()
def train() -> None:
    """Train a model."""


@train.command("ner")
@click.option("--config", type=click.Path(path_type=Path), help="Settings, a TOML file.")
@click.option("--train", metavar="FILE", help="Training data; without it, the bundled corpus.")
@click.option("--dev", metavar="FILE", help="Data that chooses the epoch; without it, cut from the training data.")
@click.option("--test", metavar="FILE", help="Data that the finished model is scored on.")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default="runs/ner",
    show_default=True,
    help="The run's directory.",
)
@_changes
@click.option("--seed", type=click.IntRange(min=0), help="Seed of everything random.")
@_threads
@click.option("--resume", is_flag=True, help="Continue the run in --output; from the beginning if nothing was saved.")
@_quiet
def train_ner(
    config: Path | None, output: Path, changes: tuple[str, ...], resume: bool, quiet: bool, **flags: Any
) -> None:
    """Train a tagger: entities, POS, any label a token."""
    from nlp_app.card import score_table  # noqa: PLC0415
    from nlp_app.config import read_settings  # noqa: PLC0415
    from nlp_app.experiment import train_ner as run  # noqa: PLC0415
    from nlp_app.rundir import stored_settings  # noqa: PLC0415

    tables = {"train": "data", "dev": "data", "test": "data", "seed": "train", "threads": "train"}
    given = [*changes, *(f"{tables[name]}.{name}={value}" for name, value in flags.items() if value is not None)]
    stored = stored_settings(output) if resume and config is None else None
    settings = read_settings(config, given, stored)
    _print(score_table(run(settings, output, resume=resume, quiet=quiet)))


@program.command()
@_model
@click.argument("file", type=click.Path(path_type=Path))
@_json
@_format
@_changes
@_threads
@_quiet
def evaluate(model: Path, file: Path, as_json: bool, format: str | None, changes: tuple[str, ...], **how: Any) -> None:
    """Score MODEL on a labelled FILE."""
    from nlp_app.card import score_table  # noqa: PLC0415
    from nlp_app.jobs import evaluate_file  # noqa: PLC0415

    scores, remarks = evaluate_file(_load(model, how["threads"]), file, format, changes, how["quiet"])
    if not how["quiet"]:
        _say(*(f"note: {remark}" for remark in remarks))
    _print(json.dumps(scores, ensure_ascii=False) if as_json else score_table({file.name: scores}))


@program.command()
@_model
@click.argument("texts", nargs=-1, metavar="[TEXT]...")
@click.option("--input", "source", metavar="FILE", help="A file to tag; without it or with -, standard input.")
@click.option("--output", "target", metavar="FILE", help="Where results go; without it, standard output.")
@_format
@_changes
@_threads
@_quiet
def tag(model: Path, texts: tuple[str, ...], source: str | None, target: str | None, **how: Any) -> None:
    """Find labelled spans in TEXTs, a file or standard input.

    A text gives a JSON line with its spans; columns come back with the predicted tag appended.
    """
    from nlp_app.jobs import tag_file, tag_texts  # noqa: PLC0415

    if texts and source is not None:
        raise click.UsageError("found both TEXT and --input, expected one of them")
    tagger = _load(model, how["threads"])
    if texts:
        tag_texts(tagger, texts, target)
    else:
        tag_file(tagger, source or "-", target, how["format"], how["changes"], quiet=how["quiet"])


@program.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@_json
@_format
@_changes
def inspect(files: tuple[Path, ...], as_json: bool, format: str | None, changes: tuple[str, ...]) -> None:
    """Say what is in data FILEs: format, scheme, counts, lengths, duplicates, repairs; leaks among several."""
    from nlp_app.jobs import inspect_files  # noqa: PLC0415
    from nlp_app.report import inspection_table  # noqa: PLC0415

    facts = inspect_files(files, format, changes)
    _print(json.dumps(facts, ensure_ascii=False) if as_json else inspection_table(facts))


@program.command()
@click.argument("source", metavar="IN", type=click.Path(path_type=Path))
@click.argument("target", metavar="OUT", type=click.Path(path_type=Path))
@_format
@click.option("--to", type=click.Choice(FORMATS), help="The output's format, where OUT doesn't tell.")
@click.option("--scheme", help="The output's tag scheme; without it, BIO.")
@click.option(
    "--shape",
    type=click.Choice(["tokens", "text"]),
    help="Of JSON lines: tokens and tags, or text and spans.",
)
@_changes
def convert(source: Path, target: Path, format: str | None, changes: tuple[str, ...], **wanted: Any) -> None:
    """Convert data between formats and tag schemes, and say what is lost."""
    from nlp_app.jobs import ConversionTarget, convert_file  # noqa: PLC0415

    target_wanted = ConversionTarget(wanted["to"], wanted["scheme"], wanted["shape"])
    _say(convert_file(source, target, target_wanted, format, changes))


def _load(path: Path, threads: int | None) -> Tagger:
    import torch  # noqa: PLC0415

    from nlp_app.predict import load  # noqa: PLC0415

    if threads:
        torch.set_num_threads(threads)
    return load(path)


def _print(text: str) -> None:
    with standard_output() as out:
        out.write(text + "\n")


def _say(*lines: str) -> None:
    for line in lines:
        click.echo(line, err=True)


def _fail(message: str) -> NoReturn:
    _say(f"error: {' '.join(message.split())}")
    raise SystemExit(USER_ERROR)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line on `arguments` (None: the process's own). A user's mistake is one line and status 2."""
    # Waiting threads that spin starve each other on a busy machine; this has to stand before torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace", newline="\n")
    try:
        program(arguments, standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        raise SystemExit(USER_ERROR) from None
    except click.ClickException as error:
        _fail(f"{error.format_message().rstrip('.')}; see --help")
    except OSError as error:  # the machine's trouble, not a bug: --help on a full disk, say
        drop_standard_output()
        _fail(f"{error.filename or 'standard output'}: {error.strerror}")
    except click.Abort:
        raise SystemExit(INTERRUPTED) from None
