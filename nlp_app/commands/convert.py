"""Convert a file to another format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nlp_app.commands.inspect import _data_settings
from nlp_app.data.tagging.convert import convert
from nlp_app.data.tagging.splits import corpus_options
from nlp_app.reports.conversion import conversion_text


@dataclass(frozen=True)
class ConversionTarget:
    """The form that `convert` writes; None: as the suffix of OUT or the source suggests."""

    format: str | None = None
    scheme: str | None = None
    shape: Literal["tokens", "text"] | None = None


def convert_file(
    source: Path, target: Path, wanted: ConversionTarget, format: str | None, changes: Sequence[str]
) -> str:
    """Convert data between formats and schemes; returns what is to be said of it."""
    report = convert(
        source,
        target,
        options=corpus_options(_data_settings(format, changes)),
        target_format=wanted.format,
        target_scheme=wanted.scheme,
        shape=wanted.shape,
    )
    return conversion_text(report)
