"""The command line: a thin layer over functions that a program can call as well. Results go to standard output, what
happens meanwhile to standard error. Imports stand inside the commands, so that `--help` answers at once."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from nlp_app import __version__
from nlp_app.errors import ModelError, NlpAppError, OtherTaskError
from nlp_app.output import drop_standard_output, standard_output

if TYPE_CHECKING:
    from nlp_app.config import ClassDataSettings
    from nlp_app.predict import Classifier, Tagger

USER_ERROR = 2
INTERRUPTED = 130
# As nlp_app.formats and nlp_app.formats.classes name them; a test holds them equal.
FORMATS = ("conll", "conllu", "jsonl", "brat", "text", "hub")
CLASS_FORMATS = ("csv", "tsv", "jsonl", "label_text", "fasttext", "text", "hub")
MOST_THREADS = 1024  # beyond any machine's cores; many more than that exhaust its memory

_quiet = click.option("--quiet", is_flag=True, help="Show no progress.")
_threads = click.option("--threads", type=click.IntRange(1, MOST_THREADS), help="CPU threads to compute with.")
_ALL_FORMATS = tuple(dict.fromkeys((*FORMATS, *CLASS_FORMATS)))
_format = click.option("--format", type=click.Choice(FORMATS), help="The input's format, where it isn't recognised.")
_any_format = click.option(
    "--format", type=click.Choice(_ALL_FORMATS), help="The input's format, where it isn't recognised."
)
_text_column = click.option(
    "--text-column", metavar="COLUMN", help="Of texts with classes: a name or a number from 0; several with commas."
)
_label_column = click.option("--label-column", metavar="COLUMN", help="Likewise, of the classes.")
_changes = click.option(
    "--set", "changes", multiple=True, metavar="A.B=C", help="Change a setting; may be given several times."
)
# As nlp_app.nn.precision names them; a test holds them equal.
PRECISIONS = ("full", "auto", "bf16", "fp16")
_precision = click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default="full",
    show_default=True,
    help="What a transformer computes in; auto: bf16 where that is fast.",
)
_trust = click.option(
    "--trust-remote-code",
    is_flag=True,
    help="Run code that a model brings; without it such a model is refused.",
)
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_model = click.argument("model")  # a directory, or a name on the Hub


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
            training = ctx.invoked_subcommand in ("train", "distill")
            advice = (
                "; the same command with --resume goes on from the last checkpoint, if there is one" if training else ""
            )
            _say(f"stopped{advice}")
            raise SystemExit(INTERRUPTED) from None


@click.group(cls=_Program)
@click.version_option(__version__, prog_name="nlp_app")
def program() -> None:
    """Train, evaluate and use taggers and text classifiers for Chinese, English and mixed text."""


@program.group()
def train() -> None:
    """Train a model."""


def _training(output: str, config: bool = True) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The options of commands that train."""
    settings = click.option("--config", type=click.Path(path_type=Path), help="Settings, a TOML file.")
    options = (
        *((settings,) if config else ()),
        click.option("--train", metavar="FILE", help="Training data; without it, the bundled corpus."),
        click.option(
            "--dev", metavar="FILE", help="Data that chooses the epoch; without it, cut from the training data."
        ),
        click.option("--test", metavar="FILE", help="Data that the finished model is scored on."),
        click.option(
            "--output", type=click.Path(path_type=Path), default=output, show_default=True, help="The run's directory."
        ),
        _changes,
        click.option("--seed", type=click.IntRange(min=0), help="Seed of everything random."),
        _threads,
        click.option(
            "--resume", is_flag=True, help="Continue the run in --output; from the beginning if nothing was saved."
        ),
        _quiet,
    )

    def add(command: Callable[..., None]) -> Callable[..., None]:
        for option in reversed(options):
            command = option(command)
        return command

    return add


@train.command("ner")
@_training("runs/ner")
def train_ner(resume: bool, quiet: bool, output: Path, **given: Any) -> None:
    """Train a tagger: entities, POS, any label a token."""
    from nlp_app.experiment import train_ner as run  # noqa: PLC0415

    settings = _run_settings("ner", output, resume, given)
    _print_tagger_scores(run(settings, output, resume=resume, quiet=quiet))


@train.command("cls")
@_training("runs/cls")
@_text_column
@_label_column
def train_cls(resume: bool, quiet: bool, output: Path, **given: Any) -> None:
    """Train a text classifier: one class a text, or several."""
    from nlp_app.experiment import train_cls as run  # noqa: PLC0415

    settings = _run_settings("cls", output, resume, given)
    _print_classifier_scores(run(settings, output, resume=resume, quiet=quiet))


def _print_tagger_scores(metrics: dict[str, Any]) -> None:
    from nlp_app.card import score_table  # noqa: PLC0415

    _print(score_table(metrics))


def _print_classifier_scores(metrics: dict[str, Any]) -> None:
    from nlp_app.class_report import class_score_table, confusion_table  # noqa: PLC0415

    for last in list(metrics.values())[-1:]:  # none without dev and test
        _print("\n\n".join(filter(None, (class_score_table(metrics), confusion_table(last)))))


def _run_settings(task: str, output: Path, resume: bool, given: dict[str, Any]) -> Any:
    """The settings of a run: the file's (of a resumed run without one, its own), then what the flags say."""
    from nlp_app.config import read_task_settings  # noqa: PLC0415
    from nlp_app.rundir import stored_settings  # noqa: PLC0415

    config, changes = given.pop("config"), given.pop("changes")
    flags = _flags(given)
    stored = stored_settings(output, task) if resume and config is None else None
    return read_task_settings(task, config, [*changes, *flags], stored)


def _flags(given: dict[str, Any]) -> list[str]:
    """The settings that flags of the same names are short for."""
    tables = {"seed": "train", "threads": "train"}
    return [f"{tables.get(name, 'data')}.{name}={value}" for name, value in given.items() if value is not None]


@program.command()
@click.argument("teacher")
@click.option("--student", type=click.Path(path_type=Path), help="Settings of the student, a TOML file.")
@click.option("--unlabelled", metavar="FILE", help="Texts without labels for the teacher to label.")
@_training("runs/student", config=False)
@_text_column
@_label_column
def distill(
    teacher: str,
    student: Path | None,
    unlabelled: str | None,
    resume: bool,
    quiet: bool,
    output: Path,
    **given: Any,
) -> None:
    """Teach a small network what TEACHER knows, a fine-tuned transformer.

    The student learns from the labels of --train and from what the teacher makes of these texts, of texts without
    labels, and of copies with other words in them.
    """
    from nlp_app.config import DistilledClassSettings, DistilledTaggingSettings, read_settings  # noqa: PLC0415
    from nlp_app.experiment import train_cls, train_ner  # noqa: PLC0415
    from nlp_app.predict import load  # noqa: PLC0415

    named = {"teacher": teacher, "unlabelled": unlabelled}
    changes = [*given.pop("changes"), *_flags(given)]
    changes += [f"distill.{name}={value}" for name, value in named.items() if value is not None]
    if load(teacher).parts.task == "ner":
        tagging = read_settings(DistilledTaggingSettings, student, changes)
        _print_tagger_scores(train_ner(tagging, output, resume=resume, quiet=quiet))
    else:
        classes = read_settings(DistilledClassSettings, student, changes)
        _print_classifier_scores(train_cls(classes, output, resume=resume, quiet=quiet))


@program.command()
@_model
@click.argument("file")
@_json
@_any_format
@_text_column
@_label_column
@_changes
@_precision
@_trust
@_threads
@_quiet
def evaluate(model: str, file: str, as_json: bool, quiet: bool, **how: Any) -> None:
    """Score MODEL on a labelled FILE."""
    from nlp_app.card import score_table  # noqa: PLC0415
    from nlp_app.class_jobs import evaluate_classes  # noqa: PLC0415
    from nlp_app.class_report import class_score_table, confusion_table  # noqa: PLC0415
    from nlp_app.jobs import evaluate_file  # noqa: PLC0415
    from nlp_app.predict import Classifier  # noqa: PLC0415

    loaded, name = _load(model, how), Path(file).name
    if isinstance(loaded, Classifier):
        scores, remarks = evaluate_classes(loaded, file, _class_settings(loaded, how), quiet)
        text = "\n\n".join(filter(None, (class_score_table({name: scores}), confusion_table(scores))))
    else:
        _no_columns(how)
        scores, remarks = evaluate_file(loaded, Path(file), _sequence_format(how["format"]), how["changes"], quiet)
        text = score_table({name: scores})
    if not quiet:
        _say(*(f"note: {remark}" for remark in remarks))
    _print(json.dumps(scores, ensure_ascii=False) if as_json else text)


@program.command()
@_model
@click.argument("texts", nargs=-1, metavar="[TEXT]...")
@click.option("--input", "source", metavar="FILE", help="A file to tag; without it or with -, standard input.")
@click.option("--output", "target", metavar="FILE", help="Where results go; without it, standard output.")
@_format
@_changes
@_precision
@_trust
@_threads
@_quiet
def tag(model: str, texts: tuple[str, ...], source: str | None, target: str | None, **how: Any) -> None:
    """Find labelled spans in TEXTs, a file or standard input.

    A text gives a JSON line with its spans; columns come back with the predicted tag appended.
    """
    from nlp_app.jobs import tag_file, tag_texts  # noqa: PLC0415
    from nlp_app.predict import Tagger  # noqa: PLC0415

    _one_source(texts, source)
    tagger = _load(model, how)
    if not isinstance(tagger, Tagger):
        raise ModelError(f"{model}: found a classifier, expected a tagger; use `classify`")
    if texts:
        tag_texts(tagger, texts, target)
    else:
        tag_file(tagger, source or "-", target, how["format"], how["changes"], quiet=how["quiet"])


@program.command()
@_model
@click.argument("texts", nargs=-1, metavar="[TEXT]...")
@click.option("--input", "source", metavar="FILE", help="A file to classify; without it or with -, standard input.")
@click.option("--output", "target", metavar="FILE", help="Where results go; without it, standard output.")
@click.option("--top-k", type=int, metavar="N", help="So many classes of each text, best first.")
@click.option("--threshold", type=float, metavar="P", help="The classes of at least this probability; maybe none.")
@click.option("--format", type=click.Choice(CLASS_FORMATS), help="The input's format, where it isn't recognised.")
@_text_column
@_changes
@_precision
@_trust
@_threads
@_quiet
def classify(model: str, texts: tuple[str, ...], source: str | None, target: str | None, **how: Any) -> None:
    """Find the classes of TEXTs, a file or standard input: a JSON line for each text."""
    from nlp_app.class_jobs import Choice, classify_file, classify_texts  # noqa: PLC0415
    from nlp_app.predict import Classifier  # noqa: PLC0415
    from nlp_app.predict.classifier import check_choice  # noqa: PLC0415

    _one_source(texts, source)
    choice = Choice(how["top_k"], how["threshold"])
    check_choice(choice.top_k, choice.threshold)
    classifier = _load(model, how)
    if not isinstance(classifier, Classifier):
        raise ModelError(f"{model}: found a tagger, expected a classifier; use `tag`")
    if texts:
        classify_texts(classifier, texts, target, choice)
        return
    settings = _class_settings(classifier, how)
    remarks = classify_file(classifier, source or "-", target, settings, choice, how["quiet"])
    if not how["quiet"]:
        _say(*(f"note: {remark}" for remark in remarks))


@program.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--task", type=click.Choice(["ner", "cls"]), help="What the files are for, where it doesn't show.")
@_json
@_any_format
@_text_column
@_label_column
@_changes
def inspect(files: tuple[str, ...], task: str | None, as_json: bool, **how: Any) -> None:
    """Say what is in data FILEs: format, labels, counts, lengths, duplicates, repairs; leaks among several."""
    from nlp_app.class_report import class_inspection_table  # noqa: PLC0415
    from nlp_app.report import inspection_table  # noqa: PLC0415

    facts = _inspected(files, task, how)
    table = class_inspection_table if facts.get("task") == "cls" else inspection_table
    _print(json.dumps(facts, ensure_ascii=False) if as_json else table(facts))


def _inspected(files: Sequence[str], task: str | None, how: dict[str, Any]) -> dict[str, Any]:
    """The facts of files; of which task they are shows, unless it is named, in the first one."""
    from nlp_app.class_jobs import inspect_classes  # noqa: PLC0415
    from nlp_app.config import (  # noqa: PLC0415
        ClassDataSettings,
        ClassSettings,
        TaggingDataSettings,
        change_settings,
    )
    from nlp_app.jobs import inspect_files  # noqa: PLC0415

    changed = {change.partition("=")[0].strip().removeprefix("data.") for change in _class_changes(how)}
    told = not changed.isdisjoint(ClassDataSettings.model_fields.keys() - TaggingDataSettings.model_fields.keys())
    if task is None and (told or how["format"] not in (None, *FORMATS)):
        task = "cls"
    if task != "cls":
        _no_columns(how)
        try:
            return inspect_files([Path(file) for file in files], _sequence_format(how["format"]), how["changes"])
        except OtherTaskError:
            if task is not None:
                raise
    table = {"data": {"format": how["format"] or "auto"}}
    return inspect_classes(files, change_settings(ClassSettings, table, _class_changes(how), only="data").data)


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


def _one_source(texts: Sequence[str], source: str | None) -> None:
    if texts and source is not None:
        raise click.UsageError("found both TEXT and --input, expected one of them")


def _class_settings(classifier: Classifier, how: dict[str, Any]) -> ClassDataSettings:
    """How a file for a classifier is read: as its training data, the flags aside."""
    from nlp_app.class_jobs import model_settings  # noqa: PLC0415

    return model_settings(classifier, how["format"], _class_changes(how))


def _class_changes(how: dict[str, Any]) -> list[str]:
    columns = {name: how.get(name) for name in ("text_column", "label_column")}
    return [*how["changes"], *(f"data.{name}={value}" for name, value in columns.items() if value is not None)]


def _no_columns(how: dict[str, Any]) -> None:
    if how["text_column"] or how["label_column"]:
        raise click.UsageError("--text-column and --label-column are for texts with classes, not for tokens or spans")


def _sequence_format(format: str | None) -> str | None:
    if format not in (None, *FORMATS):
        raise click.UsageError(f"--format {format} is for texts with classes; expected one of {', '.join(FORMATS)}")
    return format


def _load(path: str, how: dict[str, Any]) -> Tagger | Classifier:
    import torch  # noqa: PLC0415

    from nlp_app.predict import load  # noqa: PLC0415

    if how["threads"]:
        torch.set_num_threads(how["threads"])
    return load(path, precision=how["precision"], trust_remote_code=how["trust_remote_code"])


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
