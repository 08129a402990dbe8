"""Options for reading labeled texts, from the `[data]` settings or from the training file."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TypeVar

from nlp_app.config import ClassificationDataSettings
from nlp_app.core.errors import NlpAppError
from nlp_app.formats.classification import ClassFile, ClassReadOptions
from nlp_app.formats.classification.joined_labels import describe_joined_labels

CHOICES = {"auto": None, "yes": True, "no": False}

_QUOTES = {"auto": None, "double": '"', "single": "'"}

_LINE_FORMATS = ("text", "label_text", "fasttext")  # formats without columns

F = TypeVar("F", bound=ClassFile)


def read_options(settings: ClassificationDataSettings, labels: bool = True) -> ClassReadOptions:
    """Convert the `[data]` settings to read options.

    Args:
        settings: The `[data]` settings.
        labels: If labels are read; without them only the texts are.

    Returns:
        The read options; None for each value that the reader has to detect.
    """
    return ClassReadOptions(
        format=None if settings.format == "auto" else settings.format,
        encoding=None if settings.encoding == "auto" else settings.encoding,
        text_columns=parse_columns(settings.text_column),
        label_columns=parse_columns(settings.label_column),
        header=CHOICES[settings.header],
        quoting=CHOICES[settings.quoting],
        quote_character=_QUOTES[settings.quote_character],
        label_separator=settings.label_separator,
        labels=labels,
    )


def label_remarks(file: ClassFile, labels: Iterable[str]) -> list[str]:
    """Remarks on the classes of a file, for the user.

    Args:
        file: The file.
        labels: All of its classes.

    Returns:
        A remark if classes look like several labels that no separator splits.
    """
    joined = None if file.options.label_separator or file.format == "fasttext" else describe_joined_labels(labels)
    return [joined] if joined else []


def parse_columns(names: str) -> tuple[str | int, ...]:
    """Parse a comma-separated list of columns.

    Args:
        names: Column names, or numbers from 0 (negative: from the last column), separated by commas.

    Returns:
        A name or a number for each column.
    """
    columns = [name.strip() for name in names.split(",")] if names else []
    return tuple(int(name) if name.removeprefix("-").isdecimal() else name for name in columns)


def open_like_training_file(options: ClassReadOptions, open_file: Callable[[ClassReadOptions], F]) -> F:
    """Open a file with the columns of the training file, or without them if its format has no columns.

    Args:
        options: The options that the training file was read with.
        open_file: Opens the file with the given options.

    Returns:
        The opened file.

    Raises:
        NlpAppError: The file can't be opened with these options, and its format is not one of plain lines.
    """
    try:
        return open_file(options)
    except NlpAppError as error:
        try:
            file = open_file(replace(options, text_columns=(), label_columns=()))
        except NlpAppError:
            raise error from None
        if file.format not in _LINE_FORMATS:
            raise
        return file
