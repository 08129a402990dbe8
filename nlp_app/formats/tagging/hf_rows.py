"""Read tokens with tags, or texts with spans, from a Hugging Face dataset, on the Hub or local.

Columns are recognized by name and type. Class numbers are replaced by class names. Each row is a record, and the row's
number takes the place of a line number. The values in a row are read like the same keys of JSON Lines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from nlp_app.core.errors import DataError, OtherTaskError, did_you_mean
from nlp_app.core.types import Record, TextRecord
from nlp_app.formats.io.hf_datasets import BATCH, load_data_set
from nlp_app.formats.tagging.json_shapes import find_spans
from nlp_app.formats.tagging.json_tokens import token_record
from nlp_app.formats.tagging.object_reader import REJECTED
from nlp_app.formats.tagging.options import DEFAULT_COLUMN, ReadOptions
from nlp_app.formats.tagging.read_log import ReadLog
from nlp_app.formats.tagging.span_reader import SpanReader

# In order of preference.
TOKEN_NAMES = ("tokens", "words", "forms", "token", "word", "form")

TAG_NAMES = (
    "ner_tags", "tags", "labels", "label", "ner", "ner_labels", "bio_tags", "upos", "pos_tags", "pos", "chunk_tags",
)  # fmt: skip

TEXT_NAMES = ("text", "sentence")

SPAN_NAMES = ("spans", "entities", "labels", "label")

_TAG_SUFFIXES = ("tags", "labels")

_STRING_TYPES = ("string", "large_string")

_Converter = Callable[[Any], Any]

_HINT = "--set data.column=NAME"


class _Columns(NamedTuple):
    """The names of the columns that are read; None for a column that is missing.

    Attributes:
        tokens: Lists of tokens.
        text: Raw texts.
        labels: Tags of the tokens, or spans of the text.
        answer: The annotator's verdict, such as `accept`.
    """

    tokens: str | None
    text: str | None
    labels: str | None
    answer: str | None


def read(path: str, options: ReadOptions, log: ReadLog | None = None) -> Iterator[Record]:
    """Read a record from each row of a dataset.

    Args:
        path: An address with `hf:`, or a local path.
        options: Reading options.
        log: Collects the parts that are skipped.

    Yields:
        A record for each row that its annotator did not reject.

    Raises:
        DataError: The columns are ambiguous or missing, or the values of a row are invalid (names the row).
        OtherTaskError: The dataset contains texts with classes.
    """
    log = log or ReadLog(counting=False)
    dataset = load_data_set(path)
    columns = _choose_columns(dataset.features, options, path)
    chosen = [name for name in columns if name is not None]
    for name in dataset.features:
        if name not in chosen:
            log.skip_uncounted(f"the column {name}")
    spans = SpanReader(path, log, strict=options.strict)
    converters = {name: _name_converter(dataset.features[name]) for name in chosen}
    number = 0
    for batch in dataset.select_columns(chosen).iter(BATCH):
        cells = ((map(convert, batch[name]) if convert else batch[name]) for name, convert in converters.items())
        for values in zip(*cells, strict=True):
            number += 1
            row = dict(zip(chosen, values, strict=True))
            if columns.answer is None or row[columns.answer] in ("accept", None):
                yield _make_record(row, columns, path, number, spans, log)
            else:
                log.repair(REJECTED, number)
    spans.finish()


def _make_record(
    row: Mapping[str, Any], columns: _Columns, path: str, number: int, reader: SpanReader, log: ReadLog
) -> Record:
    text = None if columns.text is None else row[columns.text]
    labels = None if columns.labels is None else row[columns.labels]
    if columns.tokens is None:
        if not isinstance(text, str):
            raise DataError(f"`{columns.text}`: found no value, expected a text", path, number)
        if columns.labels is None or labels is None:
            return TextRecord(text, None, number)
        spans = _to_rows(labels) if isinstance(labels, dict) else labels
        field = find_spans({columns.labels: spans}, columns.labels, path, number)
        return TextRecord(text, reader.read(text, field.spans or (), columns.labels, number), number)
    if row[columns.tokens] is None:
        raise DataError(f"`{columns.tokens}`: found no value, expected a list of tokens", path, number)
    if labels and all(label == -1 for label in labels):
        labels = None  # the tags of a test split whose labels are not published
    tags = {} if labels is None else {str(columns.labels): labels}
    return token_record(row[columns.tokens], tags, text, path, number, log)


def _choose_columns(features: Mapping[str, Any], options: ReadOptions, path: str) -> _Columns:
    names = list(features)
    if options.token_column:  # 0 is the default: recognize the columns by name
        first = _column_by_number(names, options.token_column, path)
        tokens, text = (first, None) if _is_strings(features[first]) else (None, first)
        if tokens is None and not _is_string(features[first]):
            raise DataError(f"the column {first!r} contains neither tokens nor texts", path)
    else:
        tokens = next((name for name in TOKEN_NAMES if _is_strings(features.get(name))), None)
        texts = (options.text_key,) if options.text_key else TEXT_NAMES
        text = next((name for name in texts if _is_string(features.get(name))), None)
        if options.text_key and text is None:
            raise DataError(f"found no column {options.text_key!r} of texts, only {', '.join(names)}", path)
    labels = _find_labels(features, tokens, options, path) if options.labels else None
    if labels is None and options.labels and tokens is not None and text is not None:
        labels = _find_labels(features, None, options, path)
        tokens = None if labels is not None else tokens
    no_spans = options.labels and tokens is None and labels is None
    if (tokens is None and text is None) or (no_spans and any(map(_is_class, names, features.values()))):
        expected = "expected `tokens` and `ner_tags`, or `text` and `spans`; texts with classes are for `train cls`"
        raise OtherTaskError(f"found the columns {', '.join(names)}; {expected}", path)
    answer = "answer" if options.labels and _is_string(features.get("answer")) else None
    return _Columns(tokens, text, labels, answer)


def _find_labels(features: Mapping[str, Any], tokens: str | None, options: ReadOptions, path: str) -> str | None:
    """Return the name of the column of tags or, without a column of tokens, of spans; None if it is missing."""
    names = list(features)
    if options.tag_column is not None:
        return _column_by_number(names, options.tag_column, path)
    wanted = options.label_key or options.column
    if wanted in names:
        return wanted
    if wanted != DEFAULT_COLUMN:
        hint = did_you_mean(wanted, names)
        raise DataError(f"found no column {wanted!r}, only {', '.join(names)}{hint}", path)
    if tokens is None:
        return next((name for name in SPAN_NAMES if _is_list(features.get(name))), None)
    others = [name for name in names if name != tokens and _is_list(features[name])]
    known = next((name for name in TAG_NAMES if name in others), None)
    if known is not None:
        return known
    likely = [name for name in others if _is_class_list(features[name]) or name.endswith(_TAG_SUFFIXES)]
    if len(likely) > 1:
        raise DataError(
            f"can't tell which column contains the tags: found {', '.join(likely)}; name it ({_HINT})", path
        )
    return likely[0] if likely else None


def _column_by_number(names: list[str], number: int, path: str) -> str:
    if not -len(names) <= number < len(names):
        raise DataError(f"found no column {number}, only 0 to {len(names) - 1}: {', '.join(names)}", path)
    return names[number]


def _name_converter(feature: Any) -> _Converter | None:
    """Return a function that replaces class numbers in a cell by names and removes keys without a value.

    Returns None if the feature needs no conversion.
    """
    inner, classes = getattr(feature, "feature", None), getattr(feature, "names", None)
    if classes is not None:
        names = dict(enumerate(classes))
        return lambda value: names.get(value, value)
    if inner is not None:
        convert = _name_converter(inner)
        return convert and (lambda value: value if value is None else [convert(item) for item in value])
    if isinstance(feature, dict):
        converters = {
            key: _name_converter(inner_feature) or (lambda value: value) for key, inner_feature in feature.items()
        }
        return lambda value: value and {key: converters[key](item) for key, item in value.items() if item is not None}
    return None


def _to_rows(columns: Mapping[str, Any]) -> list[dict[str, Any]] | Mapping[str, Any]:
    """Convert an object of lists to a list of objects. `datasets` stores its `Sequence` of objects as the former."""
    values = list(columns.values())
    if not all(isinstance(column, list) and len(column) == len(values[0]) for column in values):
        return columns
    return [dict(zip(columns, row, strict=True)) for row in zip(*values, strict=True)]


def _is_list(feature: Any) -> bool:
    if isinstance(feature, dict):
        return bool(feature) and all(map(_is_list, feature.values()))
    return getattr(feature, "feature", None) is not None or type(feature).__name__ == "Json"


def _is_string(feature: Any) -> bool:
    return getattr(feature, "dtype", None) in _STRING_TYPES


def _is_strings(feature: Any) -> bool:
    return _is_string(getattr(feature, "feature", None))


def _is_class_list(feature: Any) -> bool:
    return getattr(getattr(feature, "feature", None), "names", None) is not None


def _is_class(name: str, feature: Any) -> bool:
    """Return True if a column contains a class for each text."""
    return getattr(feature, "names", None) is not None or (name in SPAN_NAMES and not _is_list(feature))
