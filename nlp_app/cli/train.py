"""`train` and `distill`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from nlp_app.cli.options import changes_option, label_column_option, quiet_option, text_column_option, threads_option
from nlp_app.cli.terminal import show


@click.group()
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
        changes_option,
        click.option("--seed", type=click.IntRange(min=0), help="Seed of everything random."),
        threads_option,
        click.option(
            "--deterministic",
            is_flag=True,
            default=None,
            help="On GPUs too the same bits each time, a little slower; a CPU needs no flag.",
        ),
        click.option(
            "--resume", is_flag=True, help="Continue the run in --output; from the beginning if nothing was saved."
        ),
        quiet_option,
    )

    def add(command: Callable[..., None]) -> Callable[..., None]:
        for option in reversed(options):
            command = option(command)
        return command

    return add


_search_option = click.option(
    "--search",
    type=click.IntRange(min=1),
    metavar="N",
    help="Try N settings, keep those that do best on dev (needs Optuna). What --set fixes is left as it is.",
)


@train.command("ner")
@_training("runs/ner")
@_search_option
@click.option(
    "--folds",
    type=click.IntRange(min=2),
    metavar="K",
    help="Cross-validate on K parts of --train, then train on all of it. For data without a dev set.",
)
def train_ner(resume: bool, quiet: bool, output: Path, search: int | None, folds: int | None, **given: Any) -> None:
    """Train a tagger: entities, POS, any label a token."""
    from nlp_app.training import train_ner as run  # noqa: PLC0415

    if search is not None and folds is not None:
        raise click.UsageError("found both --search and --folds, expected one of them")
    if search is not None:
        _print_tagger_scores(_search("ner", search, output, given, resume=resume, quiet=quiet))
    elif folds is not None:
        _cross_validate(folds, output, given, resume=resume, quiet=quiet)
    else:
        settings = _run_settings("ner", output, resume, given)
        _print_tagger_scores(run(settings, output, resume=resume, quiet=quiet))


@train.command("cls")
@_training("runs/cls")
@text_column_option
@label_column_option
@_search_option
@click.option("--folds", type=int, hidden=True)
def train_cls(resume: bool, quiet: bool, output: Path, search: int | None, folds: int | None, **given: Any) -> None:
    """Train a text classifier: one class a text, or several."""
    from nlp_app.training import train_cls as run  # noqa: PLC0415

    if folds is not None:
        raise click.UsageError("--folds is for `train ner`; for classifiers give --dev, or a data.dev_share")
    if search is not None:
        _print_classifier_scores(_search("cls", search, output, given, resume=resume, quiet=quiet))
    else:
        settings = _run_settings("cls", output, resume, given)
        _print_classifier_scores(run(settings, output, resume=resume, quiet=quiet))


def _search(task: str, trials: int, output: Path, given: dict[str, Any], **how: bool) -> dict[str, Any]:
    """Search and show the trials; the scores of the final model."""
    from nlp_app.reports.multirun import trial_table  # noqa: PLC0415
    from nlp_app.training.multirun.plan import read_plan  # noqa: PLC0415
    from nlp_app.training.multirun.search import DIRECTORY, search  # noqa: PLC0415

    plan = read_plan(output / DIRECTORY) if how["resume"] else None
    fixed = [change.partition("=")[0].strip() for change in given["changes"]]
    settings = _run_settings(task, output, how["resume"], given, plan)
    searched = search(settings, output, trials, plan["asked"]["fixed"] if plan else fixed, **how)
    show(trial_table(searched.report) + "\n")
    return searched.metrics


def _cross_validate(folds: int, output: Path, given: dict[str, Any], **how: bool) -> None:
    from nlp_app.reports.multirun import fold_table  # noqa: PLC0415
    from nlp_app.training.multirun.cross_validation import DIRECTORY, cross_validate  # noqa: PLC0415
    from nlp_app.training.multirun.plan import read_plan  # noqa: PLC0415

    plan = read_plan(output / DIRECTORY) if how["resume"] else None
    settings = _run_settings("ner", output, how["resume"], given, plan)
    done = cross_validate(settings, output, folds, **how)
    show(fold_table(done.report) + "\n")
    _print_tagger_scores({"all folds" if name == "dev" else name: scores for name, scores in done.metrics.items()})


def _print_tagger_scores(metrics: dict[str, Any]) -> None:
    from nlp_app.reports.model_card import score_table  # noqa: PLC0415

    if metrics:  # none without dev and test
        show(score_table(metrics))


def _print_classifier_scores(metrics: dict[str, Any]) -> None:
    from nlp_app.reports.classification_scores import class_score_table, confusion_table  # noqa: PLC0415

    for last in list(metrics.values())[-1:]:  # none without dev and test
        show("\n\n".join(filter(None, (class_score_table(metrics), confusion_table(last)))))


def _run_settings(
    task: str, output: Path, resume: bool, given: dict[str, Any], plan: dict[str, Any] | None = None
) -> Any:
    """The settings of a run: the file's (of a resumed run without one, its own, or those of a plan), then what the
    flags say."""
    from nlp_app.config import read_task_settings  # noqa: PLC0415
    from nlp_app.training.runs.record import stored_settings  # noqa: PLC0415

    config, changes = given.pop("config"), given.pop("changes")
    flags = _flags(given)
    stored = plan["settings"] if plan else None
    if resume and config is None and stored is None:
        stored = stored_settings(output, task)
    return read_task_settings(task, config, [*changes, *flags], stored)


def _flags(given: dict[str, Any]) -> list[str]:
    """The settings that flags of the same names are short for."""
    tables = {"seed": "train", "threads": "train", "deterministic": "train"}
    return [
        f"{tables.get(name, 'data')}.{name}={json.dumps(value) if isinstance(value, bool) else value}"
        for name, value in given.items()
        if value is not None
    ]


@click.command()
@click.argument("teacher")
@click.option("--student", type=click.Path(path_type=Path), help="Settings of the student, a TOML file.")
@click.option(
    "--unlabeled", "--unlabelled", "unlabeled", metavar="FILE", help="Texts without labels for the teacher to label."
)
@_training("runs/student", config=False)
@text_column_option
@label_column_option
def distill(
    teacher: str,
    student: Path | None,
    unlabeled: str | None,
    resume: bool,
    quiet: bool,
    output: Path,
    **given: Any,
) -> None:
    """Teach a small network what TEACHER knows, a fine-tuned transformer.

    The student learns from the labels of --train and from what the teacher makes of these texts, of texts without
    labels, and of copies with other words in them.
    """
    from nlp_app.config import DistilledClassificationSettings, DistilledTaggingSettings, read_settings  # noqa: PLC0415
    from nlp_app.inference import load  # noqa: PLC0415
    from nlp_app.training import train_cls, train_ner  # noqa: PLC0415

    named = {"teacher": teacher, "unlabeled": unlabeled}
    changes = [*given.pop("changes"), *_flags(given)]
    changes += [f"distill.{name}={value}" for name, value in named.items() if value is not None]
    if load(teacher).parts.task == "ner":
        tagging = read_settings(DistilledTaggingSettings, student, changes)
        _print_tagger_scores(train_ner(tagging, output, resume=resume, quiet=quiet))
    else:
        classes = read_settings(DistilledClassificationSettings, student, changes)
        _print_classifier_scores(train_cls(classes, output, resume=resume, quiet=quiet))
