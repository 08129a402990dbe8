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
    """The output form of `convert`.

    Attributes:
        format: The name of a format; None for the format that belongs to the suffix of the file.
        scheme: The tag scheme; None for BIO, or for no scheme if the source has none.
        shape: For JSON lines, tokens with tags or text with spans; None for the shape of the source.
    """

    format: str | None = None
    scheme: str | None = None
    shape: Literal["tokens", "text"] | None = None


def convert_file(
    source: Path, target: Path, wanted: ConversionTarget, format: str | None, changes: Sequence[str]
) -> str:
    """Convert a file to another format or tag scheme.

    Args:
        source: The file or directory to read.
        target: The file to write.
        wanted: The form of the output.
        format: The format of the source; None to detect it.
        changes: Changes of the [data] settings, as `data.key=value`.

    Returns:
        A report for the user that lists the information that is lost.

    Raises:
        DataError: The source can't be read, or the target can't be written.
        SettingsError: A change is invalid, or the output form can't represent the source.
    """
    report = convert(
        source,
        target,
        options=corpus_options(_data_settings(format, changes)),
        target_format=wanted.format,
        target_scheme=wanted.scheme,
        shape=wanted.shape,
    )
    return conversion_text(report)
