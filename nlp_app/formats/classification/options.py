"""What a reader of classes may be told."""

from __future__ import annotations

from dataclasses import dataclass

from nlp_app.core.errors import SettingsError, did_you_mean

CLASS_FORMATS = ("csv", "tsv", "jsonl", "label_text", "fasttext", "text", "hub")


@dataclass(frozen=True)
class ClassReadOptions:
    """What the content of a file of texts and classes doesn't have to say by itself; None and () are found.

    `format`: a name in CLASS_FORMATS. `encoding`: a codec. `text_columns`, `label_columns`: names, or numbers counted
    from 0, or from the end if negative. Several text columns are joined with a space; several label columns hold 0 or
    1 each, and the name of one that holds 1 is a label. `header`: whether the first row is names. `quoting`: whether
    `"` encloses cells. `label_separator`: divides a cell with several labels; "" never does. `labels`: whether labels
    are wanted. If not, they are not looked at, and no record is left out for what its annotator thought of it.
    """

    format: str | None = None
    encoding: str | None = None
    text_columns: tuple[str | int, ...] = ()
    label_columns: tuple[str | int, ...] = ()
    header: bool | None = None
    quoting: bool | None = None
    label_separator: str = ""
    labels: bool = True

    def __post_init__(self) -> None:
        if self.format is not None and self.format not in CLASS_FORMATS:
            hint = did_you_mean(self.format, CLASS_FORMATS)
            raise SettingsError(f"format: found {self.format!r}, expected one of {', '.join(CLASS_FORMATS)}{hint}")
        for name, columns in (("text_columns", self.text_columns), ("label_columns", self.label_columns)):
            if isinstance(columns, str) or not all(column != "" and type(column) in (str, int) for column in columns):
                raise SettingsError(f"{name}: found {columns!r}, expected names, or numbers from 0")
            if len(set(columns)) < len(columns):
                raise SettingsError(f"{name}: found {', '.join(map(str, columns))}, expected each column once")
        if self.header is False and any(isinstance(column, str) and not is_number(column) for column in self.columns):
            raise SettingsError("header: found columns by name and no header, expected numbers from 0")

    @property
    def columns(self) -> tuple[str | int, ...]:
        """All columns that were named."""
        return self.text_columns + self.label_columns


def is_number(column: str | int) -> bool:
    """Whether a column is counted, `-1` in a string too."""
    return isinstance(column, int) or column.removeprefix("-").isdecimal()
