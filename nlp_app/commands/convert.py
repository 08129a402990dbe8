"""Convert a file to another format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nlp_app.commands.inspect import _data_settings
from nlp_app.config import ClassificationDataSettings
from nlp_app.core.errors import SettingsError
from nlp_app.data.classification.convert import convert_classes
from nlp_app.data.classification.options import read_options
from nlp_app.data.tagging.annotation_export import TOOL_FORMATS, export_annotations
from nlp_app.data.tagging.convert import convert
from nlp_app.data.tagging.splits import corpus_options
from nlp_app.reports.conversion import class_conversion_text, conversion_text


@dataclass(frozen=True)
class ConversionTarget:
    """The output form of `convert`.

    Attributes:
        format: The name of a format; None for the format that belongs to the suffix of the file.
        scheme: The tag scheme; None for BIO, or for no scheme if the source has none.
        shape: For JSON lines, tokens with tags or text with spans; None for the shape of the source.
        lossy: Write the target although its format can't hold all annotations.
    """

    format: str | None = None
    scheme: str | None = None
    shape: Literal["tokens", "text"] | None = None
    lossy: bool = False

    def is_for_classes(self, target: Path) -> bool:
        """Return True if only texts with classes are written in this form.

        Args:
            target: The file to write.

        Returns:
            True for `csv` and `fasttext`.
        """
        return self.format in ("csv", "fasttext") or (self.format is None and target.suffix.lower() == ".csv")


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
    options = corpus_options(_data_settings(format, changes))
    target_format = wanted.format or ("spacy" if target.suffix.lower() == ".spacy" else None)
    if target_format in TOOL_FORMATS:
        return conversion_text(export_annotations(source, target, target_format, options, wanted.lossy))
    report = convert(
        source,
        target,
        options=options,
        target_format=target_format,
        target_scheme=wanted.scheme,
        shape=wanted.shape,
    )
    return conversion_text(report)


def convert_class_file(
    source: Path, target: Path, wanted: ConversionTarget, settings: ClassificationDataSettings
) -> str:
    """Convert a file of texts with classes to another format.

    Args:
        source: The file to read.
        target: The file to write.
        wanted: The form of the output; `scheme` and `shape` are for tags and spans.
        settings: Settings for reading the file.

    Returns:
        A report for the user that lists the information that is lost.

    Raises:
        DataError: The source can't be read, or the target can't be written.
        SettingsError: The output form can't represent the source.
    """
    for name, value in (("--scheme", wanted.scheme), ("--shape", wanted.shape)):
        if value is not None:
            raise SettingsError(f"{name}: is for tags and spans; {source} contains texts with classes")
    return class_conversion_text(convert_classes(source, target, read_options(settings), wanted.format))
