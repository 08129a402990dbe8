"""Columns kept in files, for corpora that memory would not hold: written a piece at a time, read where they are needed.

The files are mapped into memory, so that the system reads what is asked for and drops what it needs room for.
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

_FEW = 32 << 20  # bytes of columns whose pages may stay: to map them again and again would cost more than they do

_OFFSETS = "offsets"


class ColumnsWriter:
    """Writes columns into a directory, a piece after the other; `close` gives them back, mapped."""

    def __init__(self, directory: Path, name: str) -> None:
        self._directory, self._name = directory, name
        self._files: dict[str, tuple[BinaryIO, Array]] = {}  # and an empty array of the same kind
        self._rows = 0

    def append(self, columns: RaggedColumns) -> None:
        """Add some more rows; the arrays' names and types are those of the first call."""
        offsets = columns.offsets[1:] + self._rows if self._files else columns.offsets
        self._rows += int(columns.offsets[-1])
        with self._room():
            for key, array in (*columns.arrays.items(), (_OFFSETS, offsets)):
                if key not in self._files:
                    path = self._directory / f"{self._name}-{key}"
                    self._files[key] = (path.open("wb"), array[:0])
                file, kind = self._files[key]
                # Not `tofile`: it has a buffer of its own, and says nothing if that can't be written.
                file.write(_bytes_of(np.ascontiguousarray(array, dtype=kind.dtype)))

    def close(self) -> MappedColumns:
        """What was written."""
        with self._room():
            for file, _ in self._files.values():
                file.close()
            return map_columns({key: (Path(file.name), kind) for key, (file, kind) in self._files.items()})

    def discard(self) -> None:
        """Let go of the files, however much was written; of those that are closed, nothing is left to do."""
        for file, _ in self._files.values():
            with suppress(OSError):  # what a full disk didn't take is written once more
                file.close()

    @property
    def parts(self) -> dict[str, tuple[Path, Array]]:
        """The file of each array and of the offsets, and an empty array of its kind."""
        return {key: (Path(file.name), kind) for key, (file, kind) in self._files.items()}

    @contextmanager
    def _room(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.discard()
            raise TrainingError(
                f"{self._directory}: can't write the encoded texts: {error.strerror or error}; make room"
            ) from error


class _OpenFile:
    """A file that is closed when nobody has it any more."""

    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self.descriptor)


class MappedColumns(RaggedColumns):
    """Columns in mapped files; they can't be changed.

    Where there is a lot of them, batches are read from the files, not through the map: for each row that is looked at,
    the system may map two megabytes around it.
    """

    def __init__(
        self, arrays: dict[str, Array], offsets: Array, maps: list[mmap.mmap], files: dict[str, _OpenFile]
    ) -> None:
        super().__init__(arrays, offsets)
        object.__setattr__(self, "_maps", maps)
        object.__setattr__(self, "_files", files)
        object.__setattr__(self, "_are_few", sum(map(len, maps)) <= _FEW or not hasattr(os, "preadv"))

    def release(self) -> None:
        """Let go of the pages that were read: they stay in the system's cache while there is room."""
        for pages in self.__dict__["_maps"]:
            if hasattr(mmap, "MADV_DONTNEED"):
                pages.madvise(mmap.MADV_DONTNEED)

    def trim(self) -> None:
        """`release`, unless all pages together are few."""
        if not self.__dict__["_are_few"]:
            self.release()

    def select(self, rows: NDArray[np.int64]) -> tuple[dict[str, Array], NDArray[np.int64]]:
        if self.__dict__["_are_few"]:
            return super().select(rows)
        starts = self.offsets[rows]
        offsets = np.concatenate(([0], np.cumsum(self.offsets[rows + 1] - starts)))
        found = {name: self._read(name, starts.tolist(), offsets.tolist()) for name in self.arrays}
        self.trim()
        return found, offsets

    def pad(self, rows: NDArray[np.int64]) -> dict[str, Array]:
        if self.__dict__["_are_few"]:
            return super().pad(rows)
        arrays, offsets = self.select(rows)
        lengths = np.diff(offsets)[:, None]
        batch = {"mask": np.arange(lengths.max(initial=0))[None, :] < lengths}
        for name, array in arrays.items():
            batch[name] = np.zeros((*batch["mask"].shape, *array.shape[1:]), dtype=array.dtype)
            batch[name][batch["mask"]] = array
        return batch

    def _read(self, name: str, starts: list[int], offsets: list[int]) -> Array:
        """Runs of an array's elements, the first of which are at `starts`, one after the other."""
        kind = self.arrays[name]
        found = np.empty((offsets[-1], *kind.shape[1:]), dtype=kind.dtype)
        if not found.size:
            return found
        file, size = self.__dict__["_files"][name].descriptor, kind.itemsize * math.prod(kind.shape[1:])
        view = _bytes_of(found)
        for start, first, end in zip(starts, offsets, offsets[1:], strict=False):
            place, wanted = start * size, view[first * size : end * size]
            while wanted:
                count = os.preadv(file, [wanted], place)  # maybe fewer than wanted
                if not count:
                    raise TrainingError("encoded texts: found a file that was cut while it was read; start again")
                place, wanted = place + count, wanted[count:]
        return found


def _bytes_of(array: Array) -> memoryview:
    """The memory of an array whose elements lie one after the other."""
    return array.reshape(-1).view(np.uint8).data


def map_columns(parts: Mapping[str, tuple[Path, Array]]) -> MappedColumns:
    """The columns in these files; the offsets are among them. Raises OSError, or ValueError for half an element, or
    for arrays that aren't as long as the offsets say."""
    arrays: dict[str, Array] = {}
    maps: list[mmap.mmap] = []
    files: dict[str, _OpenFile] = {}
    for key, (path, kind) in parts.items():
        arrays[key] = kind
        if path.stat().st_size:  # nothing can't be mapped
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
