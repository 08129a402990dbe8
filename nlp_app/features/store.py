"""Columns kept in files, for corpora that memory would not hold: written a piece at a time, read where they are needed.

The files are mapped into memory, so that the system reads what is asked for and drops what it needs room for.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from nlp_app.errors import TrainingError
from nlp_app.features.columns import Array, Columns


class ColumnsWriter:
    """Writes columns into a directory, a piece after the other; `close` gives them back, mapped."""

    def __init__(self, directory: Path, name: str) -> None:
        self._directory, self._name = directory, name
        self._files: dict[str, tuple[BinaryIO, Array]] = {}  # and an empty array of the same kind
        self._rows = 0

    def append(self, columns: Columns) -> None:
        """Add some more rows; the arrays' names and types are those of the first call."""
        offsets = columns.offsets[1:] + self._rows if self._files else columns.offsets
        self._rows += int(columns.offsets[-1])
        with self._room():
            for key, array in (*columns.arrays.items(), ("offsets", offsets)):
                if key not in self._files:
                    path = self._directory / f"{self._name}-{key}"
                    self._files[key] = (path.open("wb"), array[:0])
                file, kind = self._files[key]
                array.astype(kind.dtype, copy=False).tofile(file)

    def close(self) -> StoredColumns:
        """What was written."""
        arrays: dict[str, Array] = {}
        maps: list[mmap.mmap] = []
        with self._room():
            for key, (file, kind) in self._files.items():
                file.close()
                arrays[key], pages = _mapped(Path(file.name), kind)
                maps += pages
        offsets = arrays.pop("offsets", np.zeros(1, dtype=np.int64))
        return StoredColumns(arrays, offsets, maps)

    @contextmanager
    def _room(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            for file, _ in self._files.values():
                file.close()
            raise TrainingError(
                f"{self._directory}: can't write the encoded texts: {error.strerror or error}; make room"
            ) from error


class StoredColumns(Columns):
    """Columns in mapped files."""

    def __init__(self, arrays: dict[str, Array], offsets: Array, maps: list[mmap.mmap]) -> None:
        super().__init__(arrays, offsets)
        object.__setattr__(self, "_maps", maps)

    def release(self) -> None:
        """Let go of the pages that were read: they stay in the system's cache while there is room."""
        for pages in self.__dict__["_maps"]:
            if hasattr(mmap, "MADV_DONTNEED"):
                pages.madvise(mmap.MADV_DONTNEED)


def _mapped(path: Path, kind: Array) -> tuple[Array, list[mmap.mmap]]:
    if not path.stat().st_size:  # nothing can't be mapped
        return kind, []
    with path.open("rb") as file:
        pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return np.frombuffer(pages, dtype=kind.dtype).reshape(-1, *kind.shape[1:]), [pages]
