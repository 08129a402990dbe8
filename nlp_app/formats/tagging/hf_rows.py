"""Tokens with tags, or texts with spans, in a data set that the package `datasets` opens: of the Hub, or a local one.

Columns are known by name and type. Classes that are numbers get their names. A record is a row, and its line the row's
number; what is in a row is read as the same keys of JSON lines are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from nlp_app.core.errors import DataError, OtherTaskError, did_you_mean
from nlp_app.core.types import Record
from nlp_app.formats.io.hf_datasets import BATCH, load_data_set
from nlp_app.formats.tagging import jsonl
from nlp_app.formats.tagging.options import DEFAULT_COLUMN, ReadOptions
from nlp_app.formats.tagging.read_log import ReadLog

# In order of preference.
TOKEN_NAMES = ("tokens", "words", "forms", "token", "word", "form")

TAG_NAMES = (
    "ner_tags", "tags", "labels", "label", "ner", "ner_labels", "bio_tags", "upos", "pos_tags", "pos", "chunk_tags",
)  # fmt: skip

TEXT_NAMES = ("text", "sentence")

SPAN_NAMES = ("spans", "entities", "labels", "label")

_TAG_ENDS = ("tags", "labels")

_STRINGS = ("string", "large_string")

_Naming = Callable[[Any], Any]

_HOW = "--set data.column=NAME"


class _Columns(NamedTuple):
    """The columns that are read: of tokens or of texts, or both, of labels, and of the annotator's verdict."""

    tokens: str | None
    text: str | None
    labels: str | None
    answer: str | None


def read(path: str, options: ReadOptions, log: ReadLog | None = None) -> Iterator[Record]:
    """A record for each row of the data set at an address or a local path.

    Raises DataError, with the row, for what can't be read as JSON lines couldn't, and for columns that can't be told;
    OtherTaskError for texts with classes.
    """
    dataset = load_data_set(path)
    columns = _choose(dataset.features, options, path)
    chosen = [name for name in columns if name is not None]
    if log is not None:
        for name in dataset.features:
            if name not in chosen:
                log.skip_uncounted(f"the column {name}")
    naming = {name: _naming(dataset.features[name]) for name in chosen}
    number = 0
    for batch in dataset.select_columns(chosen).iter(BATCH):
        cells = ((map(named, batch[name]) if named else batch[name]) for name, named in naming.items())
        for values in zip(*cells, strict=True):
            number += 1
            row = dict(zip(chosen, values, strict=True))
            if columns.answer is None or row[columns.answer] in ("accept", None):
                yield _record(row, columns, path, number, log)
            elif log is not None:
                log.skip(jsonl.REJECTED)


def _record(row: Mapping[str, Any], columns: _Columns, path: str, number: int, log: ReadLog | None) -> Record:
    text = None if columns.text is None else row[columns.text]
    labels = None if columns.labels is None else row[columns.labels]
    if columns.tokens is None:
        if not isinstance(text, str):
            raise DataError(f"`{columns.text}`: found nothing, expected a text", path, number)
        spans = _rows_of(labels) if isinstance(labels, dict) else labels
        return jsonl.text_record({"spans": spans}, text, path, number, log)
    if row[columns.tokens] is None:
        raise DataError(f"`{columns.tokens}`: found nothing, expected a list of tokens", path, number)
    if labels and all(label == -1 for label in labels):
        labels = None  # the tags of a test part that are kept secret
    tags = {} if labels is None else {str(columns.labels): labels}
    return jsonl.token_record(row[columns.tokens], tags, text, path, number, log)


def _choose(features: Mapping[str, Any], options: ReadOptions, path: str) -> _Columns:
    names = list(features)
    if options.token_column:  # 0, the default, is known by name
        first = _numbered(names, options.token_column, path)
        tokens, text = (first, None) if _is_strings(features[first]) else (None, first)
        if tokens is None and not _is_string(features[first]):
            raise DataError(f"the column {first!r} holds neither tokens nor a text", path)
    else:
        tokens = next((name for name in TOKEN_NAMES if _is_strings(features.get(name))), None)
        text = next((name for name in TEXT_NAMES if _is_string(features.get(name))), None)
    labels = _labels(features, tokens, options, path) if options.labels else None
    if labels is None and options.labels and tokens is not None and text is not None:
        labels = _labels(features, None, options, path)
        tokens = None if labels is not None else tokens
    no_spans = options.labels and tokens is None and labels is None
    if (tokens is None and text is None) or (no_spans and any(map(_is_class, names, features.values()))):
        expected = "expected `tokens` and `ner_tags`, or `text` and `spans`; texts with classes are for `train cls`"
        raise OtherTaskError(f"found the columns {', '.join(names)}; {expected}", path)
    answer = "answer" if options.labels and _is_string(features.get("answer")) else None
    return _Columns(tokens, text, labels, answer)


def _labels(features: Mapping[str, Any], tokens: str | None, options: ReadOptions, path: str) -> str | None:
    """The column of tags, or without tokens of spans; None if there is none."""
    names = list(features)
    if options.tag_column is not None:
        return _numbered(names, options.tag_column, path)
    if options.column in names:
        return options.column
    if options.column != DEFAULT_COLUMN:
        hint = did_you_mean(options.column, names)
        raise DataError(f"found no column {options.column!r}, only {', '.join(names)}{hint}", path)
    if tokens is None:
        return next((name for name in SPAN_NAMES if _is_list(features.get(name))), None)
    others = [name for name in names if name != tokens and _is_list(features[name])]
    known = next((name for name in TAG_NAMES if name in others), None)
    if known is not None:
        return known
    likely = [name for name in others if _classes(features[name]) or name.endswith(_TAG_ENDS)]
    if len(likely) > 1:
        raise DataError(f"can't tell which column is the tags: found {', '.join(likely)}; name it ({_HOW})", path)
    return likely[0] if likely else None


def _numbered(names: list[str], number: int, path: str) -> str:
    if not -len(names) <= number < len(names):
        raise DataError(f"found no column {number}, only 0 to {len(names) - 1}: {', '.join(names)}", path)
    return names[number]


def _naming(feature: Any) -> _Naming | None:
    """What puts the names of classes for their numbers in a cell, and leaves out keys without a value; None: nothing
    to do."""
    inner, classes = getattr(feature, "feature", None), getattr(feature, "names", None)
    if classes is not None:
        names = dict(enumerate(classes))
        return lambda value: names.get(value, value)
    if inner is not None:
        one = _naming(inner)
        return one and (lambda value: value if value is None else [one(item) for item in value])
    if isinstance(feature, dict):
        each = {key: _naming(part) or (lambda value: value) for key, part in feature.items()}
        return lambda value: value and {key: each[key](item) for key, item in value.items() if item is not None}
    return None


def _rows_of(columns: Mapping[str, Any]) -> list[dict[str, Any]] | Mapping[str, Any]:
    """A list of objects that is kept as an object of lists, as `datasets` does with its `Sequence` of objects."""
    lists = list(columns.values())
    if not all(isinstance(each, list) and len(each) == len(lists[0]) for each in lists):
        return columns
    return [dict(zip(columns, row, strict=True)) for row in zip(*lists, strict=True)]


def _is_list(feature: Any) -> bool:
    if isinstance(feature, dict):
        return bool(feature) and all(map(_is_list, feature.values()))
    return getattr(feature, "feature", None) is not None or type(feature).__name__ == "Json"


def _is_string(feature: Any) -> bool:
    return getattr(feature, "dtype", None) in _STRINGS


def _is_strings(feature: Any) -> bool:
    return _is_string(getattr(feature, "feature", None))


def _classes(feature: Any) -> bool:
    return getattr(getattr(feature, "feature", None), "names", None) is not None


def _is_class(name: str, feature: Any) -> bool:
    """Whether a column gives a whole text its class."""
    return getattr(feature, "names", None) is not None or (name in SPAN_NAMES and not _is_list(feature))
