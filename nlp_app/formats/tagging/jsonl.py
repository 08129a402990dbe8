"""Read and write JSON Lines, and read JSON documents, with entities or tags as annotation tools export them.

The shape of each object is recognized by its keys, see `json_shapes` for texts with spans, `json_tokens` for tokens
with tags, and `label_studio` for tasks. `{"text"}` and `{"tokens"}` alone are unlabeled. Objects whose `answer` is not
`accept` were rejected by the annotator and are skipped.

Offsets count code points, and the end is exclusive. A file that is one list, or whose first object spans several lines,
is read into memory as a whole; JSON Lines are streamed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from nlp_app.core.types import Record, TextRecord
from nlp_app.formats.io.json_objects import read_values
from nlp_app.formats.tagging.json_shapes import expand, is_pair
from nlp_app.formats.tagging.object_reader import ObjectReader
from nlp_app.formats.tagging.options import ReadOptions
from nlp_app.formats.tagging.read_log import ReadLog


def read(lines: Iterable[str], name: str, options: ReadOptions, log: ReadLog | None = None) -> Iterator[Record]:
    """Read a record from each object.

    Args:
        lines: The lines of the file, without line ends.
        name: The file's name, for messages.
        options: Reading options.
        log: Collects remarks, repairs and the parts that are skipped.

    Yields:
        A record for each object that its annotator annotated.

    Raises:
        DataError: Invalid JSON or types, or most spans are bad. Names the line.
        OtherTaskError: The file contains texts with classes.
    """
    values = read_values(lines, name, is_pair)
    objects = ((line, item) for line, value in values for item in expand(value, name, line))
    return ObjectReader(name, options, log or ReadLog(counting=False)).read_all(objects)


def write(records: Iterable[Record], name: str) -> Iterator[str]:
    """Write records as JSON Lines.

    Args:
        records: The records.
        name: Not used; the writers of all formats have the same parameters.

    Yields:
        A line for each record: `{"text", "spans"}` or `{"tokens", "ner_tags"}`, or without the labels if it has none.
    """
    for record in records:
        value: dict[str, Any] = {}
        if isinstance(record, TextRecord):
            value["text"] = record.text
            if record.spans is not None:
                value["spans"] = [span._asdict() for span in record.spans]
        else:
            value["tokens"] = record.tokens
            if record.tags is not None:
                value["ner_tags"] = record.tags
            if record.text is not None:
                value["text"] = record.text
        yield json.dumps(value, ensure_ascii=False)
