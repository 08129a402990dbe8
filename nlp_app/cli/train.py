"""The commands that train a model: `train` and `distill`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from nlp_app.cli.options import (
    changes_option,
    examples,
    label_column_option,
    quiet_option,
    text_column_option,
    threads_option,
)
from nlp_app.cli.terminal import show


@click.group(epilog=examples("train ner --train train.conll --output runs/ner", "train cls --help"))
def train() -> None:
    """Train a tagger or a text classifier."""


def _training_options(output: str, config: bool = True) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that adds the options of commands that train."""
    config_option = click.option(
        "--config",
        type=click.Path(path_type=Path),
        help="TOML file with settings, or the name of bundled settings (see `config`).",
    )
    options = (
        *((config_option,) if config else ()),
        click.option("--train", metavar="FILE", help="Training data. The default is the bundled corpus."),
        click.option(
            "--dev",
            metavar="FILE",
            help="Data for selecting the best epoch. By default it is split off the training data.",
        ),
        click.option("--test", metavar="FILE", help="Data for evaluating the final model."),
        click.option(
            "--output",
            type=click.Path(path_type=Path),
            default=output,
            show_default=True,
            help="Directory for the model and the records of the run.",
        ),
        changes_option,
        click.option("--seed", type=click.IntRange(min=0), metavar="N", help="Seed of all random number generators."),
        threads_option,
        click.option(
            "--deterministic",
            is_flag=True,
            default=None,
            help="Make runs on a GPU reproducible bit by bit, a little slower. Runs on a CPU are always reproducible.",
        ),
        click.option(
            "--resume",
            is_flag=True,
            help="Continue the run in --output from its last checkpoint. Without one, start from the beginning.",
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
    help="Train N models with different settings, and keep the settings with the best dev score. Settings given by "
    "--set are not varied. Requires Optuna.",
)


@train.command(
    "ner",
    epilog=examples(
        "train ner --train train.conll --set train.epochs=20",
        "train ner --config configs/ner_bilstm_crf.toml --seed 7",
    ),
)
@_training_options("runs/ner")
@_search_option
@click.option(
    "--folds",
    type=click.IntRange(min=2),
    metavar="K",
    help="Cross-validate on K parts of the training data, and then train on all of it. For data without a dev file.",
)
def train_ner(resume: bool, quiet: bool, output: Path, search: int | None, folds: int | None, **options: Any) -> None:
    """Train a tagger for entities, parts of speech or other labels.

    The training data are tokens with tags, or texts with labeled spans.
    """
    from nlp_app.training import train_ner as run  # noqa: PLC0415

    if search is not None and folds is not None:
        raise click.UsageError("found both --search and --folds, expected one of them")
    if search is not None:
        _print_tagger_scores(_search("ner", search, output, options, resume=resume, quiet=quiet))
    elif folds is not None:
        _cross_validate(folds, output, options, resume=resume, quiet=quiet)
    else:
        settings = _run_settings("ner", output, resume, options)
        _print_tagger_scores(run(settings, output, resume=resume, quiet=quiet))


@train.command(
    "cls",
    epilog=examples(
        "train cls --train train.csv --text-column text",
        "train cls --config configs/cls_textcnn.toml --train train.csv",
    ),
)
@_training_options("runs/cls")
@text_column_option
@label_column_option
@_search_option
@click.option("--folds", type=int, hidden=True)
def train_cls(resume: bool, quiet: bool, output: Path, search: int | None, folds: int | None, **options: Any) -> None:
    """Train a text classifier with one or several classes per text.

    The training data are texts with labels, for example a CSV file with a column for each.
    """
    from nlp_app.training import train_cls as run  # noqa: PLC0415

    if folds is not None:
        raise click.UsageError("--folds is for `train ner`; for a classifier use --dev or data.dev_share")
    if search is not None:
        _print_classifier_scores(_search("cls", search, output, options, resume=resume, quiet=quiet))
    else:
        settings = _run_settings("cls", output, resume, options)
        _print_classifier_scores(run(settings, output, resume=resume, quiet=quiet))


def _search(task: str, trials: int, output: Path, options: dict[str, Any], **flags: bool) -> dict[str, Any]:
    """Run a search, print its trials, and return the scores of the final model."""
    from nlp_app.reports.multirun import trial_table  # noqa: PLC0415
    from nlp_app.training.multirun.plan import read_plan  # noqa: PLC0415
    from nlp_app.training.multirun.search import DIRECTORY, search  # noqa: PLC0415

    plan = read_plan(output / DIRECTORY) if flags["resume"] else None
    fixed = [change.partition("=")[0].strip() for change in options["changes"]]
    settings = _run_settings(task, output, flags["resume"], options, plan)
    result = search(settings, output, trials, plan["asked"]["fixed"] if plan else fixed, **flags)
    show(trial_table(result.report) + "\n")
    return result.metrics


def _cross_validate(folds: int, output: Path, options: dict[str, Any], **flags: bool) -> None:
    from nlp_app.reports.multirun import fold_table  # noqa: PLC0415
    from nlp_app.training.multirun.cross_validation import DIRECTORY, cross_validate  # noqa: PLC0415
    from nlp_app.training.multirun.plan import read_plan  # noqa: PLC0415

    plan = read_plan(output / DIRECTORY) if flags["resume"] else None
    settings = _run_settings("ner", output, flags["resume"], options, plan)
    result = cross_validate(settings, output, folds, **flags)
    show(fold_table(result.report) + "\n")
    _print_tagger_scores({"all folds" if name == "dev" else name: scores for name, scores in result.metrics.items()})


def _print_tagger_scores(metrics: dict[str, Any]) -> None:
    from nlp_app.reports.model_card import score_table  # noqa: PLC0415

    if metrics:  # empty without dev and test data
        show(score_table(metrics))


def _print_classifier_scores(metrics: dict[str, Any]) -> None:
    from nlp_app.reports.classification_scores import class_score_table, confusion_table  # noqa: PLC0415

    for last in list(metrics.values())[-1:]:  # empty without dev and test data
        show("\n\n".join(filter(None, (class_score_table(metrics), confusion_table(last)))))


def _run_settings(
    task: str, output: Path, resume: bool, options: dict[str, Any], plan: dict[str, Any] | None = None
) -> Any:
    """Return the settings of a run.

    They come from the settings file; for a resumed run without one, from the plan of a search or cross-validation, or
    from the run. Then the options of the command line change them.
    """
    from nlp_app.config import read_task_settings  # noqa: PLC0415
    from nlp_app.training.runs.record import stored_settings  # noqa: PLC0415

    config, changes = options.pop("config"), options.pop("changes")
    option_changes = _option_changes(options)
    stored = plan["settings"] if plan else None
    if resume and config is None and stored is None:
        stored = stored_settings(output, task)
    return read_task_settings(task, config, [*changes, *option_changes], stored)


def _option_changes(options: dict[str, Any]) -> list[str]:
    """Convert options such as `--seed 7` into changes of the settings with the same names."""
    tables = {"seed": "train", "threads": "train", "deterministic": "train"}
    return [
        f"{tables.get(name, 'data')}.{name}={json.dumps(value) if isinstance(value, bool) else value}"
        for name, value in options.items()
        if value is not None
    ]


@click.command(
    epilog=examples(
        "distill runs/bert --train train.conll --unlabeled texts.txt",
        "distill runs/bert --student configs/ner_bilstm_crf.toml",
    )
)
@click.argument("teacher")
@click.option("--student", type=click.Path(path_type=Path), help="TOML file with the settings of the student.")
@click.option(
    "--unlabeled", "--unlabelled", "unlabeled", metavar="FILE", help="Texts without labels. The teacher labels them."
)
@_training_options("runs/student", config=False)
@text_column_option
@label_column_option
def distill(
    teacher: str,
    student: Path | None,
    unlabeled: str | None,
    resume: bool,
    quiet: bool,
    output: Path,
    **options: Any,
) -> None:
    """Train a small model to imitate a fine-tuned transformer.

    TEACHER is the directory of the transformer. The small model, the student, learns from the labels of the training
    data and from the probabilities that the teacher predicts: for the training data, for the texts without labels, and
    for copies of the training data in which some words are replaced.
    """
    from nlp_app.config import DistilledClassificationSettings, DistilledTaggingSettings, read_settings  # noqa: PLC0415
    from nlp_app.inference import load  # noqa: PLC0415
    from nlp_app.training import train_cls, train_ner  # noqa: PLC0415

    named = {"teacher": teacher, "unlabeled": unlabeled}
    changes = [*options.pop("changes"), *_option_changes(options)]
    changes += [f"distill.{name}={value}" for name, value in named.items() if value is not None]
    if load(teacher).parts.task == "ner":
        tagging = read_settings(DistilledTaggingSettings, student, changes)
        _print_tagger_scores(train_ner(tagging, output, resume=resume, quiet=quiet))
    else:
        classes = read_settings(DistilledClassificationSettings, student, changes)
        _print_classifier_scores(train_cls(classes, output, resume=resume, quiet=quiet))
