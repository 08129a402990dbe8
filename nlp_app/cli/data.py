"""The commands that work on data files: `inspect` and `convert`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nlp_app.cli.options import (
    FormatChoice,
    FormatOption,
    any_format_option,
    check_tagging_format,
    data_changes,
    data_changes_option,
    examples,
    json_option,
    label_column_option,
    lossy_option,
    output_formats,
    reject_column_options,
    tagging_formats,
    text_column_option,
)
from nlp_app.cli.terminal import say, show
from nlp_app.core.errors import OtherTaskError

if TYPE_CHECKING:
    from nlp_app.config import ClassificationDataSettings


@click.command(
    epilog=examples("inspect train.conll dev.conll test.conll", "inspect train.csv --text-column text --json")
)
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option(
    "--task",
    type=click.Choice(["ner", "cls"]),
    help="Task of the files: ner for tagging, cls for classification. By default it is detected from the first file.",
)
@json_option
@any_format_option
@text_column_option
@label_column_option
@data_changes_option
def inspect(files: tuple[str, ...], task: str | None, as_json: bool, **options: Any) -> None:
    """Report the content and the problems of data files.

    For each FILE, the report shows the format, labels, counts, lengths, duplicates and repairs. For several files, it
    also shows examples that occur in more than one of them.
    """
    from nlp_app.reports.classification_inspection import class_inspection_table  # noqa: PLC0415
    from nlp_app.reports.tagging_inspection import inspection_table  # noqa: PLC0415

    facts = _inspect_files(files, task, options)
    table = class_inspection_table if facts.get("task") == "cls" else inspection_table
    show(json.dumps(facts, ensure_ascii=False) if as_json else table(facts))


def _inspect_files(files: Sequence[str], task: str | None, options: dict[str, Any]) -> dict[str, Any]:
    """Inspect files of the named task; without one, the options or the first file determine it."""
    from nlp_app.commands.inspect import inspect_classes, inspect_files  # noqa: PLC0415

    if task is None and _is_for_classes(options):
        task = "cls"
    if task != "cls":
        reject_column_options(options)
        try:
            return inspect_files(
                [Path(file) for file in files], check_tagging_format(options["format"]), options["changes"]
            )
        except OtherTaskError:
            if task is not None:
                raise
    return inspect_classes(files, _class_settings(options))


@click.command(
    epilog=examples(
        "convert train.conll train.jsonl",
        "convert train.bmes train.conll --scheme BIOES",
        "convert train.jsonl tasks.json --to label-studio",
        "convert reviews.csv reviews.jsonl",
    )
)
@click.argument("source", metavar="IN", type=click.Path(path_type=Path))
@click.argument("target", metavar="OUT", type=click.Path(path_type=Path))
@any_format_option
@click.option(
    "--to",
    cls=FormatOption,
    type=FormatChoice(output_formats),
    help="Format of the output. By default the suffix of OUT decides.",
)
@click.option("--scheme", help="Tag scheme of the output. By default it is BIO; tags without a scheme are kept.")
@click.option(
    "--shape",
    type=click.Choice(["tokens", "text"]),
    help="Content of JSON lines in the output: tokens with tags, or a text with spans. By default as in the input.",
)
@lossy_option
@text_column_option
@label_column_option
@data_changes_option
def convert(source: Path, target: Path, **options: Any) -> None:
    """Convert a file to another format or tag scheme.

    Read the annotations of tokens or spans in IN, or the classes of texts, write them to OUT, and report the
    information that is lost.
    """
    from nlp_app.commands.convert import ConversionTarget, convert_class_file, convert_file  # noqa: PLC0415

    form = ConversionTarget(options["to"], options["scheme"], options["shape"], options["lossy"])
    if not _is_for_classes(options) and not form.is_for_classes(target):
        try:
            say(convert_file(source, target, form, check_tagging_format(options["format"]), options["changes"]))
            return
        except OtherTaskError:
            pass
    say(convert_class_file(source, target, form, _class_settings(options)))


def _is_for_classes(options: dict[str, Any]) -> bool:
    """Return True if an option is only for texts with classes."""
    from nlp_app.config import ClassificationDataSettings, TaggingDataSettings  # noqa: PLC0415

    changed = {change.partition("=")[0].strip().removeprefix("data.") for change in data_changes(options)}
    only_for_classes = ClassificationDataSettings.model_fields.keys() - TaggingDataSettings.model_fields.keys()
    return not changed.isdisjoint(only_for_classes) or options["format"] not in (None, *tagging_formats())


def _class_settings(options: dict[str, Any]) -> ClassificationDataSettings:
    from nlp_app.config import ClassificationSettings, change_settings  # noqa: PLC0415

    table = {"data": {"format": options["format"] or "auto"}}
    return change_settings(ClassificationSettings, table, data_changes(options), only="data").data
