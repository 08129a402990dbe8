"""The command `config`, which prints the bundled settings."""

from __future__ import annotations

import click

from nlp_app.cli.options import examples
from nlp_app.cli.terminal import show


@click.command(epilog=examples("config", "config ner_transformer"))
@click.argument("name", required=False)
def config(name: str | None) -> None:
    """Print bundled settings, or list their names.

    The settings NAME are printed with all comments, ready to save. `train --config NAME` uses them as they are.
    """
    from nlp_app.config.loading import bundled_settings, read_bundled_settings  # noqa: PLC0415

    if name is not None:
        show(read_bundled_settings(name).rstrip("\n"))
        return
    descriptions = {each: read_bundled_settings(each).lstrip("# ").split(". ")[0] for each in bundled_settings()}
    width = max(map(len, descriptions))
    show("\n".join(f"{each:{width}}  {' '.join(text.split())}" for each, text in descriptions.items()))
