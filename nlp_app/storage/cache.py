"""What was made of a corpus, kept between runs and found by what it was made from and how.

An entry is a folder: columns in files, facts, maybe vocabularies, and a manifest with the size of each file and its own
checksum. It is written aside, a piece at a time, and moved into place, so that it is complete or absent. All files are
on the disk before the manifest is written: beside an intact manifest, a crash leaves no incomplete file. An entry with
a damaged manifest, or a file that is missing or has another size, is made anew; the contents of files aren't checked.
Several runs may use one directory at a time: whoever is first leaves the entry, and one that is
removed while it is read stays readable, as mapped files do.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path
from tempfile import gettempdir
from typing import Any, TypeVar

import numpy as np

from nlp_app.core.errors import ModelError, TrainingError
from nlp_app.core.files import flush_directory, flush_file
from nlp_app.core.paths import cache_directory
from nlp_app.core.version import __version__
from nlp_app.storage.cache_dir import NO_ENTRY, is_entry_name, new_folder, remove, remove_oldest
from nlp_app.storage.memory_map import ColumnsWriter, MappedColumns, map_columns
from nlp_app.storage.ragged import Array, RaggedColumns

LIMIT = 2 << 30  # bytes of all entries; beyond, those that were not used for longest are removed

_LAYOUT = 4

_MANIFEST = "manifest.json"  # after a line with its checksum

# Folders whose code decides how a corpus is read and encoded.
_DECIDING = ("core", "text", "labels", "storage", "formats", "data", "features")

_PACKAGES = ("numpy", "scikit-learn", "tokenizers")  # of others, that may have a say

T = TypeVar("T")


@dataclass(frozen=True)
class CacheEntry:
    """What is kept of a corpus: columns by name, facts of JSON's types, and a folder with more files."""

    folder: Path
    columns: Mapping[str, MappedColumns]
    facts: Mapping[str, Any]


class CacheEntryWriter:
    """An entry that is being written: files into `folder`, values of JSON's types into `facts`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.facts: dict[str, Any] = {}
        self._writers: dict[str, ColumnsWriter] = {}

    def append(self, name: str, columns: RaggedColumns) -> None:
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
        sizes: dict[str, int] = {}
        for path in sorted(self.folder.rglob("*")):
            if path.is_file():
                flush_file(path)
                sizes[path.relative_to(self.folder).as_posix()] = path.stat().st_size
            else:
                flush_directory(path)
        flush_directory(self.folder)
        body = json.dumps({"columns": columns, "facts": self.facts, "sizes": sizes}).encode()
        with (self.folder / _MANIFEST).open("wb") as file:
            file.write(_digest(body) + b"\n" + body)
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
    """The versions, and a hash of the sources that may have a say, as they may change without them."""
    found = blake2b(repr((__version__, *map(version, _PACKAGES))).encode(), digest_size=16)
    package = Path(__file__).parents[1]
    for path in sorted(package.rglob("*.py")):
        if path.relative_to(package).parts[0] in _DECIDING:
            found.update(path.read_bytes())
    return found.hexdigest()


def load_or_build(
    key: str | None,
    write: Callable[[CacheEntryWriter], None],
    read: Callable[[CacheEntry], T],
    *,
    needs: Iterable[str] = (),
    say: Callable[[str], None] | None = None,
) -> T:
    """`cached` in the directory for it; where there is no key, or no such directory, kept for this run alone.

    say: told why an entry can't be kept. Raises TrainingError if there is no room at all.
    """
    if key is not None:
        try:
            return load_or_build_in(cache_directory(), key, write, read, needs=needs)
        except TrainingError as error:
            if say is not None:
                say(f"note: {error}; encoded for this run alone")
    with _room(Path("temporary files")), new_folder(Path(gettempdir()), NO_ENTRY) as folder:
        return _written(folder, write, read)


def load_or_build_derived(
    source: str | None,
    decisive: Iterable[str | bytes | Array],
    write: Callable[[CacheEntryWriter], None],
    read: Callable[[CacheEntry], T],
    say: Callable[[str], None],
) -> T:
    """`kept`, of what is made from another entry, which stays.

    source: the key of that, None if it isn't kept; decisive: all else that decides what is made.
    """
    if source is None:
        return load_or_build(None, write, read)
    return load_or_build(encoding_key(source, *decisive), write, read, needs=[source], say=say)


def load_or_build_in(
    directory: Path,
    key: str,
    write: Callable[[CacheEntryWriter], None],
    read: Callable[[CacheEntry], T],
    *,
    needs: Iterable[str] = (),
    limit: int = LIMIT,
) -> T:
    """What `read` makes of the entry with a key of `encoding_key`, which `write` has written, now or earlier.

    When an entry is added, those that were not used for longest are removed until all have `limit` bytes at most; the
    new one and those that it `needs` stay. Raises TrainingError if the directory can't be written.
    """
    if not is_entry_name(key):
        raise ValueError(f"key: found {key!r}, expected one of encoding_key")
    entry = directory / key
    found = _found(entry, read)
    if found is not None:
        return found[0]
    with _room(directory), new_folder(directory, key) as folder:
        made = _written(folder, write, read)
        if _found(entry, read) is None:  # else another run was first
            remove(entry)
            with suppress(OSError):  # it may be first now
                folder.rename(entry)
        remove_oldest(directory, {key, *needs}, limit)
        return made


@contextmanager
def _room(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        advice = "make room, or name another directory in NLP_APP_CACHE"
        raise TrainingError(f"{directory}: can't keep encoded texts: {error.strerror or error}; {advice}") from error


def _written(folder: Path, write: Callable[[CacheEntryWriter], None], read: Callable[[CacheEntry], T]) -> T:
    writer = CacheEntryWriter(folder)
    try:
        write(writer)
        writer.close()
    finally:
        writer.discard()
    return _read(folder, read)


def _found(folder: Path, read: Callable[[CacheEntry], T]) -> tuple[T] | None:
    """What `read` makes of an entry; None if it isn't there, or isn't whole."""
    try:
        found = _read(folder, read)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ModelError):
        return None
    with suppress(OSError):  # a directory that can only be read
        os.utime(folder)  # used just now
    return (found,)


def _read(folder: Path, read: Callable[[CacheEntry], T]) -> T:
    head, _, body = (folder / _MANIFEST).read_bytes().partition(b"\n")
    if head != _digest(body):
        raise ValueError(f"{folder / _MANIFEST}: the file has changed")
    manifest = json.loads(body)
    for name, size in manifest["sizes"].items():
        found = (folder / name).stat().st_size
        if found != size:
            raise ValueError(f"{folder / name}: found {found} bytes, expected {size}")
    columns = {name: _columns(folder, parts) for name, parts in manifest["columns"].items()}
    return read(CacheEntry(folder, columns, manifest["facts"]))


def _columns(folder: Path, parts: Mapping[str, tuple[str, str, list[int]]]) -> MappedColumns:
    return map_columns(
        {key: (folder / name, np.zeros((0, *shape), dtype=dtype)) for key, (name, dtype, shape) in parts.items()}
    )


def _digest(body: bytes) -> bytes:
    return blake2b(body, digest_size=16).hexdigest().encode()
