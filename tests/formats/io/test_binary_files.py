"""Files that are not text are refused by name, whatever reads them; text that begins alike is not."""

from __future__ import annotations

import gzip
import io
import pickle
import sqlite3
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nlp_app.core.errors import DataError
from nlp_app.formats.classification import open_classes
from nlp_app.formats.io.binary_files import reject_binary
from nlp_app.formats.io.streams import open_input
from nlp_app.formats.tagging import detect_format, read


def office(member: str) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr(member, "<x/>")
    return data.getvalue()


def database() -> bytes:
    connection = sqlite3.connect(":memory:")
    connection.execute("create table t (a)")
    return connection.serialize()


def parquet() -> bytes:
    data = io.BytesIO()
    pq.write_table(pa.table({"text": ["a"]}), data)
    return data.getvalue()


def numpy_array() -> bytes:
    data = io.BytesIO()
    np.save(data, np.zeros(3))
    return data.getvalue()


BINARY = {
    "an Excel file": office("xl/workbook.xml"),
    "a Word document": office("word/document.xml"),
    "a ZIP archive": office("notes.txt"),
    "a PDF file": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
    "a Parquet file": parquet(),
    "an SQLite database": database(),
    "a pickle file": pickle.dumps({"text": ["a"]}, protocol=4),
    "a NumPy array": numpy_array(),
    "a picture": b"\x89PNG\r\n\x1a\n\0\0",
}


@pytest.mark.parametrize("kind", BINARY)
@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.conll", "a.jsonl", "a"])
def test_binary_files_are_named(tmp_path: Path, kind: str, name: str) -> None:
    path = tmp_path / name
    for content in (BINARY[kind], gzip.compress(BINARY[kind])):
        path.write_bytes(content)
        readers: list[Callable[[], object]] = [
            lambda: detect_format(path),
            lambda: list(read(path)),
            lambda: open_classes(path),
            lambda: open_input(str(path)).__enter__(),
        ]
        for reader in readers:
            with pytest.raises(DataError, match=rf"{name}: is {kind}, expected text; "):
                reader()


@pytest.mark.parametrize(
    "text", ["PAR1 is a gene", "PK is short", "%PDF- is a mark", "MZ", "GIF89 b", "ORC", "ARROW1 x", ""]
)
def test_text_that_begins_alike_is_text(text: str) -> None:
    reject_binary(text.encode(), "a.txt")
