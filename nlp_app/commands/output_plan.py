"""Choose the form of the answers of `tag` and `classify`, and write the forms that need all answers at once."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nlp_app.core.errors import DataError, SettingsError, did_you_mean
from nlp_app.core.types import AnnotatedText, ScoredLabel, ScoredSpan
from nlp_app.formats.annotated import CLASS_FORMATS, LINE_SHAPES, SPAN_FORMATS, losses, write
from nlp_app.formats.classification.read_plan import TableNames
from nlp_app.formats.io.compression import compression_for_name, strip_compression_suffix
from nlp_app.formats.io.table_rows import format_row
from nlp_app.inference.files import PredictionOptions
from nlp_app.inference.files.output_lines import JSON_LINES, TABLE
from nlp_app.text import Tokenizer

_SUFFIXES = {
    ".jsonl": JSON_LINES,
    ".ndjson": JSON_LINES,
    ".csv": TABLE,
    ".tsv": TABLE,
    ".conll": "conll",
    ".bio": "conll",
    ".conllu": "conllu",
    ".spacy": "spacy",
}

_COLUMN_SUFFIXES = (".tsv", ".conll", ".bio", ".bmes", ".iob", ".iob2", ".ner", ".pos")

# Suffixes of other formats: a file of JSON lines with such a name would mislead.
_REFUSED = frozenset((".json", ".xlsx", ".xls", ".ods", ".parquet", ".arrow", ".docx", ".pdf", ".html", ".xml", ".ann"))

_WITH_METADATA = (*LINE_SHAPES, "label-studio")

_NOT_METADATA = ("text", "spans", "predicted", "score", "gold")


@dataclass(frozen=True)
class OutputRequest:
    """The output that the user asks for.

    Attributes:
        target: The file or folder; None or `-` for standard output.
        format: A name in `SPAN_FORMATS` or `CLASS_FORMATS`; None for the format of the target's suffix.
        lossy: Write the output although the format can't hold all annotations.
    """

    target: str | None = None
    format: str | None = None
    lossy: bool = False

    @property
    def suffix(self) -> str:
        """The suffix of the target without that of a compression, in lower case."""
        return "" if self.target in (None, "-") else strip_compression_suffix(str(self.target)).suffix.lower()


@dataclass(frozen=True)
class OutputPlan:
    """The files that a job writes.

    Attributes:
        target: The file of the lines; None or `-` for standard output.
        options: The form of the lines.
        request: The output that the user asks for.
        final: The format into which the lines are converted at the end; None if they are the output.
    """

    target: str | None
    options: PredictionOptions
    request: OutputRequest
    final: str | None = None

    def finish(self, tokenizer: Tokenizer | None = None, classes: Sequence[str] = ()) -> list[str]:
        """Convert the lines to the output's format and delete them, if the format needs all answers at once.

        Args:
            tokenizer: Splits the texts for formats with tokens; None for texts with classes.
            classes: The classes of a classifier.

        Returns:
            Notes for the user.

        Raises:
            DataError: The format can't hold all annotations, or the output can't be written.
        """
        if self.final is None or self.target is None or self.request.target is None:
            return []
        lines = Path(self.target)

        def read() -> Iterator[AnnotatedText]:
            return _read_answers(lines, tokenizer)

        lost = losses(read(), self.final)
        keys = [] if self.final in _WITH_METADATA else sorted({key for text in read() for key in text.metadata})
        if lost and not self.request.lossy:
            lines.unlink(missing_ok=True)
            reason = f"{self.final} can't hold {'; '.join(lost)}. Nothing was written"
            raise DataError(f"{reason}; choose another format, or write the rest with --lossy", self.request.target)
        write(read(), self.request.target, self.final, classes)
        lines.unlink(missing_ok=True)
        return [f"left out, as {self.final} can't hold it: {each}" for each in [*lost, *map(repr, keys)]]


def plan_output(
    request: OutputRequest, options: PredictionOptions, task: str, kind: str, table: TableNames | None = None
) -> OutputPlan:
    """Choose the form of the output.

    Args:
        request: The output that the user asks for.
        options: The classes to return.
        task: `tag` or `classify`.
        kind: The input: `columns`, `table`, `text` or `other`.
        table: The column names of the input, if it is a table.

    Returns:
        The files to write.

    Raises:
        SettingsError: The format is unknown, does not suit the task or the input, or needs `--output`.
    """
    format = _choose_format(request, task, kind)
    options = replace(options, compression=compression_for_name(request.target))
    if format in ("", *LINE_SHAPES):
        return OutputPlan(request.target, replace(options, format=format), request)
    if format == TABLE:
        return OutputPlan(request.target, _table_options(options, request, task, kind, table), request)
    if request.target in (None, "-"):
        raise SettingsError(f"--output-format {format}: needs all answers at once; name a file with --output")
    if options.compression is not None:
        raise SettingsError(f"--output-format {format}: is written uncompressed; remove the suffix of {request.target}")
    lines = replace(options, format=JSON_LINES)
    return OutputPlan(f"{request.target}.predictions.jsonl", lines, request, format)


def _choose_format(request: OutputRequest, task: str, kind: str) -> str:
    known = SPAN_FORMATS if task == "tag" else CLASS_FORMATS
    named, suffix = request.format, request.suffix
    if named is None and suffix in _REFUSED:
        reason = f"--output {request.target}: answers have no format with the suffix {suffix}"
        raise SettingsError(f"{reason}; use .jsonl or .csv, or choose one with --output-format")
    if named is None and kind == "columns" and suffix in _COLUMN_SUFFIXES:
        return ""
    format = named or _SUFFIXES.get(suffix, "")
    if format and format not in known:
        listed = ", ".join(known)
        place = f"--output-format {format}" if named else f"--output {request.target}"
        raise SettingsError(f"{place}: {task} writes {listed}{did_you_mean(format, known)}")
    if kind == "columns" and format == "conll":
        return ""
    if kind == "columns" and format not in ("", JSON_LINES):
        raise SettingsError(f"--output-format {format}: needs texts, and the input has columns of tokens; use jsonl")
    return format


def _table_options(
    options: PredictionOptions, request: OutputRequest, task: str, kind: str, table: TableNames | None
) -> PredictionOptions:
    if kind not in ("table", "text"):
        reason = "a table is written for a table or for one text per line, not for JSON, whose keys may differ"
        raise SettingsError(f"--output {request.target}: {reason}; use .jsonl")
    names, has_header = (table.names, table.has_header) if table is not None else (("text",), True)
    delimiter = (
        "\t" if request.suffix == ".tsv" else "," if table is None or table.delimiter == "\t" else table.delimiter
    )
    answer = ("spans",) if task == "tag" else ("predicted", "score")
    header = format_row((*names, *answer), delimiter) if has_header else ""
    return replace(options, format=TABLE, delimiter=delimiter, header=header)


def _read_answers(path: Path, tokenizer: Tokenizer | None) -> Iterator[AnnotatedText]:
    """Read our own JSON lines; lines of records that can't be read are left out."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            value = json.loads(line)
            if value["text"] is None:
                continue
            metadata = {key: each for key, each in value.items() if key not in _NOT_METADATA}
            if tokenizer is None:
                yield AnnotatedText(value["text"], labels=_labels(value), metadata=metadata, predicted=True)
                continue
            tokens = tokenizer(value["text"])
            spans = [ScoredSpan(each["start"], each["end"], each["label"], each["score"]) for each in value["spans"]]
            edges = list(zip(tokens.starts, tokens.ends, strict=True))
            yield AnnotatedText(value["text"], spans=spans, tokens=edges, metadata=metadata, predicted=True)


def _labels(value: dict[str, object]) -> list[ScoredLabel]:
    predicted, scores = value["predicted"], value["score"]
    if predicted is None:
        return []
    if isinstance(predicted, list) and isinstance(scores, list):
        return [ScoredLabel(label, score) for label, score in zip(predicted, scores, strict=True)]
    return [ScoredLabel(str(predicted), scores if isinstance(scores, float) else None)]
