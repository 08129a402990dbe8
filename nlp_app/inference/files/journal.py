"""An output file that grows beside its place, with a journal of what is safe in it.

While a job runs, `OUT.partial` holds what is done and `OUT.journal` says how far: a line that identifies the job, then
one for each time that the partial file was stored, with its length and checksum. An entry is written only after what
it speaks of is on the disk, so whatever kills the job, the last entry that fits the partial file is a place to go on
from. A job that is done before its first entry is due has no journal. One that may be resumed leaves its journal beside
the output: only that tells what the output is of.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from nlp_app.core.errors import DataError, SettingsError
from nlp_app.core.files import checksum, flush_directory, write_error_message
from nlp_app.core.locks import lock_descriptor
from nlp_app.core.signals import ignore_stop_signals

FORMAT = 1

_PIECE = 1 << 20

_SHOWN = 40  # characters of a value in a message

RESUMING = "the same command with --resume goes on from what is done"

_BUSY = "is being written by another run; wait for it, or name another output"


class JournalEntry(NamedTuple):
    """What is safe: all chunks before number `chunks`, `size` bytes with the checksum `sha256`. `done`: that is all."""

    chunks: int
    size: int
    sha256: str
    done: bool


class _Written(NamedTuple):
    """What has been written: all chunks before number `chunks`, `size` bytes; `hash` is of them."""

    chunks: int
    size: int
    hash: hashlib._Hash


class JournalledFile:
    """The output of a job that can be killed. `chunks`: how many are in it already; `done`: all, and it is in place.

    identity: what a job must have in common with the one that it resumes; asked for when it is needed. seconds: how
    long after the last entry the next one is due. Raises DataError if it can't be written, or is being written by
    another process; SettingsError if `resume` finds another job's journal.
    """

    def __init__(self, target: str, identity: Callable[[], Mapping[str, Any]], resume: bool, seconds: float) -> None:
        self._name, self._identity, self._resume, self._seconds = target, identity, resume, seconds
        place = Path(os.path.realpath(target))
        self._target = place
        self._partial = place.with_name(place.name + ".partial")
        self._journal = place.with_name(place.name + ".journal")
        self._has_journal = self.done = False
        self._ends: list[int] = []  # of the journal's entries, in bytes
        self.chunks = 0
        self._entry = JournalEntry(0, 0, hashlib.sha256().hexdigest(), False)
        self._written = _Written(0, 0, hashlib.sha256())
        try:
            if place.is_dir():
                raise DataError("can't be written: is a directory; name a file", target)
            entries = self._read_journal() if resume else []
            if entries and entries[-1].done and not self._partial.exists() and self._is_target(entries[-1]):
                self.done = True
                return
            self._stream = _locked(self._partial, target)
        except OSError as error:
            raise write_error_message(target, error) from error
        try:
            self._begin(entries)
            if self._entry.done:
                self.finish()
        except BaseException:
            self._stream.close()
            raise
        self.chunks = self._written.chunks
        self._time = time.monotonic()

    @property
    def kept(self) -> bool:
        """Whether there is something to resume from."""
        return self._has_journal

    def write(self, data: bytes, chunks: int) -> None:
        """Append what comes after the chunks written so far, up to number `chunks`."""
        try:
            # Ctrl-C may come anywhere: what an entry tells is changed at one go, when all is written.
            after = self._written.hash.copy()
            after.update(data)
            self._stream.write(data)
            self._written = _Written(chunks, self._written.size + len(data), after)
            if time.monotonic() - self._time >= self._seconds:
                self._store()
                self._time = time.monotonic()
        except OSError as error:
            raise self._unwritable(error) from error

    def finish(self) -> None:
        """Put the file in place."""
        try:
            if self._has_journal:
                self._store(done=True)
            else:
                self._sync()
            with ignore_stop_signals():
                os.replace(self._partial, self._target)
                self._stream.close()
                flush_directory(self._target.parent)
                if self._has_journal and not self._resume:
                    self._journal.unlink(missing_ok=True)
                self.done = True
        except OSError as error:
            raise self._unwritable(error) from error

    def keep(self) -> None:
        """Stop here, so that it can be resumed; who is impatient waits for it."""
        with ignore_stop_signals():
            try:
                if self._written.chunks > self._entry.chunks and not self._stream.closed:
                    self._store()
            except OSError:
                pass  # what is in the journal already is still good
            self.close()

    def close(self) -> None:
        """Stop, and leave nothing behind unless it can be resumed."""
        if not self._stream.closed:
            if not self._has_journal:
                self._partial.unlink(missing_ok=True)
            try:
                self._stream.close()
            except OSError:
                return  # what it held back is in no entry

    def _begin(self, entries: list[JournalEntry]) -> None:
        """Go on after the last entry that the partial file agrees with, or from the beginning."""
        good, self._written = self._last_good(entries)
        try:
            if good is None:
                self._journal.unlink(missing_ok=True)
            else:
                self._entry, self._has_journal = good, True
                os.truncate(self._journal, self._ends[entries.index(good)])
            self._stream.truncate(self._written.size)
            self._stream.seek(self._written.size)
        except OSError as error:
            raise write_error_message(self._name, error) from error

    def _last_good(self, entries: list[JournalEntry]) -> tuple[JournalEntry | None, _Written]:
        """The last entry whose bytes are there unharmed, and those bytes."""
        good, found, place = None, hashlib.sha256(), 0
        written = _Written(0, 0, found.copy())
        self._stream.seek(0)
        for entry in entries:
            while place < entry.size:
                piece = self._stream.read(min(_PIECE, entry.size - place))
                if not piece:
                    return good, written
                found.update(piece)
                place += len(piece)
            if found.hexdigest() != entry.sha256:
                break
            good, written = entry, _Written(entry.chunks, entry.size, found.copy())
        return good, written

    def _store(self, done: bool = False) -> None:
        """Make all that was written safe, then say so in the journal."""
        self._sync()
        chunks, size, found = self._written
        entry = JournalEntry(chunks, size, found.hexdigest(), done)
        lines = [entry._asdict()]
        if not self._has_journal:
            lines.insert(0, {"format": FORMAT, **self._identity()})
        with self._journal.open("ab" if self._has_journal else "wb") as journal:
            journal.write("".join(json.dumps(line) + "\n" for line in lines).encode())
            journal.flush()
            os.fsync(journal.fileno())
        if not self._has_journal:
            flush_directory(self._target.parent)
        self._has_journal, self._entry = True, entry

    def _unwritable(self, error: OSError) -> DataError:
        if not self._has_journal:
            return write_error_message(self._name, error)
        return DataError(f"can't be written: {error.strerror}; make room, and {RESUMING}", self._name)

    def _sync(self) -> None:
        self._stream.flush()
        os.fsync(self._stream.fileno())

    def _read_journal(self) -> list[JournalEntry]:
        """The entries, up to one that was not written to its end; of what follows nothing is kept."""
        try:
            lines = self._journal.read_bytes().split(b"\n")[:-1]  # what follows the last line feed is no whole line
        except FileNotFoundError:
            return []
        if not lines:
            return []
        entries: list[JournalEntry] = []
        end = len(lines[0]) + 1
        try:
            header = _flat(json.loads(lines[0]))
            for line in lines[1:]:
                entries.append(JournalEntry(**json.loads(line)))
                end += len(line) + 1
                self._ends.append(end)
        except (ValueError, TypeError):
            if not entries:
                return []
        self._check_identity(header)
        return entries

    def _check_identity(self, found: Mapping[str, Any]) -> None:
        wanted = _flat({"format": FORMAT, **json.loads(json.dumps(self._identity()))})
        others = "; ".join(
            f"{name}: found {_shown(found.get(name))}, expected {_shown(wanted.get(name))}"
            for name in {**wanted, **found}
            if wanted.get(name) != found.get(name)
        )
        if others:
            raise SettingsError(f"--resume: {self._journal} is of another job ({others}); start over without --resume")

    def _is_target(self, entry: JournalEntry) -> bool:
        there = self._target.is_file() and self._target.stat().st_size == entry.size
        return there and checksum(self._target) == entry.sha256


def _flat(values: Any, place: str = "") -> dict[str, Any]:
    """The values of nested objects, with dots in their names. Raises TypeError for what is no object."""
    if not isinstance(values, dict):
        raise TypeError(f"found {type(values).__name__}, expected an object")
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= _flat(value, f"{place}{name}.") if isinstance(value, dict) else {f"{place}{name}": value}
    return found


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _locked(path: Path, name: str) -> BinaryIO:
    """The file, opened to be read and written, and no other process's as long as it is open."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
    stream = os.fdopen(descriptor, "r+b")
    try:
        lock_descriptor(descriptor)
        # The other one may just have finished, and this be its result by now.
        is_ours = path.exists() and os.path.samestat(path.stat(), os.fstat(descriptor))
    except BlockingIOError:
        is_ours = False
    except OSError:  # no locks here
        is_ours = True
    if not is_ours:
        stream.close()
        raise DataError(_BUSY, name)
    return stream
