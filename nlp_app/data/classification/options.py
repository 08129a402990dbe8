"""How files of texts with classes are read by the settings, and files that are read like others."""

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

_LINES = ("text", "label_text", "fasttext")  # formats without columns

F = TypeVar("F", bound=ClassFile)


def read_options(settings: ClassificationDataSettings, labels: bool = True) -> ClassReadOptions:
    """How files are read by these settings."""
    return ClassReadOptions(
        format=None if settings.format == "auto" else settings.format,
        encoding=None if settings.encoding == "auto" else settings.encoding,
        text_columns=columns_of(settings.text_column),
        label_columns=columns_of(settings.label_column),
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


def columns_of(names: str) -> tuple[str | int, ...]:
    """Columns as the settings have them: names, or numbers from 0 (negative: from the end), divided by commas."""
    columns = [name.strip() for name in names.split(",")] if names else []
    return tuple(int(name) if name.removeprefix("-").isdecimal() else name for name in columns)


def open_like_training_file(options: ClassReadOptions, opened: Callable[[ClassReadOptions], F]) -> F:
    """A file, as `opened` opens it, with the columns of another one; without them, if it is lines, which have none."""
    try:
        return opened(options)
    except NlpAppError as error:
        try:
            file = opened(replace(options, text_columns=(), label_columns=()))
        except NlpAppError:
            raise error from None
        if file.format not in _LINES:
            raise
        return file
