"""What was made of a corpus, kept between runs and found by what it was made from and how.

An entry is a folder: columns in files, facts, maybe vocabularies, and a manifest with the checksums of all. It is
written aside, a piece at a time, and moved into place, so that it is complete or absent; one that is damaged is made
anew. Several runs may use one directory at a time: whoever is first leaves the entry, and one that is removed while it
is read stays readable, as mapped files do.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
import uuid
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, TypeVar

import numpy as np

from nlp_app import __version__
from nlp_app.errors import ModelError, TrainingError
from nlp_app.features.columns import Array, Columns
from nlp_app.features.store import ColumnsWriter, StoredColumns, map_columns
from nlp_app.resources import cache_directory

LIMIT = 2 << 30  # bytes of all entries; beyond, those that were not used for longest are removed
_LAYOUT = 2
_MANIFEST = "manifest.json"
_ENTRY = re.compile(r"[0-9a-f]{32}")
_ASIDE = re.compile(r"\.[0-9a-f]{32}-[0-9a-f]{32}")  # being written, or removed
_STALE = 24 * 3600.0  # seconds after which what stands aside was left by a run that died
_EDGE = 8 << 20  # bytes at either end of a file that its checksum is of: a start can't wait for all of a large one
_BLOCK = 1 << 20
_NO_SAY = {"cli", "config", "integrations", "metrics", "modeldir", "nn", "predict", "training"}  # in what is encoded

T = TypeVar("T")


@dataclass(frozen=True)
class Entry:
    """What is kept of a corpus: columns by name, facts of JSON's types, and a folder with more files."""

    folder: Path
    columns: Mapping[str, StoredColumns]
    facts: Mapping[str, Any]


class EntryWriter:
    """An entry that is being written: files into `folder`, values of JSON's types into `facts`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.facts: dict[str, Any] = {}
        self._writers: dict[str, ColumnsWriter] = {}

    def append(self, name: str, columns: Columns) -> None:
        """Add some more rows to the columns of that name."""
        if name not in self._writers:
            self._writers[name] = ColumnsWriter(self.folder, name)
        self._writers[name].append(columns)

    def discard(self) -> None:
        """Let go of the files, however much was written."""
        for writer in self._writers.values():
            writer.discard()

    def close(self) -> None:
        """Store all files, and the manifest last."""
        columns: dict[str, dict[str, Any]] = {}
        for name, writer in self._writers.items():
            writer.close()
            columns[name] = {
                key: [path.name, kind.dtype.str, kind.shape[1:]] for key, (path, kind) in writer.parts.items()
            }
        files = {
            path.relative_to(self.folder).as_posix(): [path.stat().st_size, _checksum(path, store=True)]
            for path in sorted(self.folder.rglob("*"))
            if path.is_file()
        }
        manifest = {"columns": columns, "facts": self.facts, "files": files}
        with (self.folder / _MANIFEST).open("w", encoding="utf-8") as file:
            json.dump(manifest, file)
            file.flush()
            os.fsync(file.fileno())


def encoding_key(*parts: str | bytes | Array) -> str:
    """128 bits, as 32 hexadecimal digits, that tell these parts, in this order, from any others, and this version of
    the program from any other."""
    found = blake2b(f"nlp_app {_LAYOUT} {_program()}".encode(), digest_size=16)
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


@cache
def _program() -> str:
    """The version, and a hash of the sources that may have a say, as they may change without it."""
    found = blake2b(__version__.encode(), digest_size=16)
    package = Path(__file__).parents[1]
    for path in sorted(package.rglob("*.py")):
        if path.relative_to(package).parts[0] not in _NO_SAY:
            found.update(path.read_bytes())
    return found.hexdigest()


def kept(
    key: str | None,
    write: Callable[[EntryWriter], None],
    read: Callable[[Entry], T],
    *,
    needs: Iterable[str] = (),
    say: Callable[[str], None] | None = None,
) -> T:
    """`cached` in the directory for it; where there is no key, or no such directory, kept for this run alone.

    say: told why an entry can't be kept. Raises TrainingError if there is no room at all.
    """
    if key is not None:
        try:
            return cached(cache_directory(), key, write, read, needs=needs)
        except TrainingError as error:
            if say is not None:
                say(f"note: {error}; encoded for this run alone")
    with _room(Path("temporary files")):
        folder = Path(mkdtemp(prefix="nlp_app-"))
        try:
            found = _written(folder, write, read)
        finally:
            shutil.rmtree(folder, ignore_errors=True)  # what is mapped stays
    return found


def cached(
    directory: Path,
    key: str,
    write: Callable[[EntryWriter], None],
    read: Callable[[Entry], T],
    *,
    needs: Iterable[str] = (),
    limit: int = LIMIT,
) -> T:
    """What `read` makes of the entry with a key of `encoding_key`, which `write` has written, now or earlier.

    When an entry is added, those that were not used for longest are removed until all have `limit` bytes at most; the
    new one and those that it `needs` stay. Raises TrainingError if the directory can't be written.
    """
    if not _ENTRY.fullmatch(key):
        raise ValueError(f"key: found {key!r}, expected one of encoding_key")
    entry = directory / key
    found = _found(entry, read)
    if found is not None:
        return found[0]
    aside = directory / f".{key}-{uuid.uuid4().hex}"
    try:
        with _room(directory):  # before the work: a directory that can't be written is found out
            aside.mkdir(parents=True)
        with _room(directory):
            made = _written(aside, write, read)
        if _found(entry, read) is None:  # else another run was first
            _remove(entry)
            with suppress(OSError):  # it may be first now
                aside.rename(entry)
        _remove_oldest(directory, {key, *needs}, limit)
        return made
    finally:
        shutil.rmtree(aside, ignore_errors=True)  # what is mapped stays


@contextmanager
def _room(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        advice = "make room, or name another directory in NLP_APP_CACHE"
        raise TrainingError(f"{directory}: can't keep encoded texts: {error.strerror or error}; {advice}") from error


def _written(folder: Path, write: Callable[[EntryWriter], None], read: Callable[[Entry], T]) -> T:
    writer = EntryWriter(folder)
    try:
        write(writer)
        writer.close()
    finally:
        writer.discard()
    return _read(folder, read)


def _found(folder: Path, read: Callable[[Entry], T]) -> tuple[T] | None:
    """What `read` makes of an entry; None if it isn't there, or isn't whole."""
    try:
        found = _read(folder, read)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ModelError):
        return None
    with suppress(OSError):  # a directory that can only be read
        os.utime(folder)  # used just now
    return (found,)


def _read(folder: Path, read: Callable[[Entry], T]) -> T:
    manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
    for name, (size, checksum) in manifest["files"].items():
        path = folder / name
        if path.stat().st_size != size or _checksum(path) != checksum:
            raise ValueError(f"{path}: the file has changed")
    columns = {name: _columns(folder, parts) for name, parts in manifest["columns"].items()}
    return read(Entry(folder, columns, manifest["facts"]))


def _columns(folder: Path, parts: Mapping[str, tuple[str, str, list[int]]]) -> StoredColumns:
    return map_columns(
        {key: (folder / name, np.zeros((0, *shape), dtype=dtype)) for key, (name, dtype, shape) in parts.items()}
    )


def _checksum(path: Path, store: bool = False) -> int:
    """Of a file, or of both ends of a large one; `store`: see that it is on the disk."""
    found = 0
    with path.open("rb") as file:
        if store:
            os.fsync(file.fileno())
        size = os.fstat(file.fileno()).st_size
        while block := file.read(_BLOCK):
            found = zlib.crc32(block, found)
            if file.tell() == _EDGE < size - _EDGE:
                file.seek(size - _EDGE)
    return found


def _remove_oldest(directory: Path, staying: set[str], limit: int) -> None:
    """Remove what was not used for longest, until the entries have `limit` bytes; and what dead runs left."""
    ages: list[tuple[float, int, Path]] = []
    with suppress(OSError):  # what another run removes meanwhile is gone as well
        for path in directory.iterdir():
            used = path.stat().st_mtime
            if _ENTRY.fullmatch(path.name):
                ages.append((used, sum(file.stat().st_size for file in path.rglob("*")), path))
            elif _ASIDE.fullmatch(path.name) and used < time.time() - _STALE:
                shutil.rmtree(path, ignore_errors=True)
    total = sum(size for _, size, _ in ages)
    for _, size, path in sorted(ages):
        if total > limit and path.name not in staying:
            _remove(path)
            total -= size


def _remove(entry: Path) -> None:
    """Moved aside first, so that nobody finds half of it."""
    aside = entry.with_name(f".{entry.name}-{uuid.uuid4().hex}")
    with suppress(OSError):
        entry.rename(aside)
    shutil.rmtree(aside, ignore_errors=True)
