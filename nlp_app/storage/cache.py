"""On-disk cache of encoded corpora, shared by several runs; entries are found by a hash of their inputs.

An entry is a folder with column files, facts, possibly vocabularies, and a manifest. The manifest lists the size of
each file and starts with its own checksum. An entry is written to a temporary folder, chunk by chunk, and then renamed:
it is either complete or absent. All files are flushed to disk before the manifest is written, so after a crash no
incomplete file has an intact manifest. An entry is built again if its manifest is damaged, or if a file is missing or
has another size; the contents of the files are not checked.

Several runs may use one directory at the same time: the first one to finish an entry stores it. An entry that is
removed while a run reads it stays readable for that run, because its files are mapped into memory.
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

LIMIT = 2 << 30  # bytes of all entries; above it, the least recently used entries are removed

_LAYOUT = 4  # version of the layout of entries; part of every key

_MANIFEST = "manifest.json"  # its first line is the checksum of the rest

# Folders of the package whose code affects how a corpus is read and encoded.
_KEY_FOLDERS = ("core", "text", "labels", "storage", "formats", "data", "features")

_PACKAGES = ("numpy", "scikit-learn", "tokenizers")  # libraries that may affect the encoded data

T = TypeVar("T")


@dataclass(frozen=True)
class CacheEntry:
    """A stored entry of the cache.

    Attributes:
        folder: Folder with the files of the entry.
        columns: Memory-mapped columns by name.
        facts: Small values of JSON types.
    """

    folder: Path
    columns: Mapping[str, MappedColumns]
    facts: Mapping[str, Any]


class CacheEntryWriter:
    """Writer of a new entry.

    Attributes:
        folder: Folder for more files of the entry.
        facts: Small values of JSON types, to be filled by the caller.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.facts: dict[str, Any] = {}
        self._writers: dict[str, ColumnsWriter] = {}

    def append(self, name: str, columns: RaggedColumns) -> None:
        """Append rows to the columns with this name.

        Args:
            name: Name of the columns; created if new.
            columns: The rows; their arrays have the names and types of the first call.
        """
        if name not in self._writers:
            self._writers[name] = ColumnsWriter(self.folder, name)
        self._writers[name].append(columns)

    def discard(self) -> None:
        """Close the files without completing the entry."""
        for writer in self._writers.values():
            writer.discard()

    def close(self) -> None:
        """Flush all files to disk, then write the manifest."""
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
    """Compute the cache key of data from everything that affects it.

    The key also depends on the version and source code of nlp_app, and on the versions of the libraries that affect the
    encoded data. Parts of different types, or in another order, give another key.

    Args:
        parts: Everything that affects the data: settings, texts, contents of files, arrays.

    Returns:
        128 bits as 32 hexadecimal digits.
    """
    digest = blake2b(f"nlp_app {_LAYOUT} {_program_version()}".encode(), digest_size=16)
    for part in parts:
        if isinstance(part, str):
            kind, content = "str", part.encode("utf-8", "surrogatepass")
        elif isinstance(part, bytes):
            kind, content = "bytes", part
        else:
            kind, content = f"{part.dtype.str} {part.shape}", np.ascontiguousarray(part).tobytes()
        digest.update(f"\0{kind} {len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


@cache
def _program_version() -> str:
    """Versions of nlp_app and its libraries, and a hash of the source code, which changes more often."""
    digest = blake2b(repr((__version__, *map(version, _PACKAGES))).encode(), digest_size=16)
    package = Path(__file__).parents[1]
    for path in sorted(package.rglob("*.py")):
        if path.relative_to(package).parts[0] in _KEY_FOLDERS:
            digest.update(path.read_bytes())
    return digest.hexdigest()


def load_or_build(
    key: str | None,
    build: Callable[[CacheEntryWriter], None],
    load: Callable[[CacheEntry], T],
    *,
    needs: Iterable[str] = (),
    say: Callable[[str], None] | None = None,
) -> T:
    """Load an entry from the cache, or build and store it.

    Without a key, or if the entry cannot be stored, it is built in a temporary folder and used for this run only.

    Args:
        key: Key of the entry, from `encoding_key`. None: don't cache.
        build: Writes the entry.
        load: Makes the result from a complete entry.
        needs: Keys of entries that must not be removed to make room for this one.
        say: Receives a note on why the entry cannot be stored.

    Returns:
        The result of `load`.

    Raises:
        TrainingError: There is not enough space for a temporary folder either.
    """
    if key is not None:
        try:
            return load_or_build_in(cache_directory(), key, build, load, needs=needs)
        except TrainingError as error:
            if say is not None:
                say(f"note: {error}; the encoded texts are used for this run only")
    with _as_training_error(Path("temporary files")), new_folder(Path(gettempdir()), NO_ENTRY) as folder:
        return _build_entry(folder, build, load)


def load_or_build_derived(
    parent_key: str | None,
    key_parts: Iterable[str | bytes | Array],
    build: Callable[[CacheEntryWriter], None],
    load: Callable[[CacheEntry], T],
    say: Callable[[str], None],
) -> T:
    """Load or build an entry that is made from another entry, which is not removed.

    Args:
        parent_key: Key of the other entry. None: it isn't cached, and neither will this one be.
        key_parts: Everything else that affects the data, for `encoding_key`.
        build: Writes the entry.
        load: Makes the result from a complete entry.
        say: Receives a note on why the entry cannot be stored.

    Returns:
        The result of `load`.

    Raises:
        TrainingError: There is not enough space for a temporary folder either.
    """
    if parent_key is None:
        return load_or_build(None, build, load)
    return load_or_build(encoding_key(parent_key, *key_parts), build, load, needs=[parent_key], say=say)


def load_or_build_in(
    directory: Path,
    key: str,
    build: Callable[[CacheEntryWriter], None],
    load: Callable[[CacheEntry], T],
    *,
    needs: Iterable[str] = (),
    limit: int = LIMIT,
) -> T:
    """Load an entry from a cache directory, or build and store it there.

    After an entry is added, the least recently used entries are removed until all have `limit` bytes at most. The new
    entry and the entries in `needs` are not removed.

    Args:
        directory: Directory of the cache.
        key: Key of the entry, from `encoding_key`.
        build: Writes the entry.
        load: Makes the result from a complete entry.
        needs: Keys of entries that must not be removed.
        limit: Maximum size of all entries, in bytes.

    Returns:
        The result of `load`.

    Raises:
        TrainingError: The directory cannot be written.
        ValueError: The key is not one of `encoding_key`.
    """
    if not is_entry_name(key):
        raise ValueError(f"key: found {key!r}, expected a key from encoding_key")
    entry = directory / key
    loaded = _load_if_intact(entry, load)
    if loaded is not None:
        return loaded[0]
    with _as_training_error(directory), new_folder(directory, key) as folder:
        result = _build_entry(folder, build, load)
        if _load_if_intact(entry, load) is None:  # otherwise another run has stored it
            remove(entry)
            with suppress(OSError):  # another run may have stored it in the meantime
                folder.rename(entry)
        remove_oldest(directory, {key, *needs}, limit)
        return result


@contextmanager
def _as_training_error(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        advice = "make room, or choose another directory with NLP_APP_CACHE"
        raise TrainingError(f"{directory}: cannot store encoded texts: {error.strerror or error}; {advice}") from error


def _build_entry(folder: Path, build: Callable[[CacheEntryWriter], None], load: Callable[[CacheEntry], T]) -> T:
    writer = CacheEntryWriter(folder)
    try:
        build(writer)
        writer.close()
    finally:
        writer.discard()
    return _load_entry(folder, load)


def _load_if_intact(folder: Path, load: Callable[[CacheEntry], T]) -> tuple[T] | None:
    """Load an entry; None if it is missing or incomplete. The result is in a tuple, as it may be None itself."""
    try:
        result = _load_entry(folder, load)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ModelError):
        return None
    with suppress(OSError):  # the directory may be read-only
        os.utime(folder)  # mark it as recently used
    return (result,)


def _load_entry(folder: Path, load: Callable[[CacheEntry], T]) -> T:
    head, _, body = (folder / _MANIFEST).read_bytes().partition(b"\n")
    if head != _digest(body):
        raise ValueError(f"{folder / _MANIFEST}: the file has changed")
    manifest = json.loads(body)
    for name, size in manifest["sizes"].items():
        actual = (folder / name).stat().st_size
        if actual != size:
            raise ValueError(f"{folder / name}: found {actual} bytes, expected {size}")
    columns = {name: _columns(folder, parts) for name, parts in manifest["columns"].items()}
    return load(CacheEntry(folder, columns, manifest["facts"]))


def _columns(folder: Path, parts: Mapping[str, tuple[str, str, list[int]]]) -> MappedColumns:
    return map_columns(
        {key: (folder / name, np.zeros((0, *shape), dtype=dtype)) for key, (name, dtype, shape) in parts.items()}
    )


def _digest(body: bytes) -> bytes:
    return blake2b(body, digest_size=16).hexdigest().encode()
