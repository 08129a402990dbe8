"""Encoded corpora that are kept between runs, found by what they were made from and how.

An entry is a folder of `.npy` files and a manifest with their checksums. It is written aside and moved into place, so
that it is complete or absent; one that is damaged is made anew. Several runs may use one directory at a time: whoever
is first leaves the entry, and one that is removed while it is read stays readable, as mapped files do.
"""

from __future__ import annotations

import itertools
import json
import math
import mmap
import os
import re
import shutil
import time
import uuid
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from nlp_app.errors import TrainingError
from nlp_app.features.columns import Array, Columns
from nlp_app.features.store import StoredColumns

LIMIT = 2 << 30  # bytes of all entries; beyond, those that were not used for longest are removed
_LAYOUT = 1
_MANIFEST = "manifest.json"
_OFFSETS = "offsets"
_ENTRY = re.compile(r"[0-9a-f]{32}")
_ASIDE = re.compile(r"\.[0-9a-f]{32}-[0-9a-f]{32}")  # being written, or removed
_STALE = 24 * 3600.0  # seconds after which what stands aside was left by a run that died


def encoding_key(*parts: str | bytes | Array) -> str:
    """128 bits, as 32 hexadecimal digits, that tell these parts, in this order, from any others."""
    found = blake2b(f"nlp_app encoding {_LAYOUT}".encode(), digest_size=16)
    for part in parts:
        if isinstance(part, str):
            kind, content = "str", part.encode("utf-8", "surrogatepass")
        elif isinstance(part, bytes):
            kind, content = "bytes", part
        else:
            kind, content = f"{part.dtype.str} {part.shape}", np.ascontiguousarray(part).tobytes()
        found.update(f"\0{kind} {len(content)}\0".encode())
        found.update(content)
    return found.hexdigest()


def cached_columns(
    directory: Path, key: str, make: Callable[[], Mapping[str, Columns]], limit: int = LIMIT
) -> Mapping[str, Columns]:
    """The columns that `make` gives, by name: those in the directory under a key of `encoding_key`, or made and left
    there. They are mapped into memory and can't be changed.

    When an entry is added, those that were not used for longest are removed until all have `limit` bytes at most; the
    new one stays. Raises TrainingError if the directory can't be written.
    """
    if not _ENTRY.fullmatch(key):
        raise ValueError(f"key: found {key!r}, expected one of encoding_key")
    entry = directory / key
    found = _read(entry)
    if found is not None:
        return found
    aside = directory / f".{key}-{uuid.uuid4().hex}"
    try:
        with _room(directory):  # before the work: a directory that can't be written is found out
            aside.mkdir(parents=True)
        columns = make()
        with _room(directory):
            _write(aside, columns)
            found = _read(aside)
            if found is None:
                raise OSError("what was written there can't be read back")
        if _read(entry) is None:  # else another run was first
            _remove(entry)
            with suppress(OSError):  # it may be first now
                aside.rename(entry)
        _remove_oldest(directory, entry, limit)
        return found
    finally:
        shutil.rmtree(aside, ignore_errors=True)  # what is mapped stays


@contextmanager
def _room(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        advice = "make room, or name another directory in NLP_APP_CACHE"
        raise TrainingError(f"{directory}: can't keep encoded texts: {error.strerror or error}; {advice}") from error


def _write(folder: Path, columns: Mapping[str, Columns]) -> None:
    manifest: dict[str, dict[str, list[Any]]] = {}
    numbers = itertools.count()
    for name, each in columns.items():
        manifest[name] = {}
        for part, array in {**each.arrays, _OFFSETS: each.offsets}.items():
            path = folder / f"{next(numbers)}.npy"
            with path.open("wb") as file:
                np.save(file, np.ascontiguousarray(array), allow_pickle=False)
            with _pages(path) as pages:
                manifest[name][part] = [path.name, zlib.crc32(pages)]
    (folder / _MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")


def _read(entry: Path) -> dict[str, Columns] | None:
    """An entry's columns; None if it isn't there, or isn't whole."""
    try:
        manifest = json.loads((entry / _MANIFEST).read_text(encoding="utf-8"))
        found = {name: _columns(entry, parts) for name, parts in manifest.items()}
        with suppress(OSError):  # a directory that can only be read
            os.utime(entry)  # used just now
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None
    return found


def _columns(entry: Path, parts: Mapping[str, tuple[str, int]]) -> Columns:
    """Raises one of the errors of `_read` for files that are not what was written."""
    arrays: dict[str, Array] = {}
    maps: list[mmap.mmap] = []
    for part, (name, checksum) in parts.items():
        pages = _pages(entry / name)
        if zlib.crc32(pages) != checksum:
            raise ValueError("the file has changed")
        arrays[part] = _array(pages)
        maps.append(pages)
    columns = StoredColumns(arrays, arrays.pop(_OFFSETS), maps)
    columns.release()
    return columns


def _pages(path: Path) -> mmap.mmap:
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _array(pages: mmap.mmap) -> Array:
    """The array of a mapped `.npy` file. Raises ValueError."""
    pages.seek(0)
    np.lib.format.read_magic(pages)
    shape, _, dtype = np.lib.format.read_array_header_1_0(pages)
    return np.frombuffer(pages, dtype, math.prod(shape), pages.tell()).reshape(shape)


def _remove_oldest(directory: Path, newest: Path, limit: int) -> None:
    """Remove what was not used for longest, until the entries have `limit` bytes; and what dead runs left."""
    ages: list[tuple[float, int, Path]] = []
    with suppress(OSError):  # what another run removes meanwhile is gone as well
        for path in directory.iterdir():
            used = path.stat().st_mtime
            if _ENTRY.fullmatch(path.name):
                ages.append((used, sum(file.stat().st_size for file in path.iterdir()), path))
            elif _ASIDE.fullmatch(path.name) and used < time.time() - _STALE:
                shutil.rmtree(path, ignore_errors=True)
    total = sum(size for _, size, _ in ages)
    for _, size, path in sorted(ages):
        if total > limit and path != newest:
            _remove(path)
            total -= size


def _remove(entry: Path) -> None:
    """Moved aside first, so that nobody finds half of it."""
    aside = entry.with_name(f".{entry.name}-{uuid.uuid4().hex}")
    with suppress(OSError):
        entry.rename(aside)
    shutil.rmtree(aside, ignore_errors=True)
