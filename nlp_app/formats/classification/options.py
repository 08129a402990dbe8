"""Options for reading files of texts with classes."""

from __future__ import annotations

from dataclasses import dataclass

from nlp_app.core.errors import SettingsError, did_you_mean

CLASS_FORMATS = ("csv", "tsv", "jsonl", "label_text", "fasttext", "text", "hub")


@dataclass(frozen=True)
class ClassReadOptions:
    """Options for a file whose content does not determine how to read it. None and () are detected.

    Attributes:
        format: A name in CLASS_FORMATS.
        encoding: The encoding.
        text_columns: Names or numbers of the text columns, counted from 0, or from the end if negative. The texts of
            several columns are joined with a space.
        label_columns: Names or numbers of the label columns. Several columns hold 0 or 1 each, and the name of a column
            that holds 1 is a label.
        header: True if the first row contains column names.
        quoting: True if quotes enclose cells.
        quote_character: The quote, `"` or `'`.
        label_separator: Separates several labels in a cell; "" for one label per cell.
        labels: True to read labels. If False, labels are ignored, and records that the annotator rejected are not
            skipped.
    """

    format: str | None = None
    encoding: str | None = None
    text_columns: tuple[str | int, ...] = ()
    label_columns: tuple[str | int, ...] = ()
    header: bool | None = None
    quoting: bool | None = None
    quote_character: str | None = None
    label_separator: str = ""
    labels: bool = True

    def __post_init__(self) -> None:
        if self.format is not None and self.format not in CLASS_FORMATS:
            hint = did_you_mean(self.format, CLASS_FORMATS)
            raise SettingsError(f"format: found {self.format!r}, expected one of {', '.join(CLASS_FORMATS)}{hint}")
        if self.quote_character not in (None, '"', "'"):
            raise SettingsError(f"quote_character: found {self.quote_character!r}, expected '\"' or \"'\"")
        for name, columns in (("text_columns", self.text_columns), ("label_columns", self.label_columns)):
            if isinstance(columns, str) or not all(column != "" and type(column) in (str, int) for column in columns):
                raise SettingsError(f"{name}: found {columns!r}, expected names, or numbers from 0")
            if len(set(columns)) < len(columns):
                raise SettingsError(f"{name}: found {', '.join(map(str, columns))}, expected each column once")
        if self.header is False and any(isinstance(column, str) and not is_number(column) for column in self.columns):
            raise SettingsError("header: found columns by name and no header, expected numbers from 0")

    @property
    def columns(self) -> tuple[str | int, ...]:
        """All columns that were given, of text and labels."""
        return self.text_columns + self.label_columns


def is_number(column: str | int) -> bool:
    """Return True if a column is given by number.

    Args:
        column: A name or number; a number may be a string, such as `-1`.

    Returns:
        True for a number.
    """
    return isinstance(column, int) or column.removeprefix("-").isdecimal()
