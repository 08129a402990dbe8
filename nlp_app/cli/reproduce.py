"""`reproduce`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from nlp_app.cli.options import json_option, quiet_option, trust_option
from nlp_app.cli.terminal import is_first, say, show

DIFFERENT = 1


@click.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--train", metavar="FILE", help="Where the training data are now, if they have moved.")
@click.option("--dev", metavar="FILE", help="Likewise, the dev data.")
@click.option("--test", metavar="FILE", help="Likewise, the test data.")
@click.option(
    "--output", type=click.Path(path_type=Path), help="Keep the new run there; without it, it is compared and removed."
)
@json_option
@trust_option
@quiet_option
def reproduce(
    directory: Path, output: Path | None, as_json: bool, trust_remote_code: bool, quiet: bool, **files: str | None
) -> None:
    """Train once more what the finished run in DIRECTORY trained, and compare the two.

    Exit status 0 if weights, vocabularies, scores, history and predictions are the same, 1 if not.
    """
    from nlp_app.training.multirun.reproduce import reproduce as run  # noqa: PLC0415

    moved = {name: path for name, path in files.items() if path is not None}
    tell = say if is_first() else lambda line: None
    found = run(directory, output, moved, trust_remote_code=trust_remote_code, quiet=quiet, say=tell)
    if is_first():
        show(json.dumps(found.to_json(), ensure_ascii=False) if as_json else found.table())
    if not found.identical:
        raise SystemExit(DIFFERENT)
