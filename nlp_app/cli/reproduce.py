"""The command `reproduce`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from nlp_app.cli.options import examples, json_option, quiet_option, trust_option
from nlp_app.cli.terminal import is_main_process, say, show

DIFFERENT = 1


@click.command(epilog=examples("reproduce runs/ner", "reproduce runs/ner --train data/moved.conll --json"))
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--train", metavar="FILE", help="New path of the training data, if the file has been moved.")
@click.option("--dev", metavar="FILE", help="New path of the dev data, if the file has been moved.")
@click.option("--test", metavar="FILE", help="New path of the test data, if the file has been moved.")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="Directory for the new run. By default the new run is removed after the comparison.",
)
@json_option
@trust_option
@quiet_option
def reproduce(
    directory: Path, output: Path | None, as_json: bool, trust_remote_code: bool, quiet: bool, **files: str | None
) -> None:
    """Repeat a finished training run and compare the results.

    DIRECTORY is the directory of the finished run. The exit status is 0 if the weights, vocabularies, scores, history
    and predictions of the two runs are identical, and 1 if they differ.
    """
    from nlp_app.training.multirun.reproduce import reproduce as run  # noqa: PLC0415

    moved = {name: path for name, path in files.items() if path is not None}
    report = say if is_main_process() else lambda line: None
    result = run(directory, output, moved, trust_remote_code=trust_remote_code, quiet=quiet, say=report)
    if is_main_process():
        show(json.dumps(result.to_json(), ensure_ascii=False) if as_json else result.table())
    if not result.identical:
        raise SystemExit(DIFFERENT)
