"""Columns in memory-mapped files, for corpora that are too large for memory.

They are written chunk by chunk. The operating system reads the pages that are accessed, and drops them when it needs
memory.
"""

from __future__ import annotations

import math
import mmap
import os
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from nlp_app.core.errors import TrainingError
from nlp_app.storage.ragged import Array, RaggedColumns

# Bytes of columns whose pages may stay in memory: mapping them again for each batch would cost more than they do.
_MAX_RESIDENT = 32 << 20

_OFFSETS = "offsets"


class ColumnsWriter:
    """Writer of columns to files of a directory, chunk by chunk; `close` returns them memory-mapped."""

    def __init__(self, directory: Path, name: str) -> None:
        self._directory, self._name = directory, name
        self._files: dict[str, tuple[BinaryIO, Array]] = {}  # and an empty array with the same type and shape
        self._rows = 0

    def append(self, columns: RaggedColumns) -> None:
        """Append rows.

        Args:
            columns: The rows; their arrays have the names and types of the first call.

        Raises:
            TrainingError: The files cannot be written.
        """
        offsets = columns.offsets[1:] + self._rows if self._files else columns.offsets
        self._rows += int(columns.offsets[-1])
        with self._as_training_error():
            for key, array in (*columns.arrays.items(), (_OFFSETS, offsets)):
                if key not in self._files:
                    path = self._directory / f"{self._name}-{key}"
                    self._files[key] = (path.open("wb"), array[:0])
                file, kind = self._files[key]
                # Not `tofile`: it has a buffer of its own, and reports no error if that can't be written.
                file.write(_bytes_of(np.ascontiguousarray(array, dtype=kind.dtype)))

    def close(self) -> MappedColumns:
        """Close the files and map them into memory.

        Returns:
            All rows that were appended.

        Raises:
            TrainingError: The files cannot be written.
        """
        with self._as_training_error():
            for file, _ in self._files.values():
                file.close()
            return map_columns({key: (Path(file.name), kind) for key, (file, kind) in self._files.items()})

    def discard(self) -> None:
        """Close the files, without an error if they cannot be written completely."""
        for file, _ in self._files.values():
            with suppress(OSError):  # closing flushes the buffer again, which fails on a full disk
                file.close()

    @property
    def parts(self) -> dict[str, tuple[Path, Array]]:
        """File of each array and of the offsets, with an empty array of its type and shape."""
        return {key: (Path(file.name), kind) for key, (file, kind) in self._files.items()}

    @contextmanager
    def _as_training_error(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.discard()
            raise TrainingError(
                f"{self._directory}: cannot write encoded texts: {error.strerror or error}; make room"
            ) from error


class _OpenFile:
    """An open file that is closed when no object refers to it."""

    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self.descriptor)


class MappedColumns(RaggedColumns):
    """Read-only columns in memory-mapped files.

    Batches of large columns are read from the files instead of the map: for each row that is accessed through the map,
    the operating system may load two megabytes around it.
    """

    def __init__(
        self, arrays: dict[str, Array], offsets: Array, maps: list[mmap.mmap], files: dict[str, _OpenFile]
    ) -> None:
        super().__init__(arrays, offsets)
        object.__setattr__(self, "_maps", maps)
        object.__setattr__(self, "_files", files)
        object.__setattr__(self, "_is_small", sum(map(len, maps)) <= _MAX_RESIDENT or not hasattr(os, "preadv"))

    def release(self) -> None:
        """Release the memory of pages that were read; they stay in the system's cache while memory is free."""
        for pages in self.__dict__["_maps"]:
            if hasattr(mmap, "MADV_DONTNEED"):
                pages.madvise(mmap.MADV_DONTNEED)

    def trim(self) -> None:
        """Release the memory of pages that were read, unless the columns are small."""
        if not self.__dict__["_is_small"]:
            self.release()

    def select(self, rows: NDArray[np.int64]) -> tuple[dict[str, Array], NDArray[np.int64]]:
        """Concatenate the tokens of selected sentences; see `RaggedColumns.select`.

        Args:
            rows: Numbers of the sentences, in any order.

        Returns:
            The arrays of their tokens, and their offsets (rows + 1,).
        """
        if self.__dict__["_is_small"]:
            return super().select(rows)
        starts = self.offsets[rows]
        offsets = np.concatenate(([0], np.cumsum(self.offsets[rows + 1] - starts)))
        arrays = {name: self._read(name, starts.tolist(), offsets.tolist()) for name in self.arrays}
        self.trim()
        return arrays, offsets

    def pad(self, rows: NDArray[np.int64]) -> dict[str, Array]:
        """Build a padded batch of selected sentences; see `RaggedColumns.pad`.

        Args:
            rows: Numbers of the sentences, in any order.

        Returns:
            Each column as (rows, longest sentence, ...), padded with 0, and "mask" (rows, longest sentence), True for
            tokens.
        """
        if self.__dict__["_is_small"]:
            return super().pad(rows)
        arrays, offsets = self.select(rows)
        lengths = np.diff(offsets)[:, None]
        batch = {"mask": np.arange(lengths.max(initial=0))[None, :] < lengths}
        for name, array in arrays.items():
            batch[name] = np.zeros((*batch["mask"].shape, *array.shape[1:]), dtype=array.dtype)
            batch[name][batch["mask"]] = array
        return batch

    def _read(self, name: str, starts: list[int], offsets: list[int]) -> Array:
        """Read runs of an array's elements, each from its start, and concatenate them."""
        kind = self.arrays[name]
        result = np.empty((offsets[-1], *kind.shape[1:]), dtype=kind.dtype)
        if not result.size:
            return result
        file, size = self.__dict__["_files"][name].descriptor, kind.itemsize * math.prod(kind.shape[1:])
        view = _bytes_of(result)
        for start, first, end in zip(starts, offsets, offsets[1:], strict=False):
            position, rest = start * size, view[first * size : end * size]
            while rest:
                count = os.preadv(file, [rest], position)  # may read fewer bytes than requested
                if not count:
                    raise TrainingError("encoded texts: a file was truncated while it was read; start again")
                position, rest = position + count, rest[count:]
        return result


def _bytes_of(array: Array) -> memoryview:
    """View a contiguous array as bytes."""
    return array.reshape(-1).view(np.uint8).data


def map_columns(parts: Mapping[str, tuple[Path, Array]]) -> MappedColumns:
    """Map columns from files into memory.

    Args:
        parts: File of each array and of the offsets, with an empty array of its type and shape (`ColumnsWriter.parts`).

    Returns:
        The columns.

    Raises:
        OSError: A file cannot be read.
        ValueError: A file ends within an element, or has another number of elements than the offsets.
    """
    arrays: dict[str, Array] = {}
    maps: list[mmap.mmap] = []
    files: dict[str, _OpenFile] = {}
    for key, (path, kind) in parts.items():
        arrays[key] = kind
        if path.stat().st_size:  # an empty file can't be mapped
            files[key] = _OpenFile(path)
            maps.append(mmap.mmap(files[key].descriptor, 0, access=mmap.ACCESS_READ))
            elements = len(maps[-1]) // kind.itemsize
            width = math.prod(kind.shape[1:])
            arrays[key] = np.frombuffer(maps[-1], dtype=kind.dtype).reshape(elements // width, *kind.shape[1:])
    offsets = arrays.pop(_OFFSETS, np.zeros(1, dtype=np.int64))
    for key, array in arrays.items():
        if len(array) != offsets[-1]:
            raise ValueError(f"{parts[key][0]}: found {len(array)} elements, expected {offsets[-1]}")
    return MappedColumns(arrays, offsets, maps, files)
