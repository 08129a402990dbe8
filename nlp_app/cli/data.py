"""What is done with data: `inspect`, `convert`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from nlp_app.cli.options import (
    FormatChoice,
    any_format_option,
    changes_option,
    class_changes,
    format_option,
    json_option,
    label_column_option,
    no_columns,
    sequence_format,
    tagging_formats,
    text_column_option,
)
from nlp_app.cli.terminal import say, show
from nlp_app.core.errors import OtherTaskError


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--task", type=click.Choice(["ner", "cls"]), help="What the files are for, where it doesn't show.")
@json_option
@any_format_option
@text_column_option
@label_column_option
@changes_option
def inspect(files: tuple[str, ...], task: str | None, as_json: bool, **how: Any) -> None:
    """Say what is in data FILEs: format, labels, counts, lengths, duplicates, repairs; leaks among several."""
    from nlp_app.reports.classification_inspection import class_inspection_table  # noqa: PLC0415
    from nlp_app.reports.tagging_inspection import inspection_table  # noqa: PLC0415

    facts = _inspected(files, task, how)
    table = class_inspection_table if facts.get("task") == "cls" else inspection_table
    show(json.dumps(facts, ensure_ascii=False) if as_json else table(facts))


def _inspected(files: Sequence[str], task: str | None, how: dict[str, Any]) -> dict[str, Any]:
    """The facts of files; of which task they are shows, unless it is named, in the first one."""
    from nlp_app.commands.inspect import inspect_classes, inspect_files  # noqa: PLC0415
    from nlp_app.config import ClassificationDataSettings, ClassificationSettings, TaggingDataSettings, change_settings  # noqa: PLC0415

    changed = {change.partition("=")[0].strip().removeprefix("data.") for change in class_changes(how)}
    told = not changed.isdisjoint(
        ClassificationDataSettings.model_fields.keys() - TaggingDataSettings.model_fields.keys()
    )
    if task is None and (told or how["format"] not in (None, *tagging_formats())):
        task = "cls"
    if task != "cls":
        no_columns(how)
        try:
            return inspect_files([Path(file) for file in files], sequence_format(how["format"]), how["changes"])
        except OtherTaskError:
            if task is not None:
                raise
    table = {"data": {"format": how["format"] or "auto"}}
    return inspect_classes(files, change_settings(ClassificationSettings, table, class_changes(how), only="data").data)


@click.command()
@click.argument("source", metavar="IN", type=click.Path(path_type=Path))
@click.argument("target", metavar="OUT", type=click.Path(path_type=Path))
@format_option
@click.option("--to", type=FormatChoice(tagging_formats), help="The output's format, where OUT doesn't tell.")
@click.option("--scheme", help="The output's tag scheme; without it, BIO.")
@click.option(
    "--shape",
    type=click.Choice(["tokens", "text"]),
    help="Of JSON lines: tokens and tags, or text and spans.",
)
@changes_option
def convert(source: Path, target: Path, format: str | None, changes: tuple[str, ...], **wanted: Any) -> None:
    """Convert data between formats and tag schemes, and say what is lost."""
    from nlp_app.commands.convert import ConversionTarget, convert_file  # noqa: PLC0415

    target_wanted = ConversionTarget(wanted["to"], wanted["scheme"], wanted["shape"])
    say(convert_file(source, target, target_wanted, format, changes))
